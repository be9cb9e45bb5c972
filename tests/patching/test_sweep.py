"""One instance's whole map: answers, controls, chunks, costs, and what is refused."""

import dataclasses
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from naive import donor_values, naive_generate, naive_logits

from lingraft.errors import ConfigError
from lingraft.models.sites import Site
from lingraft.patching import sweep as sweep_module
from lingraft.patching.instances import Instance, parse_instance, read_instances, write_instances
from lingraft.patching.plan import plan_sweep, row_bytes
from lingraft.patching.prompts import encode_prompt, require_first_tokens_differ
from lingraft.patching.sites import replace
from lingraft.patching.sweep import SweepSettings, instance_pairs, sweep_instance

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
tiny_world = importlib.import_module("tiny_world")

INSTANCE = Instance(
    id="größe-1",
    donor=("Open the document and choose", "Öffnen Sie das Dokument"),
    receiver="Ireki dokumentua eta aukeratu 안녕",
    options=(" Formatua", " papera", " the size of it"),
    answers=(2,),
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_world.byte_bpe_tokenizer()


def naive_rows(model: Any, prompt: Any, donor: int = 0) -> torch.Tensor:
    """`[9, V]`, receiver layers outermost, as the map has them."""
    values = donor_values(model, prompt.donors[donor], Site("ffn"))
    return torch.stack(
        [
            naive_logits(model, prompt.receiver, values[giver], Site("ffn"), taker, replace)
            for taker in range(3)
            for giver in range(3)
        ]
    )


def test_first_tokens_with_two_donors(tiny: Callable[..., Any], tokenizer: Any) -> None:
    """Tokens, log-probability of the right option's first token, its margin over options, and what is right."""
    model = tiny("qwen2")
    prompt = encode_prompt(tokenizer, INSTANCE)
    found = sweep_instance(model, tokenizer, prompt, SweepSettings())
    assert len(found.pairs) == 18
    for donor in (0, 1):
        rows = found.pairs.donor == donor
        logits = torch.log_softmax(naive_rows(model, prompt, donor), dim=-1)
        assert found.rows.token_id[rows].tolist() == logits.argmax(dim=-1).tolist()
        firsts = logits[:, [option[0] for option in prompt.options]]
        np.testing.assert_allclose(found.rows.score[rows], firsts[:, 2], atol=1e-4)
        best = firsts.topk(2, dim=-1).values
        np.testing.assert_allclose(found.rows.margin[rows], best[:, 0] - best[:, 1], atol=1e-4)
        assert found.rows.choice[rows].tolist() == firsts.argmax(dim=-1).tolist()
        assert found.rows.correct is not None
        right = logits.argmax(dim=-1) == prompt.options[2][0]
        assert found.rows.correct[rows].tolist() == right.tolist()
    plain = model(torch.tensor([prompt.receiver])).logits[0, -1]
    assert found.vanilla.token_id.tolist() == [int(plain.argmax())]
    assert found.donors.token_id.shape == (2,)


def test_generated_texts(tiny: Callable[..., Any], tokenizer: Any) -> None:
    model = tiny("gemma3_text")
    prompt = encode_prompt(tokenizer, INSTANCE)
    settings = SweepSettings(score="generate", new_tokens=5)
    model.generation_config.eos_token_id = 2
    found = sweep_instance(model, tokenizer, prompt, settings, judge=lambda texts: [bool(t) for t in texts])
    values = donor_values(model, prompt.donors[1], Site("ffn"))
    for row in np.flatnonzero(found.pairs.donor == 1):
        tokens = naive_generate(
            model,
            prompt.receiver,
            values[int(found.pairs.donor_layer[row])],
            Site("ffn"),
            int(found.pairs.receiver_layer[row]),
            5,
            eos_token_id=2,
        )
        assert found.rows.text is not None
        assert found.rows.text[row] == tokenizer.decode(tokens, skip_special_tokens=True)


@pytest.mark.parametrize("score", ["first-token", "options", "generate"])
def test_small_chunks_and_a_full_memory_give_the_same_map(
    tiny: Callable[..., Any], tokenizer: Any, monkeypatch: pytest.MonkeyPatch, score: Any
) -> None:
    """Memory for 4 rows; then a machine that cannot take more than 3, whatever was promised."""
    model = tiny("llama")
    prompt = encode_prompt(tokenizer, INSTANCE)
    whole = sweep_instance(model, tokenizer, prompt, SweepSettings(score=score, new_tokens=4))
    longest = {"first-token": 1, "options": max(map(len, prompt.options)), "generate": 4}[score]
    budget = 4 * row_bytes(model, longest)
    parts = sweep_instance(
        model, tokenizer, prompt, SweepSettings(score=score, new_tokens=4, memory_bytes=budget)
    )
    real, sizes = sweep_module.transplant_all, []

    def narrow(*arguments: Any, **options: Any) -> Any:
        sizes.append(len(arguments[3]))
        if sizes[-1] > 3:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried")
        return real(*arguments, **options)

    monkeypatch.setattr(sweep_module, "transplant_all", narrow)
    fallen = sweep_instance(model, tokenizer, prompt, SweepSettings(score=score, new_tokens=4))
    assert sizes[:4] == [18, 9, 5, 3]
    for other in (parts, fallen):
        assert other.rows.token_id.tolist() == whole.rows.token_id.tolist()
        assert other.rows.text == whole.rows.text
        np.testing.assert_allclose(other.rows.score, whole.rows.score, atol=1e-5)


@pytest.mark.parametrize("stage", ["transplant_all", "prefill", "sample_answers"])
def test_memory_that_gives_out_for_good_says_what_is_needed(
    tiny: Callable[..., Any], tokenizer: Any, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried")

    monkeypatch.setattr(sweep_module, stage, full)
    settings = SweepSettings(score="generate", new_tokens=4, samples=3)
    with pytest.raises(ConfigError, match=rf"out of memory at {INSTANCE.id}, prompts of .* about \d+ MiB"):
        sweep_instance(tiny("llama"), tokenizer, encode_prompt(tokenizer, INSTANCE), settings)


def test_other_errors_are_not_taken_for_memory(
    tiny: Callable[..., Any], tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: Any, **__: Any) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(sweep_module, "transplant_all", wrong)
    with pytest.raises(RuntimeError, match="shapes"):
        sweep_instance(tiny("llama"), tokenizer, encode_prompt(tokenizer, INSTANCE), SweepSettings())


def test_controls(tiny: Callable[..., Any], tokenizer: Any) -> None:
    """Oneself as donor changes nothing on the diagonal; noise keeps the donors' lengths and its seed."""
    model = tiny("llama")
    prompt = encode_prompt(tokenizer, INSTANCE)
    own = sweep_instance(model, tokenizer, prompt, SweepSettings(control="self"))
    diagonal = own.pairs.donor_layer == own.pairs.receiver_layer
    assert len(own.pairs) == 9
    np.testing.assert_allclose(own.rows.score[diagonal], own.vanilla.score.repeat(3), atol=1e-5)
    noise = [
        sweep_instance(model, tokenizer, prompt, SweepSettings(control="noise", seed=s)) for s in (0, 0, 1)
    ]
    assert noise[0].rows.score.tolist() == noise[1].rows.score.tolist() != noise[2].rows.score.tolist()
    values = torch.randn(3, 32) * 7
    lengths = sweep_module._noise_like(values, torch.Generator().manual_seed(0)).norm(dim=1)
    torch.testing.assert_close(lengths, values.norm(dim=1))


def test_the_mean_of_several_donors(tiny: Callable[..., Any], tokenizer: Any) -> None:
    model = tiny("llama")
    prompt = encode_prompt(tokenizer, INSTANCE)
    found = sweep_instance(model, tokenizer, prompt, SweepSettings(mean_donors=True))
    values = [donor_values(model, ids, Site("ffn")) for ids in prompt.donors]
    mean = (values[0] + values[1]) / 2
    expected = naive_logits(model, prompt.receiver, mean[2], Site("ffn"), 1, replace)
    assert len(found.pairs) == 9
    assert int(found.rows.token_id[1 * 3 + 2]) == int(expected.argmax())


def test_the_plan_counts_what_runs(tiny: Callable[..., Any], tokenizer: Any) -> None:
    """Two donors, 18 rows of 3 layers: 18 enter with 3, 2 and 1 layers to go, 6 each: 36; then 3 steps of 18 rows.

    Both plain and decoded rows pass 3 layers a token. The released algorithm runs both prompts 4 times a pair.
    """
    model = tiny("llama")
    prompt = encode_prompt(tokenizer, INSTANCE)
    settings = SweepSettings(score="generate", new_tokens=4)
    pairs = instance_pairs(model, settings, 2)
    cost = plan_sweep(model, [prompt], pairs, score="generate", new_tokens=4, budget_bytes=2**30)
    read = len(prompt.receiver) + sum(map(len, prompt.donors))
    assert cost.token_layers == 3 * read + 36 + 3 * 18 * 3
    assert cost.forwards == 3 + 4
    # A token after the donor's prompt, and four of the answer, for every pair.
    assert cost.naive_forwards == 18 * 5
    assert cost.naive_token_layers == 18 * (len(prompt.receiver) + len(prompt.donors[0]) + 3) * 3
    with pytest.raises(ConfigError, match=r"MiB for rows; expected at least"):
        plan_sweep(model, [prompt], pairs, score="generate", new_tokens=4, budget_bytes=10)


def test_options_that_share_a_first_token(tokenizer: Any) -> None:
    shared = Instance(id="a", donor=("x",), receiver="y", options=("(1) ja", "(2) ez"), answers=(0,))
    with pytest.raises(ConfigError, match=r"share their first token '\('; .*--score options"):
        require_first_tokens_differ([encode_prompt(tokenizer, shared)], tokenizer)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": 1, "donor": "x"}, "no receiver"),
        ({"id": 1, "donor": "x", "receiver": " "}, "empty receiver"),
        ({"id": 1, "donor": [], "receiver": "y"}, "empty donor"),
        ({"id": 1, "donor": "x", "receiver": "y", "anwser": "z"}, "unknown field anwser"),
        ({"id": 1, "donor": "x", "receiver": "y", "options": ["a", "b"], "answer": 2}, "answer 2"),
        ({"id": 1, "donor": "x", "receiver": "y", "options": "ab"}, "no list of texts"),
    ],
)
def test_rows_that_are_refused(row: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"pairs.jsonl, line 3: .*{message}"):
        parse_instance(row, "pairs.jsonl, line 3")


def test_files_of_pairs(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    write_instances(path, [INSTANCE])
    assert read_instances(path) == [INSTANCE]
    # Line separators of Unicode, which JSON leaves as they are, and a mark of byte order.
    odd = dataclasses.replace(INSTANCE, receiver="one\u2028two\x85three")
    write_instances(path, [odd])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_instances(path) == [odd]
    write_instances(path, [INSTANCE])
    path.write_text(path.read_text(encoding="utf-8") * 2, encoding="utf-8")
    with pytest.raises(ConfigError, match="id 'größe-1' twice"):
        read_instances(path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match="line 1: no JSON"):
        read_instances(path)


def test_prompts_beyond_the_context(tiny: Callable[..., Any], tokenizer: Any) -> None:
    """GPT-2 with 64 positions: 64 tokens may be read, but not with text after them."""
    model = tiny("gpt2")
    prompt = encode_prompt(tokenizer, Instance(id="a", donor=("x",), receiver="Q" * 64))
    assert len(prompt.receiver) == 64
    sweep_instance(model, tokenizer, prompt, SweepSettings())
    with pytest.raises(ConfigError, match="64 tokens and 3 new ones; expected at most 64"):
        sweep_instance(model, tokenizer, prompt, SweepSettings(score="generate", new_tokens=4))


def test_layers_out_of_range(tiny: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="layer 3; expected 0 to 2"):
        instance_pairs(tiny("llama"), SweepSettings(donor_layers=(1, 3)), 1)

"""Greedy answers: a batch gives what each prompt alone gives, by plain forwards without a cache."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from lingraft.errors import ConfigError
from lingraft.evaluation.answers import answer_batches, greedy_answers, greedy_ids
from lingraft.tokenizers.chat import prompt_format

HERE = Path(__file__).parent


def tiny_models() -> Any:
    specification = importlib.util.spec_from_file_location(
        "tiny_models", HERE.parent / "models" / "conftest.py"
    )
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


MODELS = tiny_models()
LENGTHS = (3, 17, 1, 9, 9, 12, 5)
PROMPTS = [
    "Wie öffne ich die Straße 안녕?",
    "a",
    "Ireki dokumentua eta aukeratu Formatua - Orrialdea paperaren tamaina ezartzeko.",
    "नमस्ते",
    "Watoto wanasoma vitabu vyao shuleni kila siku.",
]


def rows() -> list[list[int]]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(3, 480, (length,), generator=generator).tolist() for length in LENGTHS]


@torch.no_grad()
def naive(model: Any, row: list[int], steps: int) -> tuple[list[int], list[torch.Tensor]]:
    """The most likely tokens one after another, and the logits that they were taken from."""
    found, logits = list(row), []
    for _ in range(steps):
        logits.append(model(input_ids=torch.tensor([found]), use_cache=False).logits[0, -1])
        found.append(int(logits[-1].argmax()))
    return found[len(row) :], logits


@pytest.mark.parametrize("name", MODELS.ARCHITECTURES)
def test_a_batch_gives_what_each_prompt_alone_gives(name: str) -> None:
    """Prompts of unequal length, longer than the sliding windows of 4; the padding is a token like any other."""
    model = MODELS.build(name)
    wanted = [naive(model, row, 8)[0] for row in rows()]
    assert len({tuple(one) for one in wanted}) > 3, "the models answer differently to different prompts"
    for padding in (0, 77):
        assert greedy_ids(model, rows(), max_new_tokens=8, padding=padding) == wanted


@pytest.mark.parametrize("name", ["llama", "gpt2", "bloom", "gemma3_text"])
def test_bfloat16_differs_only_at_near_ties(name: str) -> None:
    """Where a batch first takes another token, the two were within three roundings (2**-6 of the largest logit)."""
    model = MODELS.build(name, dtype=torch.bfloat16)
    found = greedy_ids(model, rows(), max_new_tokens=8)
    same = 0
    for row, own in zip(rows(), found, strict=True):
        wanted, logits = naive(model, row, 8)
        differing = [place for place in range(8) if own[place] != wanted[place]]
        same += not differing
        if differing:
            place = differing[0]
            gap = float(logits[place][wanted[place]] - logits[place][own[place]])
            assert gap <= 2**-6 * float(logits[place].abs().max())
    assert same >= 5


def test_an_answer_ends_before_its_end_token() -> None:
    model = MODELS.build("llama")
    whole = greedy_ids(model, rows(), max_new_tokens=10)
    ends = [whole[0][4], whole[1][2]]
    found = greedy_ids(model, rows(), max_new_tokens=10, end_ids=ends)
    for short, long in zip(found, whole, strict=True):
        places = [place for place, token in enumerate(long) if token in ends]
        assert short == (long[: places[0]] if places else long)
    assert len(found[0]) <= 4 and len(found[1]) <= 2


def test_greedy_is_greedy_whatever_the_model_says() -> None:
    """A checkpoint's penalties and suppressed tokens change nothing, and are there afterwards."""
    model = MODELS.build("gpt2")
    wanted = greedy_ids(model, rows(), max_new_tokens=8)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=3.0,
        repetition_penalty=4.0,
        suppress_tokens=[wanted[0][0]],
        min_new_tokens=7,
        eos_token_id=wanted[1][0],
    )
    before = model.generation_config.to_dict()
    model.train()
    assert greedy_ids(model, rows(), max_new_tokens=8) == wanted
    assert model.generation_config.to_dict() == before and model.training
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("template", ["chat", "plain"])
def test_texts(make_tiny_llama: Any, byte_bpe_tokenizer: Any, template: str) -> None:
    """Through a prompt format: in the order given, whatever the batches; no special token in any answer."""
    model, wrapped = make_tiny_llama(600), prompt_format(byte_bpe_tokenizer, template)
    wanted = []
    for prompt in PROMPTS:
        ids, _ = naive(model, wrapped.prompt_ids(prompt), 12)
        ends = [place for place, token in enumerate(ids) if token in wrapped.end_ids]
        ids = ids[: ends[0]] if ends else ids
        wanted.append(byte_bpe_tokenizer.decode(ids, skip_special_tokens=True))
    assert len(set(wanted)) > 1
    for batch_size in (1, 2, 5):
        assert greedy_answers(model, wrapped, PROMPTS, max_new_tokens=12, batch_size=batch_size) == wanted
    assert not any("<|" in answer for answer in wanted)
    assert greedy_answers(model, wrapped, [], max_new_tokens=2, batch_size=2) == []


def test_what_is_done_is_not_done_again(make_tiny_llama: Any, byte_bpe_tokenizer: Any) -> None:
    """The batches stay the same; one of which any answer is missing is made again whole."""
    model, wrapped = make_tiny_llama(600), prompt_format(byte_bpe_tokenizer)
    options: dict[str, Any] = {"max_new_tokens": 3, "batch_size": 2}
    whole = list(answer_batches(model, wrapped, PROMPTS, **options))
    assert [len(batch) for batch in whole] == [2, 2, 1]
    done = {*whole[0], next(iter(whole[1]))}
    assert list(answer_batches(model, wrapped, PROMPTS, **options, done=done)) == whole[1:]


def test_what_is_refused(make_tiny_llama: Any, byte_bpe_tokenizer: Any) -> None:
    model, wrapped = make_tiny_llama(600), prompt_format(byte_bpe_tokenizer)
    with pytest.raises(
        ConfigError, match=r"prompt 2 \('größer größer .* tokens and its answer up to 8; expected at most 256"
    ):
        greedy_answers(model, wrapped, ["Nor?", "größer " * 300], max_new_tokens=8, batch_size=2)
    with pytest.raises(ConfigError, match="at least 1 of each"):
        greedy_answers(model, wrapped, ["Nor?"], max_new_tokens=0, batch_size=2)
    plain = prompt_format(byte_bpe_tokenizer, "{% if 0 %}{% endif %}{{ messages[0]['content'] }}")
    with pytest.raises(ConfigError, match=r"prompt 1 .* has no token"):
        greedy_answers(model, plain, [""], max_new_tokens=1, batch_size=1)


@pytest.mark.real
def test_a_real_model_in_batches(real_asset: Any) -> None:
    """SmolLM2 with its chat template, float32: batches of four prompts of unequal length, and each alone."""
    from lingraft.models.loading import load_model

    loaded = load_model(str(real_asset("smollm2-135m-instruct")), dtype="float32", device="cpu")
    wrapped = prompt_format(loaded.tokenizer)
    options: dict[str, Any] = {"max_new_tokens": 10}
    together = greedy_answers(loaded.model, wrapped, PROMPTS[:4], batch_size=4, **options)
    assert together == greedy_answers(loaded.model, wrapped, PROMPTS[:4], batch_size=1, **options)
    assert len(set(together)) > 1

"""The logit lens equals a plain loop, its last layer the model; behaviours of hand-made cases."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from lingraft.errors import ConfigError
from lingraft.models.architecture import final_norm, head
from lingraft.models.hooks import capture
from lingraft.pivots import tracing
from lingraft.pivots.behaviour import (
    behaviour_shares,
    behaviours,
    mass_by_layer,
    peak_layers,
    pivot_strength,
    threshold_sweep,
    without_common_tokens,
    write_traces,
)
from lingraft.pivots.prompt_tokens import encode_rows
from lingraft.pivots.trace_figures import mass_figure, threshold_figure
from lingraft.pivots.tracing import Traces, trace_words
from lingraft.pivots.wordtask import WordItem

from .word_helpers import MODELS, small_task


def plain(model: Any, ids: list[int], place: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`[layers, V]` probabilities at one place of one unpadded string, and the model's own there."""
    tokens = torch.tensor([ids])
    with torch.no_grad(), capture(model, ["resid"], positions="all") as captured:
        logits = model(input_ids=tokens, use_cache=False).logits
        lens = head(model)(final_norm(model)(captured["resid"][:, 0, place]))
    return lens.softmax(-1), logits[0, place].softmax(-1)


@pytest.mark.parametrize("every_token", [False, True])
@pytest.mark.parametrize("name", MODELS.ARCHITECTURES)
def test_equals_a_plain_loop(
    name: str, every_token: bool, byte_bpe_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "LOGITS_AT_ONCE", 1300)
    model, task = MODELS.build(name), small_task()
    # A pivot, one that is a target token too, and none for the other words.
    target = byte_bpe_tokenizer(" überprüft", add_special_tokens=False)["input_ids"][0]
    given = {("dog", "überprüft"): [77, 301, target]}
    found = trace_words(
        model, byte_bpe_tokenizer, task, draw=1, top=3, pivots=given, every_token=every_token, batch_size=2
    )
    rows = encode_rows(
        byte_bpe_tokenizer,
        [task.prompt(item.source_word, 1) for item in found.items],
        [item.target_word for item in found.items],
    )
    expected_places = [
        (number, place)
        for number, row in enumerate(rows)
        for place in range(len(row.ids) - row.begin if every_token else 1)
    ]
    assert list(zip(found.item.tolist(), found.position.tolist(), strict=True)) == expected_places
    for number, (item, place) in enumerate(expected_places):
        row = rows[item]
        lens, own = plain(model, list(row.ids), row.begin + place - 1)
        torch.testing.assert_close(lens[-1], own, rtol=1e-4, atol=1e-6)
        assert found.next_id[number] == row.ids[row.begin + place]
        best = lens.topk(3, dim=-1)
        np.testing.assert_allclose(found.top_probabilities[number], best.values, rtol=2e-3, atol=1e-6)
        picked = lens.gather(1, torch.from_numpy(found.top_ids[number]))
        np.testing.assert_allclose(picked, best.values, rtol=2e-3, atol=1e-6)
        np.testing.assert_allclose(
            found.next_probability[number], lens[:, row.ids[row.begin + place]], rtol=2e-3, atol=1e-6
        )
        for mass, ids in (
            (found.source_mass, found.source_ids),
            (found.target_mass, found.target_ids),
            (found.pivot_mass, found.pivot_ids),
        ):
            np.testing.assert_allclose(mass[number], lens[:, sorted(ids[item])].sum(-1), rtol=2e-3, atol=1e-6)
    assert found.pivot_ids[0] <= {77, 301} and not any(found.pivot_ids[1:])


def test_batches_do_not_matter_and_half_precision_runs(byte_bpe_tokenizer: Any) -> None:
    model, task = MODELS.build("gemma2"), small_task()
    one, many = (trace_words(model, byte_bpe_tokenizer, task, batch_size=size) for size in (1, 32))
    np.testing.assert_allclose(one.top_probabilities, many.top_probabilities, rtol=1e-3, atol=1e-6)
    half = trace_words(MODELS.build("gemma2", dtype=torch.bfloat16), byte_bpe_tokenizer, task)
    np.testing.assert_allclose(half.source_mass, many.source_mass, atol=0.05)
    assert half.source_mass.dtype == np.float32


def test_pairs_that_share_tokens_are_skipped(byte_bpe_tokenizer: Any) -> None:
    task = small_task()
    copied = WordItem("page", "page", ("page",), ())
    found = trace_words(MODELS.build("llama"), byte_bpe_tokenizer, replace(task, items=(copied, *task.items)))
    assert copied in found.skipped and copied not in found.items
    assert set(found.items) | set(found.skipped) == {copied, *task.items}
    with pytest.raises(ConfigError, match="share tokens"):
        trace_words(MODELS.build("llama"), byte_bpe_tokenizer, replace(task, items=(copied,)))
    with pytest.raises(ConfigError, match="draw 2"):
        trace_words(MODELS.build("llama"), byte_bpe_tokenizer, task, draw=2)


SOURCE, TARGET, OTHER, FINAL, BLANK = 10, 20, 30, 40, 50


def made(cases: list[list[tuple[int, float]]]) -> Traces:
    """Traces with one top token a layer."""
    ids = np.array([[[token] for token, _ in case] for case in cases])
    probabilities = np.array([[[value] for _, value in case] for case in cases], dtype=np.float32)
    count, layers = ids.shape[:2]
    item = WordItem("dog", "Hund", ("Hund",), ())
    mass = np.full((count, layers), 0.25, dtype=np.float32)
    return Traces(
        items=(item,) * count,
        skipped=(),
        item=np.arange(count),
        position=np.zeros(count, dtype=np.int64),
        next_id=np.full(count, TARGET),
        next_probability=mass,
        top_ids=ids,
        top_probabilities=probabilities,
        top_letters=ids != BLANK,
        source_mass=mass,
        target_mass=2 * mass,
        pivot_mass=mass,
        source_ids=(frozenset([SOURCE]),) * count,
        target_ids=(frozenset([TARGET]),) * count,
        pivot_ids=(frozenset(),) * count,
    )


CASES = made(
    [
        # The final layer is the surest.
        [(OTHER, 0.3), (OTHER, 0.2), (TARGET, 0.6)],
        # A middle layer is, and says what the final one says.
        [(OTHER, 0.3), (TARGET, 0.9), (TARGET, 0.6)],
        # A middle layer is, and says something else.
        [(SOURCE, 0.3), (OTHER, 0.9), (TARGET, 0.6)],
        # The source word.
        [(SOURCE, 0.9), (OTHER, 0.05), (TARGET, 0.6)],
        # A tie goes to the later layer: direct.
        [(OTHER, 0.5), (SOURCE, 0.1), (TARGET, 0.5)],
        # And between others too: source, not pivot.
        [(OTHER, 0.5), (SOURCE, 0.5), (TARGET, 0.1)],
        # A wrong final answer still is the final one: direct by the label, a pivot by the threshold.
        [(SOURCE, 0.2), (SOURCE, 0.3), (FINAL, 0.8)],
        # Nothing outside source and target.
        [(SOURCE, 0.2), (TARGET, 0.3), (TARGET, 0.8)],
        # A target token that is not the final one counts as pivot by the label (it is no source token).
        [(SOURCE, 0.2), (TARGET, 0.9), (FINAL, 0.01)],
    ]
)


def test_labels() -> None:
    assert peak_layers(CASES).tolist() == [2, 1, 1, 0, 2, 1, 2, 2, 1]
    direct, pivot, source = "cooccurrence", "pivot", "source"
    assert behaviours(CASES) == [direct, direct, pivot, source, direct, source, direct, direct, pivot]
    shares = behaviour_shares(CASES)
    assert [shares[name].value for name in (direct, pivot, source)] == pytest.approx([5 / 9, 2 / 9, 2 / 9])


def test_thresholds() -> None:
    strength, token = pivot_strength(CASES)
    np.testing.assert_allclose(strength, [0.3, 0.3, 0.9, 0.05, 0.5, 0.5, 0.8, 0, 0.01])
    assert token.tolist() == [OTHER] * 6 + [FINAL, -1, FINAL]
    sweep = dict(threshold_sweep(CASES, [0.0, 0.01, 0.05, 0.3, 0.31, 0.8, 0.9, 0.91]))
    assert [round(9 * estimate.value) for estimate in sweep.values()] == [8, 8, 7, 6, 4, 2, 1, 0]


def test_blanks_are_no_words() -> None:
    cases = made([[(BLANK, 0.99), (OTHER, 0.3), (TARGET, 0.2)], [(BLANK, 0.99), (BLANK, 0.9), (TARGET, 0.2)]])
    assert behaviours(cases) == ["pivot", "pivot"]
    assert behaviours(cases, words_only=True) == ["pivot", "cooccurrence"]
    assert peak_layers(cases, words_only=True).tolist() == [1, 2]
    silent = made([[(BLANK, 0.9), (BLANK, 0.8), (BLANK, 0.7)], [(BLANK, 0.9), (BLANK, 0.8), (TARGET, 0.7)]])
    assert behaviours(silent, words_only=True) == ["no word", "cooccurrence"]
    assert [share.value for share in behaviour_shares(silent, words_only=True).values()] == [0.5, 0, 0]
    strength, token = pivot_strength(cases, words_only=True)
    np.testing.assert_allclose(strength, [0.3, 0])
    assert token.tolist() == [OTHER, -1]
    # The likeliest token with letters is not always the first.
    ids, chances = np.array([[[BLANK, OTHER]] * 3]), np.full((1, 3, 2), [0.7, 0.2], dtype=np.float32)
    one = replace(
        made([[(OTHER, 1.0)] * 3]), top_ids=ids, top_probabilities=chances, top_letters=ids != BLANK
    )
    np.testing.assert_allclose(pivot_strength(one, words_only=True)[0], [0.2])


def test_common_tokens_say_nothing() -> None:
    # FINAL leads the first layer of every word; OTHER only one word's; SOURCE is common but each word's own.
    cases = made(
        [[(FINAL, 0.99), (SOURCE, 0.4), (TARGET, 0.3)]] * 9 + [[(FINAL, 0.9), (OTHER, 0.5), (TARGET, 0.3)]]
    )
    assert set(behaviours(cases, words_only=True)) == {"pivot"}
    cleaned = without_common_tokens(cases)
    assert behaviours(cleaned, words_only=True) == ["source"] * 9 + ["pivot"]
    strength, token = pivot_strength(cleaned, words_only=True)
    np.testing.assert_allclose(strength, [0] * 9 + [0.5])
    assert token[-1] == OTHER and behaviours(cleaned) == behaviours(cases)


def test_masses_and_files(byte_bpe_tokenizer: Any, tmp_path: Any) -> None:
    masses = mass_by_layer(CASES)
    assert set(masses) == {"source", "target"} and masses["target"][2].value == pytest.approx(0.5)
    found = trace_words(MODELS.build("phi"), byte_bpe_tokenizer, small_task(), every_token=True)
    write_traces(tmp_path, found, byte_bpe_tokenizer)
    words = pq.read_table(tmp_path / "traces.parquet").to_pydict()
    layers = pq.read_table(tmp_path / "trace_layers.parquet").to_pydict()
    assert words["behaviour"] == behaviours(found) and len(layers["layer"]) == 3 * len(words["position"])
    assert words["peak_token"][0] == byte_bpe_tokenizer.decode([words["peak_token_id"][0]])
    assert layers["top_token_ids"][2] == found.top_ids[0, 2].tolist()
    assert layers["layer"][:4] == [0, 1, 2, 0]


def test_figures() -> None:
    for picture in (mass_figure(CASES), threshold_figure(CASES)):
        assert picture.light.startswith(b"\x89PNG")

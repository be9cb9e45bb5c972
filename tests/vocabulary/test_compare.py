"""Probes and comparisons: equal treatment, continuing after a kill, and the table's numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import t

from lingraft.errors import CorpusError, TransferError
from lingraft.evaluation.likelihood import bits_per_byte
from lingraft.models.embeddings import read_embeddings, write_embeddings
from lingraft.tokenizers.adapting import adapt_tokenizer
from lingraft.tokenizers.extending import extend_tokenizer
from lingraft.training.packing import block_order
from lingraft.vocabulary import compare, probe
from lingraft.vocabulary.building import build_problem
from lingraft.vocabulary.compare import Contender, compare_methods
from lingraft.vocabulary.comparison_report import comparison_metrics, markdown_table, write_runs_table
from lingraft.vocabulary.comparison_summary import summarise
from lingraft.vocabulary.initializers import find_initializer
from lingraft.vocabulary.probe import ProbeRun, ProbeSettings, equal_compute_steps, run_probe, shuffled_blocks
from lingraft.vocabulary.transfer import make_matrices

SETTINGS = ProbeSettings(
    steps=(2, 4), batch_size=2, block_length=16, learning_rate=2e-2, warmup_steps=1, precision="float32"
)
HELD_OUT = {
    "target": ["Egun on! Größere mendiak 🙂.", "Ireki dokumentua.", "오늘은 날씨"],
    "english": ["The quick fox."],
}


@pytest.fixture
def corpus(multilingual_texts):
    return [f"{text} {i}" for i in range(3) for text in multilingual_texts]


@pytest.fixture
def contender_of(unigram_tokenizer, corpus):
    """A function that makes the contender of one mode for a loaded model."""

    def make(model, mode="replace"):
        if mode == "replace":
            tokenizer = adapt_tokenizer(unigram_tokenizer, model.tokenizer)
        else:
            tokenizer = extend_tokenizer(model.tokenizer, corpus, new_tokens=60)
        source = read_embeddings(model.model).input.float()
        return Contender(
            mode, tokenizer, build_problem(source, model.tokenizer, tokenizer, mode=mode, corpus=corpus)
        )

    return make


def parameters(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(before, after):
    return before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)


# ----------------------------------------------------------------------------------------------- one probe


@pytest.mark.parametrize("options", [{}, {"tied": False, "dtype": torch.bfloat16}])
def test_a_probe_leaves_the_model_as_it_was_and_starts_at_its_score(load, corpus, options):
    model = load(**options)
    before, dtypes = parameters(model.model), {p.dtype for p in model.model.parameters()}
    blocks = shuffled_blocks(corpus, model.tokenizer, 16, 0)[:8]
    measured = run_probe(model.model, model.tokenizer, blocks, HELD_OUT, SETTINGS, steps=[4], seed=0)
    assert same(before, parameters(model.model)) and {p.dtype for p in model.model.parameters()} == dtypes
    assert not model.model.training and all(p.grad is None for p in model.model.parameters())
    untrained = load(**options).model.float()
    for name, texts in HELD_OUT.items():
        score = bits_per_byte(untrained, model.tokenizer, texts)
        assert measured["scores"][0][name] == pytest.approx(score.bits_per_byte, rel=1e-6)
        bits, sizes = np.array(measured["bits"][0][name]).T
        assert bits.sum() / sizes.sum() == pytest.approx(score.bits_per_byte, abs=1e-4)
        assert sizes.tolist() == [len(text.encode()) for text in texts]
        assert measured["scores"][4][name] != measured["scores"][0][name]
    assert len(measured["losses"]) == 4 and measured["tokens"] == 4 * 2 * 16


def test_a_longer_run_passes_through_the_scores_of_a_shorter_one(load, corpus):
    model = load()
    blocks = shuffled_blocks(corpus, model.tokenizer, 16, 3)
    settings = replace(SETTINGS, body_after=1)
    short = run_probe(model.model, model.tokenizer, blocks[:4], HELD_OUT, settings, steps=[2], seed=3)
    long = run_probe(model.model, model.tokenizer, blocks[:10], HELD_OUT, settings, steps=[2, 5], seed=3)
    assert short["scores"] == {step: long["scores"][step] for step in (0, 2)}
    assert short["losses"] == long["losses"][:2]
    assert long["scores"][5] != long["scores"][2]


def test_every_tokenizer_reads_the_documents_in_the_same_order_but_for_what_fits(
    load, corpus, unigram_tokenizer, monkeypatch
):
    """Blocks begin with the documents in one shuffled order, and training reads the blocks as they come."""
    model = load()
    words = [first + second for first in "aeiou" for second in "ntrskdzl"]
    order = [words[place] for place in np.random.default_rng(1).permutation(len(words))]
    for tokenizer in (model.tokenizer, adapt_tokenizer(unigram_tokenizer, model.tokenizer)):
        blocks = shuffled_blocks([f"{word} eta" for word in words], tokenizer, 16, seed=1)
        trained_on = []

        def stand_in(_, given, *, seed, trained_on=trained_on, **__):
            trained_on.append(given[block_order(len(given), len(given), seed)])
            raise KeyboardInterrupt

        monkeypatch.setattr(probe, "train_causal", stand_in)
        with pytest.raises(KeyboardInterrupt):
            run_probe(model.model, tokenizer, blocks, {}, SETTINGS, steps=[4], seed=1)
        assert np.array_equal(trained_on[0], blocks)
        texts = [tokenizer.decode(block, skip_special_tokens=True) for block in blocks]
        begun = [order.index(text.split()[0].removesuffix("eta")) for text in texts]
        assert len(begun) > 8 and begun == sorted(begun) and begun[0] == 0
        held = " ".join(texts).replace("eta", " ").split()
        assert sum(held.count(word) >= 1 for word in words) >= len(words) - 3
    assert not np.array_equal(
        shuffled_blocks(corpus, model.tokenizer, 16, 0), shuffled_blocks(corpus, model.tokenizer, 16, 1)
    )


def test_equal_compute_is_by_the_parameters_that_multiply(make_tiny_llama):
    small, large = make_tiny_llama(100, tied=True), make_tiny_llama(1500, tied=False)
    body = sum(p.numel() for name, p in small.named_parameters() if p.dim() == 2 and "embed" not in name)
    ratio = (body + 1500 * 32) / (body + 100 * 32)
    assert equal_compute_steps(small, large, [10, 100]) == [round(10 * ratio), round(100 * ratio)]
    assert equal_compute_steps(large, small, [1, 100]) == [1, round(100 / ratio)]


# ------------------------------------------------------------------------------------------- a comparison


def run_all(model, contenders, directory, corpus, **changes):
    options = {"methods": ["mean", "subword-mean"], "settings": SETTINGS, "seeds": 2, **changes}
    return compare_methods(
        model, contenders, corpus=corpus, held_out=HELD_OUT, directory=directory, progress=False, **options
    )


def table(runs, settings=SETTINGS):
    return comparison_metrics(summarise(runs, settings))


@pytest.mark.slow
def test_a_killed_comparison_goes_on_to_the_same_table(load, contender_of, corpus, tmp_path, monkeypatch):
    model = load(tied=False)
    contenders = [contender_of(model, "replace"), contender_of(model, "extend")]
    before = parameters(model.model)
    whole = run_all(model, contenders, tmp_path / "whole", corpus)
    assert [(run.mode, run.method, run.seed) for run in whole] == [
        (mode, method, seed)
        for seed in (0, 1)
        for mode, method in [
            ("unchanged", "unchanged"),
            *((mode, method) for mode in ("replace", "extend") for method in ("mean", "subword-mean")),
        ]
    ]
    assert same(before, parameters(model.model))

    calls, real = [], compare.run_probe

    def killed(*arguments, **options):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(compare, "run_probe", killed)
    with pytest.raises(KeyboardInterrupt):
        run_all(model, contenders, tmp_path / "killed", corpus)
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed/probes").iterdir()}
    assert len(finished) == 3
    calls[:] = [1] * 10
    again = run_all(model, contenders, tmp_path / "killed", corpus)
    assert len(calls) == 10 + 7
    assert all(path.stat().st_mtime_ns == moment for path, moment in finished.items())
    assert table(again) == table(whole)
    assert [run.losses for run in again] == [run.losses for run in whole]

    # All there: nothing is run; other settings: everything is.
    run_all(model, contenders, tmp_path / "killed", corpus)
    assert len(calls) == 17
    faster = replace(SETTINGS, learning_rate=5e-2)
    changed = run_all(model, contenders[:1], tmp_path / "killed", corpus, settings=faster, seeds=1)
    assert len(calls) == 20
    assert changed[1].scores[4] != again[1].scores[4]


def test_the_unchanged_model_is_scored_at_equal_compute(load, contender_of, corpus, tmp_path):
    model = load()
    contender = contender_of(model)
    runs = run_all(model, [contender], tmp_path, corpus, methods=["mean"], seeds=1)
    place = runs[0].notes["equal_compute_steps"]["replace"]
    rule = find_initializer("mean")(contender.problem)
    adapted = load().model
    write_embeddings(
        adapted, make_matrices(read_embeddings(adapted), contender.problem, rule, contender.mode)
    )
    wanted = equal_compute_steps(model.model, adapted, SETTINGS.steps)
    assert [place["2"], place["4"]] == wanted
    assert set(runs[0].scores) == {0, *wanted}
    assert runs[0].flops == pytest.approx(runs[1].flops, rel=0.5 / wanted[-1] + 0.01)
    # At step 0 the adapted model's score is that of its rows before any training.
    score = bits_per_byte(adapted, contender.tokenizer, HELD_OUT["target"]).bits_per_byte
    assert runs[1].scores[0]["target"] == pytest.approx(score, rel=1e-6)


def test_naming_a_method_twice_is_not_another_seed(load, contender_of, corpus, tmp_path):
    model = load()
    contender = contender_of(model)
    once = run_all(model, [contender], tmp_path / "once", corpus, methods=["mean"], seeds=1)
    twice = run_all(model, [contender], tmp_path / "twice", corpus, methods=["mean", "mean"], seeds=1)
    assert table(twice) == table(once)


def test_a_small_corpus_is_one_line(load, contender_of, corpus, tmp_path):
    model = load()
    settings = replace(SETTINGS, steps=(500,))
    with pytest.raises(
        CorpusError, match=r"a corpus of \d+ blocks of 16 tokens.*1000|for \d+ steps"
    ) as raised:
        run_all(model, [contender_of(model)], tmp_path, corpus, settings=settings)
    assert "\n" not in str(raised.value) and "--probe-steps" in str(raised.value)


@pytest.mark.parametrize("changes", [{"seeds": 0}, {"methods": []}])
def test_nothing_to_compare(load, contender_of, corpus, tmp_path, changes):
    model = load()
    with pytest.raises(TransferError, match="nothing to compare"):
        run_all(model, [contender_of(model)], tmp_path, corpus, **changes)
    with pytest.raises(TransferError, match="nothing to compare"):
        run_all(model, [], tmp_path, corpus)
    assert not list(tmp_path.iterdir())


def test_probed_models_carry_the_special_ids_of_their_vocabulary(
    load, contender_of, corpus, tmp_path, monkeypatch
):
    model, seen = load(), {}
    real = compare.run_probe

    def look(probed, tokenizer, *arguments, **options):
        seen[probed.config.vocab_size] = (
            probed.config.bos_token_id,
            probed.config.eos_token_id,
            probed.config.pad_token_id,
            tokenizer.bos_token_id,
            tokenizer.eos_token_id,
            tokenizer.pad_token_id,
        )
        return real(probed, tokenizer, *arguments, **options)

    monkeypatch.setattr(compare, "run_probe", look)
    contender = contender_of(model)
    run_all(model, [contender], tmp_path, corpus, methods=["mean"], seeds=1)
    assert seen[640] == (1, 2, 0, 1, 2, 0)
    adapted = seen[len(contender.problem.target_pieces)]
    assert adapted[:3] == adapted[3:] and adapted[:3] != (1, 2, 0)


# ------------------------------------------------------------------------------------------ the numbers


def made_run(method, mode, seed, bits, notes=None):
    """A run whose scores follow from its documents' bits; all documents have 10, 20 and 30 bytes."""
    sizes = [10.0, 20.0, 30.0]
    return ProbeRun(
        method,
        mode,
        seed,
        bits={
            step: {"target": [[b, s] for b, s in zip(row, sizes, strict=True)]} for step, row in bits.items()
        },
        scores={step: {"target": sum(row) / 60} for step, row in bits.items()},
        losses=[3.0, 2.0],
        tokens=64,
        flops=1e6,
        seconds=0.5,
        notes=notes or {},
    )


@pytest.fixture
def hand_runs():
    notes = {"equal_compute_steps": {"replace": {"2": 3, "4": 7}}}
    return [
        made_run("unchanged", "unchanged", 0, {0: [30, 60, 90], 3: [20, 41, 60], 7: [10, 19, 30]}, notes),
        made_run("unchanged", "unchanged", 1, {0: [30, 60, 90], 3: [22, 41, 60], 7: [10, 21, 30]}, notes),
        made_run("salt", "replace", 0, {0: [50, 90, 100], 2: [30, 50, 70], 4: [12, 30, 33]}),
        made_run("mean", "replace", 0, {0: [90, 90, 100], 2: [30, 50, 70], 4: [11, 28, 33]}),
        made_run("salt", "replace", 1, {0: [60, 90, 100], 2: [30, 54, 70], 4: [16, 30, 35]}),
        made_run("mean", "replace", 1, {0: [90, 90, 100], 2: [30, 50, 70], 4: [11, 28, 33]}),
    ]


def test_the_tables_numbers_by_hand(hand_runs):
    lines = summarise(hand_runs, SETTINGS)
    assert [line.method for line in lines] == ["unchanged", "mean", "salt"]
    assert all(line.mode == "replace" and line.runs == 2 for line in lines)
    unchanged, _, salt = lines
    assert [unchanged.scores["target"][step].value for step in (0, 2, 4)] == pytest.approx(
        [180 / 60, 122 / 60, 60 / 60]
    )
    last = salt.scores["target"][4]
    values = np.array([75, 81]) / 60
    reach = t.ppf(0.975, 1) * values.std(ddof=1) / 2**0.5
    assert (last.value, last.low, last.high) == pytest.approx((78 / 60, 78 / 60 - reach, 78 / 60 + reach))
    # Seeds averaged: salt [14, 30, 34], unchanged at its step 7 [10, 20, 30].
    difference = salt.versus_unchanged["target"][4]
    assert difference.value == pytest.approx((4 + 10 + 4) / 60)
    # Three documents: Student's t of what each is off by, [4, 10, 4] less 0.3 of [10, 20, 30], over the mean size.
    off = np.array([1, 4, -5]) / 20
    reach = t.ppf(0.975, 2) * (off @ off / 2) ** 0.5 / 3**0.5
    assert (difference.low, difference.high) == pytest.approx((0.3 - reach, 0.3 + reach))
    assert difference.observations == 3
    assert salt.versus_unchanged["target"][2].value == pytest.approx((9 + 11 + 10) / 60)
    assert unchanged.versus_unchanged["target"][4].value == 0
    shown = markdown_table(lines, "target", SETTINGS)
    assert shown[0].split(" | ")[-2] == "minus unchanged, step 4"
    assert shown[2].split(" | ")[-2] == "–" and shown[4].split(" | ")[-2].startswith("0.300 (")


def test_runs_are_read_back_as_they_were(hand_runs, tmp_path):
    import json

    import pyarrow.parquet as pq

    stored = [ProbeRun.from_json(json.loads(json.dumps(run.as_json()))) for run in hand_runs]
    assert stored == hand_runs
    write_runs_table(tmp_path / "runs.parquet", hand_runs)
    rows = pq.read_table(tmp_path / "runs.parquet").to_pylist()
    assert len(rows) == 6 * 3
    found = [
        row["bits_per_byte"] for row in rows if (row["method"], row["step"], row["seed"]) == ("salt", 4, 1)
    ]
    assert found == [81 / 60]

"""Parts of continued pre-training: how English is spread, what is packed, equal compute."""

import dataclasses
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lingraft.cli.pretrain import pretrain
from lingraft.errors import LingraftError, TrainingError
from lingraft.recipes.pretraining.compute import equal_compute_steps, model_shape
from lingraft.recipes.pretraining.inputs import PackedTexts, TextReading, packed_texts, read_held_out
from lingraft.recipes.pretraining.options import PretrainingOptions
from lingraft.recipes.stages.contract import StageContext
from lingraft.recipes.stages.pretrain import KIND, PretrainSettings
from lingraft.reports.page import render_page
from lingraft.training.causal import train_causal
from lingraft.training.flops import training_flops
from lingraft.training.packing import block_order


def packed(target: int, english: int) -> PackedTexts:
    return PackedTexts(np.zeros((target + english, 4), dtype=np.int32), english, {})


@given(
    target=st.integers(1, 30),
    english=st.integers(0, 30),
    needed=st.integers(1, 200),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 5),
)
def test_english_is_spread_evenly(target: int, english: int, needed: int, share: float, seed: int) -> None:
    order = packed(target, english).order(needed, share, seed)
    assert len(order) == needed and order.min() >= 0 and order.max() < target + english
    is_english = order >= target
    wanted = round(share * needed) if english else 0
    assert is_english.sum() == wanted
    so_far = np.cumsum(is_english)
    assert np.all(np.abs(so_far - wanted * np.arange(1, needed + 1) / needed) < 1)
    for part, size in ((order[~is_english], target), (order[is_english] - target, english)):
        # Whole permutations: no block comes a second time before each has come once.
        for begin in range(0, len(part), max(1, size)):
            one = part[begin : begin + size]
            assert len(set(one.tolist())) == len(one)
    assert np.array_equal(order, packed(target, english).order(needed, share, seed))


def test_packing_is_done_once_and_leaves_out_what_is_held_out(tmp_path, byte_bpe_tokenizer, monkeypatch):
    texts = [f"Größe {n}: 안녕하세요" for n in range(40)]
    (tmp_path / "t.txt").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    (tmp_path / "e.txt").write_text("Open the document.\n" * 30, encoding="utf-8")
    (tmp_path / "h.txt").write_text(f"{texts[3]} \n{texts[7]}\n", encoding="utf-8")
    held = read_held_out(str(tmp_path / "h.txt"), 5, TextReading(), 0)
    assert held is not None and len(held.scored) == 1 and len(held.known) == 2

    def again(command: str = "x") -> PackedTexts:
        return packed_texts(
            tmp_path / "out",
            {"command": command},
            byte_bpe_tokenizer,
            corpus=[str(tmp_path / "t.txt")],
            english=[str(tmp_path / "e.txt")],
            held_out=held.known,
            block_length=8,
            reading=TextReading(),
        )

    found = again()
    assert found.counts["corpus"]["documents"] == 38 and found.counts["corpus"]["left out: held out"] == 2
    assert found.counts["english"]["documents"] == 30 and found.counts["english"]["left out: held out"] == 0
    assert len(found.blocks) == found.counts["corpus"]["blocks"] + found.english_blocks
    text = byte_bpe_tokenizer.decode(found.blocks[: -found.english_blocks].ravel().tolist())
    assert "Größe 8:" in text and "Größe 7:" not in text and "Open" not in text
    assert "Open" in byte_bpe_tokenizer.decode(found.blocks[-found.english_blocks].tolist())
    assert (tmp_path / "out" / ".lingraft-run.json").exists()
    monkeypatch.setattr("lingraft.recipes.pretraining.inputs._pack", None)
    assert np.array_equal(again().blocks, found.blocks)


def test_nothing_is_left_of_text_that_fills_no_block(tmp_path: Path, byte_bpe_tokenizer) -> None:
    (tmp_path / "t.txt").write_text("Zer?\n", encoding="utf-8")
    given = {"corpus": [str(tmp_path / "t.txt")], "english": [], "held_out": []}
    with pytest.raises(LingraftError, match="--corpus: 1 documents of"):
        packed_texts(
            tmp_path / "out", {}, byte_bpe_tokenizer, **given, block_length=64, reading=TextReading()
        )
    assert [item.name for item in tmp_path.iterdir()] == ["t.txt"]


@pytest.mark.parametrize("body_after", [0, 3, 40])
@pytest.mark.parametrize("tied", [True, False])
def test_equal_compute_is_the_nearest_number_of_steps(make_tiny_llama, body_after, tied) -> None:
    small, large = make_tiny_llama(300, tied=tied), make_tiny_llama(900, tied=tied)

    def cost(model, steps: int) -> float:
        frozen = min(body_after, steps) * 4 * 16
        return training_flops(model, steps * 64, block_length=16, frozen_body_tokens=frozen)

    options = {"batch_size": 4, "block_length": 16, "body_after": body_after}
    for model, other in ((small, large), (large, small), (small, small)):
        found = equal_compute_steps(model, other, 12, **options)
        wanted = cost(other, 12)
        nearest = min(range(1, 80), key=lambda steps: abs(cost(model, steps) - wanted))
        assert abs(cost(model, found) - wanted) == pytest.approx(abs(cost(model, nearest) - wanted))
    assert equal_compute_steps(small, small, 12, **options) == 12


@pytest.mark.parametrize("tied", [True, False])
def test_the_shape_of_a_model_costs_what_the_model_costs(
    tmp_path, make_tiny_llama, byte_bpe_tokenizer, tied
) -> None:
    model = make_tiny_llama(640, tied=tied)
    model.save_pretrained(tmp_path)
    byte_bpe_tokenizer.save_pretrained(tmp_path)
    shape = model_shape(str(tmp_path))
    assert next(shape.parameters()).device == torch.device("meta")
    assert training_flops(shape, 10, block_length=8) == training_flops(model, 10, block_length=8)


def test_a_run_is_known_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("bat\n", encoding="utf-8")
    options = PretrainingOptions(model="someone/model", corpus=(str(tmp_path / "*.txt"),))
    first = options.command()
    assert first == options.command() and "content of corpus" in first
    (tmp_path / "b.txt").write_text("bi\n", encoding="utf-8")
    assert options.command() != first
    assert dataclasses.replace(options, corpus=("hf:someone/texts",)).command().keys() < first.keys()


def stage_context(out: Path, **more) -> StageContext:
    return StageContext(name="pretrain", out=out, language="eu", seed=3, device="cpu", **more)


def test_the_stage_takes_what_the_verb_takes() -> None:
    """Names and defaults are the verb's, and those of its options."""
    verb = {
        name: value.default
        for name, value in inspect.signature(pretrain).parameters.items()
        if name not in {"out", "device", "trust_remote_code", "accept_terms", "json"}
    }
    stage = {name: info.default for name, info in PretrainSettings.model_fields.items() if name != "use"}
    assert verb.keys() == stage.keys()
    required = {"model", "corpus", "seed"}
    assert {n: v or None for n, v in verb.items() if n not in required} == {
        n: v or None for n, v in stage.items() if n not in required
    }
    options = {field.name: field.default for field in dataclasses.fields(PretrainingOptions)}
    assert options.keys() == verb.keys() - {"gradient_accumulation", "save_every", "track"}
    assert {n: v or None for n, v in options.items() if n not in required} == {
        n: v or None for n, v in verb.items() if n in options.keys() - required
    }
    assert all(info.description for info in PretrainSettings.model_fields.values())


def test_the_stage(tmp_path: Path, make_tiny_llama, byte_bpe_tokenizer, multilingual_texts) -> None:
    make_tiny_llama(600).save_pretrained(tmp_path / "model")
    byte_bpe_tokenizer.save_pretrained(tmp_path / "model")
    for name in ("eu", "held"):
        texts = [f"{name} {number}: {text}\n" for number, text in enumerate(multilingual_texts * 4)]
        (tmp_path / f"{name}.txt").write_text("".join(texts), encoding="utf-8")
    settings = PretrainSettings(
        model=str(tmp_path / "model"),
        corpus=(str(tmp_path / "eu.txt"),),
        held_out=str(tmp_path / "held.txt"),
        held_out_bytes=500,
        steps=4,
        batch_size=2,
        block_length=16,
    )
    said: list[str] = []
    result = KIND.run(settings, stage_context(tmp_path / "out", say=said.append))
    assert said[-1] == "4 steps of 2 x 16 tokens"
    assert "seconds" not in result.metrics and "training_seconds" not in result.metrics
    assert result.seeds == {"seed": 3}
    assert {name: (tmp_path / "out" / result.files[name]).exists() for name in result.files} == {
        "model": True,
        "steps": True,
        "report": True,
    }
    assert KIND.outputs.keys() <= result.files.keys() and KIND.trains
    again = KIND.run(settings, stage_context(tmp_path / "out"))
    assert again.metrics == result.metrics
    page = render_page(KIND.sections(settings, tmp_path / "out", result))
    assert "4 steps, 128 tokens" in page and "Before and after" in page and "data:image/" in page


def test_a_given_order_is_kept(make_tiny_llama, tmp_path: Path) -> None:
    """The default order given by hand changes nothing; another one does; one that does not fit is refused."""
    blocks = np.random.default_rng(0).integers(3, 300, size=(6, 8)).astype(np.int32)
    options = {"steps": 3, "batch_size": 2, "learning_rate": 1e-3, "seed": 4}

    def losses(order=None, **more) -> list[float]:
        return train_causal(make_tiny_llama(300), blocks, order=order, **options, **more).losses.tolist()

    default = block_order(6, 6, 4)
    assert losses() == losses(default) != losses(default[::-1].copy())
    for wrong in (default[:-1], default + 1):
        with pytest.raises(TrainingError, match="6 numbers from 0 to 5"):
            losses(wrong)
    losses(default, output_dir=tmp_path / "run")
    with pytest.raises(LingraftError, match="another command"):
        losses(default[::-1].copy(), output_dir=tmp_path / "run")

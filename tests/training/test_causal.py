"""Training equals a plain loop, whatever the precision, pieces, interruptions and processes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lingraft.errors import OutputError, TrainingError
from lingraft.training.causal import train_causal, training_flops
from lingraft.training.packing import block_order

sys.path.insert(0, str(Path(__file__).parent))
from tiny import blocks, tiny_gpt2_with_dropout, tiny_llama, train


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums do not depend on how many threads a machine has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


OPTIONS: dict[str, Any] = {"steps": 6, "batch_size": 4, "learning_rate": 5e-3, "seed": 3}


def plain_loop(model: Any, options: dict[str, Any], *, clip: float = 1.0) -> list[float]:
    """AdamW written out, cross-entropy from torch; constant rate, nothing shared with the code under test."""
    data, size = blocks(), options["batch_size"]
    order = block_order(len(data), options["steps"] * size, options["seed"])
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=options["learning_rate"], weight_decay=0.0, fused=False
    )
    losses = []
    for step in range(options["steps"]):
        ids = torch.from_numpy(data[order[step * size : (step + 1) * size]].astype(np.int64))
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def assert_close(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], tolerance: float) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("clip", [0.05, 100.0])
def test_equals_a_plain_loop(tied: bool, clip: float) -> None:
    ours, plain = tiny_llama(tied=tied), tiny_llama(tied=tied).train()
    result = train_causal(ours, blocks(), gradient_clip=clip, **OPTIONS)
    expected = plain_loop(plain, OPTIONS, clip=clip)
    np.testing.assert_allclose(result.losses, expected, rtol=1e-5)
    assert_close(weights(ours), weights(plain), 2e-5)
    assert (ours.lm_head.weight is ours.model.embed_tokens.weight) == tied
    assert result.losses[-1] < result.losses[0]
    assert (result.steps, result.tokens, result.resumed_from) == (6, 6 * 4 * 12, 0)
    assert result.seconds > 0


def test_pieces_of_a_batch_change_nothing() -> None:
    whole, pieces = tiny_llama(), tiny_llama()
    first = train_causal(whole, blocks(), **OPTIONS)
    second = train_causal(pieces, blocks(), gradient_accumulation=4, **OPTIONS)
    np.testing.assert_allclose(second.losses, first.losses, rtol=1e-5)
    assert_close(weights(pieces), weights(whole), 2e-5)
    with pytest.raises(TrainingError, match="batch of 4 in 3 pieces"):
        train_causal(tiny_llama(), blocks(), gradient_accumulation=3, **OPTIONS)


def test_seed_alone_decides() -> None:
    runs = []
    for seed in (3, 3, 4):
        torch.manual_seed(len(runs))
        model = tiny_gpt2_with_dropout()
        runs.append((train_causal(model, blocks(), **OPTIONS | {"seed": seed}).losses, weights(model)))
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    assert all(torch.equal(runs[0][1][name], runs[1][1][name]) for name in runs[0][1])
    assert not np.array_equal(runs[0][0], runs[2][0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_narrow_precisions_follow_float32(dtype: torch.dtype) -> None:
    exact = tiny_llama().to(dtype)
    reference = train_causal(exact, blocks(), **OPTIONS | {"steps": 30})
    for precision in ("bf16-autocast", "bfloat16"):
        model = tiny_llama().to(dtype)
        frequencies = model.model.rotary_emb.inv_freq.clone()
        result = train_causal(model, blocks(), precision=precision, **OPTIONS | {"steps": 30})
        np.testing.assert_allclose(result.losses, reference.losses, rtol=0.03)
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        assert torch.equal(model.model.rotary_emb.inv_freq, frequencies)


def test_bfloat16_keeps_updates_that_its_weights_cannot_hold() -> None:
    model, before = tiny_llama(), tiny_llama()
    train_causal(model, blocks(), precision="bfloat16", **OPTIONS | {"learning_rate": 1e-6})
    moved = (model.model.norm.weight - before.model.norm.weight).abs()
    assert 1e-6 < moved.max() < 1e-5  # weights of 1.0: bfloat16 steps by 8e-3 there


def test_the_body_rests_and_then_learns() -> None:
    start = weights(tiny_llama(tied=False))
    model = tiny_llama(tied=False)
    seen = {}

    def look(step: int, current: Any) -> dict[str, float]:
        seen[step] = weights(current)
        return {}

    options = OPTIONS | {"steps": 5, "body_after": 3, "evaluate_at": [3, 5]}
    result = train_causal(model, blocks(), evaluate=look, **options)
    for name, value in start.items():
        embedding = "embed_tokens" in name or "lm_head" in name
        assert torch.equal(seen[3][name], value) != embedding, name
        assert not torch.equal(seen[5][name], value), name
    assert all(p.requires_grad for p in model.parameters())
    full = train_causal(tiny_llama(tied=False), blocks(), **OPTIONS | {"steps": 5})
    assert result.flops < full.flops


def test_rates_of_embeddings_and_schedules() -> None:
    start, model = weights(tiny_llama()), tiny_llama()
    train_causal(model, blocks(), embedding_learning_rate=0.0, **OPTIONS)
    for name, value in weights(model).items():
        assert torch.equal(value, start[name]) == ("embed" in name or "lm_head" in name), name
    finals = {}
    for schedule in ("constant", "cosine", "linear"):
        model = tiny_llama()
        train_causal(model, blocks(), schedule=schedule, warmup_steps=2, **OPTIONS)
        finals[schedule] = weights(model)["model.embed_tokens.weight"]
    assert not torch.equal(finals["constant"], finals["cosine"])
    assert not torch.equal(finals["linear"], finals["cosine"])


def test_parameters_the_user_froze_stay() -> None:
    model = tiny_llama()
    model.model.layers[0].requires_grad_(False)
    before = weights(model.model.layers[0])
    train_causal(model, blocks(), precision="bfloat16", body_after=2, **OPTIONS)
    assert all(torch.equal(value, before[name]) for name, value in weights(model.model.layers[0]).items())
    assert not any(p.requires_grad for p in model.model.layers[0].parameters())


def test_evaluations_do_not_disturb_training() -> None:
    def noisy(step: int, model: Any) -> dict[str, float]:
        assert not model.training
        return {"draw": float(torch.rand(())), "step": step}

    quiet = train_causal(tiny_gpt2_with_dropout(), blocks(), **OPTIONS)
    loud = train_causal(tiny_gpt2_with_dropout(), blocks(), evaluate=noisy, evaluate_at=[0, 2, 6], **OPTIONS)
    np.testing.assert_array_equal(loud.losses, quiet.losses)
    assert [loud.evaluations[step]["step"] for step in (0, 2, 6)] == [0, 2, 6]


def test_a_loss_that_is_no_number_names_the_step() -> None:
    model = tiny_llama()
    with pytest.raises(TrainingError, match=r"at step [1-6]"):
        train_causal(model, blocks(), gradient_clip=1e9, **OPTIONS | {"learning_rate": 1e38})
    broken = tiny_llama()
    with torch.no_grad():
        broken.model.embed_tokens.weight[int(blocks()[0, 0])] = float("nan")
    with pytest.raises(TrainingError, match="loss of nan at step"):
        train_causal(broken, blocks(), **OPTIONS | {"steps": 40})


def test_plans_that_do_not_fit() -> None:
    for changed, message in [
        ({"steps": 0}, "steps 0"),
        ({"schedule": "sine"}, "schedule 'sine'"),
        ({"precision": "float16"}, "precision 'float16'"),
        ({"learning_rate": -1e-3}, "learning_rate -0.001"),
        ({"embedding_learning_rate": float("inf")}, "embedding_learning_rate inf"),
        ({"weight_decay": float("inf")}, "weight_decay inf"),
        ({"gradient_clip": float("nan")}, "gradient_clip nan"),
    ]:
        with pytest.raises(TrainingError, match=message):
            train_causal(tiny_llama(), blocks(), **OPTIONS | changed)
    with pytest.raises(TrainingError, match="token ids from 0 to 60 for an embedding matrix of 50"):
        train_causal(tiny_llama(rows=50), blocks(), **OPTIONS)
    with pytest.raises(TrainingError, match="blocks of 99 tokens"):
        train_causal(tiny_llama(), blocks(length=99), **OPTIONS)
    with pytest.raises(TrainingError, match="blocks of shape"):
        train_causal(tiny_llama(), blocks()[:0], **OPTIONS)
    with pytest.raises(TrainingError, match="an evaluation at step 99; expected at most"):
        train_causal(tiny_llama(), blocks(), **OPTIONS, evaluate_at=[0, 99], evaluate=lambda *_: {})


def run_script(directory: Path | str, out: Path, launcher: list[str] | None = None, **options: Any) -> int:
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "TOKENIZERS_PARALLELISM": "false",
    }
    command = [*(launcher or [sys.executable]), str(Path(__file__).parent / "tiny.py")]
    done = subprocess.run(
        [*command, str(directory), str(out), json.dumps(options)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_killed_and_started_again_ends_the_same(tmp_path: Path, precision: str) -> None:
    options = OPTIONS | {
        "steps": 8,
        "save_every": 3,
        "precision": precision,
        "body_after": 2 if precision == "float32" else 4,
        "warmup_steps": 2,
        "schedule": "cosine",
        "evaluate_at": [0, 3, 5, 8],
        "dropout": True,
    }
    assert run_script(tmp_path / "run", tmp_path / "none", die_at=5, **options) == -signal.SIGKILL
    assert (tmp_path / "run" / "checkpoint-3").exists()
    assert not (tmp_path / "none").exists()
    # A checkpoint that was being written when the process died.
    (tmp_path / "run" / "checkpoint-6").mkdir()
    (tmp_path / "run" / "checkpoint-6" / "trainer_state.json").write_text("{")
    resumed = train(tmp_path / "run", **options)
    whole = train(None, **options)
    assert (resumed["resumed_from"], whole["resumed_from"]) == (3, 0)
    assert resumed["losses"] == whole["losses"]
    assert resumed["norms"] == whole["norms"]
    assert resumed["evaluations"] == whole["evaluations"]
    for name, value in whole["weights"].items():
        assert torch.equal(resumed["weights"][name], value), name
    # Finished already: the same again, without a step.
    again = train(tmp_path / "run", **options)
    assert again["resumed_from"] == 8
    assert again["losses"] == whole["losses"]
    assert all(torch.equal(again["weights"][name], value) for name, value in whole["weights"].items())


def test_directories_belong_to_one_training(tmp_path: Path) -> None:
    train_causal(tiny_llama(), blocks(), output_dir=tmp_path / "run", **OPTIONS)
    with pytest.raises(OutputError, match="another command"):
        train_causal(tiny_llama(), blocks(), output_dir=tmp_path / "run", **OPTIONS | {"learning_rate": 1e-3})
    with pytest.raises(OutputError, match="another command"):
        train_causal(tiny_llama(seed=1), blocks(), output_dir=tmp_path / "run", **OPTIONS)
    with pytest.raises(TrainingError, match="holds a checkpoint"):
        train_causal(tiny_llama(), blocks(), output_dir=tmp_path / "run", resume=False, **OPTIONS)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("mine")
    with pytest.raises(OutputError, match="not made by lingraft"):
        train_causal(tiny_llama(), blocks(), output_dir=tmp_path / "other", **OPTIONS)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.tex"]


@pytest.mark.slow
@pytest.mark.parametrize("body_after", [0, 2])
def test_two_processes_equal_one(tmp_path: Path, body_after: int) -> None:
    options = OPTIONS | {
        "steps": 4,
        "body_after": body_after,
        "evaluate_at": [0, 4],
        "gradient_accumulation": 2,
    }
    # What accelerate launch runs for several devices; on processors alone it would start one process and say nothing.
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    assert run_script(tmp_path / "two-run", tmp_path / "two", launcher, **options) == 0
    two, one = torch.load(tmp_path / "two"), train(None, **options | {"gradient_accumulation": 1})
    assert two["processes"] == 2 and one["processes"] == 1
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-5)
    assert two["evaluations"].keys() == one["evaluations"].keys() == {0, 4}
    assert_close(two["weights"], one["weights"], 2e-5)


def test_flops_count_the_head_and_not_the_lookup() -> None:
    tied, untied = tiny_llama(tied=True), tiny_llama(tied=False)
    assert training_flops(tied, 10) == training_flops(untied, 10)
    layer = 24 * 24 * 2 + 24 * 12 * 2 + 24 * 40 * 3
    assert training_flops(tied, 10) == 6 * 10 * (2 * layer + 61 * 24)
    assert training_flops(tied, 10, block_length=8) - training_flops(tied, 10) == 10 * 6 * 2 * 24 * 8

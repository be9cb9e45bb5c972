"""Training equals a plain loop of separate forward passes, in one process or two, killed or not."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import separate_logs
from tiny_training import IDS, WordFormat, items, tiny_llama, train

from lingraft.errors import TrainingError
from lingraft.models.architecture import attention_parameters
from lingraft.preference.collation import ItemDataset, collate, encode_items
from lingraft.preference.losses import OBJECTIVES, AnswerLogs, combine, compute_terms
from lingraft.preference.plan import PreferencePlan
from lingraft.preference.policies import learning_parameters, low_resource_warning
from lingraft.preference.references import item_logs
from lingraft.preference.shared_prompt import answering
from lingraft.preference.training import train_preference
from lingraft.training.packing import block_order

OPTIONS: dict[str, Any] = {
    "steps": 4,
    "batch_size": 4,
    "learning_rate": 3e-3,
    "schedule": "constant",
    "precision": "float32",
}


def assert_close(ours: Any, theirs: Any, tolerance: float) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=tolerance, atol=tolerance, msg=name)


def plain_loop(name: str, parameters: str) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Four forward passes an item, one at a time, and AdamW over what the policy lets learn."""
    objective, items_ = OBJECTIVES[name], items()
    model, initial = tiny_llama(), tiny_llama()
    encoded, _ = encode_items(items_, WordFormat(), objective, longest=32)
    order = block_order(len(encoded), OPTIONS["steps"] * OPTIONS["batch_size"], 0).reshape(
        OPTIONS["steps"], -1
    )
    if parameters == "attention":
        wanted = {id(p) for p in attention_parameters(model).values()}
        for parameter in model.parameters():
            parameter.requires_grad_(id(parameter) in wanted)
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=OPTIONS["learning_rate"], weight_decay=0.0)
    losses = []
    for step in order:
        rows = [row for number in step for row in encoded[number].rows]
        logs = [separate_logs(model, row) for row in rows]
        with torch.no_grad():
            reference = [separate_logs(initial, row) for row in rows]
        two = objective.preference is not None
        answers = AnswerLogs(
            torch.stack([part[0] for part in logs]),
            torch.stack([part[1] for part in logs]) if two else None,
            torch.stack([part[0] for part in reference]) if objective.reference else None,
            torch.stack([part[1] for part in reference]) if objective.reference else None,
            torch.tensor([len(row.chosen) for row in rows]),
            torch.tensor([len(row.rejected) for row in rows]) if two else None,
            torch.tensor([row.target for row in rows]),
        )
        terms = compute_terms(objective, answers, objective.beta)
        tokens = sum(encoded[number].counted for number in step)
        loss = combine(terms, share=objective.share, tokens=tokens, items=len(step))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses, model.state_dict()


@pytest.mark.parametrize("parameters", ["attention", "full"])
@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_equals_a_plain_loop(name: str, parameters: str) -> None:
    found = train(None, objective=name, parameters=parameters, **OPTIONS)
    losses, weights = plain_loop(name, parameters)
    np.testing.assert_allclose(found["losses"], losses, rtol=2e-5)
    assert_close(found["weights"], weights, 5e-5)


@pytest.mark.parametrize(
    "divided",
    [
        {"gradient_accumulation": 4},
        {"tokens_together": 20},
        {"gradient_accumulation": 2, "tokens_together": 1},
    ],
)
@pytest.mark.parametrize("name", ["clo", "sft-both", "orpo"])
def test_pieces_of_a_step_change_nothing(name: str, divided: dict[str, int]) -> None:
    whole = train(None, objective=name, **OPTIONS)
    pieces = train(None, objective=name, **divided, **OPTIONS)
    np.testing.assert_allclose(pieces["losses"], whole["losses"], rtol=1e-5)
    assert_close(pieces["weights"], whole["weights"], 2e-5)
    # At the first step margins are nothing but rounding, and so is whether they are positive.
    for one, other in zip(pieces["measures"][1:], whole["measures"][1:], strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)


def test_only_attention_changes() -> None:
    before, after = tiny_llama(), train(None, parameters="attention", **OPTIONS)["weights"]
    attention = attention_parameters(before)
    for name, value in before.state_dict().items():
        assert torch.equal(value, after[name]) == (name not in attention), name
    assert len(attention) == 8


def test_train_then_revert_keeps_attention_of_a_full_training() -> None:
    before = tiny_llama().state_dict()
    full, back = (
        train(None, parameters=name, **OPTIONS)["weights"] for name in ("full", "train_then_revert")
    )
    attention = attention_parameters(tiny_llama())
    for name, value in back.items():
        assert torch.equal(value, full[name] if name in attention else before[name]), name
        assert not torch.equal(full[name], before[name]), name


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_goes_back_is_not_measured(tmp_path: Path, precision: str) -> None:
    """An evaluation gives the sum of all parameters' sizes: under `train_then_revert` that of the model that is kept.

    It changes nothing of the training, whose losses are those of `full`, and the best weights are of their own step.
    """
    options = OPTIONS | {"precision": precision, "evaluate_at": [0, 2, 3, 4]}
    full = train(None, parameters="full", **options)
    back = train(None, parameters="train_then_revert", **options)
    assert back["losses"] == full["losses"]
    size = sum(float(value.double().abs().sum()) for value in back["weights"].values())
    exact = 1e-9 if precision == "float32" else 1e-4
    assert back["evaluations"][4]["value"] == pytest.approx(size, rel=exact)
    assert full["evaluations"][4]["value"] != pytest.approx(size, rel=5e-4)
    best = train(tmp_path, parameters="train_then_revert", keep="best", **options)
    size = sum(float(value.double().abs().sum()) for value in best["weights"].values())
    assert best["step"] == 3 and best["evaluations"][3]["value"] == pytest.approx(size, rel=exact)


def test_lora_gives_a_plain_model_whose_attention_alone_changed() -> None:
    before = tiny_llama()
    after = train(None, parameters="lora", lora={"rank": 3, "alpha": 6.0}, **OPTIONS)["weights"]
    assert after.keys() == before.state_dict().keys()
    attention = attention_parameters(before)
    for name, value in before.state_dict().items():
        assert torch.equal(value, after[name]) == (name not in attention), name
        if name in attention:
            assert torch.linalg.matrix_rank(after[name] - value, atol=1e-5) <= 3


def test_references_are_the_initial_models() -> None:
    encoded, _ = encode_items(items(), WordFormat(), OBJECTIVES["clo"], longest=32)
    model = tiny_llama()
    with answering(model):
        found = item_logs(model, encoded)
    for item, logs in zip(encoded, found, strict=True):
        with torch.no_grad():
            plain = [[float(part) for part in separate_logs(model, row)] for row in item.rows]
        np.testing.assert_allclose(logs, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bf16-autocast", "bfloat16"])
def test_gains_begin_at_zero_in_every_precision(precision: str) -> None:
    found = train(None, **OPTIONS | {"precision": precision, "steps": 1})
    measures = found["measures"][0]
    tolerance = 1e-6 if precision == "float32" else 5e-3
    assert abs(measures["english_margin"]) < tolerance and abs(measures["target_margin"]) < tolerance


def test_narrow_precisions_follow_float32() -> None:
    wide = train(None, **OPTIONS)
    for precision in ("bf16-autocast", "bfloat16"):
        narrow = train(None, **OPTIONS | {"precision": precision})
        np.testing.assert_allclose(narrow["losses"], wide["losses"], rtol=0.05)
        assert all(value.dtype == torch.float32 for value in narrow["weights"].values())
        before = tiny_llama().state_dict()
        frozen = [n for n in before if n not in attention_parameters(tiny_llama())]
        # A float32 model that trained in bfloat16 has its own frozen weights back, to the bit.
        assert all(torch.equal(before[name], narrow["weights"][name]) for name in frozen)


def test_directions_are_told_apart() -> None:
    """At rate 0 the measures are those of the model itself, by hand over the step's items."""
    found = train(None, objective="clo", **OPTIONS | {"steps": 1, "learning_rate": 0.0})["measures"][0]
    encoded, _ = encode_items(items(), WordFormat(), OBJECTIVES["clo"], longest=32)
    model = tiny_llama()
    for direction, side in (("english", 0), ("target", 1)):
        rows = [encoded[number].rows[side] for number in block_order(13, 4, 0)]
        with torch.no_grad():
            logs = [[float(part) for part in separate_logs(model, row)] for row in rows]
        assert found[f"{direction}_nats_a_token"] == pytest.approx(
            -sum(one for one, _ in logs) / sum(len(row.chosen) for row in rows), rel=1e-5
        )
        assert found[f"{direction}_rejected_nats_a_token"] == pytest.approx(
            -sum(other for _, other in logs) / sum(len(row.rejected) for row in rows), rel=1e-5
        )


def test_a_step_knows_its_tokens_and_items() -> None:
    encoded, _ = encode_items(items(), WordFormat(), OBJECTIVES["clo"], longest=32)
    dataset = ItemDataset(encoded, block_order(13, 12, 5), 4, None)
    for step in range(3):
        places = [dataset[4 * step + place] for place in range(4)]
        assert {place.tokens for place in places} == {sum(len(p.item.rows[1].chosen) for p in places)}
        assert sorted(p.item.number for p in places) == sorted(
            block_order(13, 12, 5)[4 * step : 4 * step + 4]
        )
        assert collate(places)["items"] == 4


def test_rows_are_divided_by_their_padded_tokens() -> None:
    encoded, _ = encode_items(items(), WordFormat(), OBJECTIVES["clo"], longest=32)
    dataset = ItemDataset(encoded, block_order(13, 12, 5), 4, item_references(encoded))
    places = [dataset[place] for place in range(4)]
    (whole,), parts = collate(places)["parts"], collate(places, 30)["parts"]
    assert len(parts) > 2 and all(p["input_ids"].numel() <= 30 for p in parts)
    assert sum(len(p["input_ids"]) for p in parts) == len(whole["input_ids"]) == 8
    assert sorted(tuple(row) for p in parts for row in p["reference"].tolist()) == sorted(
        tuple(row) for row in whole["reference"].tolist()
    )
    assert [len(p["input_ids"]) for p in collate(places, 1)["parts"]] == [1] * 8


def item_references(encoded: Any) -> list[Any]:
    return [np.array([[item.number, 0], [item.number, 1]], dtype=np.float32) for item in encoded]


def test_items_that_are_too_long_are_named() -> None:
    encoded, dropped = encode_items(items(), WordFormat(), OBJECTIVES["clo"], longest=8)
    long = [n for n, item in enumerate(items()) if _longest(item) > 8]
    assert long and [n for numbers in dropped.values() for n in numbers] == long
    assert [item.number for item in encoded] == [n for n in range(13) if n not in long]
    with pytest.raises(
        TrainingError, match="13 prompts of 2 tokens or more; expected items of at most 2 tokens"
    ):
        encode_items(items(), WordFormat(), OBJECTIVES["clo"], longest=2)


def _longest(item: Any) -> int:
    return len(item.english_prompt.split()) + len(item.english_response.split()) + 2


def test_a_loss_that_is_no_number_keeps_its_batch(tmp_path: Path) -> None:
    model = tiny_llama()
    with torch.no_grad():
        model.model.embed_tokens.weight[IDS["fuß"]] = torch.nan
    with pytest.raises(TrainingError) as caught:
        train_preference(
            model,
            items(),
            WordFormat(),
            PreferencePlan(**OPTIONS | {"steps": 12}),
            output_dir=tmp_path / "run",
        )
    assert "a loss of nan at step " in str(caught.value)
    kept = tmp_path / "run" / "bad-batch.jsonl"
    assert str(kept) in str(caught.value)
    rows = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 4
    assert any("fuß" in row["target_prompt"] + row["target_response"] for row in rows)


def test_plans_that_do_not_fit() -> None:
    def refuse(message: str, **changed: Any) -> None:
        with pytest.raises(TrainingError, match=message):
            train(None, **OPTIONS | changed)

    refuse("objective 'dpo2'; expected one of clo, ", objective="dpo2")
    refuse("parameters 'mlp'; expected one of attention, full, lora", parameters="mlp")
    refuse("a share of 1.5; expected a number from 0 to 1", share=1.5)
    refuse("a beta of 0; expected a number above 0", beta=0)
    refuse("a beta of inf; expected a number above 0", beta=float("inf"))
    refuse("a beta of nan; expected a number above 0", objective="sft", beta=float("nan"))
    refuse("a LoRA alpha of inf; expected a number above 0", lora={"alpha": float("inf")})
    refuse("13 items for a batch of 14", batch_size=14, steps=None)
    refuse("at most 99 tokens .* at most 32, the model's positions", longest=99)
    refuse("keep 'best'; expected last, or best with output_dir", keep="best")
    refuse("the trackers mlflo; expected some of ", trackers=["mlflo"])


def test_parameters_that_learn_are_put_back() -> None:
    model = tiny_llama()
    model.lm_head.weight.requires_grad_(False)
    with learning_parameters(model, "attention"):
        assert not model.model.norm.weight.requires_grad
    assert model.model.norm.weight.requires_grad and not model.lm_head.weight.requires_grad


def test_a_failed_lora_training_leaves_a_plain_model() -> None:
    model = tiny_llama()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(RuntimeError, match="no more"), learning_parameters(model, "lora"):
        assert any(".lora_" in name for name in model.state_dict())
        raise RuntimeError("no more")
    assert_close(model.state_dict(), before, 0.0)


def test_low_resource_warning() -> None:
    assert low_resource_warning("attention", 1.0, 1.5) is None
    assert low_resource_warning("full", 1.0, 3.0) is None
    assert "consider --parameters full" in str(low_resource_warning("attention", 1.0, 1.51))


def test_the_best_weights_are_kept(tmp_path: Path) -> None:
    """The tiny evaluation is best at step 3; the last step's weights are others."""
    options = OPTIONS | {"evaluate_at": [0, 3, 4]}
    best = train(tmp_path / "best", keep="best", **options)
    three = train(None, **OPTIONS | {"steps": 3})
    assert best["step"] == 3
    assert_close(best["weights"], three["weights"], 1e-7)


def run_script(directory: Path, out: Path, launcher: list[str] | None = None, **options: Any) -> int:
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "TOKENIZERS_PARALLELISM": "false",
    }
    command = [*(launcher or [sys.executable]), str(Path(__file__).parent / "tiny_training.py")]
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


@pytest.mark.slow
@pytest.mark.parametrize("parameters", ["attention", "lora"])
def test_killed_and_started_again_ends_the_same(tmp_path: Path, parameters: str) -> None:
    options = OPTIONS | {
        "steps": 8,
        "save_every": 3,
        "precision": "bfloat16",
        "parameters": parameters,
        "schedule": "cosine",
        "warmup_steps": 2,
        "evaluate_at": [0, 3, 5, 8],
        "dropout": True,
    }
    assert run_script(tmp_path / "run", tmp_path / "none", die_at=5, **options) == -signal.SIGKILL
    assert (tmp_path / "run" / "checkpoint-3").exists()
    (tmp_path / "run" / "checkpoint-6").mkdir()
    assert run_script(tmp_path / "run", tmp_path / "again", **options) == 0
    assert run_script(tmp_path / "whole", tmp_path / "once", **options) == 0
    again, once = torch.load(tmp_path / "again"), torch.load(tmp_path / "once")
    assert again["resumed_from"] == 3 and once["resumed_from"] == 0
    assert again["losses"] == once["losses"] and again["measures"] == once["measures"]
    assert again["evaluations"] == once["evaluations"]
    assert_close(again["weights"], once["weights"], 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("parameters", ["attention", "full"])
def test_two_processes_equal_one(tmp_path: Path, parameters: str) -> None:
    options = OPTIONS | {"parameters": parameters, "gradient_accumulation": 2, "evaluate_at": [0, 4]}
    options["tokens_together"] = 12
    # What accelerate launch runs for several devices; on processors alone it would start one process and say nothing.
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    assert run_script(tmp_path / "two-run", tmp_path / "two", launcher, **options) == 0
    two, one = (
        torch.load(tmp_path / "two"),
        train(None, **options | {"gradient_accumulation": 1, "tokens_together": None}),
    )
    assert two["processes"] == 2 and one["processes"] == 1
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-5)
    for ours, theirs in zip(two["measures"][1:], one["measures"][1:], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)
    assert_close(two["weights"], one["weights"], 2e-5)


def test_sharded_parameters_change_nothing() -> None:
    """Two processes hold half of every parameter each, as under FSDP: the same log-probabilities and gradients."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    done = subprocess.run(
        [*command, str(Path(__file__).parent / "sharded.py")],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["frozen False: 22 equal", "frozen True: 9 equal"]

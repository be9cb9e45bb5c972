"""Losses equal hand computations, and TRL's for the parts that it has."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import build, random_rows

from lingraft.preference.collation import collate_rows, forward_inputs
from lingraft.preference.losses import (
    OBJECTIVES,
    AnswerLogs,
    combine,
    compute_terms,
    counted_tokens,
    odds_ratio,
)
from lingraft.preference.shared_prompt import answering


def logs(**changed: Any) -> AnswerLogs:
    """One item: the English row, then the target row."""
    values: dict[str, Any] = {
        "chosen": [-4.0, -6.0],
        "rejected": [-9.0, -5.0],
        "chosen_reference": [-5.0, -8.0],
        "rejected_reference": [-7.0, -4.0],
        "chosen_tokens": [4, 3],
        "rejected_tokens": [3, 4],
        "target": [False, True],
        **changed,
    }
    tensors = {
        name: None if value is None else torch.tensor(value, dtype=None if name != "target" else torch.bool)
        for name, value in values.items()
    }
    return AnswerLogs(**tensors)


def sigmoid_cost(margin: float) -> float:
    return math.log1p(math.exp(-margin))


def test_clo_by_hand() -> None:
    """English: D(chosen) = -4 + 5 = 1, D(rejected) = -9 + 7 = -2, margin 0.1 (1 + 2) = 0.3.

    Target: D(chosen) = -6 + 8 = 2, D(rejected) = -5 + 4 = -1, margin 0.1 (2 + 1) = 0.3. The likelihood is that of the
    target answer alone: 6 nats over its 3 tokens. With lambda 0.25: 0.25 * 2 + 0.75 * 2 * log(1 + e^-0.3).
    """
    terms = compute_terms(OBJECTIVES["clo"], logs(), 0.1)
    assert terms.likelihood.tolist() == [0.0, 6.0]
    assert terms.margin is not None
    torch.testing.assert_close(terms.margin, torch.tensor([0.3, 0.3]))
    loss = combine(terms, share=0.25, tokens=counted_tokens(OBJECTIVES["clo"], 4, 3), items=1)
    assert float(loss) == pytest.approx(0.25 * 2 + 0.75 * 2 * sigmoid_cost(0.3), rel=1e-6)


def test_counting_both_languages_by_hand() -> None:
    """Likelihood 4 + 6 nats over 4 + 3 tokens."""
    terms = compute_terms(OBJECTIVES["clo-both"], logs(), 0.1)
    tokens = counted_tokens(OBJECTIVES["clo-both"], 4, 3)
    assert float(combine(terms, share=1.0, tokens=tokens, items=1)) == pytest.approx(10 / 7)


@pytest.mark.parametrize(("name", "expected"), [("sft", 6 / 3), ("sft-both", 10 / 7)])
def test_tuning_alone_by_hand(name: str, expected: float) -> None:
    objective = OBJECTIVES[name]
    terms = compute_terms(
        objective,
        logs(rejected=None, chosen_reference=None, rejected_reference=None, rejected_tokens=None),
        0.0,
    )
    assert terms.margin is None
    loss = combine(terms, share=objective.share, tokens=counted_tokens(objective, 4, 3), items=1)
    assert float(loss) == pytest.approx(expected)


def test_normalised_by_hand() -> None:
    """English: 1/4 - (-2/3) = 11/12; target: 2/3 - (-1/4) = 11/12; beta 6 gives 5.5."""
    terms = compute_terms(OBJECTIVES["clo-normalised"], logs(), 6.0)
    torch.testing.assert_close(terms.preference, torch.full((2,), sigmoid_cost(5.5)))


def test_without_reference_by_hand() -> None:
    """Margins 0.1 (-4 + 9) = 0.5 and 0.1 (-6 + 5) = -0.1."""
    terms = compute_terms(OBJECTIVES["clo-free"], logs(chosen_reference=None, rejected_reference=None), 0.1)
    torch.testing.assert_close(terms.preference, torch.tensor([sigmoid_cost(0.5), sigmoid_cost(-0.1)]))


def test_odds_by_hand() -> None:
    """Mean probabilities e^-1 and e^-3: odds 0.3679 / 0.6321 and 0.0498 / 0.9502, log ratio 2.4076."""
    _, margin = odds_ratio(logs(), 1.0)
    chosen, rejected = math.exp(-1), math.exp(-3)
    expected = math.log(chosen / (1 - chosen)) - math.log(rejected / (1 - rejected))
    assert expected == pytest.approx(2.4076, abs=1e-4)
    assert float(margin[0]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["clo", "clo-both", "clo-normalised", "clo-free", "dpo", "orpo"])
def test_gradients_are_those_of_differences(name: str) -> None:
    objective = OBJECTIVES[name]

    def loss(values: torch.Tensor) -> torch.Tensor:
        given = logs(
            chosen_reference=[-5.0, -8.0] if objective.reference else None,
            rejected_reference=[-7.0, -4.0] if objective.reference else None,
        )
        wide = {
            n: None if (v := getattr(given, n)) is None or not v.is_floating_point() else v.double()
            for n in ("chosen_reference", "rejected_reference")
        }
        rows = AnswerLogs(
            values[0],
            values[1],
            wide["chosen_reference"],
            wide["rejected_reference"],
            given.chosen_tokens,
            given.rejected_tokens,
            given.target,
        )
        terms = compute_terms(objective, rows, objective.beta)
        return combine(terms, share=objective.share, tokens=7, items=1)

    values = torch.tensor([[-4.0, -6.0], [-9.0, -5.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (values,))


def test_pieces_of_a_batch_add_up() -> None:
    whole = logs()
    terms = compute_terms(OBJECTIVES["clo"], whole, 0.1)
    parts = []
    for row in (0, 1):
        one = AnswerLogs(
            *(getattr(whole, name)[row : row + 1] for name in AnswerLogs.__dataclass_fields__)  # type: ignore[attr-defined]
        )
        parts.append(combine(compute_terms(OBJECTIVES["clo"], one, 0.1), share=0.5, tokens=3, items=1))
    torch.testing.assert_close(sum(parts), combine(terms, share=0.5, tokens=3, items=1))


def test_dpo_equals_trl(tmp_path: Path, byte_bpe_tokenizer: Any) -> None:
    """TRL's DPOTrainer, on the same batch with a reference of other weights: loss and every gradient."""
    trl = pytest.importorskip("trl", reason="the extra train is not installed")
    datasets = pytest.importorskip("datasets")
    model, reference = build("llama"), build("llama")
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.mul_(0.9)
    rows = random_rows()
    texts = [{"prompt": f"x{i}", "chosen": "a", "rejected": "b"} for i in range(len(rows))]
    trainer = trl.DPOTrainer(
        model=model,
        ref_model=reference,
        args=trl.DPOConfig(
            output_dir=str(tmp_path),
            use_cpu=True,
            bf16=False,
            report_to="none",
            beta=0.1,
            gradient_checkpointing=False,
            max_length=None,
        ),
        train_dataset=datasets.Dataset.from_list(texts),
        processing_class=byte_bpe_tokenizer,
    )
    batch = trainer.data_collator(
        [
            {"prompt_ids": list(r.prompt), "chosen_ids": list(r.chosen), "rejected_ids": list(r.rejected)}
            for r in rows
        ]
    )
    model.eval()
    theirs = trainer.compute_loss(model, dict(batch))
    theirs.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    ours_batch = collate_rows(rows)
    with torch.no_grad(), answering(reference):
        initial = reference(**forward_inputs(ours_batch))
    plain = build("llama")
    with answering(plain):
        found = plain(**forward_inputs(ours_batch))
    lengths = ours_batch["lengths"]
    answers = AnswerLogs(
        found[:, 0],
        found[:, 1],
        initial[:, 0],
        initial[:, 1],
        lengths[:, 0],
        lengths[:, 1],
        ours_batch["target"],
    )
    # TRL takes the mean over rows; two rows are one item here.
    ours = combine(compute_terms(OBJECTIVES["dpo"], answers, 0.1), share=0.0, tokens=0, items=len(rows))
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=1e-6)
    ours.backward()
    for name, parameter in plain.named_parameters():
        scale = float(expected[name].abs().max())
        torch.testing.assert_close(
            parameter.grad, expected[name], rtol=1e-4, atol=1e-5 * scale + 1e-8, msg=name
        )


def test_odds_equal_trl() -> None:
    """ORPO's loss in TRL, on mean log-probabilities."""
    orpo = pytest.importorskip(
        "trl.experimental.orpo.orpo_trainer", reason="the extra train is not installed"
    )
    generator = torch.Generator().manual_seed(2)
    chosen, rejected = (-torch.rand(6, generator=generator) * 4 for _ in range(2))
    tokens = torch.tensor([1, 2, 3, 4, 5, 6])

    class Held:
        beta = 0.1

        class accelerator:
            device = "cpu"

    losses, *_ = orpo.ORPOTrainer.odds_ratio_loss(Held(), chosen, rejected)
    rows = AnswerLogs(
        chosen * tokens, rejected * tokens, None, None, tokens, tokens, torch.ones(6, dtype=torch.bool)
    )
    cost, _ = odds_ratio(rows, 1.0)
    torch.testing.assert_close(0.1 * cost, losses.abs(), rtol=1e-4, atol=1e-6)

"""The training loop's loss and measures; the loop itself is `lingraft.training.trainer`."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch

from lingraft.errors import TrainingError
from lingraft.preference.best import BestWeights
from lingraft.preference.collation import ItemDataset, collate, forward_inputs
from lingraft.preference.losses import AnswerLogs, Objective, Terms, combine, compute_terms
from lingraft.training.trainer import Evaluation, RunTrainer

DIRECTIONS = ("english", "target")
MEASURES = ("rows", "margin", "accuracy", "nats", "tokens", "rejected_nats", "rejected_tokens")


class PreferenceTrainer(RunTrainer):
    """Minimises an objective over paired items; keeps what it saw of either direction at every step."""

    objective: Objective

    def __init__(
        self,
        model: Any,
        args: Any,
        dataset: ItemDataset,
        plan: Any,
        *,
        objective: Objective,
        share: float,
        beta: float,
        best: BestWeights | None,
        save_batch: Callable[[int], str],
        tokens_together: int | None,
        evaluate: Evaluation | None,
        **options: Any,
    ) -> None:
        self.objective, self.share, self.beta = objective, share, beta
        self.best, self.save_batch = best, save_batch
        self._seen = torch.zeros(len(DIRECTIONS), len(MEASURES), dtype=torch.float64)
        judged = None if evaluate is None else self._judged(evaluate)
        parts = partial(collate, tokens_together=tokens_together)
        super().__init__(model, args, dataset, plan, collate=parts, evaluate=judged, **options)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return a piece's share of the step's loss, times the number of pieces, which Trainer takes the mean of.

        All forward passes of the piece but the last are gone back through here, one after the other, so that only one
        is held; what is returned has their losses, and the last one's gradient.
        """
        *before, last = inputs["parts"]
        done = torch.zeros((), device=self.args.device)
        for part in before:
            with getattr(model, "no_sync", nullcontext)():
                loss = self._loss_of(model, part, inputs)
                self.accelerator.backward(loss)
            done = done + loss.detach()
        total = (self._loss_of(model, last, inputs) + done) * self.args.gradient_accumulation_steps
        return (total, None) if return_outputs else total

    def _loss_of(self, model: Any, part: Any, step: Any) -> torch.Tensor:
        """Return what a forward pass gives to the step's loss, times the processes, whose mean is taken."""
        with self.casting(part["input_ids"].device.type):
            found = model(**forward_inputs(part))
        reference, lengths = part.get("reference"), part["lengths"]
        compares = self.objective.preference is not None
        logs = AnswerLogs(
            chosen=found[:, 0],
            rejected=found[:, 1] if compares else None,
            chosen_reference=None if reference is None else reference[:, 0],
            rejected_reference=None if reference is None else reference[:, 1],
            chosen_tokens=lengths[:, 0],
            rejected_tokens=lengths[:, 1] if compares else None,
            target=part["target"],
        )
        terms = compute_terms(self.objective, logs, self.beta)
        self._see(logs, terms)
        loss = combine(terms, share=self.share, tokens=step["tokens"], items=step["items"])
        return loss * int(self.args.world_size)

    def floating_point_ops(self, inputs: Any) -> int:
        """Count nothing: Trainer would look for the tokens of a batch."""
        return 0

    @torch.no_grad()
    def _see(self, logs: AnswerLogs, terms: Terms) -> None:
        zeros = torch.zeros_like(logs.chosen)
        margin = zeros if terms.margin is None else terms.margin
        rejected = zeros if logs.rejected is None else logs.rejected
        tokens = zeros if logs.rejected_tokens is None else logs.rejected_tokens
        columns = [
            torch.ones_like(zeros),
            margin,
            margin > 0,
            -logs.chosen,
            logs.chosen_tokens,
            -rejected,
            tokens,
        ]
        table = torch.stack([column.double() for column in columns], dim=1)
        both = torch.stack([table[logs.target == side].sum(dim=0) for side in (False, True)])
        self._seen = self._seen.to(both.device) + both

    def take_measures(self) -> dict[str, float]:
        """Return margin, accuracy and likelihoods of the step by direction; every process takes part."""
        seen = self.accelerator.reduce(self._seen.to(self.accelerator.device), reduction="sum").cpu()
        self._seen = torch.zeros_like(self._seen)
        found: dict[str, float] = {}
        for direction, row in zip(DIRECTIONS, seen.tolist(), strict=True):
            of = dict(zip(MEASURES, row, strict=True))
            if not of["rows"]:
                continue
            found[f"{direction}_nats_a_token"] = of["nats"] / of["tokens"]
            if of["rejected_tokens"]:
                found[f"{direction}_margin"] = of["margin"] / of["rows"]
                found[f"{direction}_accuracy"] = of["accuracy"] / of["rows"]
                found[f"{direction}_rejected_nats_a_token"] = of["rejected_nats"] / of["rejected_tokens"]
        return found

    def settle_step(self, norm: float) -> None:
        """Stop at a loss or a gradient that is no number, and keep the batch that gave it."""
        try:
            super().settle_step(norm)
        except TrainingError as error:
            place = self.save_batch(self.state.global_step + 1) if self.is_world_process_zero() else ""
            kept = f"look at its items in {place}; " if place else ""
            raise TrainingError(error.found, error.expected, kept + error.remedy) from error

    def _judged(self, evaluate: Evaluation) -> Evaluation:
        """Let the best weights be kept where an evaluation is over."""

        def judge(step: int, model: Any) -> Mapping[str, Any]:
            found = evaluate(step, model)
            if self.best is not None:
                masters = self.masters or {}
                learning = {n: masters.get(id(p), p) for n, p in model.named_parameters() if p.requires_grad}
                self.best.offer(step, found, learning)
            return found

        return judge

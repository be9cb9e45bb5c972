"""What is measured of a model on held-out paired items, before, during and after training."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from lingraft.corpora.language_id import LanguageIdentifier
from lingraft.evaluation.answers import AnswerFormat, greedy_answers
from lingraft.evaluation.fidelity import pass_rate, score_fidelity
from lingraft.preference.collation import Format, encode_items
from lingraft.preference.items import PairedItem
from lingraft.preference.losses import OBJECTIVES
from lingraft.preference.references import item_logs
from lingraft.preference.shared_prompt import answering
from lingraft.reports.intervals import ratio_interval


class WholeFormat(Format, AnswerFormat, Protocol):
    """A format that encodes answers and ends generated ones; `tokenizers.chat.PromptFormat` is one."""


@dataclass(frozen=True, slots=True)
class MonitorOptions:
    """How much is measured.

    Attributes:
        fidelity_prompts: Held-out prompts that are answered; 0 answers none.
        max_new_tokens: Most tokens of such an answer.
        batch_size: Prompts answered at once.
    """

    fidelity_prompts: int = 32
    max_new_tokens: int = 48
    batch_size: int = 8


class Monitor:
    """Measures a model on held-out items: bits per byte of answers, which is likelier, and fidelity.

    Bits per byte are those of an answer after its prompt, its end included, over the answer's UTF-8 bytes.

    Args:
        items: Held-out paired items.
        form: How prompts and answers become ids.
        language: ISO 639-1 code of the target language.
        identifier: What identifies languages; None measures no fidelity.
        longest: Tokens of a prompt with an answer; longer items are left out.
        options: How much is measured.

    Raises:
        TrainingError: No item is short enough.
    """

    def __init__(
        self,
        items: Sequence[PairedItem],
        form: WholeFormat,
        language: str,
        identifier: LanguageIdentifier | None,
        *,
        longest: int,
        options: MonitorOptions | None = None,
    ) -> None:
        self.options = options or MonitorOptions()
        self.form, self.language, self.identifier = form, language, identifier
        # Any objective that looks at both answers of both prompts encodes them.
        self.encoded, dropped = encode_items(items, form, OBJECTIVES["clo"], longest=longest)
        self.items = [items[item.number] for item in self.encoded]
        self.left_out = {reason: len(numbers) for reason, numbers in dropped.items()}
        self.bytes = np.array(
            [
                [len(item.english_response.encode()), len(item.target_response.encode())]
                for item in self.items
            ],
            dtype=np.float64,
        )

    def __call__(self, step: int, model: Any) -> dict[str, Any]:
        """Measure a model that is inside `shared_prompt.answering`, as in training."""
        logs = np.stack(item_logs(model, self.encoded)).astype(np.float64)
        return {**self._likelihood(logs), **self._fidelity(model)}

    def outside(self, model: Any) -> dict[str, Any]:
        """Measure a model by itself."""
        with torch.no_grad(), answering(model):
            return self(0, model)

    def _likelihood(self, logs: NDArray[np.float64]) -> dict[str, Any]:
        """From log-probabilities [items, 2 prompts, 2 answers], nats."""
        found: dict[str, Any] = {}
        for side, name in enumerate(("english", "target")):
            bits = -logs[:, side, 0] / math.log(2)
            estimate = ratio_interval(bits, self.bytes[:, side])
            other = -logs[:, side, 1] / math.log(2) / self.bytes[:, 1 - side]
            found[f"{name}_bits_per_byte"] = estimate.value
            found[f"{name}_interval"] = [estimate.low, estimate.high]
            # By bits a byte: whole answers of two languages differ too much in length.
            found[f"{name}_preferred"] = float((bits / self.bytes[:, side] < other).mean())
            found[f"{name}_bits"] = [round(float(value), 4) for value in bits]
        return found

    def _fidelity(self, model: Any) -> dict[str, Any]:
        if self.identifier is None or not self.options.fidelity_prompts:
            return {}
        some = self.items[: self.options.fidelity_prompts]
        found: dict[str, Any] = {}
        for name, code in (("english", "en"), ("target", self.language)):
            prompts = [getattr(item, f"{name}_prompt") for item in some]
            answers = greedy_answers(
                model,
                self.form,
                prompts,
                max_new_tokens=self.options.max_new_tokens,
                batch_size=self.options.batch_size,
            )
            scored = score_fidelity(answers, code, self.identifier, prompts=prompts)
            rate = pass_rate(scored.line_pass)
            found[f"{name}_fidelity"] = None if rate is None else rate["value"]
            found[f"{name}_fidelity_interval"] = None if rate is None else [rate["low"], rate["high"]]
            found[f"{name}_skipped"] = scored.answers - scored.judged
            found[f"{name}_passes"] = [None if math.isnan(x) else bool(x) for x in scored.line_pass]
            found[f"{name}_answers"] = answers[:8]
        return found

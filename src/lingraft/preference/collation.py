"""From paired items to batches: token ids, rows of a prompt with both its answers, and what a step is divided by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from lingraft.errors import TokenizerError, TrainingError
from lingraft.preference.items import PairedItem
from lingraft.preference.losses import OBJECTIVES, Objective, counted_tokens
from lingraft.preference.shared_prompt import CHOSEN, PADDING, PROMPT, REJECTED

CANNOT_WRITE = "texts that the template cannot write as they are"


class Format(Protocol):
    """How prompts and answers become token ids; `tokenizers.chat.PromptFormat` is one."""

    def prompt_ids(self, prompt: str) -> list[int]:
        """Return the ids of a prompt, up to where its answer begins."""

    def response_ids(self, prompt: str, response: str) -> list[int]:
        """Return the ids of an answer, its end included."""


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt, the answer in its language, and the answer in the other language (none where nothing is compared)."""

    prompt: Sequence[int]
    chosen: Sequence[int]
    rejected: Sequence[int]
    target: bool

    def __len__(self) -> int:
        """Tokens that are computed: an answer's last one predicts nothing."""
        return len(self.prompt) + len(self.chosen) - 1 + max(0, len(self.rejected) - 1)

    @property
    def longest(self) -> int:
        """Tokens of the prompt with its longer answer."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


@dataclass(frozen=True, slots=True)
class EncodedItem:
    """An item's rows: English, target, or target alone; `number` is its place in the file's list."""

    number: int
    rows: tuple[Row, ...]
    counted: int

    def __len__(self) -> int:
        return sum(map(len, self.rows))


def encode_items(
    items: Sequence[PairedItem], form: Format, objective: Objective, *, longest: int
) -> tuple[list[EncodedItem], dict[str, list[int]]]:
    """Turn items into the rows that an objective needs.

    Args:
        items: Paired items.
        form: How prompts and answers become ids.
        objective: What is trained.
        longest: Tokens that a prompt with an answer may have.

    Returns:
        The items that fit, and the numbers of those that do not, by reason.

    Raises:
        TrainingError: None fits.
    """
    encoded: list[EncodedItem] = []
    dropped: dict[str, list[int]] = {}
    for number, item in enumerate(items):
        rows = _rows(item, form, objective, longest)
        if isinstance(rows, str):
            dropped.setdefault(rows, []).append(number)
            continue
        english = len(rows[0].chosen) if len(rows) == 2 else 0
        counted = counted_tokens(objective, english, len(rows[-1].chosen))
        encoded.append(EncodedItem(number, rows, counted))
    if not encoded:
        told = ", ".join(f"{len(numbers)} {reason}" for reason, numbers in dropped.items()) or "no item"
        raise TrainingError(
            told,
            f"items of at most {longest} tokens a prompt with its answer",
            "give shorter items or a longer limit",
        )
    return encoded, dropped


def fitting_items(
    items: Sequence[PairedItem], form: Format, *, longest: int
) -> tuple[list[PairedItem], dict[str, list[int]]]:
    """Leave out the items that some objective would leave out, so that all of them train on the same ones.

    Args:
        items: Paired items.
        form: How prompts and answers become ids.
        longest: Tokens that a prompt with an answer may have.

    Returns:
        The items whose prompts fit with either answer, in their order, and the numbers of the others by reason.

    Raises:
        TrainingError: None fits.
    """
    # It looks at both answers of both prompts; others leave some out.
    encoded, dropped = encode_items(items, form, OBJECTIVES["clo"], longest=longest)
    return [items[item.number] for item in encoded], dropped


def _rows(item: PairedItem, form: Format, objective: Objective, longest: int) -> tuple[Row, ...] | str:
    """Return an item's rows, or why it has none: some templates cannot write some texts, such as their own marks."""
    try:
        rows = _written(item, form, objective)
    except TokenizerError:
        return CANNOT_WRITE
    return _too_long(rows, longest) or rows


def _written(item: PairedItem, form: Format, objective: Objective) -> tuple[Row, ...]:
    compares = objective.preference is not None
    prompts = (item.english_prompt, item.target_prompt)
    answers = (item.english_response, item.target_response)
    rows = []
    for side in (0, 1):
        if side == 0 and not compares and objective.counted != "both":
            continue
        rejected = form.response_ids(prompts[side], answers[1 - side]) if compares else []
        chosen = form.response_ids(prompts[side], answers[side])
        rows.append(Row(form.prompt_ids(prompts[side]), chosen, rejected, target=side == 1))
    return tuple(rows)


def _too_long(rows: Sequence[Row], longest: int) -> str:
    if any(len(row.prompt) >= longest for row in rows):
        return f"prompts of {longest} tokens or more"
    return (
        f"prompts with an answer of more than {longest} tokens"
        if any(r.longest > longest for r in rows)
        else ""
    )


@dataclass(frozen=True, slots=True)
class StepItem:
    """An item as a step takes it.

    Attributes:
        item: Its rows.
        reference: The initial model's log-probabilities, float32 [rows, 2]; None where none is needed.
        tokens: Tokens that the step's likelihood term is a mean over.
        items: Items of the step.
    """

    item: EncodedItem
    reference: NDArray[np.float32] | None
    tokens: int
    items: int


class ItemDataset(Dataset[StepItem]):
    """Items in a fixed order; within a step the long stand beside the long, which changes nothing but the padding.

    Args:
        items: Encoded items.
        order: Which item each place of the training takes; its length is steps times batch size.
        batch_size: Items a step.
        references: For each item [rows, 2]; None where the objective needs none.
    """

    def __init__(
        self,
        items: Sequence[EncodedItem],
        order: NDArray[np.int64],
        batch_size: int,
        references: Sequence[NDArray[np.float32]] | None,
    ) -> None:
        self.items, self.batch_size, self.references = items, batch_size, references
        lengths = np.array([len(item) for item in items])
        steps = order.reshape(-1, batch_size)
        by_length = np.argsort(-lengths[steps], axis=1, kind="stable")
        self.order = np.take_along_axis(steps, by_length, axis=1)
        counted = np.array([item.counted for item in items])
        self.tokens = counted[self.order].sum(axis=1)

    def __len__(self) -> int:
        return self.order.size

    def __getitem__(self, index: int) -> StepItem:
        step, place = divmod(index, self.batch_size)
        number = self.order[step, place]
        reference = None if self.references is None else self.references[number]
        return StepItem(self.items[number], reference, int(self.tokens[step]), self.batch_size)


def collate(step_items: Sequence[StepItem], tokens_together: int | None = None) -> dict[str, Any]:
    """Put items into the tensors that `shared_prompt.answering` and the loss take.

    Args:
        step_items: Items of one step, or a piece of them.
        tokens_together: Tokens, padding included, that one forward pass may have; a longer row goes alone. None takes
            all rows at once.

    Returns:
        `parts`, a forward pass each: `input_ids`, `position_ids`, `segments` [rows, length]; `predictors`, `targets`,
        `owners` [answer tokens]: where in the flattened rows a token is predicted, which it is, and whose it is (twice
        the row, 1 more for a rejected answer); `lengths` [rows, 2] of the answers; `target` [rows]; `reference`
        [rows, 2]. And what the step is divided by: `tokens`, `items`.
    """
    first = step_items[0]
    rows = [row for step_item in step_items for row in step_item.item.rows]
    references = [item.reference for item in step_items if item.reference is not None]
    reference = torch.from_numpy(np.concatenate(references)) if references else None
    parts = []
    for numbers in _divided(list(map(len, rows)), tokens_together):
        part = collate_rows([rows[number] for number in numbers])
        parts.append(part if reference is None else part | {"reference": reference[numbers]})
    return {"parts": parts, "tokens": first.tokens, "items": first.items}


def _divided(lengths: Sequence[int], tokens_together: int | None) -> list[list[int]]:
    """Divide rows, the longest first, so that each part padded to its longest has few enough tokens."""
    if tokens_together is None:
        return [list(range(len(lengths)))]
    parts: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        if parts and (len(parts[-1]) + 1) * lengths[parts[-1][0]] <= tokens_together:
            parts[-1].append(number)
        else:
            parts.append([number])
    return parts


def collate_rows(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    """Put rows into tensors, padded on the right; see `collate`."""
    length = max(map(len, rows))
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    segments = torch.full((len(rows), length), PADDING, dtype=torch.long)
    positions = torch.zeros(len(rows), length, dtype=torch.long)
    predictors: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    for number, row in enumerate(rows):
        end = len(row.prompt)
        parts = [(PROMPT, row.prompt, 0)]
        for which, answer in enumerate((row.chosen, row.rejected)):
            if not len(answer):
                continue
            begin = sum(len(tokens) for _, tokens, _ in parts)
            parts.append(((CHOSEN, REJECTED)[which], answer[:-1], end))
            predictors += [number * length + at for at in (end - 1, *range(begin, begin + len(answer) - 1))]
            targets += answer
            owners += [2 * number + which] * len(answer)
        at = 0
        for segment, tokens, position in parts:
            place = slice(at, at + len(tokens))
            ids[number, place] = torch.tensor(list(tokens), dtype=torch.long)
            segments[number, place] = segment
            positions[number, place] = torch.arange(position, position + len(tokens))
            at += len(tokens)
        # Padding goes on counting, within what the model has positions for.
        positions[number, at:] = positions[number, at - 1]
    return {
        "input_ids": ids,
        "position_ids": positions,
        "segments": segments,
        "predictors": torch.tensor(predictors, dtype=torch.long),
        "targets": torch.tensor(targets, dtype=torch.long),
        "owners": torch.tensor(owners, dtype=torch.long),
        "lengths": torch.tensor([[len(row.chosen), len(row.rejected)] for row in rows]),
        "target": torch.tensor([row.target for row in rows]),
    }


FORWARD = ("input_ids", "position_ids", "segments", "predictors", "targets", "owners")
"""The tensors of a batch that the forward pass takes."""


def forward_inputs(batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the tensors of a batch that the forward pass takes."""
    return {name: batch[name] for name in FORWARD}

"""Logit lens over word translation: what every layer would say where the target is to come."""

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from lingraft.errors import ConfigError
from lingraft.models.architecture import resolve
from lingraft.models.modelmap import ModelMap
from lingraft.models.reading import capture_with
from lingraft.models.sites import Site
from lingraft.pivots.prompt_tokens import Row, common_length, encode_rows, word_token_ids
from lingraft.pivots.shared_prefix import SharedPrefix, by_length, forward_rows, read_prefix, require_context
from lingraft.pivots.wordtask import WordItem, WordTask
from lingraft.progress import progress_task

LOGITS_AT_ONCE = 2**22
"""Logits held at a time (16 MiB in float32), whatever the vocabulary and the number of layers."""
RESIDUAL = Site("resid")


@dataclass(frozen=True, slots=True)
class Traces:
    """What L layers say in R places; one place a word, or one a target token.

    Attributes:
        items: The N traced words.
        skipped: Words whose source and target have a token in common, so that layers could not be told apart by them.
        item: int64 `[R]`, number of the word.
        position: int64 `[R]`, which target token is to come, from 0.
        next_id: int64 `[R]`, that token.
        next_probability: float32 `[R, L]`, what the layers give it.
        top_ids: int64 `[R, L, k]`, each layer's likeliest tokens, falling.
        top_probabilities: float32 `[R, L, k]`.
        top_letters: bool `[R, L, k]`, whether the token holds a letter, or bytes of one; white space and
            punctuation, which middle layers of some models favour, hold none.
        source_mass: float32 `[R, L]`, summed probability of the source word's tokens (`word_token_ids`).
        target_mass: float32 `[R, L]`, of the target word's tokens.
        pivot_mass: float32 `[R, L]`, of the given pivots that are no source or target tokens; 0 where none is given.
        source_ids: The source word's tokens, `[N]` sets.
        target_ids: The target word's tokens, `[N]` sets.
        pivot_ids: The given pivots, `[N]` sets.
    """

    items: tuple[WordItem, ...]
    skipped: tuple[WordItem, ...]
    item: NDArray[np.int64]
    position: NDArray[np.int64]
    next_id: NDArray[np.int64]
    next_probability: NDArray[np.float32]
    top_ids: NDArray[np.int64]
    top_probabilities: NDArray[np.float32]
    top_letters: NDArray[np.bool_]
    source_mass: NDArray[np.float32]
    target_mass: NDArray[np.float32]
    pivot_mass: NDArray[np.float32]
    source_ids: tuple[frozenset[int], ...]
    target_ids: tuple[frozenset[int], ...]
    pivot_ids: tuple[frozenset[int], ...]


@torch.no_grad()
def trace_words(
    model: PreTrainedModel,
    tokenizer: Any,
    task: WordTask,
    *,
    draw: int = 0,
    top: int = 5,
    pivots: Mapping[tuple[str, str], Collection[int]] | None = None,
    every_token: bool = False,
    batch_size: int = 64,
    progress: bool = False,
) -> Traces:
    """Read each layer's residual stream through the final norm and head (section 3; the tracked tokens are our choice).

    Only tracked and top tokens are kept: memory does not grow with layers times vocabulary.

    Args:
        model: A causal LM of a known architecture; set to evaluation mode meanwhile.
        tokenizer: Its tokenizer.
        task: The words.
        draw: Number of the draw of examples.
        top: Likeliest tokens kept of every layer.
        pivots: (source word, target word) to token ids whose mass is followed.
        every_token: Trace the place of every target token, not only of the first.
        batch_size: Words at a time.
        progress: Draw a bar.

    Returns:
        The traces.

    Raises:
        ArchitectureError: The architecture is unknown.
        ConfigError: No such draw, no word left to trace, or prompts beyond the model's context.
        TokenizerError: A target that gives no token.
    """
    if not 0 <= draw < len(task.draws):
        raise ConfigError(f"draw {draw}", f"0 to {len(task.draws) - 1}", "give another draw")
    items, skipped, sets = _tracked(tokenizer, task.items, pivots or {})
    prompts = [task.prompt(item.source_word, draw) for item in items]
    rows = encode_rows(tokenizer, prompts, [item.target_word for item in items])
    require_context(model, max(len(row.ids) for row in rows))
    # One token at least stays in every row, to predict the target from.
    shared = min(common_length([row.ids for row in rows]), min(row.begin for row in rows) - 1)
    found, training = resolve(model), model.training
    model.train(False)
    parts: list[_Part] = []
    try:
        prefix = read_prefix(model, found, rows[0].ids[:shared])
        with progress_task("tracing words", len(rows) if progress else None) as advance:
            for batch in by_length([len(row.ids) for row in rows], batch_size):
                chosen = [rows[row] for row in batch]
                tracked = [tuple(each[row] for each in sets) for row in batch]
                parts.append(_trace(model, found, prefix, chosen, tracked, np.array(batch), top, every_token))
                if progress:
                    advance(len(batch))
    finally:
        model.train(training)
    return _joined(tokenizer, items, skipped, sets, parts)


@dataclass(frozen=True, slots=True)
class _Part:
    """One batch's places."""

    item: NDArray[np.int64]
    position: NDArray[np.int64]
    next_id: NDArray[np.int64]
    top_ids: NDArray[np.int64]
    top_probabilities: NDArray[np.float32]
    tracked: NDArray[np.float32]


_Sets = tuple[list[frozenset[int]], list[frozenset[int]], list[frozenset[int]]]


def _tracked(
    tokenizer: Any, items: Sequence[WordItem], pivots: Mapping[tuple[str, str], Collection[int]]
) -> tuple[list[WordItem], list[WordItem], _Sets]:
    """Words to trace, words to skip, and the former's source, target and pivot tokens."""
    kept, skipped = [], []
    sets: _Sets = ([], [], [])
    for item in items:
        own, other = (word_token_ids(tokenizer, word) for word in (item.source_word, item.target_word))
        if own & other:
            skipped.append(item)
            continue
        kept.append(item)
        given = frozenset(map(int, pivots.get((item.source_word, item.target_word), ())))
        for place, tokens in enumerate((own, other, given - own - other)):
            sets[place].append(tokens)
    if not kept:
        raise ConfigError(
            f"{len(skipped)} words whose source and target share tokens",
            "a word to trace",
            "give other words, or a tokenizer that keeps them apart",
        )
    return kept, skipped, sets


def _trace(
    model: PreTrainedModel,
    found: ModelMap,
    prefix: SharedPrefix,
    rows: Sequence[Row],
    tracked: Sequence[tuple[frozenset[int], ...]],
    numbers: NDArray[np.int64],
    top: int,
    every_token: bool,
) -> _Part:
    """Run one batch and read it layer by layer."""
    counts = [len(row.ids) - row.begin if every_token else 1 for row in rows]
    rests = [row.ids[prefix.length : row.begin + count - 1] for row, count in zip(rows, counts, strict=True)]
    firsts = torch.tensor([row.begin - 1 - prefix.length for row in rows])
    # A row with fewer places than others repeats its last, which is then not read.
    steps = torch.arange(max(counts)).minimum(torch.tensor(counts)[:, None] - 1)
    layers = range(len(found.layers))
    with capture_with(found, [RESIDUAL], layers, firsts[:, None] + steps) as captured:
        forward_rows(model, found, prefix, rests)
    owner = [row for row, count in enumerate(counts) for _ in range(count)]
    place = [step for count in counts for step in range(count)]
    next_id = [rows[row].ids[rows[row].begin + step] for row, step in zip(owner, place, strict=True)]
    index, groups = _columns(
        [(*tracked[row], frozenset([token])) for row, token in zip(owner, next_id, strict=True)]
    )
    read = [
        _read(model, found, captured.calls[0][RESIDUAL, layer][owner, place], index, groups, top)
        for layer in layers
    ]
    top_ids, top_probabilities, masses = (torch.stack(column, dim=1) for column in zip(*read, strict=True))
    return _Part(
        item=numbers[owner],
        position=np.array(place),
        next_id=np.array(next_id),
        top_ids=top_ids.cpu().numpy(),
        top_probabilities=top_probabilities.cpu().numpy(),
        tracked=masses.cpu().numpy(),
    )


def _columns(wanted: Sequence[tuple[frozenset[int], ...]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids `[places, most]`, and the group of each column `[places, most]`, -1 where there is none."""
    flat = [
        [(token, group) for group, tokens in enumerate(groups) for token in sorted(tokens)]
        for groups in wanted
    ]
    most = max(map(len, flat))
    padded = [entries + [(0, -1)] * (most - len(entries)) for entries in flat]
    both = torch.tensor(padded)
    return both[..., 0], both[..., 1]


def _read(
    model: PreTrainedModel,
    found: ModelMap,
    states: torch.Tensor,
    index: torch.Tensor,
    groups: torch.Tensor,
    top: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One layer's top tokens, their probabilities, the masses of the groups, `[places, 4]`; a few places at a time."""
    size = max(1, LOGITS_AT_ONCE // int(model.config.get_text_config().vocab_size))
    index, groups = index.to(states.device), groups.to(states.device)
    parts = []
    for begin in range(0, len(states), size):
        logits = found.logits_of(found.final_norm(states[begin : begin + size])).float()
        total = torch.logsumexp(logits, dim=-1, keepdim=True)
        best = logits.topk(min(top, logits.shape[-1]), dim=-1)
        asked = (logits.gather(1, index[begin : begin + size]) - total).exp()
        masses = torch.stack(
            [(asked * (groups[begin : begin + size] == group)).sum(-1) for group in range(4)], -1
        )
        parts.append((best.indices, (best.values - total).exp(), masses))
    ids, probabilities, mass = (torch.cat(column) for column in zip(*parts, strict=True))
    return ids, probabilities, mass


def _joined(
    tokenizer: Any,
    items: Sequence[WordItem],
    skipped: Sequence[WordItem],
    sets: _Sets,
    parts: Sequence[_Part],
) -> Traces:
    """All batches in the words' order."""

    def column(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    item, position = column("item"), column("position")
    order = np.lexsort((position, item))
    tracked, top_ids = column("tracked")[order], column("top_ids")[order]
    special = set(tokenizer.all_special_ids)
    written = [
        int(token)
        for token in np.unique(top_ids)
        if int(token) not in special and _has_letter(str(tokenizer.decode([int(token)])))
    ]
    return Traces(
        items=tuple(items),
        skipped=tuple(skipped),
        item=item[order],
        position=position[order],
        next_id=column("next_id")[order],
        next_probability=tracked[..., 3],
        top_ids=top_ids,
        top_probabilities=column("top_probabilities")[order],
        top_letters=np.isin(top_ids, written),
        source_mass=tracked[..., 0],
        target_mass=tracked[..., 1],
        pivot_mass=tracked[..., 2],
        source_ids=tuple(sets[0]),
        target_ids=tuple(sets[1]),
        pivot_ids=tuple(sets[2]),
    )


def _has_letter(text: str) -> bool:
    """Whether a token may be a word or a part of one; bytes of a longer letter decode to replacement characters."""
    return any(unicodedata.category(character)[0] in "LM" or character == "\ufffd" for character in text)

"""All transplants at once: rows over one prefix, each entering the stack at its receiver layer."""

import contextlib
import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel

from lingraft.models.architecture import resolve
from lingraft.models.modelmap import ModelMap
from lingraft.models.reading import Run, attach
from lingraft.models.sites import Site
from lingraft.patching.pairs import Pairs
from lingraft.patching.prefill import Prefill
from lingraft.patching.rows import RowCache, row_attention
from lingraft.patching.sites import Operator, receiving_site, replace

NEVER: frozenset[int] = frozenset()


class Rows:
    """The state of many continuations after their first step.

    Args:
        model: The model.
        found: Its map.
        cache: The rows' keys and values.
        position: Position of the last prompt token.
        logits: `[R, V]` after it.
    """

    def __init__(
        self, model: PreTrainedModel, found: ModelMap, cache: RowCache, position: int, logits: torch.Tensor
    ) -> None:
        self.model, self.found, self.cache = model, found, cache
        self.position, self.logits = position, logits

    @torch.no_grad()
    def greedy(self, new_tokens: int, ends: Collection[int] = NEVER) -> list[list[int]]:
        """Decode all rows together; those that end leave the batch. The rows are used up.

        Args:
            new_tokens: Most tokens a row.
            ends: Tokens that end a row; they are its last.

        Returns:
            Tokens of each row.
        """
        return self.decode(new_tokens, ends, lambda logits: logits.argmax(dim=-1))

    @torch.no_grad()
    def decode(
        self, new_tokens: int, ends: Collection[int], pick: Callable[[torch.Tensor], torch.Tensor]
    ) -> list[list[int]]:
        """Decode all rows together with a rule for the next token. The rows are used up.

        Args:
            new_tokens: Most tokens a row.
            ends: Tokens that end a row; they are its last.
            pick: From logits `[rows, V]` to tokens `[rows]`.

        Returns:
            Tokens of each row.
        """
        current = pick(self.logits)
        texts: list[list[int]] = [[int(token)] for token in current]
        alive = np.arange(len(texts))
        for step in range(1, new_tokens):
            going = np.array([int(token) not in ends for token in current], dtype=bool)
            if not going.all():
                kept = torch.from_numpy(np.flatnonzero(going)).to(current.device)
                self.cache.keep(kept)
                alive, current = alive[going], current[kept]
            if not len(alive):
                break
            logits = _step(self.model, self.found, self.cache, current[:, None], self.position + step)
            current = pick(logits)
            for row, token in zip(alive, current.tolist(), strict=True):
                texts[row].append(token)
        return texts

    def repeat(self, times: int) -> "Rows":
        """Every row several times, one after the other, to be decoded differently; these rows stay as they are.

        Args:
            times: Copies of each.

        Returns:
            The copies.
        """
        index = torch.arange(len(self.logits), device=self.logits.device).repeat_interleave(times)
        cache = self.cache.copy()
        cache.keep(index)
        return Rows(self.model, self.found, cache, self.position, self.logits[index])

    @torch.no_grad()
    def log_likelihoods(self, continuations: Sequence[Sequence[int]]) -> torch.Tensor:
        """Score given continuations after every row; the rows stay as they are.

        Args:
            continuations: Tokens of each.

        Returns:
            float32 `[R, continuations]`: the sum of their tokens' log-probabilities, nats.
        """
        found = torch.empty(len(self.logits), len(continuations), device=self.logits.device)
        self._follow(continuations, list(range(len(continuations))), self.cache, self.logits, 0, 0.0, found)
        return found

    def _follow(
        self,
        continuations: Sequence[Sequence[int]],
        members: Sequence[int],
        cache: RowCache,
        logits: torch.Tensor,
        depth: int,
        before: torch.Tensor | float,
        found: torch.Tensor,
    ) -> None:
        """Score the tokens at this depth; continuations that begin alike take a step together (` (1)` and ` (2)`)."""
        said = torch.log_softmax(logits.float(), dim=-1)
        for token in dict.fromkeys(continuations[member][depth] for member in members):
            total = before + said[:, token]
            alike = [member for member in members if continuations[member][depth] == token]
            going = [member for member in alike if len(continuations[member]) > depth + 1]
            for member in set(alike) - set(going):
                found[:, member] = total
            if going:
                after = cache.copy()
                given = torch.full((len(total), 1), token, device=total.device)
                following = _step(self.model, self.found, after, given, self.position + depth + 1)
                self._follow(continuations, going, after, following, depth + 1, total, found)


@torch.no_grad()
def transplant_all(
    model: PreTrainedModel,
    receiver: Prefill,
    donors: Sequence[Prefill],
    pairs: Pairs,
    sites: Sequence[Site],
    operator: Operator = replace,
) -> Rows:
    """Take the last prompt token through the model once for every pair.

    A row does nothing before its receiver layer, so it joins the batch there: N x N pairs pass N(N + 1)/2 layers
    each N times, not N times N times N.

    Args:
        model: A causal LM of a known architecture, in evaluation mode.
        receiver: The receiving prompt.
        donors: The donor prompts, each with all `sites`.
        pairs: The rows.
        sites: What `pairs.site` counts.
        operator: How a donor's value meets the receiver's own.

    Returns:
        The rows, with logits after the last prompt token.

    Raises:
        ArchitectureError: The architecture is unknown.
    """
    found = resolve(model)
    active = pairs.entered_by(len(found.layers))
    cache = RowCache.of_prompt(found, receiver.prefix)
    run = Run("all", None)
    run.active = True
    with contextlib.ExitStack() as stack:
        for layer in range(len(found.layers)):
            for number, site in enumerate(sites):
                chosen = np.flatnonzero((pairs.receiver_layer == layer) & (pairs.site == number))
                if len(chosen):
                    change = _change(chosen, _values(donors, pairs, chosen, site), operator)
                    place = receiving_site(site)
                    attach(stack, found, found.layers[layer], place, run=run, observe=change, first=True)
        _let_rows_in(stack, found, receiver.entering, active)
        with row_attention(model, found, cache):
            position = len(receiver.ids) - 1
            hidden = _forward(found.entry, cache, receiver.ids[-1:, None], position)
    _complete(cache, receiver, active, len(pairs))
    return Rows(model, found, cache, position, found.logits_of(hidden[: len(pairs), 0]))


@torch.no_grad()
def plain_rows(model: PreTrainedModel, prompt: Prefill) -> Rows:
    """Make the prompt's own run a batch of one row, nothing transplanted.

    Args:
        model: The model.
        prompt: What `prefill` made.

    Returns:
        One row.
    """
    found = resolve(model)
    cache = RowCache.of_prompt(found, prompt.prefix)
    for layer, (keys, values) in zip(cache.row_layers, prompt.last, strict=True):
        layer.set_own(keys, values)
    return Rows(model, found, cache, len(prompt.ids) - 1, prompt.logits[None])


def _values(donors: Sequence[Prefill], pairs: Pairs, chosen: NDArray[np.int64], site: Site) -> torch.Tensor:
    """`[chosen, d_model]` of the donors."""
    stacked = torch.stack([donor.sites[site] for donor in donors])
    return stacked[torch.from_numpy(pairs.donor[chosen]), torch.from_numpy(pairs.donor_layer[chosen])]


def _change(
    chosen: NDArray[np.int64], values: torch.Tensor, operator: Operator
) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(current: torch.Tensor) -> torch.Tensor:
        rows = torch.from_numpy(chosen).to(current.device)
        result = current.clone()
        result[rows, 0] = operator(current[rows, 0], values.to(current)).to(current)
        return result

    return change


def _let_rows_in(
    stack: contextlib.ExitStack, found: ModelMap, entering: torch.Tensor, active: NDArray[np.int64]
) -> None:
    """Before each layer put the rows that begin there behind those that are on their way."""

    def hook(layer: int) -> Any:
        before, now = int(active[layer - 1]) if layer else 0, int(active[layer])

        def grow(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            hidden = args[0] if args else kwargs["hidden_states"]
            # While no row has begun yet, the unpatched token goes through alone, as a batch must not be empty.
            new = entering[layer].expand(max(now - before, int(now == 0)), 1, -1)
            grown = torch.cat([hidden[:before], new]) if before else new
            kwargs = {**kwargs, **_as_many(kwargs, len(grown))}
            return ((grown, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": grown})

        return grow

    for layer in range(len(found.layers)):
        module = found.layers[layer].layer
        # Ahead of the patches' own hooks, which must see the rows that begin here.
        stack.callback(module.register_forward_pre_hook(hook(layer), with_kwargs=True, prepend=True).remove)


def _as_many(kwargs: dict[str, Any], rows: int) -> dict[str, Any]:
    """BLOOM's bias comes once for a batch of one row; it has no other argument that grows with the batch."""
    alibi = kwargs.get("alibi")
    return {} if alibi is None else {"alibi": alibi.repeat(rows, 1, 1)}


def _complete(cache: RowCache, receiver: Prefill, active: NDArray[np.int64], rows: int) -> None:
    """Give rows the unpatched token's keys and values in the layers before they began."""
    for layer, last, begun in zip(cache.row_layers, receiver.last, active.tolist(), strict=True):
        keys, values = (
            torch.cat([mine[:begun], plain.expand(rows - begun, -1, -1, -1)])
            for mine, plain in zip(layer.own(), last, strict=True)
        )
        layer.set_own(keys, values)


def _step(
    model: PreTrainedModel, found: ModelMap, cache: RowCache, tokens: torch.Tensor, position: int
) -> torch.Tensor:
    """`[R, V]` logits after one more token `[R, 1]` of every row."""
    with row_attention(model, found, cache):
        hidden = _forward(found.entry, cache, tokens, position)
    return found.logits_of(hidden[:, 0])


def _forward(entry: nn.Module, cache: RowCache, tokens: torch.Tensor, position: int) -> torch.Tensor:
    options: dict[str, Any] = {}
    if "position_ids" in inspect.signature(entry.forward).parameters:
        # One row of positions for all: rotary tables then broadcast over any number of rows.
        options["position_ids"] = torch.tensor([[position]], device=tokens.device)
    output = entry(input_ids=tokens, past_key_values=cache, use_cache=True, **options)
    hidden: torch.Tensor = output.last_hidden_state
    return hidden


def chunks(total: int, size: int) -> Iterator[tuple[int, int]]:
    """Begin and end of consecutive pieces of at most `size`."""
    for begin in range(0, total, size):
        yield begin, min(total, begin + size)

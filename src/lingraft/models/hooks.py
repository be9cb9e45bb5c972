"""Read and replace activations during ordinary forward calls: `capture()` and `patch()`, over forward hooks.

Both are context managers; hooks go when the block ends, by an exception too. They work with any way of calling
the model, `generate` and caches included. By default they act on the first forward call in the block, which in
`generate` is the prefill: later steps run untouched, but keys and values of a patched position stay as they came.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from lingraft.errors import ConfigError, ModelError
from lingraft.models.architecture import resolve
from lingraft.models.reading import Calls, Captured, Observe, Run, attach, capture_with
from lingraft.models.sites import Positions, Site, SiteName, check_layers

Combine = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _replace(_: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return value


@dataclass(frozen=True, slots=True)
class Patch:
    """One replacement.

    Attributes:
        site: Where. To move what the released XTransplant code stores at the attention level, capture
            `attn_official` and patch with it: the stream after attention then is the given value.
        layer: The layer to enter at.
        value: `[batch, d_model]`, `[batch, k, d_model]`, or anything that broadcasts to the chosen rows' positions.
        positions: As in `capture`, but for `all` the value must fit the call's length.
        rows: The batch rows to patch; None for all. `value` then has one row for each of them.
        combine: Given the current values and `value` (both `[rows, k, d_model]`), what to put there.
    """

    site: Site | SiteName
    layer: int
    value: torch.Tensor
    positions: Positions = "last"
    rows: Sequence[int] | None = None
    combine: Combine = _replace


@contextlib.contextmanager
def capture(
    model: PreTrainedModel,
    sites: Iterable[Site | SiteName],
    layers: Iterable[int] | None = None,
    positions: Positions = "last",
    *,
    calls: Calls = "first",
) -> Iterator[Captured]:
    """Keep the activations of forward calls inside the block; values are detached copies, patches included.

    Args:
        model: A causal LM of a known architecture.
        sites: What to read; a bare name means its `output` view.
        layers: Which layers, in any order; None for all.
        positions: `last` token by the attention mask, `all`, or indices `[batch]` or `[batch, k]` within the call.
        calls: `first` forward call only, or `all`.

    Yields:
        A `Captured`, filled as the model is called.

    Raises:
        ArchitectureError: The architecture is unknown.
        ConfigError: A site or layer does not exist.
        ModelError: Positions cannot be resolved (from the forward call).
    """
    found = resolve(model)
    chosen = [site if isinstance(site, Site) else Site(site) for site in sites]
    numbers = check_layers(range(len(found.layers)) if layers is None else layers, len(found.layers))
    padding = getattr(model.config.get_text_config(), "pad_token_id", None)
    with capture_with(found, chosen, numbers, positions, calls=calls, padding_id=padding) as captured:
        yield captured


@contextlib.contextmanager
def patch(model: PreTrainedModel, patches: Sequence[Patch], *, calls: Calls = "first") -> Iterator[None]:
    """Replace activations in forward calls inside the block.

    Several patches of one place apply in their order. A `capture` of the same block sees patched values. In parallel
    architectures (Phi, GPT-NeoX) a patch of attention does not reach the mlp of its layer.

    Args:
        model: A causal LM of a known architecture.
        patches: What to put where.
        calls: `first` forward call only, or `all`.

    Yields:
        Nothing.

    Raises:
        ArchitectureError: The architecture is unknown.
        ConfigError: A site or layer does not exist, or a value has another width.
        ModelError: Positions cannot be resolved, or a value does not fit (from the forward call).
    """
    found = resolve(model)
    run = Run(calls, getattr(model.config.get_text_config(), "pad_token_id", None))
    check_layers((item.layer for item in patches), len(found.layers))
    for item in patches:
        if item.value.shape[-1] != found.d_model:
            raise ConfigError(
                f"a patch of width {item.value.shape[-1]}",
                f"the model's width {found.d_model}",
                "capture the value from a model of the same width",
            )

    def change(item: Patch) -> Observe:
        return lambda current: _changed(current, item, run)

    with contextlib.ExitStack() as stack:
        begin = found.entry.register_forward_pre_hook(run.begin, with_kwargs=True, prepend=True)
        stack.callback(begin.remove)
        # Each hook goes before those already there, so that a capture sees what the patch made.
        for item in reversed(patches):
            site = item.site if isinstance(item.site, Site) else Site(item.site)
            attach(stack, found, found.layers[item.layer], site, run=run, observe=change(item), first=True)
        yield


def _changed(current: torch.Tensor, item: Patch, run: Run) -> torch.Tensor:
    """Return `current` `[batch, tokens, d_model]` with the patch in it."""
    batch, length = current.shape[:2]
    index = run.indices(item.positions)
    if index is None:
        index = torch.arange(length, device=current.device).expand(batch, -1)
    rows = torch.arange(batch) if item.rows is None else torch.as_tensor(item.rows).long()
    if bool(((rows < 0) | (rows >= batch)).any()):
        raise ModelError(f"patch rows {rows.tolist()}", f"rows 0 to {batch - 1}", "give rows of this batch")
    rows = rows.to(current.device)
    chosen = index.to(current.device)[rows]
    value = item.value.to(current)
    value = value[:, None] if value.dim() == 2 else value
    result = current.clone()
    before = result[rows[:, None], chosen]
    try:
        after = item.combine(before, value.expand_as(before))
        result[rows[:, None], chosen] = after.to(current)
    except RuntimeError as error:
        raise ModelError(
            f"a patch value of shape {list(item.value.shape)}",
            f"one that fits {list(before.shape)} (rows, positions, width)",
            "give one row for each patched batch row",
        ) from error
    return result

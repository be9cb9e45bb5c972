"""The machinery under `capture()` and `patch()`: which forward call, which module, and what its values mean."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from lingraft.errors import ModelError
from lingraft.models.modelmap import LayerMap, ModelMap
from lingraft.models.sites import Positions, Site, SiteName, call_arguments, resolve_positions

Calls = Literal["first", "all"]
Observe = Callable[[torch.Tensor], torch.Tensor | None]


@dataclass(slots=True)
class Captured:
    """What a capture has read: index it by site, or by the name of a site in view `output`.

    Attributes:
        layers: The layers, in the order asked for.
        calls: For each forward call that was read: site and layer to values.
    """

    layers: tuple[int, ...]
    calls: list[dict[tuple[Site, int], torch.Tensor]] = field(default_factory=list)

    def __getitem__(self, site: Site | SiteName) -> torch.Tensor:
        """Return the first call's values, `[layers, batch, d_model]`, or `[layers, batch, k, d_model]`."""
        return self.of_call(site, 0)

    def of_call(self, site: Site | SiteName, call: int) -> torch.Tensor:
        """Return one forward call's values.

        Args:
            site: A captured site.
            call: The call's number from 0.

        Returns:
            `[layers, batch, d_model]` for one position a row, else `[layers, batch, k, d_model]`.

        Raises:
            ModelError: There was no such call, or the site was not captured.
        """
        wanted = site if isinstance(site, Site) else Site(site)
        if call >= len(self.calls):
            raise ModelError(
                f"{len(self.calls)} forward calls captured",
                f"call {call} among them",
                "call the model inside the block, and read after the call",
            )
        if (wanted, self.layers[0]) not in self.calls[call]:
            raise ModelError(f"no capture of {wanted}", "a captured site", "name it in capture()")
        return torch.stack([self.calls[call][wanted, layer] for layer in self.layers])


@dataclass(slots=True)
class Run:
    """Which forward call is going on, and the arguments that positions are resolved from."""

    calls: Calls
    padding_id: int | None
    count: int = 0
    active: bool = False
    arguments: dict[str, Any] = field(default_factory=dict)
    resolved: dict[int, torch.Tensor | None] = field(default_factory=dict)

    def begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note a forward call; a forward pre-hook of the entry module."""
        self.resolved.clear()
        self.active = self.calls == "all" or self.count == 0
        self.count += 1
        self.arguments = call_arguments(module, args, kwargs) if self.active else {}

    def indices(self, positions: Positions) -> torch.Tensor | None:
        """Return token indices `[batch, k]` in the current call, or None for all; found once a call."""
        key = id(positions)
        if key not in self.resolved:
            self.resolved[key] = resolve_positions(positions, self.arguments, self.padding_id)
        return self.resolved[key]


@contextlib.contextmanager
def capture_with(
    found: ModelMap,
    sites: Sequence[Site],
    layers: Iterable[int],
    positions: Positions,
    *,
    calls: Calls = "first",
    padding_id: int | None = None,
) -> Iterator[Captured]:
    """Do what `capture` does for a resolved map; the architecture's own check uses it.

    Args:
        found: The hook points.
        sites: What to read.
        layers: Which layers.
        positions: As in `capture`.
        calls: As in `capture`.
        padding_id: The model's padding id.

    Yields:
        A `Captured`.
    """
    captured = Captured(tuple(layers))
    run = Run(calls, padding_id)

    def begin(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        run.begin(module, args, kwargs)
        if run.active:
            captured.calls.append({})

    def keep(site: Site, layer: int) -> Observe:
        def observe(current: torch.Tensor) -> None:
            index = run.indices(positions)
            values = current.detach() if index is None else current.detach()[_rows(index), index]
            single = index is not None and (isinstance(positions, str) or positions.dim() == 1)
            captured.calls[-1][site, layer] = (values.squeeze(1) if single else values).clone()

        return observe

    with contextlib.ExitStack() as stack:
        stack.callback(found.entry.register_forward_pre_hook(begin, with_kwargs=True).remove)
        for layer in dict.fromkeys(captured.layers):
            for site in sites:
                attach(
                    stack, found, found.layers[layer], site, run=run, observe=keep(site, layer), first=False
                )
        yield captured


def _rows(index: torch.Tensor) -> torch.Tensor:
    return torch.arange(index.shape[0], device=index.device)[:, None]


def _hidden(output: Any) -> torch.Tensor:
    tensor: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return tensor


def _with_hidden(output: Any, hidden: torch.Tensor) -> Any:
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def attach(
    stack: contextlib.ExitStack,
    found: ModelMap,
    layer: LayerMap,
    site: Site,
    *,
    run: Run,
    observe: Observe,
    first: bool,
) -> None:
    """Register the hooks of one site in one layer; `observe` gets its values and may return others.

    The only place that knows how sites and architectures meet.
    """
    entering: list[torch.Tensor] = []

    def at_layer(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not run.active:
            return None
        hidden = args[0] if args else kwargs["hidden_states"]
        entering[:] = [hidden]
        new = observe(hidden) if site.name == "resid_in" else None
        if new is None:
            return None
        return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})

    def at_output(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        if not run.active:
            return None
        hidden = _hidden(output)
        shift: torch.Tensor | None = None
        if site.name == "attn_official" and not found.residual_inside:
            shift = entering[0]
        elif site.view == "contribution" and found.residual_inside and site.name in ("attn", "ffn"):
            shift = -call_arguments(module, args, kwargs)["residual"]
        shown = hidden if shift is None else hidden + shift
        new = observe(shown)
        if new is None:
            return None
        if shift is not None:
            # What the patch left alone stays bit for bit: adding and subtracting would round it.
            new = torch.where(new == shown, hidden, new - shift)
        return _with_hidden(output, new)

    if site.name in ("resid_in", "attn_official"):
        # A stash must come after patches of the layer's input, so only a patch of that input goes first.
        ahead = first and site.name == "resid_in"
        stack.callback(
            layer.layer.register_forward_pre_hook(at_layer, with_kwargs=True, prepend=ahead).remove
        )
    if site.name == "resid_in":
        return
    if site.name == "resid":
        target = layer.layer
    elif site.name == "attn_official":
        target = layer.attention_contribution
    elif site.view == "output":
        target = layer.attention if site.name == "attn" else layer.mlp
    else:
        target = layer.attention_contribution if site.name == "attn" else layer.mlp_contribution
    stack.callback(target.register_forward_hook(at_output, with_kwargs=True, prepend=first).remove)

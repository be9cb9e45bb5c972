"""Resolve a model's hook points by the adapter table, and prove on a tiny forward that they are what they say."""

import math
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lingraft.errors import ArchitectureError, ModelError
from lingraft.models.adapters import ADAPTERS, Adapter
from lingraft.models.modelmap import LayerMap, ModelMap
from lingraft.models.reading import capture_with
from lingraft.models.sites import Site

if TYPE_CHECKING:
    # Annotations alone need it, and it is slow to import.
    from transformers import PreTrainedModel

_RESOLVED: "weakref.WeakKeyDictionary[PreTrainedModel, ModelMap]" = weakref.WeakKeyDictionary()


def resolve(model: "PreTrainedModel") -> ModelMap:
    """Return the model's hook points; the first call for a model runs it on three tokens to check them.

    Checked: every path leads to a module; each is called as the row says; the layer's input plus the two
    contributions is its output; the last layer's output through final norm and head gives the model's logits.

    Args:
        model: A causal LM. Its mode (training or evaluation) is left as it is.

    Returns:
        The resolved map, kept for as long as the model lives.

    Raises:
        ArchitectureError: The architecture is not in the table, or this model departs from its row.
        ModelError: Its weights give NaN.
    """
    found = _RESOLVED.get(model)
    if found is None:
        adapter = ADAPTERS.get(str(model.config.model_type))
        if adapter is None:
            raise ArchitectureError(
                f"architecture {model.config.model_type!r} ({type(model).__name__})",
                f"one of {', '.join(sorted(ADAPTERS))}",
                "use a model of one of these, or add a row to lingraft/models/adapters.py",
            )
        found = _look_up(model, adapter)
        _probe(model, found)
        _RESOLVED[model] = found
    return found


def final_norm(model: "PreTrainedModel") -> nn.Module:
    """Return the norm between the last layer and the head, for the logit lens.

    Args:
        model: A causal LM of a known architecture.

    Returns:
        A module on `[..., d_model]`.

    Raises:
        ArchitectureError: The architecture is unknown.
    """
    return resolve(model).final_norm


def head(model: "PreTrainedModel") -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what turns normed states into logits, soft cap included, for the logit lens.

    Args:
        model: A causal LM of a known architecture.

    Returns:
        A function from `[..., d_model]` to `[..., rows]`.

    Raises:
        ArchitectureError: The architecture is unknown.
    """
    return resolve(model).logits_of


def attention_parameters(model: "PreTrainedModel") -> dict[str, nn.Parameter]:
    """Return the parameters of all layers' attention projections (q, k, v, o; weights and biases) by name.

    Args:
        model: A causal LM of a known architecture.

    Returns:
        Names as in `model.named_parameters()`, in that order.

    Raises:
        ArchitectureError: The architecture is unknown.
    """
    wanted = {
        id(parameter)
        for layer in resolve(model).layers
        for projection in layer.projections.values()
        for parameter in projection.parameters()
    }
    return {name: parameter for name, parameter in model.named_parameters() if id(parameter) in wanted}


def _refuse(model: "PreTrainedModel", what: str) -> ArchitectureError:
    return ArchitectureError(
        f"{type(model).__name__} ({model.config.model_type}): {what}",
        "the module layout that transformers 5 gives this architecture",
        "use an unmodified model of the architecture, or report the model so that its row can be corrected",
    )


def _look_up(model: "PreTrainedModel", adapter: Adapter) -> ModelMap:
    """Follow every path of the row."""

    def module(root: nn.Module, path: str, where: str = "") -> nn.Module:
        try:
            return root.get_submodule(path)
        except AttributeError as error:
            raise _refuse(model, f"no module at {where}{path}") from error

    config = model.config.get_text_config()
    stack = list(module(model, adapter.layers).children())
    if len(stack) != config.num_hidden_layers:
        raise _refuse(
            model, f"{len(stack)} layers at {adapter.layers}, {config.num_hidden_layers} in the config"
        )
    layers = []
    for index, layer in enumerate(stack):
        where = f"{adapter.layers}.{index}."
        for path in (adapter.attention_norm, adapter.mlp_norm):
            if path is not None:
                module(layer, path, where)
        attention, mlp = module(layer, adapter.attention, where), module(layer, adapter.mlp, where)
        layers.append(
            LayerMap(
                index=index,
                layer=layer,
                attention=attention,
                mlp=mlp,
                attention_contribution=module(layer, adapter.attention_post_norm or adapter.attention, where),
                mlp_contribution=module(layer, adapter.mlp_post_norm or adapter.mlp, where),
                projections={
                    role: module(attention, path, f"{where}{adapter.attention}.")
                    for role, path in adapter.projections
                },
                window=_window(config, index),
            )
        )
    parallel = adapter.parallel
    return ModelMap(
        model_type=str(model.config.model_type),
        entry=module(model, adapter.entry),
        embedding=module(model, adapter.embedding),
        layers=tuple(layers),
        final_norm=module(model, adapter.final_norm),
        head=module(model, adapter.head),
        softcap=getattr(config, "final_logit_softcapping", None),
        parallel=bool(getattr(config, parallel)) if isinstance(parallel, str) else parallel,
        residual_inside=adapter.residual_inside,
        alibi=adapter.alibi,
        d_model=int(config.hidden_size),
    )


def _window(config: Any, index: int) -> int | None:
    """Return the sliding window of a layer by what the config says of it."""
    window = getattr(config, "sliding_window", None)
    types = getattr(config, "layer_types", None)
    if types is not None and types[index] != "sliding_attention":
        return None
    return None if window is None else int(window)


def _probe(model: "PreTrainedModel", found: ModelMap) -> None:
    """Run three tokens and compare what the hook points give with what they must add up to."""
    rows = int(model.config.get_text_config().vocab_size)
    tokens = torch.tensor([[i % rows for i in (3, 7, 11)]], device=next(found.embedding.parameters()).device)
    sites = (Site("resid_in"), Site("resid"), Site("attn", "contribution"), Site("ffn", "contribution"))
    training = model.training
    model.train(False)
    try:
        with torch.no_grad(), capture_with(found, sites, range(len(found.layers)), "all") as captured:
            logits = model(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False).logits
            parts = [captured[site].float() for site in sites]
            lens = found.logits_of(found.final_norm(captured[sites[1]][-1])).float()
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise _refuse(model, f"the probe failed ({type(error).__name__}: {error})".splitlines()[0]) from error
    finally:
        model.train(training)
    entering, leaving, attention, feed_forward = parts
    precision = torch.finfo(model.dtype).eps
    checks = (
        (
            "layer input + contributions is not the layer's output",
            entering + attention + feed_forward,
            leaving,
        ),
        ("final norm and head of the last layer do not give the logits", lens, logits.float()),
    )
    for what, value, expected in checks:
        gap = float((value - expected).abs().max() / expected.abs().max().clamp_min(1e-6))
        if not math.isfinite(gap):
            raise ModelError(
                f"{type(model).__name__}, whose states are not finite on a probe of three tokens",
                "finite weights",
                "use a checkpoint from before its training diverged",
            )
        if not gap < max(64 * precision, 1e-4):
            raise _refuse(model, f"{what} (relative difference {gap:.1e})")

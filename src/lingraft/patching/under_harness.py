"""lm-eval under one fixed transplant: every context of a task is a receiver, and has a donor prompt."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch

from lingraft.errors import ConfigError
from lingraft.evaluation.harness import harness_lm
from lingraft.evaluation.harness_calls import ModelCall
from lingraft.models.architecture import resolve
from lingraft.models.hooks import Patch, patch
from lingraft.models.loading import LoadedModel
from lingraft.models.sites import Site, check_layers
from lingraft.patching.generate import donor_states
from lingraft.patching.prefill import check_length
from lingraft.patching.sites import Operator, mean_donor, patch_site, receiving_site, replace

Donors = Mapping[str, str | Sequence[str]] | Callable[[str], str | Sequence[str] | None]
"""From a context to its donor prompt, or to several (languages) whose mean is taken."""

Missing = Literal["refuse", "vanilla"]
Number = TypeVar("Number")

KEPT = 4096
"""Donor prompts whose values are kept: a context comes once for each of its options, in other batches too."""


def transplanted_lm(
    loaded: LoadedModel,
    donors: Donors,
    *,
    site: Site | str,
    donor_layer: int,
    receiver_layer: int,
    operator: Operator = replace,
    missing: Missing = "refuse",
    batch_size: int = 8,
    max_length: int | None = None,
    add_bos_token: bool | None = None,
    progress: bool = False,
) -> Any:
    """Make an lm-eval model that answers every request under one transplant.

    What is patched is the context's last token: where a continuation is scored, not the last token of both, and not
    the blanks at the context's end, which lm-eval scores with the continuation. In generation the patch is made in the
    prefill, as in `generate`. Donors are read from the prompts as lm-eval would tokenise them.

    Args:
        loaded: A causal LM of a known architecture, with its tokenizer.
        donors: A donor prompt for every context, as the task makes it: with its few-shot examples, and in the chat
            template if there is one (`read_contexts` and `pair_contexts` make this of two tasks).
        site: What is transplanted: a site, or its name in `PATCH_SITES`.
        donor_layer: Where it is taken.
        receiver_layer: Where it is put.
        operator: How the two meet.
        missing: What becomes of a context without a donor, and of texts that are scored without a context (rolling
            likelihoods): `refuse` all before the first call, or run those unpatched (`vanilla`), counted as
            `unpatched` calls' rows in `lm.counts`.
        batch_size: Rows of a call.
        max_length: Most tokens of a row; None for the model's context.
        add_bos_token: As in `harness_lm`.
        progress: Show a bar.

    Returns:
        An `lm_eval.api.model.LM`.

    Raises:
        MissingExtraError: lm-eval is missing.
        ArchitectureError: The architecture is unknown.
        ConfigError: A site or layer does not exist, or `missing` is neither; later, when requests come: a context has
            no donor, or a donor prompt is empty or too long.
    """
    found = resolve(loaded.model)
    check_layers([donor_layer, receiver_layer], len(found.layers))
    if missing not in ("refuse", "vanilla"):
        raise ConfigError(f"missing={missing!r}", "refuse or vanilla", "give one of these")
    counts: Counter[str] = Counter()
    transplants = _Transplants(
        loaded=loaded,
        donors=donors,
        site=patch_site(site) if isinstance(site, str) else site,
        donor_layer=donor_layer,
        receiver_layer=receiver_layer,
        operator=operator,
        missing=missing,
        batch_size=batch_size,
        counts=counts,
    )
    return harness_lm(
        loaded,
        around=transplants.around,
        before=transplants.check,
        counts=counts,
        batch_size=batch_size,
        max_length=max_length,
        add_bos_token=add_bos_token,
        progress=progress,
    )


def pair_contexts(receivers: Mapping[Number, str], donors: Mapping[Number, str]) -> dict[str, str]:
    """Pair the contexts of two tasks that ask the same in two languages.

    Args:
        receivers: What `read_contexts` gives for the task to be run.
        donors: The same for the other, row by row.

    Returns:
        From a receiver's context to its donor prompt.

    Raises:
        ConfigError: The tasks have other documents, or a context would have two donors.
    """
    if receivers.keys() != donors.keys():
        raise ConfigError(
            f"{len(receivers)} requests of one task and {len(donors)} of the other",
            "the same documents in both, in the same order",
            "take two tasks whose rows belong together",
        )
    pairs: dict[str, str] = {}
    for number, context in receivers.items():
        if pairs.setdefault(context, donors[number]) != donors[number]:
            raise ConfigError(
                f"two donor prompts for {_beginning(context)}", "one", "leave one of the documents out"
            )
    return pairs


@dataclass(slots=True)
class _Transplants:
    """What to do around every call; remembers donors' values."""

    loaded: LoadedModel
    donors: Donors
    site: Site
    donor_layer: int
    receiver_layer: int
    operator: Operator
    missing: Missing
    batch_size: int
    counts: Counter[str]
    known: OrderedDict[tuple[int, ...], torch.Tensor] = field(default_factory=OrderedDict)

    def check(self, contexts: Sequence[str | None]) -> None:
        """Refuse early what would end a long run in its middle."""
        texts = {context: self._texts(context) for context in dict.fromkeys(contexts)}
        for text in dict.fromkeys(text for several in texts.values() for text in several or ()):
            tokenizer: Any = self.loaded.tokenizer
            check_length(self.loaded.model, len(tokenizer(text)["input_ids"]) or 1)
        lacking = [context for context, several in texts.items() if several is None]
        if self.missing == "vanilla" or not lacking:
            return
        if None in lacking:
            raise ConfigError(
                "texts that are scored whole (a rolling likelihood), without a context to patch",
                "contexts",
                'leave that task out, or give missing="vanilla"',
            )
        raise ConfigError(
            f"no donor prompt for {len(lacking)} of {len(texts)} contexts, the first"
            f" {_beginning(lacking[0] or '')}",
            "one for each",
            'add them, or give missing="vanilla"',
        )

    @contextmanager
    def around(self, call: ModelCall) -> Iterator[None]:
        """Patch one call."""
        texts = [self._texts(context) for context in call.contexts]
        rows = [row for row, given in enumerate(texts) if given is not None]
        self.counts["unpatched"] += len(texts) - len(rows)
        if not rows:
            yield
            return
        prompts = [[tuple(call.encode(text)) for text in texts[row] or ()] for row in rows]
        known = self._read([ids for several in prompts for ids in several])
        values = torch.stack([mean_donor([known[ids] for ids in several]) for several in prompts])
        one = Patch(
            receiving_site(self.site),
            self.receiver_layer,
            values,
            positions=call.positions,
            rows=rows,
            combine=self.operator,
        )
        with patch(self.loaded.model, [one]):
            yield

    def _texts(self, context: str | None) -> tuple[str, ...] | None:
        if context is None:
            return None
        found = self.donors(context) if callable(self.donors) else self.donors.get(context)
        if found is None:
            return None
        several = (found,) if isinstance(found, str) else tuple(found)
        if not several or (context.strip() and not all(text.strip() for text in several)):
            raise ConfigError(
                f"an empty donor prompt for {_beginning(context)}", "at least one token", "correct it"
            )
        return several

    def _read(self, prompts: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], torch.Tensor]:
        """Each prompt's value `[d_model]`, in as few forwards as batches of new ones."""
        found = {ids: self.known[ids] for ids in prompts if ids in self.known}
        new = [ids for ids in dict.fromkeys(prompts) if ids not in found]
        for begin in range(0, len(new), self.batch_size):
            part = new[begin : begin + self.batch_size]
            values = donor_states(
                self.loaded.model, self.loaded.tokenizer, part, site=self.site, layer=self.donor_layer
            )
            found |= zip(part, values.unbind(), strict=True)
        for ids, value in found.items():
            self.known[ids] = value
            self.known.move_to_end(ids)
        while len(self.known) > KEPT:
            self.known.popitem(last=False)
        return found


def _beginning(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}...")

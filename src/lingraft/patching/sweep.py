"""The whole map of one instance: every site, donor and layer pair, scored."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from lingraft.errors import ConfigError
from lingraft.models.architecture import resolve
from lingraft.models.sites import Site
from lingraft.patching.engine import plain_rows, transplant_all
from lingraft.patching.memory import needing, reading_bytes, shrinking
from lingraft.patching.pairs import Pairs, all_pairs
from lingraft.patching.plan import own_tokens, row_bytes, rows_within
from lingraft.patching.prefill import Prefill, check_length, prefill
from lingraft.patching.prompts import Prompt
from lingraft.patching.sampling import instance_seed, sample_answers
from lingraft.patching.scoring import Judge, Score, Scored, join, score_rows
from lingraft.patching.sites import find_operator, mean_donor, patch_site

Control = Literal["none", "self", "noise"]
CONTROLS: tuple[str, ...] = ("none", "self", "noise")


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """What a sweep does with every instance.

    Attributes:
        sites: Names of `PATCH_SITES`.
        score: What is read from a row.
        operator: What `find_operator` takes.
        donor_layers: Only these; None for all.
        receiver_layers: Only these; None for all.
        new_tokens: Most tokens of a generated text (the paper's 20).
        mean_donors: Average the donor languages into one donor, numbered -1.
        control: A chance control in the donors' place: `self`, the receiving prompt as its own donor; `noise`, random
            directions at the donors' lengths. For donors of other instances see `shuffle_donors`.
        samples: Answers drawn from the unpatched model beside the map, as a control.
        temperature: Of these draws.
        memory_bytes: Memory that rows may take.
        seed: Of noise and samples.
    """

    sites: tuple[str, ...] = ("ffn",)
    score: Score = "first-token"
    operator: str = "replace"
    donor_layers: tuple[int, ...] | None = None
    receiver_layers: tuple[int, ...] | None = None
    new_tokens: int = 20
    mean_donors: bool = False
    control: Control = "none"
    samples: int = 0
    temperature: float = 1.0
    memory_bytes: int = 2**31
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.sites:
            patch_site(name)
        find_operator(self.operator)
        if not self.sites or len(set(self.sites)) < len(self.sites):
            raise ConfigError(f"sites {', '.join(self.sites)}", "each site once", "name at least one")
        if self.control not in CONTROLS:
            raise ConfigError(f"--control {self.control}", f"one of {', '.join(CONTROLS)}", "name one")
        if self.new_tokens < 1:
            raise ConfigError(f"--new-tokens {self.new_tokens}", "at least 1", "give a larger number")
        if self.samples < 0 or not 0 < self.temperature < math.inf:
            raise ConfigError(
                f"--samples {self.samples} at --temperature {self.temperature:g}",
                "no negative number of samples, and a temperature above 0",
                "correct them",
            )


@dataclass(frozen=True, slots=True)
class InstanceMap:
    """The answers of one instance.

    Attributes:
        instance: Its id.
        pairs: The rows' sites, donors and layers.
        rows: Their answers.
        vanilla: The receiver's own answer, one row.
        donors: Each donor prompt's own answer.
        samples: bool `[S]`, which answers drawn from the unpatched model are right; None where none were drawn, or
            no answer is known.
    """

    instance: str
    pairs: Pairs
    rows: Scored
    vanilla: Scored
    donors: Scored
    samples: NDArray[np.bool_] | None = None


def instance_pairs(model: PreTrainedModel, settings: SweepSettings, donors: int) -> Pairs:
    """The rows of every instance.

    Args:
        model: The model.
        settings: The sweep.
        donors: Donor languages of an instance.

    Returns:
        The rows.

    Raises:
        ConfigError: A layer that the model does not have.
        ArchitectureError: The architecture is unknown.
    """
    return all_pairs(
        len(resolve(model).layers),
        sites=len(settings.sites),
        donors=1 if settings.mean_donors or settings.control == "self" else donors,
        donor_layers=settings.donor_layers,
        receiver_layers=settings.receiver_layers,
    )


def sweep_instance(
    model: PreTrainedModel,
    tokenizer: Any,
    prompt: Prompt,
    settings: SweepSettings,
    *,
    judge: Judge | None = None,
) -> InstanceMap:
    """Transplant every pair of one instance and score it.

    Rows are computed in as large chunks as the budget allows; a chunk that does not fit after all is halved.

    Args:
        model: A causal LM of a known architecture, in evaluation mode.
        tokenizer: Its tokenizer, for texts.
        prompt: The instance.
        settings: The sweep.
        judge: Says which generated texts are right; None where no answer is known.

    Returns:
        The map.

    Raises:
        ConfigError: A prompt is longer than the context, or one row does not fit into memory.
    """
    own = own_tokens([prompt], settings.score, settings.new_tokens)
    read = [len(ids) for ids in (*prompt.donors, prompt.receiver)]
    for length in read:
        check_length(model, length, own - 1)
    where = f"{prompt.instance.id}, prompts of {' and '.join(map(str, read))} tokens"
    with needing(where, reading_bytes(model, sum(read)) + row_bytes(model, own)):
        return _swept(model, tokenizer, prompt, settings, judge, own)


def _swept(
    model: PreTrainedModel,
    tokenizer: Any,
    prompt: Prompt,
    settings: SweepSettings,
    judge: Judge | None,
    own_length: int,
) -> InstanceMap:
    """The map, from the first prefill to the donors' own answers."""
    sites = [patch_site(name) for name in settings.sites]
    receiver = prefill(model, prompt.receiver, sites if settings.control == "self" else ())
    own = [prefill(model, ids, sites) for ids in prompt.donors]
    donors = _donors(receiver, own, sites, prompt, settings)
    pairs = instance_pairs(model, settings, len(own))
    options = {
        "tokenizer": tokenizer,
        "new_tokens": settings.new_tokens,
        "ends": end_tokens(model),
        "judge": judge,
    }
    operator = find_operator(settings.operator)

    def run(begin: int, end: int) -> Scored:
        rows = transplant_all(model, receiver, donors, pairs.part(begin, end), sites, operator)
        return score_rows(rows, prompt, settings.score, **options)

    chunk = rows_within(model, own_length, settings.memory_bytes)
    answers = join(shrinking(run, len(pairs), min(len(pairs), chunk)))
    vanilla = score_rows(plain_rows(model, receiver), prompt, settings.score, **options)
    samples = None
    if settings.samples:
        samples = sample_answers(
            plain_rows(model, receiver),
            prompt,
            settings.score,
            samples=settings.samples,
            temperature=settings.temperature,
            seed=settings.seed,
            chunk=chunk,
            **options,
        )
    said = [
        score_rows(plain_rows(model, donor), prompt, settings.score, options=choices, **options)
        for donor, choices in zip(own, prompt.donor_options, strict=True)
    ]
    own_answers = _as_choices(join(said), prompt, settings)
    return InstanceMap(prompt.instance.id, pairs, answers, vanilla, own_answers, samples)


def end_tokens(model: PreTrainedModel) -> tuple[int, ...]:
    """Tokens at which generation ends, by the model's generation config.

    Args:
        model: The model.

    Returns:
        Token ids, none where the config names none.
    """
    ends = getattr(model.generation_config, "eos_token_id", None)
    if ends is None:
        return ()
    return tuple(int(end) for end in (ends if isinstance(ends, list | tuple) else [ends]))


def _as_choices(said: Scored, prompt: Prompt, settings: SweepSettings) -> Scored:
    """A donor speaks another language: its first token is right when its choice among its own options is."""
    if settings.score == "generate":
        return said
    right = [answer for answer in prompt.instance.answers if isinstance(answer, int)]
    correct = np.isin(said.choice, right) if right and prompt.options else None
    return Scored(said.token_id, said.text, said.choice, said.score, said.margin, said.entropy, correct)


def _donors(
    receiver: Prefill,
    own: Sequence[Prefill],
    sites: Sequence[Site],
    prompt: Prompt,
    settings: SweepSettings,
) -> list[Prefill]:
    """The donors' values, or a control's in their place."""
    if settings.control == "self":
        return [receiver]
    donors = list(own)
    if settings.control == "noise":
        generator = torch.Generator().manual_seed(instance_seed(settings.seed, prompt))
        donors = [_with(d, {s: _noise_like(d.sites[s], generator) for s in sites}) for d in donors]
    if settings.mean_donors:
        return [_with(donors[0], {s: mean_donor([donor.sites[s] for donor in donors]) for s in sites})]
    return donors


def _with(donor: Prefill, sites: dict[Site, torch.Tensor]) -> Prefill:
    return Prefill(donor.ids, donor.prefix, donor.last, donor.entering, sites, donor.logits)


def _noise_like(values: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Random directions of the values' lengths."""
    noise = torch.randn(values.shape, generator=generator).to(values.device)
    lengths = values.float().norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True)
    scaled: torch.Tensor = (noise * lengths).to(values)
    return scaled

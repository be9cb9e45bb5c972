"""What a sweep is asked to do, by the names of the command line."""

from dataclasses import dataclass, fields
from typing import Any

from lingraft.errors import ConfigError
from lingraft.patching.sweep import SweepSettings

SHUFFLED = "shuffled"
"""The control that is made of the pairs themselves: donors of other instances."""


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """What distinguishes one sweep from another; `--out` holds runs of one of them.

    Attributes:
        model: Reference of the model.
        pairs: JSONL file of paired prompts.
        sites: Names of `PATCH_SITES`.
        score: `first-token`, `options` or `generate`.
        operator: What `find_operator` takes.
        donor_layers: Only these; None for all.
        receiver_layers: Only these; None for all.
        new_tokens: Most tokens of a text.
        mean_donors: Average several donor languages.
        control: `none`, `self`, `noise` or `shuffled`.
        samples: Answers drawn from the unpatched model.
        temperature: Of these draws.
        chat_template: Put prompts into the tokenizer's chat template.
        limit: Only the first so many rows of each language; None for all.
        seed: Of noise, samples and shuffling.
        dtype: Type to compute in; None keeps the checkpoint's.
        trust_remote_code: Run Python code that the model carries.
        accept_terms: Accept the terms of use of a catalogued model.
    """

    model: str
    pairs: str
    sites: tuple[str, ...] = ("ffn",)
    score: str = "first-token"
    operator: str = "replace"
    donor_layers: tuple[int, ...] | None = None
    receiver_layers: tuple[int, ...] | None = None
    new_tokens: int = 20
    mean_donors: bool = False
    control: str = "none"
    samples: int = 0
    temperature: float = 1.0
    chat_template: bool = False
    limit: int | None = None
    seed: int = 0
    dtype: str | None = None
    trust_remote_code: bool = False
    accept_terms: bool = False

    def as_command(self) -> dict[str, Any]:
        """Every option by its name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def settings(self, memory_bytes: int) -> SweepSettings:
        """What `sweep_instance` takes.

        Args:
            memory_bytes: Memory that rows may take.

        Returns:
            The settings.

        Raises:
            ConfigError: An option does not exist.
        """
        if self.score not in {"first-token", "options", "generate"}:
            raise ConfigError(f"--score {self.score}", "first-token, options or generate", "name one of them")
        own = {field.name for field in fields(SweepSettings)} & {field.name for field in fields(self)}
        given = {name: getattr(self, name) for name in own}
        if self.control == SHUFFLED:
            given["control"] = "none"
        return SweepSettings(**given, memory_bytes=memory_bytes)


@dataclass(frozen=True, slots=True)
class Shard:
    """Which instances this process takes.

    Attributes:
        number: From 1.
        of: How many shards there are.
    """

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read `2/4`.

        Args:
            text: Number and total.

        Returns:
            The shard.

        Raises:
            ConfigError: It is something else.
        """
        number, _, total = text.partition("/")
        try:
            shard = cls(int(number), int(total))
        except ValueError:
            shard = cls(0, 0)
        if not 1 <= shard.number <= shard.of:
            raise ConfigError(f"--shard {text}", "K/N with K from 1 to N", "for instance 2/4")
        return shard

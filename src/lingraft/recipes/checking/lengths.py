"""Lengths that a recipe asks for, held against the positions of the models they are for, before anything runs."""

from collections.abc import Iterator, Sequence

from lingraft.recipes.checking.faults import Fault
from lingraft.recipes.checking.filling import Filled
from lingraft.recipes.checking.model_facts import model_positions
from lingraft.recipes.checking.references import StageOutput
from lingraft.recipes.stages.contract import StageSettings

LENGTHS = ("block_length", "max_length")
"""Settings that count the tokens a model is given at once."""


def length_faults(stages: Sequence[tuple[str, StageSettings, Filled]], model: str) -> Iterator[Fault]:
    """Go through the stages' lengths; of a model that is not on this machine nothing is known.

    Args:
        stages: Names, settings and filled references, in order.
        model: The recipe's model.

    Yields:
        Lengths beyond the model's positions.
    """
    positions: dict[str, int | None] = {"": model_positions(model)}
    for name, settings, filled in stages:
        reference = filled.values.get("model")
        positions[name] = _positions_of(reference, model, positions)
        longest = positions[name]
        for field in LENGTHS:
            length = getattr(settings, field, None)
            if isinstance(length, int) and longest is not None and length > longest:
                found = f"stages.{name}.{field}: {length} tokens"
                yield Fault(
                    ("stages", name, field), found, f"at most {longest}, the model's positions", "lower it"
                )


def _positions_of(reference: object, model: str, positions: dict[str, int | None]) -> int | None:
    """Return the positions of the model that a stage reads; what stages make of a model reads as far as it does."""
    if not isinstance(reference, str):
        return None  # no model is read, or several are merged
    if reference == model:
        return positions[""]
    output = StageOutput.parse(reference)
    return model_positions(reference) if output is None else positions.get(output.stage)

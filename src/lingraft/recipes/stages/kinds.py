"""Every kind of stage, by its name in a recipe."""

from lingraft.recipes.stages.contract import StageKind

STAGES: dict[str, StageKind] = {}

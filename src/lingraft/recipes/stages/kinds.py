"""Every kind of stage, by its name in a recipe.

A stage's module imports its verb where it runs, so that a recipe is read and checked without any of them.
"""

from lingraft.recipes.stages import (
    diagnose,
    evaluate,
    merge,
    pairs,
    patching,
    preference,
    pretrain,
    select,
    translate,
    vocabulary,
)
from lingraft.recipes.stages.contract import StageKind

STAGES: dict[str, StageKind] = {
    "diagnose": diagnose.KIND,
    "vocabulary": vocabulary.KIND,
    "select": select.KIND,
    "pretrain": pretrain.KIND,
    "translate": translate.KIND,
    "pairs": pairs.KIND,
    "preference": preference.KIND,
    "merge": merge.KIND,
    "patching": patching.KIND,
    "evaluate": evaluate.KIND,
}

"""A recipe by its path or its name, read and checked."""

from collections.abc import Sequence

from lingraft.recipes.checking.builtins import BUILTIN, find_recipe
from lingraft.recipes.checking.recipe import CheckedRecipe, check_recipe
from lingraft.recipes.checking.yaml_lines import read_document


def load_recipe(reference: str, changes: Sequence[str] = ()) -> CheckedRecipe:
    """Read and check a recipe.

    Args:
        reference: A path, or the name of a built-in recipe.
        changes: `KEY=VALUE` in place of what it says.

    Returns:
        The recipe.

    Raises:
        ConfigError: There is no such recipe, or it has faults.
    """
    path = find_recipe(reference)
    # A built-in one is known by its name, wherever it is installed.
    name = path.name if path.parent == BUILTIN else str(path)
    return check_recipe(read_document(path), name, changes)

"""`lingraft recipes`: list, show, copy and validate recipes."""

from pathlib import Path
from typing import Annotated

import typer

from lingraft.cli.output import JsonOption, print_result, prints_to_stderr

app = typer.Typer(
    name="recipes",
    help="Recipes: list, show, copy, validate.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

RecipeArgument = Annotated[str, typer.Argument(help="YAML file, or name of a built-in recipe.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="KEY=VALUE in place of the recipe's, as for `lingraft run`.")
]


@app.callback()
def recipes() -> None:
    """Recipes: list, show, copy, validate."""


@app.command("list")
def list_(json: JsonOption = False) -> None:
    """List the built-in recipes with their command, hardware and time."""
    from lingraft.recipes.checking.builtins import list_builtins

    found = list_builtins()
    lines = []
    for recipe in found:
        lines += [f"{recipe.name}: {recipe.about}", *(f"    {line}" for line in recipe.header if line)]
    shown = [{"name": r.name, "about": r.about, "header": list(r.header), "path": str(r.path)} for r in found]
    print_result({"recipes": shown}, lines, as_json=json)


@app.command("show")
def show(recipe: RecipeArgument) -> None:
    """Print a recipe as it is written."""
    from lingraft.recipes.checking.builtins import find_recipe
    from lingraft.recipes.checking.yaml_lines import read_text

    print(read_text(find_recipe(recipe)), end="")


@app.command("copy")
def copy(
    recipe: RecipeArgument,
    to: Annotated[Path, typer.Argument(help="New file, or a directory to put it into.")] = Path(),
    json: JsonOption = False,
) -> None:
    """Copy a recipe to change it; an existing file is never overwritten."""
    from lingraft.recipes.checking.builtins import copy_recipe

    place = copy_recipe(recipe, to)
    lines = [f"copied to {place}; next: lingraft recipes validate {place}"]
    print_result({"path": str(place)}, lines, as_json=json)


@app.command("validate")
def validate(recipe: RecipeArgument, change: SetOption = None, json: JsonOption = False) -> None:
    """Check a recipe whole: keys, types, files, order; all faults at once, each with its line."""
    with prints_to_stderr():
        from lingraft.recipes.checking.loading import load_recipe
        from lingraft.recipes.running.estimates import estimate_lines, estimate_run

        checked = load_recipe(recipe, tuple(change or ()))
        estimate = estimate_run(checked, None)
    print_result({"valid": True, **estimate.as_json()}, ["valid", *estimate_lines(estimate)], as_json=json)


@app.command("kinds")
def kinds(
    kind: Annotated[str | None, typer.Argument(help="Kind of stage; without it all are named.")] = None,
    json: JsonOption = False,
) -> None:
    """Say what kinds of stages there are, and what each may say."""
    with prints_to_stderr():
        from lingraft.recipes.checking.reference_page import describe_kinds, kind_lines

        described = describe_kinds(kind)
    print_result({"kinds": described}, kind_lines(described, full=kind is not None), as_json=json)

"""`lingraft run`: a recipe from its first stage to its report."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from lingraft.cli.output import JsonOption, print_result, prints_to_stderr

RUN_EPILOG = """\b
Examples:
  lingraft run demo --out runs/demo
  lingraft run my-recipe.yaml --out runs/basque --dry-run
  lingraft run my-recipe.yaml --out runs/basque --set pretrain.steps=2000 --set seed=1
  lingraft run my-recipe.yaml --out runs/basque --from preference

\b
RECIPE is a YAML file or the name of a built-in recipe (lingraft recipes list). Each finished stage is kept under
--out by what went into it: typed again after a kill, the command continues; after a change, only what depends on the
change runs again. --out gets report.html, recipe.yaml (resolved), model (what plain transformers loads, with its
card), and stages."""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("run", epilog=RUN_EPILOG)
def run(
    recipe: Annotated[str, typer.Argument(help="YAML file, or name of a built-in recipe.")],
    out: Annotated[Path, typer.Option(help="Run directory.")],
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="STAGE.KEY=VALUE, data.KEY=VALUE or KEY=VALUE in place of the recipe's."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run, with estimates, and stop.")
    ] = False,
    start_from: Annotated[
        str | None,
        typer.Option("--from", help="Run this stage and all after it again, though they are kept."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps (default: the recipe's).")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run a recipe: adapt a model to a language, and report what helped."""
    with prints_to_stderr():
        from lingraft.recipes.checking.loading import load_recipe

        checked = load_recipe(recipe, tuple(change or ()))
        if dry_run:
            from lingraft.recipes.running.estimates import estimate_lines, estimate_run

            estimate = estimate_run(checked, out, device=device, start_from=start_from)
            shown, lines = estimate.as_json(), estimate_lines(estimate)
        else:
            from lingraft.recipes.running.outputs import run_metrics
            from lingraft.recipes.running.run import RunOptions, run_recipe
            from lingraft.recipes.running.summing_up import summary_lines

            finished = run_recipe(
                checked, RunOptions(out=out, device=device, start_from=start_from), say=_teller()
            )
            shown, lines = run_metrics(finished), summary_lines(finished)
    print_result(shown, lines, as_json=json)


def _teller() -> Callable[[str], None]:
    """Return what prints a line of progress with the seconds since now."""
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {line}", file=sys.stderr, flush=True)

    return say

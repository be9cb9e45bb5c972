"""`lingraft report`: set runs of recipes side by side, write a run's page anew."""

from pathlib import Path
from typing import Annotated

import typer

from lingraft.cli.output import JsonOption, print_result, prints_to_stderr

COMPARE_EPILOG = """\b
Examples:
  lingraft report compare runs/basque runs/basque-preference
  lingraft report compare runs/a runs/b runs/c --out runs/compared

\b
A run is the --out of `lingraft run`. Changes are those within each run, measured on the same documents;
where runs were measured on different texts, a warning says so."""

SHOW_EPILOG = """\b
Example:
  lingraft report show runs/basque

\b
Nothing is run: the page is made from what the stages left."""

app = typer.Typer(
    name="report",
    help="Reports of recipe runs: compare, show.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@app.callback()
def report() -> None:
    """Reports of recipe runs: compare, show."""


@app.command(epilog=COMPARE_EPILOG)
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Run directories of recipes.")],
    out: Annotated[
        Path | None, typer.Option(help="Also write a page and comparison.json to this directory.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """What differs in recipes, stages and outcome of two or more runs."""
    with prints_to_stderr():
        from lingraft.recipes.showing.comparing_runs import compare_runs
        from lingraft.recipes.showing.comparing_runs_report import comparison_lines, write_comparison

        comparison = compare_runs(runs)
        page = write_comparison(comparison, out) if out is not None else None
    lines = [*comparison_lines(comparison), *([f"report: {page}"] if page is not None else [])]
    shown = comparison.as_json() | ({"report": str(page)} if page is not None else {})
    print_result(shown, lines, as_json=json)


@app.command(epilog=SHOW_EPILOG)
def show(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory of a recipe.")],
    out: Annotated[
        Path | None, typer.Option(help="Directory for report.html instead of the run's own.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write report.html of a run anew, from the results that its stages left."""
    with prints_to_stderr():
        from lingraft.recipes.showing.showing_runs import show_run

        page, told = show_run(run, out or run)
    print_result({"report": str(page), "summary": told}, [told, f"report: {page}"], as_json=json)

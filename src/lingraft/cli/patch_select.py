"""`lingraft patch select`: which pair to use, and whether the upper bound is more than trying often."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from lingraft.cli.options import SeedOption
from lingraft.cli.output import JsonOption, print_result, prints_to_stderr
from lingraft.cli.patch_options import app

SELECT_EPILOG = """\b
Example:
  lingraft patch select --run runs/xnli-sw --control shuffled=runs/xnli-sw-shuffled \\
    --control noise=runs/xnli-sw-noise --out runs/xnli-sw-choice

\b
Pairs and subsets are chosen on other folds than they are scored on. The upper bound (right for any pair)
is a union over a thousand tries: it is put beside the same union over controls, at equal numbers of tries."""


@app.command(epilog=SELECT_EPILOG)
def select(
    run: Annotated[Path, typer.Option(help="Directory of a finished sweep.")],
    out: Annotated[Path, typer.Option(help="Directory for the table and the report.")],
    control: Annotated[
        list[str] | None, typer.Option(help="NAME=DIRECTORY of a control's sweep; may come several times.")
    ] = None,
    site: Annotated[str | None, typer.Option(help="Which site, if the sweep has several.")] = None,
    donor: Annotated[
        int | None, typer.Option(help="Which donor, from 0, if the sweep has several; -1 is the mean.")
    ] = None,
    task_kind: Annotated[
        Literal["understanding", "generation", "culture"],
        typer.Option(help="Which coarse pair is the paper's: attn last to first, or ffn first to first."),
    ] = "understanding",
    folds: Annotated[int, typer.Option(help="Folds of the cross-fitting.", min=2)] = 5,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Score every way to choose a layer pair on rows that had no part in choosing; compare the bound."""
    with prints_to_stderr():
        from lingraft.errors import ConfigError
        from lingraft.recipes.patching.pair_choice import run_selection, selection_rows

        controls: dict[str, Path] = {}
        for given in control or []:
            name, equals, directory = given.partition("=")
            if not equals or not name or name in controls:
                raise ConfigError(f"--control {given}", "NAME=DIRECTORY, each name once", "correct it")
            controls[name] = Path(directory)
        result, lines = run_selection(
            run,
            out=out,
            controls=controls,
            site=site,
            donor=donor,
            task_kind=task_kind,
            folds=folds,
            seed=seed,
        )
    shown = [*selection_rows(lines), result.metrics["verdict"], f"report: {out / 'report.html'}"]
    print_result({**result.as_json(), "out": str(out)}, shown, as_json=json)

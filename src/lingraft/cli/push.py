"""`lingraft push`: upload a checkpoint to the hub, when you say so."""

from pathlib import Path
from typing import Annotated

import typer

from lingraft.cli.output import JsonOption, print_result, prints_to_stderr

app = typer.Typer(
    name="push",
    help="Upload a checkpoint to the hub, when you say so.",
    rich_markup_mode=None,
    add_completion=False,
)

EPILOG = """\b
Examples:
  lingraft push --model run/model --to me/my-model --dry-run
  lingraft push --model run/model --to me/my-model --private --yes

\b
Uploads weights, config, tokenizer, the model's own code, licences and model card in one commit. Recipe, result and
report name paths of this machine, so they go only with --with-report; of such paths in the card only the last part is
sent. No other command of lingraft uploads anything."""


@app.callback(invoke_without_command=True, epilog=EPILOG)
def push(
    model: Annotated[Path, typer.Option(help="Checkpoint directory.")],
    to: Annotated[str, typer.Option(help="Repository on the hub: owner/name. Made where it is not there.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    with_report: Annotated[
        bool, typer.Option("--with-report", help="Upload recipe.yaml, result.json and report.html as well.")
    ] = False,
    message: Annotated[str, typer.Option(help="Message of the commit.")] = "Upload with lingraft",
    yes: Annotated[bool, typer.Option("--yes", help="Really upload.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be uploaded; no connection is opened.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Upload a checkpoint to the hub, when you say so."""
    with prints_to_stderr():
        from lingraft.recipes.sharing.pushing import push_lines, push_model

        result = push_model(
            model=model,
            to=to,
            private=private,
            with_report=with_report,
            message=message,
            yes=yes,
            dry_run=dry_run,
        )
    print_result(result.as_json(), push_lines(result), as_json=json)

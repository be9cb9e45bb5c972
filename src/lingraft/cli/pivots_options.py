"""The noun `pivots`."""

import typer

app = typer.Typer(
    help="Trace how a model translates words inside, count words in corpora, choose what to train on.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

"""The noun `eval`, and what its verbs share."""

from typing import Annotated

import typer

app = typer.Typer(
    name="eval", help="Measure a model.", no_args_is_help=True, rich_markup_mode=None, add_completion=False
)

ModelOption = Annotated[
    str, typer.Option(help="Causal language model: hub id, directory, .gguf file or asset name.")
]


@app.callback()
def evaluate() -> None:
    """Measure a model."""

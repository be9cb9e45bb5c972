"""The noun `clo`, and options of several of its verbs."""

from typing import Annotated

import typer

app = typer.Typer(
    help="Teach a language from English instruction data and its translation, and keep the English.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

TemplateOption = Annotated[
    str,
    typer.Option(
        help="How a prompt is put to the model: chat (its tokenizer's template), plain, or a Jinja file."
    ),
]

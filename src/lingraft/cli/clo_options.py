"""The noun `clo`, and options of several of its verbs."""

from pathlib import Path
from typing import Annotated, Literal

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
ModelOption = Annotated[
    str, typer.Option(help="Hub id, directory, .gguf file or asset name of a causal language model.")
]
PairsOption = Annotated[Path, typer.Option(help="JSON lines of paired items to train on.")]
BatchOption = Annotated[int, typer.Option(help="Items a step; each is both directions.", min=1)]
PiecesOption = Annotated[
    int, typer.Option(help="Pieces that a step is computed in: less memory, same result.", min=1)
]
TogetherOption = Annotated[
    int | None,
    typer.Option(
        help="Tokens of one forward pass: divides a piece by rows; less memory, same result.", min=1
    ),
]
RateOption = Annotated[float, typer.Option(help="Peak learning rate.")]
WarmupOption = Annotated[int, typer.Option(help="Steps of linear rise.", min=0)]
ScheduleOption = Annotated[
    Literal["constant", "cosine", "linear"], typer.Option(help="What follows the rise.")
]
ShareOption = Annotated[
    float | None, typer.Option(help="Weight of the likelihood term, the paper's lambda (default 0.5).")
]
BetaOption = Annotated[float | None, typer.Option(help="Scale of the margins (default 0.1).")]
LengthOption = Annotated[
    int | None, typer.Option(help="Tokens of a prompt with an answer (default: at most 1024).")
]
PrecisionOption = Annotated[
    Literal["float32", "bf16-autocast", "bfloat16"],
    typer.Option(help="Of training; bfloat16 has float32 masters of what learns."),
]
AskedOption = Annotated[
    int, typer.Option(help="Held-out prompts that are answered each time, in each language.", min=0)
]
AnswerOption = Annotated[int, typer.Option(help="Most tokens of such an answer.", min=1)]

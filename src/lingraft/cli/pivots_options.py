"""The noun `pivots`, and options of the verbs that read a corpus."""

from typing import Annotated

import typer

app = typer.Typer(
    help="Trace how a model translates words inside, count words in corpora, choose what to train on.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

CorpusOption = Annotated[
    list[str],
    typer.Option(
        help="Files (.txt, .jsonl, .json, .tsv, .csv, .parquet; .gz, .zst, .xz, .bz2), directories, glob patterns"
        " or hf:NAME; several may follow, or come again."
    ),
]
MoreCorpus = Annotated[list[str] | None, typer.Argument(metavar="[PATH]...", help="More of --corpus.")]
TextFieldOption = Annotated[str, typer.Option(help="Field or column that holds the text.")]
BadLinesOption = Annotated[int, typer.Option("--max-bad-lines", help="Go on after so many bad lines.", min=0)]
WorkersOption = Annotated[int, typer.Option(help="Processes, or Ray actors.", min=1)]
RayOption = Annotated[
    str | None,
    typer.Option(help="Workers on a Ray cluster that sees --corpus and --out: auto, local, or an address."),
]

"""`lingraft merge`: combine checkpoints without training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lingraft.cli.options import TermsOption
from lingraft.cli.output import JsonOption, print_result, prints_to_stderr

app = typer.Typer(
    name="merge",
    help="Combine checkpoints without training.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

_INPUT = "hub id, directory, asset name, or a LoRA adapter (merged into its base first)."

OutOption = Annotated[Path, typer.Option(help="Directory for the merged checkpoint and its report.")]
MergedDtypeOption = Annotated[
    str | None,
    typer.Option(
        help="float32, bfloat16 or float16 (default: that of the input whose config is taken). Sums are float64."
    ),
]

SWAP_EPILOG = """\b
Example:
  lingraft merge layer-swap --language ./swahili-expert --task ./math-expert --bottom 5 --top 2 \\
    --bottom-transition 1 --top-transition 1 --out swapped

\b
Layers 0 to BOTTOM-1 and the last TOP layers are the language expert's, those between the task expert's;
transition layers are a weighted mean (arXiv 2410.01335). Which expert gives the embeddings, the final norm and
the head is our choice: the language expert, or --outside task."""

CHAT_EPILOG = """\b
Example:
  lingraft merge chat-vector --target ./swahili-base --chat owner/model-instruct --base owner/model --out swahili-chat

\b
The result is target + SCALE * (chat - base), tensor by tensor (chat vector, arXiv 2310.04799). Embeddings and
head are left as the target's where the vocabularies differ, and counted so."""

INTERPOLATE_EPILOG = """\b
Example:
  lingraft merge interpolate --base owner/model --tuned ./swahili-model --weight 0.7 --out between

\b
The result is (1 - WEIGHT) * base + WEIGHT * tuned: 0 gives the base's weights, 1 the tuned ones, bit by bit."""


@app.callback()
def merge() -> None:
    """Combine checkpoints without training."""


@app.command("layer-swap", epilog=SWAP_EPILOG)
def layer_swap(
    language: Annotated[str, typer.Option(help=f"Expert of the language: {_INPUT}")],
    task: Annotated[str, typer.Option(help=f"Expert of the task, tuned from the same base: {_INPUT}")],
    bottom: Annotated[int, typer.Option(help="First layers taken from the language expert.", min=0)],
    top: Annotated[int, typer.Option(help="Last layers taken from the language expert.", min=0)],
    out: OutOption,
    bottom_transition: Annotated[
        int, typer.Option(help="Layers above the bottom ones that are a mean of both.", min=0)
    ] = 0,
    top_transition: Annotated[
        int, typer.Option(help="Layers below the top ones that are a mean of both.", min=0)
    ] = 0,
    share: Annotated[
        float, typer.Option(help="Weight of the language expert in transition layers.", min=0, max=1)
    ] = 0.5,
    outside: Annotated[
        Literal["language", "task"],
        typer.Option(help="Whose embeddings, final norm and head are taken, with its config."),
    ] = "language",
    tokenizer_from: Annotated[
        Literal["language", "task"] | None,
        typer.Option(
            help="Whose tokenizer, chat template and generation config (default: that of --outside)."
        ),
    ] = None,
    dtype: MergedDtypeOption = None,
    accept_terms: TermsOption = False,
    json: JsonOption = False,
) -> None:
    """Outer layers of a language expert around the inner layers of a task expert."""
    given = _given(locals())
    with prints_to_stderr():
        from lingraft.recipes.merging.verbs import run_layer_swap

        result = run_layer_swap(**given)
    _show(result, out, json)


@app.command("chat-vector", epilog=CHAT_EPILOG)
def chat_vector(
    target: Annotated[str, typer.Option(help=f"Model of the language: {_INPUT}")],
    chat: Annotated[str, typer.Option(help=f"Tuned model whose behaviour is wanted: {_INPUT}")],
    base: Annotated[
        str, typer.Option(help=f"What --chat was tuned from and --target continued from: {_INPUT}")
    ],
    out: OutOption,
    scale: Annotated[float, typer.Option(help="Of the difference chat - base.")] = 1.0,
    embeddings: Annotated[
        Literal["auto", "add", "skip"],
        typer.Option(
            help="Whether the difference is added to embeddings and head (auto: where vocabularies match)."
        ),
    ] = "auto",
    tokenizer_from: Annotated[
        Literal["target", "chat"] | None,
        typer.Option(
            help="Whose tokenizer, chat template and generation config (default: chat's where the vocabularies"
            " match, else target's)."
        ),
    ] = None,
    dtype: MergedDtypeOption = None,
    accept_terms: TermsOption = False,
    json: JsonOption = False,
) -> None:
    """Add what tuning did to one model to another model of the same base."""
    given = _given(locals())
    with prints_to_stderr():
        from lingraft.recipes.merging.verbs import run_chat_vector

        result = run_chat_vector(**given)
    _show(result, out, json)


@app.command(epilog=INTERPOLATE_EPILOG)
def interpolate(
    base: Annotated[str, typer.Option(help=f"Model before tuning: {_INPUT}")],
    tuned: Annotated[str, typer.Option(help=f"Model after tuning: {_INPUT}")],
    out: OutOption,
    weight: Annotated[
        float, typer.Option(help="Share of --tuned: 0 is all base, 1 all tuned.", min=0, max=1)
    ] = 0.5,
    tokenizer_from: Annotated[
        Literal["tuned", "base"],
        typer.Option(help="Whose tokenizer, chat template and generation config."),
    ] = "tuned",
    dtype: MergedDtypeOption = None,
    accept_terms: TermsOption = False,
    json: JsonOption = False,
) -> None:
    """A model on the straight line between a base and its tuned version."""
    given = _given(locals())
    with prints_to_stderr():
        from lingraft.recipes.merging.verbs import run_interpolation

        result = run_interpolation(**given)
    _show(result, out, json)


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the recipe takes: all but how the result is printed."""
    return {name: value for name, value in options.items() if name != "json"}


def _show(result: Any, out: Path, as_json: bool) -> None:
    """Print what was done."""
    from lingraft.recipes.merging.report import merge_lines

    lines = [*merge_lines(result), f"checkpoint: {out}", f"report:     {out / 'report.html'}"]
    print_result({**result.as_json(), "out": str(out)}, lines, as_json=as_json)

"""What the patching verbs share: the noun itself, and options that mean the same everywhere."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

app = typer.Typer(
    name="patch",
    help="Transplant activations between languages.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

SITES = "ffn, attn, attn_official, resid, ffn-contribution, attn-contribution"

ModelOption = Annotated[
    str, typer.Option(help="Causal language model: hub id, directory, .gguf file or asset name.")
]
PairsOption = Annotated[
    Path,
    typer.Option(
        help="JSONL rows with id, donor, receiver, and optionally options, answer, language, task;"
        " see `lingraft patch pairs`."
    ),
]
SiteOption = Annotated[str, typer.Option(help=f"What is transplanted: {SITES}.")]
SitesOption = Annotated[str, typer.Option("--site", help=f"What is transplanted, commas between: {SITES}.")]
ScoreOption = Annotated[
    Literal["first-token", "options", "generate"],
    typer.Option(
        help="Read the first token, the options' likelihoods, or a text of --new-tokens by greedy decoding."
    ),
]
OperatorOption = Annotated[
    str, typer.Option(help="How the donor's value meets the receiver's: replace, add, norm_match or lerp:W.")
]
DonorLayersOption = Annotated[
    str | None, typer.Option(help="Only these donor layers, from 0: 3,5,8 or 0-11 (default: all).")
]
ReceiverLayersOption = Annotated[
    str | None, typer.Option(help="Only these receiver layers, from 0: 3,5,8 or 0-11 (default: all).")
]
DonorLayerOption = Annotated[int, typer.Option(help="Layer that the value is taken from, from 0.", min=0)]
ReceiverLayerOption = Annotated[int, typer.Option(help="Layer that the value is put into, from 0.", min=0)]
NewTokensOption = Annotated[int, typer.Option(help="Most tokens of a generated text.", min=1)]
MeanOption = Annotated[
    bool, typer.Option("--mean-donors", help="Average the donor languages of a row into one donor.")
]
TemplateOption = Annotated[
    bool, typer.Option("--chat-template", help="Put every prompt into the tokenizer's chat template.")
]
LimitOption = Annotated[int | None, typer.Option(help="Only the first so many rows of each language.")]
MemoryOption = Annotated[
    int | None,
    typer.Option(
        "--memory-mib", help="Memory that rows may take (default: 2048, or half of what an accelerator has)."
    ),
]


@app.callback()
def patch() -> None:
    """Transplant activations between languages."""


def parse_layers(text: str | None, option: str) -> tuple[int, ...] | None:
    """Read `3,5,8` or `0-11`.

    Args:
        text: What was typed, or None.
        option: Its name, for messages.

    Returns:
        The layers in rising order, each once; None for None.

    Raises:
        ConfigError: It is something else.
    """
    from lingraft.errors import ConfigError

    if text is None:
        return None
    layers: set[int] = set()
    try:
        for part in text.split(","):
            first, dash, last = part.strip().partition("-")
            layers |= set(range(int(first), int(last) + 1)) if dash else {int(first)}
    except ValueError:
        layers = set()
    if not layers:
        raise ConfigError(f"{option} {text}", "layers from 0, such as 3,5,8 or 0-11", "correct it")
    return tuple(sorted(layers))


def sweep_options(given: dict[str, Any]) -> Any:
    """Make `SweepOptions` of a command's parameters.

    Args:
        given: Parameters by name; those that are no options of a sweep are left out.

    Returns:
        The options.

    Raises:
        ConfigError: Layers that are no layers.
    """
    from dataclasses import fields

    from lingraft.recipes.patching.sweep_options import SweepOptions

    known = {field.name for field in fields(SweepOptions)}
    values = {name: value for name, value in given.items() if name in known}
    values["pairs"] = str(values["pairs"])
    if isinstance(values.get("site", given.get("site")), str):
        values["sites"] = tuple(part.strip() for part in given["site"].split(",") if part.strip())
    for name in ("donor_layers", "receiver_layers"):
        if isinstance(given.get(name), str):
            values[name] = parse_layers(given[name], f"--{name.replace('_', '-')}")
    return SweepOptions(**values)

"""`lingraft clo pairs`: paired items from what there is in two languages already."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from lingraft.cli.clo_options import app
from lingraft.cli.options import SeedOption
from lingraft.cli.output import JsonOption, print_result, prints_to_stderr

PAIRS_EPILOG = """\b
Examples:
  lingraft clo pairs --instructions alpaca.json --translations alpaca-sw.json --target-language sw --out pairs-sw
  lingraft clo pairs --aligned libreoffice-help-de --held-out 200 --out pairs-de
  lingraft clo pairs --parallel train.en train.sw --target-language sw --held-out 200 --out pairs-news

\b
Sources, one of:
  --instructions, --translations  two files of Alpaca, OpenAssistant, ShareGPT, chat messages, or prompt and response
                                  (JSON or JSON lines, compressed or not): the same ids, or the same order
  --aligned                       sections of documents: the prompt is title and heading, the answer the text under it.
                                  A libreoffice-help-LANG asset, or lines of document, id, English, target (tabs
                                  between; ids of headings begin with hd) in a .tsv file or a directory's pairs.tsv
  --parallel                      continuations: the prompt is a line, the answer the next one. Blank lines in both
                                  files end a document; without any, stretches of 40 lines take their place
Held-out items come from documents of their own. Headings and lines are no questions: with
  --english-wording 'Explain: {prompt}' --target-wording 'Erkläre: {prompt}' they can be worded as some.
Leaves pairs.jsonl for `lingraft clo train`, heldout.jsonl, rejects.jsonl (each item left out, with its reason),
result.json and report.html."""


@app.command("pairs", epilog=PAIRS_EPILOG)
def pairs(
    out: Annotated[Path, typer.Option(help="Run directory.")],
    target_language: Annotated[
        str | None, typer.Option(help="ISO 639-1 code, such as sw (default: that of the asset).")
    ] = None,
    instructions: Annotated[Path | None, typer.Option(help="English instruction data.")] = None,
    translations: Annotated[Path | None, typer.Option(help="Its translation.")] = None,
    format: Annotated[
        str, typer.Option(help="auto, alpaca, openassistant, sharegpt, messages or plain.")
    ] = "auto",
    translations_format: Annotated[str, typer.Option(help="The translation's, as --format.")] = "auto",
    aligned: Annotated[
        str | None, typer.Option(help="An asset, a .tsv file, or a directory with pairs.tsv.")
    ] = None,
    parallel: Annotated[
        tuple[Path, Path] | None, typer.Option(help="Two text files of the same lines.", metavar="EN TARGET")
    ] = None,
    english_wording: Annotated[
        str, typer.Option(help="English prompt around {prompt}; documents and lines only.")
    ] = "{prompt}",
    target_wording: Annotated[str, typer.Option(help="The same in the target language.")] = "{prompt}",
    minimum_characters: Annotated[
        int, typer.Option(help="Of an answer; documents and lines only.", min=1)
    ] = 20,
    maximum_characters: Annotated[
        int, typer.Option(help="Of an answer; of any text of instructions and lines.", min=1)
    ] = 600,
    length_ratio: Annotated[
        float, typer.Option(help="How many times longer or shorter than its English a text may be.", min=1)
    ] = 2.5,
    identifier: Annotated[
        Literal["lingua", "none"], typer.Option(help="Language identification; none judges no language.")
    ] = "lingua",
    held_out: Annotated[int, typer.Option(help="Items to hold out.", min=0)] = 0,
    limit: Annotated[int | None, typer.Option(help="Items to train on at most.", min=1)] = None,
    seed: SeedOption = 0,
    max_bad_lines: Annotated[int, typer.Option(help="How many bad lines to go on after.", min=0)] = 1000,
    json: JsonOption = False,
) -> None:
    """Make paired items from translated instructions, aligned documents or parallel lines; filter and divide them."""
    with prints_to_stderr():
        from lingraft.preference.translation_filters import FilterLimits
        from lingraft.recipes.preference.pairing import run_pairing
        from lingraft.recipes.preference.pairing_sources import PairOptions

        options = PairOptions(
            target_language=target_language,
            instructions=instructions,
            translations=translations,
            format=format,
            translations_format=translations_format,
            aligned=aligned,
            parallel=parallel,
            english_wording=english_wording,
            target_wording=target_wording,
            minimum_characters=minimum_characters,
            maximum_characters=maximum_characters,
            limits=FilterLimits(longest=length_ratio),
            identifier=identifier,
            held_out=held_out,
            limit=limit,
            seed=seed,
            maximum_bad_lines=max_bad_lines,
        )
        result = run_pairing(options, out=out)
    metrics = result.metrics
    lines = [
        f"{metrics['items']:,} items to train on, {metrics['held_out']:,} held out, "
        f"in English and {metrics['target_language']}"
    ]
    for what, reasons in result.counts.items():
        lines += [f"{what}:", *(f"  {number:>8,}  {reason}" for reason, number in reasons.items())]
    lines.append(f"pairs: {out / 'pairs.jsonl'}")
    if metrics["held_out"]:
        lines.append(f"held out: {out / 'heldout.jsonl'}")
    lines.append(f"report: {out / 'report.html'}")
    print_result({**result.as_json(), "out": str(out)}, lines, as_json=json)

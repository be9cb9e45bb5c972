"""`lingraft diagnose`: a first look at a model and a language, and the recipe that it speaks for."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from lingraft.cli.options import DeviceOption, DtypeOption, RemoteCodeOption, SeedOption, TermsOption
from lingraft.cli.output import JsonOption, print_result, prints_to_stderr

DIAGNOSE_EPILOG = """\b
Examples:
  lingraft diagnose --model smollm2-135m-instruct --language eu --out runs/look-eu
  lingraft diagnose --model ./my-model --language de --held-out de.txt --english-held-out en.txt \\
    --lexicon freedict-eng-deu --prompts questions.jsonl --skip patching --out runs/look-de

\b
Parts: fertility, likelihood, words, trace, fidelity, patching. A part without material is left out, and says why.
What is not given is taken from libreoffice-help-LANG where there is one. The defaults take about two minutes for a
model of 135M parameters on 2 cores. --out gets a directory for every part, words.jsonl, result.json and report.html.
A killed run continues with the same command."""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("diagnose", epilog=DIAGNOSE_EPILOG)
def diagnose(
    model: Annotated[
        str, typer.Option(help="Causal language model: hub id, directory, .gguf file or asset.")
    ],
    language: Annotated[str, typer.Option(help="Target language, ISO 639-1: eu, sw, de.")],
    out: Annotated[Path, typer.Option(help="Run directory.")],
    held_out: Annotated[str | None, typer.Option(help="Text of the language to measure on.")] = None,
    english_held_out: Annotated[str | None, typer.Option(help="English text of the same kind.")] = None,
    lexicon: Annotated[
        str | None,
        typer.Option(help="English to the language: TSV, directory with pairs.tsv, freedict-PAIR."),
    ] = None,
    aligned: Annotated[
        str | None, typer.Option(help="Parallel text to find words in: TSV, or libreoffice-help-LANG.")
    ] = None,
    words: Annotated[Path | None, typer.Option(help="What `lingraft pivots words` wrote.")] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="JSON lines with prompts in the language, or paired items.")
    ] = None,
    help_pages: Annotated[
        bool, typer.Option(help="Take what is not given from libreoffice-help-LANG, where there is one.")
    ] = True,
    skip: Annotated[str, typer.Option(help="Parts to leave out, separated by commas: patching,trace.")] = "",
    word_count: Annotated[int, typer.Option(help="Words to translate and to trace.")] = 32,
    draws: Annotated[int, typer.Option(help="Draws of example pairs.")] = 2,
    grids: Annotated[int, typer.Option(help="Words to draw layer by token.", min=0)] = 4,
    answers: Annotated[int, typer.Option(help="Prompts to answer.")] = 8,
    answer_tokens: Annotated[int, typer.Option(help="Most tokens of an answer.")] = 48,
    instances: Annotated[int, typer.Option(help="Words to transplant for.")] = 12,
    text_bytes: Annotated[int, typer.Option(help="Bytes of each text to score.")] = 12_000,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    dtype: DtypeOption = None,
    trust_remote_code: RemoteCodeOption = False,
    accept_terms: TermsOption = False,
    json: JsonOption = False,
) -> None:
    """Look at a model and a language for the first time; recommend a recipe, with reasons."""
    given = dict(locals())
    place = {name: given.pop(name) for name in ("out", "device", "trust_remote_code", "accept_terms")}
    del given["json"]
    given["skip"] = tuple(name.strip() for name in skip.split(",") if name.strip())
    with prints_to_stderr():
        from lingraft.recipes.diagnosing.options import DiagnoseOptions
        from lingraft.recipes.diagnosing.run import diagnosis_lines, run_diagnosis

        result = run_diagnosis(
            DiagnoseOptions(**given), **place, say=lambda line: print(line, file=sys.stderr, flush=True)
        )
    print_result({**result.as_json(), "out": str(out)}, diagnosis_lines(result, out), as_json=json)

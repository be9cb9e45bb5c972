"""`lingraft pivots trace`: what every layer says where the translation is to come."""

from pathlib import Path
from typing import Annotated

import typer

from lingraft.cli.options import DeviceOption, DtypeOption, RemoteCodeOption, SeedOption, TermsOption
from lingraft.cli.output import JsonOption, print_result, prints_to_stderr
from lingraft.cli.pivots_options import app
from lingraft.cli.pivots_words import BatchOption, ModelOption, WordLimitOption, WordsOption

TRACE_EPILOG = """\b
Examples:
  lingraft pivots trace --model smollm2-135m-instruct --words words-de.jsonl --out runs/trace-de
  lingraft pivots trace --model smollm2-135m-instruct --words words-de.jsonl --pivots pivots.tsv \\
    --grid-word dog --grid-word house --out runs/trace-pivots

\b
Leaves traces.parquet (a row a word), trace_layers.parquet (a row a word and layer), PNGs, result.json and
report.html: shares of direct and pivot behaviour by both labels, probability mass by layer, and words layer by
token. Pairs whose words share tokens are skipped and named. Finished parts are kept: the same command continues."""


@app.command(epilog=TRACE_EPILOG)
def trace(
    model: ModelOption,
    words: WordsOption,
    out: Annotated[Path, typer.Option(help="Run directory.")],
    pivots: Annotated[
        Path | None,
        typer.Option(help="Pivots whose mass is followed: lines of word, target, pivot; or parquet."),
    ] = None,
    threshold: Annotated[
        float, typer.Option(help="Lowest probability of a pivot; a sweep is made in any case.")
    ] = 0.1,
    draw: Annotated[int, typer.Option(help="Which draw of examples, from 0.")] = 0,
    every_token: Annotated[
        bool, typer.Option("--every-token", help="Trace the place of every target token, not only the first.")
    ] = False,
    top: Annotated[int, typer.Option(help="Likeliest tokens kept of every layer.", min=1)] = 5,
    grids: Annotated[int, typer.Option(help="Words to draw layer by token.", min=0)] = 6,
    grid_word: Annotated[
        list[str] | None, typer.Option(help="A word to draw; may come several times.")
    ] = None,
    limit: WordLimitOption = None,
    batch_size: BatchOption = 64,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    dtype: DtypeOption = None,
    trust_remote_code: RemoteCodeOption = False,
    accept_terms: TermsOption = False,
    json: JsonOption = False,
) -> None:
    """Trace how words become their translations, layer by layer: directly, or over a pivot."""
    with prints_to_stderr():
        from lingraft.recipes.pivots.word_tracing import TraceOptions, run_tracing, trace_lines

        options = TraceOptions(
            model=model,
            draw=draw,
            top=top,
            every_token=every_token,
            threshold=threshold,
            limit=limit,
            grids=grids,
            grid_words=tuple(grid_word or ()),
            pivots=pivots,
            seed=seed,
            dtype=dtype,
        )
        result = run_tracing(
            options,
            words,
            out=out,
            batch_size=batch_size,
            device=device,
            trust_remote_code=trust_remote_code,
            accept_terms=accept_terms,
        )
    print_result({**result.as_json(), "out": str(out)}, trace_lines(result, out), as_json=json)

"""`lingraft pivots discover`: the tokens that come with both words of a pair."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from lingraft.cli.options import RemoteCodeOption, SeedOption, TermsOption
from lingraft.cli.output import JsonOption, print_result, prints_to_stderr
from lingraft.cli.pivots_options import (
    BadLinesOption,
    CorpusOption,
    MoreCorpus,
    RayOption,
    TextFieldOption,
    WorkersOption,
    app,
)

DISCOVER_EPILOG = """\b
Example:
  lingraft pivots discover --corpus news.jsonl --corpus help/ --pairs words.tsv --out runs/pivots \\
    --filter-with multilingual-e5-small

\b
A pivot of a pair is a token that is in more of the documents with the source word than in documents at
large, and in more of those with the target word too. Documents are sampled by hashes of their texts, so
that the result depends on the corpus and --seed, not on --workers. hubs.parquet holds the tokens that
come with two or more words on both sides: `lingraft pivots select --pivots` takes either file."""


@app.command(epilog=DISCOVER_EPILOG)
def discover(
    corpus: CorpusOption,
    pairs: Annotated[
        Path, typer.Option(help="Lines of source word, tab, target word; or a word task of `pivots words`.")
    ],
    out: Annotated[Path, typer.Option(help="Run directory.")],
    more: MoreCorpus = None,
    score: Annotated[
        Literal["min-excess", "pmi", "llr"],
        typer.Option(help="Excess of document shares, pointwise mutual information, log-likelihood ratio."),
    ] = "min-excess",
    top: Annotated[int, typer.Option(help="Most pivots of a pair.")] = 50,
    sample: Annotated[int, typer.Option(help="Most documents looked at for each word.")] = 500,
    background: Annotated[int, typer.Option(help="Most documents looked at for all words together.")] = 2000,
    tokenizer: Annotated[
        str | None, typer.Option(help="Look at the tokens of this model's tokenizer (default: words).")
    ] = None,
    filter_with: Annotated[
        str | None,
        typer.Option(help="Keep pivots near the source or target word in this model's input embeddings."),
    ] = None,
    similarity_quantile: Annotated[
        float, typer.Option(help="Share of the corpus's tokens that a kept pivot is nearer than.")
    ] = 0.9,
    text_field: TextFieldOption = "text",
    max_bad_lines: BadLinesOption = 1000,
    workers: WorkersOption = 1,
    ray: RayOption = None,
    seed: SeedOption = 0,
    trust_remote_code: RemoteCodeOption = False,
    accept_terms: TermsOption = False,
    json: JsonOption = False,
) -> None:
    """Find the tokens by way of which two words may be connected: those that come with both."""
    with prints_to_stderr():
        from lingraft.recipes.pivots.discovering import run_discovery, summary
        from lingraft.recipes.pivots.discovering_inputs import DiscoverOptions

        options = DiscoverOptions(
            corpus=(*corpus, *(more or ())),
            pairs=str(pairs),
            score=score,
            top=top,
            sample=sample,
            background=background,
            tokenizer=tokenizer,
            filter_with=filter_with,
            similarity_quantile=similarity_quantile,
            text_field=text_field,
            maximum_bad_lines=max_bad_lines,
            seed=seed,
        )
        result, table = run_discovery(
            options,
            out=out,
            workers=workers,
            ray_address=ray,
            trust_remote_code=trust_remote_code,
            accept_terms=accept_terms,
        )
    best: dict[tuple[str, str], list[str]] = {}
    for row in table.select(["source_word", "target_word", "token", "kept"]).to_pylist():
        if row["kept"]:
            best.setdefault((row["source_word"], row["target_word"]), []).append(row["token"])
    lines = []
    for pair in result.metrics["pairs"]:
        said = best.get((pair["source_word"], pair["target_word"]), [])
        what = ", ".join(said[:8]) or pair["why_none"] or "no pivot is kept by the filter"
        lines.append(f"{pair['source_word']} - {pair['target_word']}: {what}")
    more = [f"... {len(lines) - 20} more in {out / 'pivots.parquet'}"] if len(lines) > 20 else []
    shown = [*lines[:20], *more, summary(result), f"report: {out / 'report.html'}"]
    print_result({**result.as_json(), "out": str(out)}, shown, as_json=json)

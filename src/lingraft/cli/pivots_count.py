"""`lingraft pivots count`: exact document counts of word pairs in a corpus."""

from pathlib import Path
from typing import Annotated

import typer

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

COUNT_EPILOG = """\b
Examples:
  lingraft pivots count --corpus news.jsonl.zst --pairs words.tsv --out counts
  lingraft pivots count --corpus 2026/ extra.parquet --pairs words.tsv --workers 8 --out counts

\b
A document is a line of a .txt file, or the text field of a .jsonl, .json, .tsv, .csv or .parquet record (but for the
last also .gz, .zst, .xz, .bz2); a directory stands for all such files below it, but bare .json. Matching: NFC,
case-folded, whole words in scripts written with spaces (not next to a letter, digit, underscore or combining mark),
substrings in Chinese, Japanese, Thai, Khmer, Lao, Burmese.
Leaves counts.parquet (source_word, target_word, source_documents, target_documents, both), semantics.json,
rejects.jsonl (bad lines, if any), result.json and report.html. Finished parts of the corpus are kept: the same
command continues a killed run."""


@app.command(epilog=COUNT_EPILOG)
def count(
    corpus: CorpusOption,
    pairs: Annotated[Path, typer.Option(help="Lines of source word, tab, target word; UTF-8.")],
    out: Annotated[Path, typer.Option(help="Run directory.")],
    more: MoreCorpus = None,
    window: Annotated[
        int | None,
        typer.Option(help="Also count documents with both words less than so many words apart.", min=1),
    ] = None,
    text_field: TextFieldOption = "text",
    normalise: Annotated[bool, typer.Option(help="Compare text and words in NFC.")] = True,
    fold_case: Annotated[bool, typer.Option(help="Take no notice of case.")] = True,
    whole_words: Annotated[
        bool, typer.Option(help="Whole words in scripts with spaces; otherwise substrings everywhere.")
    ] = True,
    max_bad_lines: BadLinesOption = 1000,
    workers: WorkersOption = 1,
    ray: RayOption = None,
    shard_mib: Annotated[
        int, typer.Option(help="Size of the parts that large .txt and .jsonl files are cut into.", min=1)
    ] = 64,
    json: JsonOption = False,
) -> None:
    """Count the documents in which words, and pairs of words, occur; exact, in one pass, resumable."""
    with prints_to_stderr():
        from lingraft.pivots.matching import Matching
        from lingraft.recipes.pivots.counting import run_counting

        result = run_counting(
            [*corpus, *(more or [])],
            pairs,
            out=out,
            matching=Matching(normalise=normalise, fold_case=fold_case, whole_words=whole_words),
            window=window,
            text_field=text_field,
            workers=workers,
            ray_address=ray,
            shard_bytes=shard_mib * 2**20,
            maximum_bad_lines=max_bad_lines,
        )
    found, bad = result.metrics, result.counts["lines or rows"]
    lines = [
        f"{found['documents']:,} documents, {found['words']:,} words, {found['pairs']:,} pairs",
        f"{found['pairs_together']:,} pairs occur together; {found['words_absent']:,} words in no document",
    ]
    if found["bad_lines"]:
        reasons = ", ".join(f"{bad[name]:,} {name}" for name in bad if name not in {"documents", "blank"})
        lines.append(f"bad lines passed over: {reasons}; see {out / 'rejects.jsonl'}")
    lines += [f"counted: {found['semantics']}", f"report: {out / 'report.html'}"]
    print_result({**result.as_json(), "out": str(out)}, lines, as_json=json)

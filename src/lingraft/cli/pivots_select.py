"""`lingraft pivots select`: documents rich in pivots, and controls of the same budget."""

from pathlib import Path
from typing import Annotated

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

SELECT_EPILOG = """\b
Example:
  lingraft pivots select --corpus news.jsonl --pivots runs/pivots/hubs.parquet --tokens 1000000 \\
    --tokenizer smollm2-135m-instruct --control random --control matched --control frequency \\
    --test-words runs/words/words.jsonl --out runs/selected

\b
Writes selected/ and controls/NAME/ (JSON lines with text, id, language, score, reason), which
`lingraft` trains on and any trainer reads. Controls: random, matched (languages and lengths of the
selection), parallel (documents in two languages), frequency (random tokens as frequent as the pivots).
Every set holds --tokens tokens; where the corpus cannot fill one, nothing is written, and the line says
how much there is; --shrink-to-fit makes all sets as small as the smallest."""


@app.command(epilog=SELECT_EPILOG)
def select(
    corpus: CorpusOption,
    pivots: Annotated[
        Path, typer.Option(help="hubs.parquet or pivots.parquet of `pivots discover`, or a word a line.")
    ],
    tokens: Annotated[int, typer.Option(help="Tokens of each set: --tokenizer's, or else words.")],
    out: Annotated[Path, typer.Option(help="Run directory.")],
    more: MoreCorpus = None,
    control: Annotated[
        list[str] | None, typer.Option(help="random, matched, parallel or frequency; may come several times.")
    ] = None,
    tokenizer: Annotated[str | None, typer.Option(help="Whose tokens --tokens counts.")] = None,
    least_pairs: Annotated[
        int, typer.Option(help="Pairs (or words of the graph) that a pivot must serve; 1 takes all.")
    ] = 2,
    most_pivots: Annotated[int, typer.Option(help="Most pivots: those that serve the most pairs.")] = 1000,
    least_length: Annotated[int, typer.Option(help="Words that a document must have.")] = 20,
    quota: Annotated[
        list[str] | None, typer.Option(help="LANGUAGE=SHARE of the tokens; shares sum to 1; may come again.")
    ] = None,
    languages: Annotated[
        str | None, typer.Option(help="Languages, commas between, of documents that state none: en,de.")
    ] = None,
    parallel_corpus: Annotated[
        list[str] | None, typer.Option(help="Documents in two languages, for --control parallel.")
    ] = None,
    parallel_fields: Annotated[
        str | None, typer.Option(help="Two of its fields, to be joined to a document: en,target.")
    ] = None,
    test_words: Annotated[
        list[Path] | None,
        typer.Option(
            help="Words tested later: a word task, pairs with tabs, or a word a line; may come again."
        ),
    ] = None,
    keep_out_test_pairs: Annotated[
        bool, typer.Option("--keep-out-test-pairs", help="Choose no document with both words of a test pair.")
    ] = False,
    shrink_to_fit: Annotated[
        bool, typer.Option("--shrink-to-fit", help="Make all sets as small as the smallest.")
    ] = False,
    text_field: TextFieldOption = "text",
    max_bad_lines: BadLinesOption = 1000,
    workers: WorkersOption = 1,
    ray: RayOption = None,
    seed: SeedOption = 0,
    trust_remote_code: RemoteCodeOption = False,
    accept_terms: TermsOption = False,
    json: JsonOption = False,
) -> None:
    """Choose documents rich in pivots under a budget of tokens, with controls to compare training on them."""
    with prints_to_stderr():
        from lingraft.recipes.pivots.selecting import run_selecting
        from lingraft.recipes.pivots.selecting_inputs import SelectOptions
        from lingraft.recipes.pivots.selecting_result import summary

        options = SelectOptions(
            corpus=(*corpus, *(more or ())),
            pivots=str(pivots),
            tokens=tokens,
            controls=tuple(control or ()),
            tokenizer=tokenizer,
            least_pairs=least_pairs,
            most_pivots=most_pivots,
            least_length=least_length,
            quotas=_quotas(quota or []),
            languages=_parts(languages),
            parallel_corpus=tuple(parallel_corpus or ()),
            parallel_fields=_parts(parallel_fields),
            test_words=tuple(str(path) for path in test_words or ()),
            keep_out_test_pairs=keep_out_test_pairs,
            text_field=text_field,
            maximum_bad_lines=max_bad_lines,
            seed=seed,
        )
        result = run_selecting(
            options,
            out=out,
            shrink_to_fit=shrink_to_fit,
            workers=workers,
            ray_address=ray,
            trust_remote_code=trust_remote_code,
            accept_terms=accept_terms,
        )
    shown = [
        f"{row['name']:<10} {row['documents']:>9,} documents {row['tokens']:>12,} tokens"
        f" {100 * row['pivot_share']['value']:6.2f} % pivots"
        + ("" if row["overlap"] is None else f" {100 * row['overlap']:6.1f} % also selected")
        for row in result.metrics["sets"]
    ]
    print_result(
        {**result.as_json(), "out": str(out)},
        [*shown, summary(result), f"report: {out / 'report.html'}"],
        as_json=json,
    )


def _parts(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def _quotas(given: list[str]) -> tuple[tuple[str, float], ...]:
    """Read `de=0.5`."""
    from lingraft.errors import ConfigError

    quotas: dict[str, float] = {}
    for entry in given:
        language, equals, share = entry.partition("=")
        try:
            value = float(share)
        except ValueError:
            value = -1.0
        if not equals or not language or language in quotas or not 0 < value <= 1:
            raise ConfigError(
                f"--quota {entry}", "LANGUAGE=SHARE such as de=0.5, each language once", "correct it"
            )
        quotas[language] = value
    return tuple(quotas.items())

"""`lingraft pivots words` and `score`: a test of words from a lexicon, and how well a model translates them."""

from pathlib import Path
from typing import Annotated

import typer

from lingraft.cli.options import DeviceOption, DtypeOption, RemoteCodeOption, SeedOption, TermsOption
from lingraft.cli.output import JsonOption, print_result, prints_to_stderr
from lingraft.cli.pivots_options import app

WORDS_EPILOG = """\b
Examples:
  lingraft pivots words --lexicon freedict-eng-deu --source en --target de --limit 500 --out words-de.jsonl
  lingraft pivots words --lexicon swahili.txt --source en --target sw --corpus english.txt --out words-sw.jsonl
  lingraft pivots words --aligned libreoffice-help-eu --source en --target eu --limit 200 --out words-eu.jsonl

\b
A lexicon is a file of source word, tab, target word; a directory with pairs.tsv; or freedict-PAIR, which is
turned by itself. Where there is none, --aligned finds words in parallel text: lines of text, tab, translation, or
libreoffice-help-LANG. Its pairs are each other's best by log-likelihood ratio: most are right, not all.
Rows that cannot be used are counted by reason, with one of each shown. The file holds the test
words, their distractors and the draws of examples: `score` and `trace` read it. Examples never hold a test word."""

SCORE_EPILOG = """\b
Example:
  lingraft pivots score --model smollm2-135m-instruct --words words-de.jsonl --out runs/score-de

\b
Leaves scores.parquet (a row a word), result.json and report.html. The score of a word is the probability of its
translation after the word less the same after its distractors, mean over draws of examples. Finished parts are
kept: the same command continues a killed run."""

ModelOption = Annotated[
    str, typer.Option(help="Causal language model: hub id, directory, .gguf file or asset name.")
]
WordsOption = Annotated[Path, typer.Option(help="What `lingraft pivots words` wrote.")]
WordLimitOption = Annotated[int | None, typer.Option(help="Only the first so many words.")]
BatchOption = Annotated[int, typer.Option(help="Prompts at a time.", min=1)]


@app.command(epilog=WORDS_EPILOG)
def words(
    source: Annotated[str, typer.Option(help="Language to translate from: code or English name.")],
    target: Annotated[str, typer.Option(help="Language to translate into.")],
    out: Annotated[Path, typer.Option(help="JSONL file to write.")],
    lexicon: Annotated[
        str | None, typer.Option(help="Lexicon: TSV, directory with pairs.tsv, or freedict-PAIR.")
    ] = None,
    aligned: Annotated[
        str | None, typer.Option(help="Parallel text to find words in: TSV, or libreoffice-help-LANG.")
    ] = None,
    lexicon_out: Annotated[
        Path | None, typer.Option(help="Write the word pairs that --aligned gave there too, as a lexicon.")
    ] = None,
    swap: Annotated[bool, typer.Option("--swap", help="The file's columns are target, source.")] = False,
    phrases: Annotated[bool, typer.Option("--phrases", help="Keep entries of several words.")] = False,
    limit: Annotated[int | None, typer.Option(help="How many test words (default: all).")] = None,
    frequencies: Annotated[
        Path | None, typer.Option(help="Lines of source word, tab, count: distractors are then as frequent.")
    ] = None,
    corpus: Annotated[
        Path | None, typer.Option(help="Source-language text to count words in, instead of --frequencies.")
    ] = None,
    most_frequent: Annotated[
        int | None, typer.Option(help="Only words among this many most frequent ones.")
    ] = None,
    parts_of_speech: Annotated[
        Path | None, typer.Option(help="Lines of source word, tab, tag: distractors then share it.")
    ] = None,
    examples: Annotated[int, typer.Option(help="Example pairs in a prompt.", min=0)] = 5,
    draws: Annotated[int, typer.Option(help="Draws of examples.")] = 5,
    distractors: Annotated[int, typer.Option(help="Distractors of each word.", min=0)] = 9,
    pairs: Annotated[
        Path | None, typer.Option(help="Write source word, tab, target word there too, for `count`.")
    ] = None,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Draw a test of word translation from a bilingual lexicon or parallel text, with distractors and examples."""
    given = {name: value for name, value in locals().items() if name not in {"lexicon", "json"}}
    with prints_to_stderr():
        from lingraft.recipes.pivots.word_lists import make_words, task_lines, word_counts

        task, read = make_words(lexicon, **given)
    result = {
        "out": str(out),
        "source_language": task.source_language.name,
        "target_language": task.target_language.name,
        "words": len(task.items),
        "counts": word_counts(task, read),
    }
    print_result(result, [*task_lines(task, read), f"words: {out}"], as_json=json)


@app.command(epilog=SCORE_EPILOG)
def score(
    model: ModelOption,
    words: WordsOption,
    out: Annotated[Path, typer.Option(help="Run directory.")],
    draws: Annotated[int | None, typer.Option(help="How many draws of examples (default: all).")] = None,
    limit: WordLimitOption = None,
    generate: Annotated[
        bool, typer.Option(help="Decode greedily too, for the share of right answers.")
    ] = True,
    batch_size: BatchOption = 64,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    dtype: DtypeOption = None,
    trust_remote_code: RemoteCodeOption = False,
    accept_terms: TermsOption = False,
    json: JsonOption = False,
) -> None:
    """Score how well a model translates the words: contrastive score, rank, share of right answers."""
    given = {name: value for name, value in locals().items() if name not in {"model", "words", "json"}}
    with prints_to_stderr():
        from lingraft.recipes.pivots.word_scoring import run_scoring, score_lines

        result = run_scoring(model, words, **given)
    print_result({**result.as_json(), "out": str(out)}, score_lines(result, out), as_json=json)

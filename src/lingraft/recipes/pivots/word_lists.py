"""From a lexicon's name or file, or from parallel text, to a word task on the disk."""

import dataclasses
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from lingraft.assets.catalog import fetch_asset, is_asset_name
from lingraft.errors import ConfigError, OutputError
from lingraft.files import sha256_of, write_text
from lingraft.pivots.languages import find_language
from lingraft.pivots.task_file import is_word_task, write_word_task
from lingraft.pivots.words import Lexicon, count_words, read_frequencies, read_lexicon, read_parts_of_speech
from lingraft.pivots.wordtask import DISTRACTORS, DRAWS, EXAMPLES, WordTask, build_word_task
from lingraft.recipes.pivots.aligned_words import PAIRS_FILE, induce_words

FREEDICT = "freedict-"


def make_words(
    lexicon: str | None = None,
    *,
    source: str,
    target: str,
    out: Path,
    aligned: str | None = None,
    lexicon_out: Path | None = None,
    swap: bool = False,
    phrases: bool = False,
    limit: int | None = None,
    frequencies: Path | None = None,
    corpus: Path | None = None,
    most_frequent: int | None = None,
    parts_of_speech: Path | None = None,
    examples: int = EXAMPLES,
    draws: int = DRAWS,
    distractors: int = DISTRACTORS,
    pairs: Path | None = None,
    seed: int = 0,
) -> tuple[WordTask, Lexicon]:
    """Read a lexicon, or find one in parallel text, draw the test of words and write it.

    Args:
        lexicon: A TSV, a directory with `pairs.tsv`, or the name of a catalogued lexicon.
        source: Code or English name of the language to translate from.
        target: Of the language to translate into.
        out: The word task to write.
        aligned: Parallel text to find words in instead of a lexicon, see `induce_words`.
        lexicon_out: Write the word pairs found in `aligned` there too.
        swap: The file's columns are target word, source word. Catalogued lexicons are turned by themselves.
        phrases: Keep entries of several words.
        limit: How many test words; None for all.
        frequencies: Lines of source word, tab, count.
        corpus: Text of the source language to count words in, instead of `frequencies`.
        most_frequent: Take words only from this many most frequent ones.
        parts_of_speech: Lines of source word, tab, part of speech.
        examples: Example pairs in a prompt.
        draws: Draws of examples.
        distractors: Distractors of each word.
        pairs: Write source word, tab, target word of the test words there too.
        seed: Of every draw.

    Returns:
        The task and the lexicon that it was drawn from.

    Raises:
        LingraftError: A bad file, an unknown language, a wrong direction, too few words, or an output that holds
            something else.
    """
    _check_numbers(limit=limit, most_frequent=most_frequent, draws=draws)
    languages = find_language(source), find_language(target)
    if languages[0].name == languages[1].name:
        raise ConfigError(f"{languages[0].name} twice", "two languages", "give another --source or --target")
    if (lexicon is None) == (aligned is None):
        given = "neither --lexicon nor --aligned" if lexicon is None else "both --lexicon and --aligned"
        raise ConfigError(given, "one of the two", "name a lexicon, or parallel text")
    if lexicon_out is not None and aligned is None:
        raise ConfigError("--lexicon-out without --aligned", "parallel text", "leave it out")
    for path in (out, pairs, lexicon_out):
        _require_writable(path, task=path is out)
    known = _known_frequencies(frequencies, corpus)
    tags = None if parts_of_speech is None else read_parts_of_speech(parts_of_speech)
    from_where, read = _read_words(
        lexicon, aligned, lexicon_out, source, target, swap=swap, phrases=phrases, known_words=known or ()
    )
    task = build_word_task(
        read,
        limit=limit,
        seed=seed,
        examples=examples,
        draws=draws,
        distractors=distractors,
        frequencies=known,
        most_frequent=most_frequent,
        parts_of_speech=tags,
    )
    about: dict[str, Any] = {
        **from_where,
        "rejected_rows": read.rejected,
        "frequencies": str(frequencies or corpus or "") or None,
        "parts_of_speech": None if parts_of_speech is None else str(parts_of_speech),
        "most_frequent": most_frequent,
        "seed": seed,
    }
    write_word_task(out, task, about=about)
    if pairs is not None:
        write_text(pairs, "".join(f"{item.source_word}\t{item.target_word}\n" for item in task.items))
    return task, read


def _read_words(
    lexicon: str | None,
    aligned: str | None,
    lexicon_out: Path | None,
    source: str,
    target: str,
    *,
    swap: bool,
    **options: Any,
) -> tuple[dict[str, Any], Lexicon]:
    """Return where words come from, and the words."""
    if lexicon is not None:
        path, turned = find_lexicon(lexicon, source, target)
        read = read_lexicon(path, source, target, swap=swap != turned, **options)
        return {"lexicon": lexicon, "lexicon_sha256": sha256_of(path), "swapped": swap != turned}, read
    found = induce_words(str(aligned), source, target, swap=swap)
    about = {"aligned": aligned, "aligned_sha256": found.sha256, "swapped": swap, "pairs": len(found.pairs)}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / PAIRS_FILE
        found.write(path)
        try:
            read = read_lexicon(path, source, target, **options)
        except ConfigError as error:
            # The user knows the text, and not the file between.
            message = error.found.replace(str(path), f"the words of {aligned}")
            raise ConfigError(message, error.expected, error.remedy) from error
    if lexicon_out is not None:
        found.write(lexicon_out)
    return about, dataclasses.replace(read, rejected={**found.bad, **read.rejected})


def find_lexicon(lexicon: str, source: str, target: str) -> tuple[Path, bool]:
    """Find a lexicon's file, fetching a catalogued one.

    Args:
        lexicon: What the user typed.
        source: Code or name of the language to translate from.
        target: Of the language to translate into.

    Returns:
        The file, and whether a catalogued lexicon's columns are the other way round.

    Raises:
        LingraftError: There is no such file, or the catalogued lexicon is of other languages.
    """
    path = Path(lexicon)
    if path.is_dir():
        path = path / PAIRS_FILE
    if path.exists() or not is_asset_name(lexicon):
        return path, False
    wanted = [find_language(code).name for code in (source, target)]
    held = [_name_of(code) for code in lexicon.removeprefix(FREEDICT).split("-")]
    for turned in (False, True):
        # A code that the table lacks fits any name that is not in it either.
        fitting = all(
            name in (None, given) for name, given in zip(held[:: -1 if turned else 1], wanted, strict=False)
        )
        if lexicon.startswith(FREEDICT) and fitting and any(held):
            return fetch_asset(lexicon).path / PAIRS_FILE, turned
    raise ConfigError(
        f"{lexicon} is no lexicon of {wanted[0]} and {wanted[1]}", "these languages", "give another lexicon"
    )


def word_counts(task: WordTask, lexicon: Lexicon) -> dict[str, dict[str, int]]:
    """Count what became of the lexicon, with reasons.

    Args:
        task: The task.
        lexicon: What it was drawn from.

    Returns:
        Counts of words and of rejected rows.
    """
    targets = Counter(len(item.accepted) for item in task.items)
    drawn = sum(task.left_out.values()) + len(task.items)
    words = {
        "test words": len(task.items),
        **task.left_out,
        "beyond --limit": len(lexicon.translations) - drawn,
    }
    return {
        "words": {why: count for why, count in words.items() if count},
        "rejected rows": dict(lexicon.rejected),
        "accepted translations": {str(number): targets[number] for number in sorted(targets)},
    }


def task_lines(task: WordTask, lexicon: Lexicon) -> list[str]:
    """Say what was made, and of every reason for a rejected row one example."""
    counts = word_counts(task, lexicon)
    lines = [
        f"{len(task.items):,} words, {task.source_language.name} to {task.target_language.name};"
        f" {len(task.draws)} draws of {len(task.draws[0])} examples"
    ]
    lines += [f"  {why}: {count:,}" for why, count in counts["words"].items() if why != "test words"]
    for why, count in counts["rejected rows"].items():
        example = f" ({lexicon.examples[why]})" if why in lexicon.examples else ""
        lines.append(f"  rejected, {why}: {count:,}{example}")
    return lines


def item_rows(task: WordTask) -> list[dict[str, Any]]:
    """Return the test words as plain mappings."""
    return [dataclasses.asdict(item) for item in task.items]


def _check_numbers(**numbers: int | None) -> None:
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise ConfigError(f"--{name.replace('_', '-')} {value}", "at least 1", "give a larger number")


def _require_writable(path: Path | None, *, task: bool) -> None:
    """Refuse to write over something that is none of ours."""
    if path is None:
        return
    if path.is_dir():
        raise OutputError(f"{path} is a directory", "the path of a file", "give another path")
    if task and path.exists() and path.stat().st_size and not is_word_task(path):
        raise OutputError(f"{path} is there and is no word task", "a new file", "give another --out")


def _name_of(code: str) -> str | None:
    try:
        return find_language(code).name
    except ConfigError:
        return None


def _known_frequencies(frequencies: Path | None, corpus: Path | None) -> dict[str, float] | None:
    if frequencies is not None and corpus is not None:
        raise ConfigError("both --frequencies and --corpus", "one of the two", "leave one out")
    if corpus is not None:
        from lingraft.recipes.inputs import read_corpus

        return count_words(read_corpus(corpus))
    return None if frequencies is None else read_frequencies(frequencies)

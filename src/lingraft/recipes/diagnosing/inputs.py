"""What a first look reads: texts, words and prompts as given, or else from the language's catalogued help pages."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lingraft.assets.catalog import fetch_asset, is_asset_name
from lingraft.errors import AssetError, ConfigError, MissingExtraError
from lingraft.files import write_text
from lingraft.pivots.languages import find_language
from lingraft.pivots.task_file import read_word_task
from lingraft.pivots.words import Lexicon, count_words
from lingraft.pivots.wordtask import WordTask
from lingraft.recipes.diagnosing.options import (
    FERTILITY,
    FIDELITY,
    LIKELIHOOD,
    PATCHING,
    TRACE,
    WORDS,
    DiagnoseOptions,
)
from lingraft.recipes.evaluating.fidelity_inputs import read_prompts
from lingraft.recipes.inputs import read_corpus, take_bytes
from lingraft.recipes.pivots.aligned_words import HELP, PAIRS_FILE
from lingraft.recipes.pivots.word_lists import find_lexicon, make_words

TASK_FILE, LEXICON_DIRECTORY, PROMPTS_FILE = "words.jsonl", "lexicon", "prompts.jsonl"
TOKENIZED_BYTES = 500_000
"""UTF-8 bytes of text that tokens are counted on."""
MOST_FREQUENT, ENOUGH_WORDS = 1000, 200
"""Words of a lexicon are taken among so many most frequent ones of the English text, if it holds enough of them."""
HEADING_WORDS = 3
"""Headings with fewer words make no prompt."""


@dataclass(frozen=True, slots=True)
class Material:
    """What there is to measure on.

    Attributes:
        texts: Documents of the language, or None.
        english: English documents, or None.
        given: The options, with what the help pages stand in for filled in.
        asset: The help pages, where anything is taken from them.
        headings: Their headings as prompts, where none were given.
        missing: Why there is no `text`, `english`, `words` or `prompts`.
    """

    texts: list[str] | None
    english: list[str] | None
    given: DiagnoseOptions
    asset: str | None = None
    headings: tuple[tuple[str, str], ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)


def find_material(options: DiagnoseOptions) -> Material:
    """Read texts and prompts, from the catalogued help pages where none are given.

    Args:
        options: The options.

    Returns:
        What there is.

    Raises:
        LingraftError: Something that was given cannot be read.
    """
    asset, directory, why_not = _help_pages(options)
    given, missing = options, {}
    if directory is not None:
        if options.held_out is None:
            given = replace(
                given,
                held_out=str(directory / "heldout.txt"),
                english_held_out=options.english_held_out or str(directory / "en.heldout.txt"),
            )
        if (options.lexicon, options.aligned, options.words) == (None, None, None):
            given = replace(given, aligned=asset)
    wants_text = options.wants(FERTILITY, LIKELIHOOD)
    texts = _read(given.held_out if wants_text else None, options.seed)
    english = _read(given.english_held_out if wants_text else None, options.seed)
    if texts is None:
        missing["text"] = f"no --held-out, {why_not}"
    if english is None:
        missing["english"] = "no --english-held-out"
    if (given.lexicon, given.aligned, given.words) == (None, None, None):
        missing["words"] = f"none of --words, --lexicon and --aligned, {why_not}"
    headings: tuple[tuple[str, str], ...] = ()
    if options.prompts is not None and options.wants(FIDELITY):
        read_prompts(options.prompts, language=options.language.lower(), limit=options.answers)
    elif directory is not None and options.wants(FIDELITY):
        headings = _headings(directory / "pairs.heldout.tsv", options.answers, options.seed)
    if options.prompts is None and not headings:
        missing["prompts"] = f"no --prompts, {why_not}"
    return Material(texts, english, given, asset if directory is not None else None, headings, missing)


def prepare_words(material: Material, out: Path) -> str | None:
    """Write the word task and the lexicon of the transplants, where there are words.

    Args:
        material: What there is.
        out: The run directory; both are written there whole, and are the same for the same options.

    Returns:
        Why there are no words, or None.

    Raises:
        LingraftError: Words that were given cannot be read, or are of another language.
    """
    options = material.given
    if "words" in material.missing:
        return material.missing["words"]
    if options.words is not None:
        task = read_given_words(options)
        _write_lexicon(out, {item.source_word: item.accepted for item in task.items})
        write_text(out / TASK_FILE, options.words.read_text(encoding="utf-8"))
        return None
    try:
        task, lexicon, common = _drawn_words(options, out)
    except ConfigError as error:
        if material.asset is not None and options.aligned == material.asset:
            return str(error)
        raise
    _write_lexicon(
        out,
        {
            word: others
            for word, others in lexicon.translations.items()
            if not common or word.casefold() in common
        },
    )
    return None


def read_given_words(options: DiagnoseOptions) -> WordTask:
    """Read `--words`, and refuse those into another language.

    Args:
        options: The options; they name a word task.

    Returns:
        The task.

    Raises:
        ConfigError: No word task, or one into another language.
    """
    task = read_word_task(Path(str(options.words)))
    wanted = find_language(options.language).name
    if task.target_language.name != wanted:
        raise ConfigError(
            f"{options.words} with words into {task.target_language.name}",
            f"words into {wanted}",
            "give another file",
        )
    return task


def check_words(material: Material) -> None:
    """Draw the words once in a place of their own, so that bad words leave nothing behind."""
    with tempfile.TemporaryDirectory() as directory:
        prepare_words(material, Path(directory))


def write_prompts(material: Material, out: Path) -> Path:
    """Return the file of prompts, written from the help pages' headings where none was given."""
    if material.given.prompts is not None:
        return material.given.prompts
    language = material.given.language
    rows = [{"id": name, "prompt": text, "target_language": language} for name, text in material.headings]
    path = out / PROMPTS_FILE
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def _help_pages(options: DiagnoseOptions) -> tuple[str | None, Path | None, str]:
    """Return the asset that stands in for what was not given, its directory, and why there is none."""
    name = f"{HELP}{options.language.lower()}"
    words = (options.lexicon, options.aligned, options.words) == (None, None, None)
    needed = (
        (options.held_out is None and options.wants(FERTILITY, LIKELIHOOD))
        or (options.prompts is None and options.wants(FIDELITY))
        or (words and options.wants(WORDS, TRACE, PATCHING))
    )
    if not is_asset_name(name):
        return None, None, f"and there is no asset {name}"
    if not options.help_pages or not needed:
        return None, None, f"and the asset {name} is not to be used"
    try:
        return name, fetch_asset(name).path, ""
    except (AssetError, MissingExtraError) as error:
        return None, None, f"and the asset {name} could not be fetched ({error})"


def _read(reference: str | None, seed: int) -> list[str] | None:
    return None if reference is None else take_bytes(read_corpus(Path(reference)), TOKENIZED_BYTES, seed)


def _headings(path: Path, count: int, seed: int) -> tuple[tuple[str, str], ...]:
    """Draw headings of the language that have some words."""
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n") if line]
    found = {
        row[3].strip(): row[1]
        for row in rows
        if row[1].startswith("hd") and len(row[3].split()) >= HEADING_WORDS
    }
    order = np.random.default_rng(seed).permutation(len(found))[:count]
    texts = list(found)
    return tuple((found[texts[place]], texts[place]) for place in order)


def _drawn_words(options: DiagnoseOptions, out: Path) -> tuple[WordTask, Lexicon, frozenset[str]]:
    """Draw the task; of a lexicon among the most frequent words of the English text, where that holds enough."""
    common: frozenset[str] = frozenset()
    frequent: dict[str, Any] = {}
    if options.lexicon is not None and options.english_held_out is not None:
        counts = count_words(read_corpus(Path(options.english_held_out)))
        path, turned = find_lexicon(options.lexicon, "en", options.language)
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        columns = (line.split("\t") for line in text.split("\n"))
        held = {row[turned].strip().casefold() for row in columns if len(row) > 1}
        known = sorted(held & counts.keys(), key=lambda word: (-counts[word], word))[:MOST_FREQUENT]
        if len(known) >= ENOUGH_WORDS:
            common = frozenset(known)
            frequent = {"corpus": Path(options.english_held_out), "most_frequent": MOST_FREQUENT}
    task, lexicon = make_words(
        options.lexicon,
        source="en",
        target=options.language,
        out=out / TASK_FILE,
        aligned=options.aligned,
        limit=options.word_count,
        draws=options.draws,
        seed=options.seed,
        **frequent,
    )
    return task, lexicon, common


def _write_lexicon(out: Path, translations: Mapping[str, tuple[str, ...]]) -> None:
    (out / LEXICON_DIRECTORY).mkdir(exist_ok=True)
    rows = [f"{word}\t{other}\n" for word, others in translations.items() for other in others]
    write_text(out / LEXICON_DIRECTORY / PAIRS_FILE, "".join(rows))

"""The guard between test words and selection: what is tested later must not choose what is trained on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lingraft.errors import ConfigError
from lingraft.pivots.cooccurrence import read_pairs
from lingraft.pivots.discovery_tokens import Tokens
from lingraft.pivots.matching import Matching, is_unspaced, prepare_word
from lingraft.pivots.task_file import is_word_task, read_word_task


@dataclass(frozen=True, slots=True)
class TestWords:
    """Words that a model is tested on.

    Attributes:
        words: All of them, normalised.
        pairs: Words and their translations, as given; each once.
        repeated: Words that were given more than once.
    """

    __test__ = False

    words: frozenset[str]
    pairs: tuple[tuple[str, str], ...]
    repeated: int = 0


def read_test_words(paths: Sequence[Path], matching: Matching | None = None) -> TestWords:
    """Read test words from word tasks, from files of pairs (source word, tab, target word), or of one word a line.

    Args:
        paths: The files; words of several are taken together, and may overlap.
        matching: How words are normalised.

    Returns:
        The words.

    Raises:
        ConfigError: A file cannot be read, holds no word, or has a bad line; with its number.
    """
    matching = matching or Matching()
    pairs: list[tuple[str, str]] = []
    words: list[str] = []
    for path in paths:
        if is_word_task(path):
            task = read_word_task(path)
            pairs += [(item.source_word, word) for item in task.items for word in item.accepted]
        elif _has_tabs(path):
            pairs += read_pairs(path, matching=matching)
        else:
            words += _lines(path, matching)
    distinct = dict.fromkeys(pairs)
    given = [*words, *(word for pair in distinct for word in pair)]
    normalised = frozenset(matching.apply(word.strip()) for word in given)
    return TestWords(normalised, tuple(distinct), len(given) - len(normalised))


def guard(
    pivots: Iterable[str], test_words: TestWords, *, tokens: Tokens, matching: Matching | None = None
) -> tuple[frozenset[str], list[str]]:
    """Take test words out of a pivot set.

    Args:
        pivots: The tokens.
        test_words: What is tested.
        tokens: How tokens are shown.
        matching: How words are normalised.

    Returns:
        What is left; and what was taken out, as shown, sorted: test words, and parts of test words in scripts without
        spaces.

    Raises:
        ConfigError: Nothing is left.
    """
    given = frozenset(pivots)
    guarded = guarded_tokens(given, test_words, tokens=tokens, matching=matching)
    kept, removed = given - guarded, [tokens.show(token) for token in guarded]
    if not kept:
        raise ConfigError(
            f"all {len(removed)} pivots are test words ({', '.join(sorted(removed)[:5])})",
            "pivots that are not tested later",
            "give other --test-words, or pivots of other words",
        )
    return kept, sorted(removed)


def guarded_tokens(
    given: Iterable[str], test_words: TestWords, *, tokens: Tokens, matching: Matching | None = None
) -> frozenset[str]:
    """Return those tokens that are test words, or parts of test words in scripts without spaces.

    Args:
        given: Any tokens.
        test_words: What is tested.
        tokens: How tokens are shown.
        matching: How words are normalised.

    Returns:
        The tokens that must not choose documents.
    """
    matching = matching or Matching()
    unspaced = "\n".join(word for word in test_words.words if is_unspaced(word))

    def is_guarded(token: str) -> bool:
        shown = matching.apply(tokens.show(token))
        return shown in test_words.words or (len(shown) > 1 and is_unspaced(shown) and shown in unspaced)

    return frozenset(token for token in given if is_guarded(token))


def _has_tabs(path: Path) -> bool:
    try:
        return b"\t" in path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", "a file of test words", "check the path"
        ) from error


def _lines(path: Path, matching: Matching) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8", "UTF-8 text", "convert the file") from error
    words = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            prepare_word(line, matching, f"{path} line {number}")
            words.append(line.strip())
    if not words:
        raise ConfigError(
            f"no word in {path}", "a word a line, or pairs with a tab between", "check the file"
        )
    return words

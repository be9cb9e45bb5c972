"""What measuring fidelity reads: prompts, an identifier, word lists."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lingraft.corpora.json_objects import JsonObject, read_objects
from lingraft.corpora.language_id import LinguaIdentifier
from lingraft.corpora.reading import MAXIMUM_BAD_LINES
from lingraft.corpora.records import BadRecord
from lingraft.corpora.rejects import Rejects
from lingraft.errors import ConfigError, CorpusError

OTHER_LANGUAGE, BLANK = "another target language", "blank"


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of a file.

    Attributes:
        texts: The prompts.
        ids: Their ids, or the numbers of their lines.
        field: The field that they were taken from.
        left_out: How many lines were not taken, by reason.
        bad: The bad ones of those.
    """

    texts: list[str]
    ids: list[str]
    field: str
    left_out: dict[str, int]
    bad: list[BadRecord]


def read_prompts(path: Path, *, language: str, field: str | None = None, limit: int | None = None) -> Prompts:
    """Read prompts from JSON lines: rows with a prompt, or paired items.

    Of paired items, those count whose `target_language` is the language, unless their English side is taken.

    Args:
        path: The file.
        language: Code of the language that is measured.
        field: Where the prompt is; by default the first of `prompt`, then `english_prompt` (for English) or
            `target_prompt` that the first row has.
        limit: Only the first so many prompts.

    Returns:
        The prompts.

    Raises:
        CorpusError: The file is missing or unreadable, no prompt is in it, or there are too many bad lines.
        ConfigError: The limit is below one.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit {limit}", "at least 1", "give a larger number")
    texts: list[str] = []
    ids: list[str] = []
    left_out: Counter[str] = Counter()
    bad: list[BadRecord] = []
    with Rejects(None, MAXIMUM_BAD_LINES) as rejects:
        for row in read_objects(path):
            if limit is not None and len(texts) == limit:
                break
            if isinstance(row, JsonObject):
                field = field or _find_field(row, path, language)
                found = _prompt(row, field, language)
            else:
                found = row
            if isinstance(found, BadRecord):
                bad.append(found)
                rejects.add(str(path), found)
            elif isinstance(found, _LeftOut):
                left_out[found.reason] += 1
            else:
                texts.append(found)
                ids.append(str(row.fields.get("id", row.line)) if isinstance(row, JsonObject) else "")
    left_out.update(one.reason for one in bad)
    if not texts:
        listed = ", ".join(f"{number} {reason}" for reason, number in left_out.items())
        raise CorpusError(
            f"no prompt in {path}" + (f" (left out: {listed})" if listed else ""),
            f"JSON lines with a text in the field {field or 'prompt'!r}",
            "check the file, or name the field with --field",
        )
    return Prompts(texts, ids, field or "", dict(left_out), bad)


def find_identifier(language: str, among: Iterable[str] = ()) -> LinguaIdentifier:
    """Make lingua's identifier, and refuse a language that it does not know.

    Args:
        language: ISO 639-1 code of the language that is measured.
        among: More languages that a line may be in; by default all that lingua knows.

    Returns:
        The identifier.

    Raises:
        ConfigError: A code is unknown.
        MissingExtraError: lingua is not installed.
    """
    others = sorted({code.lower() for code in among} - {language})
    for code in [language, *others]:
        try:
            LinguaIdentifier([code, "en" if code != "en" else "de"])
        except CorpusError as error:
            option = "--language" if code == language else "--among"
            raise ConfigError(
                f"{option} {code}",
                f"one of {error.expected.removeprefix('two or more of ')}",
                "give the ISO 639-1 code of a language that lingua knows",
            ) from error
    if not others:
        return LinguaIdentifier()
    return LinguaIdentifier([language, *others])


def read_words(path: Path | None, option: str) -> list[str] | None:
    """Read a word list, a word a line.

    Args:
        path: The file, or None.
        option: The option that named it.

    Returns:
        The words; None without a file.

    Raises:
        ConfigError: It cannot be read, or holds no word.
    """
    if path is None:
        return None
    try:
        words = path.read_text(encoding="utf-8").split()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise ConfigError(f"{option} {path}: {reason}", "a list of words", "check the path") from error
    if not words:
        raise ConfigError(f"{option} {path}: no word", "a word a line", "leave the option out")
    return words


@dataclass(frozen=True, slots=True)
class _LeftOut:
    reason: str


def _find_field(row: JsonObject, path: Path, language: str) -> str:
    wanted = ("prompt", "english_prompt" if language == "en" else "target_prompt")
    found = next((name for name in wanted if name in row.fields), None)
    if found is None:
        raise CorpusError(
            f"{path} line {row.line} with the fields {', '.join(map(str, row.fields)) or '(none)'}",
            f"a field {' or '.join(wanted)}",
            "name the prompts' field with --field",
        )
    return found


def _prompt(row: JsonObject, field: str, language: str) -> str | BadRecord | _LeftOut:
    if field not in row.fields:
        return BadRecord(row.line, f"no field {field!r}", row.content)
    text = row.fields[field]
    if not isinstance(text, str):
        return BadRecord(row.line, f"{field!r} is not a string", row.content)
    if not text.strip():
        return _LeftOut(BLANK)
    own = row.fields.get("target_language")
    if not field.startswith("english_") and isinstance(own, str) and own.lower() != language:
        return _LeftOut(OTHER_LANGUAGE)
    return text

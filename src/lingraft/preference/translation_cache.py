"""What engines have translated, kept in a file that any kill leaves whole: no sentence is paid for twice."""

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from lingraft.errors import OutputError

_SCHEMA = """
create table if not exists translations (
    key blob primary key, engine text not null, version text not null,
    source_language text not null, target_language text not null,
    text text not null, translation text not null
) without rowid
"""
_ASKED = 500
"""Keys looked up together; sqlite allows no more than some thousands."""


class TranslationCache:
    """Translations by engine, version, language pair and text, in a sqlite file (sqlite.org's own format).

    Each `add` is one transaction, on the disk when it returns: a killed process loses nothing that was added, and an
    addition that it was in the middle of is rolled back when the file is next opened.

    Args:
        path: The file, made where missing; None keeps everything in memory.
        engine: The engine's name.
        version: Its version, with all settings that change what it says.
        languages: Codes of the source and the target language.

    Raises:
        OutputError: The file is no such cache, is damaged, or cannot be written.
    """

    def __init__(self, path: Path | None, *, engine: str, version: str, languages: tuple[str, str]) -> None:
        self._path, self._origin = path, (engine, version, *languages)
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(":memory:" if path is None else path, timeout=60)
            self._base.execute("pragma synchronous = full")
            self._base.execute(_SCHEMA)
            self._base.commit()
        except (sqlite3.Error, OSError) as error:
            raise self._broken(error) from error

    def __enter__(self) -> Self:
        """Return the cache."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._base.close()

    def find(self, texts: Sequence[str]) -> dict[str, str]:
        """Look texts up.

        Args:
            texts: Texts as an engine is given them.

        Returns:
            The translations of those that are there.

        Raises:
            OutputError: The file is damaged.
        """
        keys = {self._key(text): text for text in texts}
        found: dict[str, str] = {}
        asked = list(keys)
        try:
            for start in range(0, len(asked), _ASKED):
                some = asked[start : start + _ASKED]
                marks = ",".join("?" * len(some))
                query = f"select key, translation from translations where key in ({marks})"  # noqa: S608
                found.update({keys[key]: translation for key, translation in self._base.execute(query, some)})
        except sqlite3.Error as error:
            raise self._broken(error) from error
        return found

    def add(self, translations: Mapping[str, str]) -> None:
        """Keep translations.

        Args:
            translations: Text to translation.

        Raises:
            OutputError: The disk is full, or the file cannot be written.
        """
        rows: Iterable[tuple[bytes | str, ...]] = [
            (self._key(text), *self._origin, text, translation) for text, translation in translations.items()
        ]
        try:
            with self._base:
                self._base.executemany("insert or replace into translations values (?,?,?,?,?,?,?)", rows)
        except sqlite3.Error as error:
            raise self._broken(error) from error

    def size(self) -> int:
        """Return how many translations there are, of all engines."""
        return int(self._base.execute("select count(*) from translations").fetchone()[0])

    def _key(self, text: str) -> bytes:
        return hashlib.sha256("\0".join([*self._origin, text]).encode()).digest()

    def _broken(self, error: Exception) -> OutputError:
        return OutputError(
            f"the translation cache {self._path} cannot be used ({error})",
            "a sqlite file that lingraft made, on a disk with space",
            "free some space, or give another --cache; if it is damaged, delete it",
        )

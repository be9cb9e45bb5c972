"""Apertium as an engine: rule-based, fast, needs no model; a program that reads and writes plain text."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lingraft.errors import TranslationError

_BETWEEN = "\n\n"
"""Apertium ends a sentence at an empty line, so that no rule reaches over it."""
_RULES = "input rules 1"
"""Stands for `_plain` and `_tidy` in the version: with others, what is cached would be wrong."""
_SPACES = re.compile(r"  +")
_BEFORE_MARK = re.compile(r" +(?=[,;:.!?](?:\s|$))")
_COMPOUND = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)+|\d+(?:-[^\W\d_]+)+")
_KNOWN = re.compile(
    r"(?:self|co|non|anti|pre|post|re|ex|semi|multi|e)-|state-of-the-art$|up-to-date$", re.IGNORECASE
)
"""Compounds that Apertium's dictionary may have; of others it runs the words together ("un chicode3años")."""


class ApertiumEngine:
    """Translates with an Apertium command.

    Args:
        command: What to run; it translates its input, plain text in UTF-8, to its output.
        name: What the user typed.
        version: Versions of Apertium and of the language pair.
        licence: The language pair's licence.
        source_language: ISO 639-1 code.
        target_language: ISO 639-1 code.
        timeout: Seconds after which one batch counts as hung.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        name: str,
        version: str,
        licence: str,
        source_language: str,
        target_language: str,
        timeout: float = 600,
    ) -> None:
        self.name, self.licence = name, licence
        self.version = f"{version}; {_RULES}"
        self.source_language, self.target_language = source_language, target_language
        self._command, self._timeout = list(command), timeout

    def translate(self, sentences: Sequence[str]) -> list[str]:
        """Translate sentences, in one run of the program if it gives back as many as it got.

        Args:
            sentences: The sentences, without line breaks.

        Returns:
            The translations; empty where Apertium gives nothing.

        Raises:
            TranslationError: The program is missing, fails or hangs.
        """
        if not sentences:
            return []
        output = self._run(_BETWEEN.join(_plain(sentence) for sentence in sentences) + "\n")
        answers = output.rstrip("\n").split(_BETWEEN)
        if len(answers) == len(sentences):
            return [_tidy(sentence, answer) for sentence, answer in zip(sentences, answers, strict=True)]
        if len(sentences) == 1:
            return [_tidy(sentences[0], " ".join(output.split("\n")))]
        half = len(sentences) // 2
        return [*self.translate(sentences[:half]), *self.translate(sentences[half:])]

    def _run(self, text: str) -> str:
        try:
            done = subprocess.run(
                self._command, input=text.encode(), capture_output=True, timeout=self._timeout, check=False
            )
        except FileNotFoundError as error:
            raise self._stopped("is not there") from error
        except subprocess.TimeoutExpired as error:
            raise self._stopped(f"hung for {self._timeout:g} seconds") from error
        except OSError as error:
            raise self._stopped(f"cannot be run ({error.strerror})") from error
        output = done.stdout.decode("utf-8", "replace")
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        # Only the last program of a pipe gives the status; one that died before it leaves its words and no output.
        if done.returncode or (said and not output.strip()):
            why = said[-1][:200] if said else "no reason given"
            raise self._stopped(f"failed with status {done.returncode} ({why})")
        return output

    def _stopped(self, what: str) -> TranslationError:
        return TranslationError(
            f"{self.name}: {Path(self._command[0]).name} {what}",
            "a working Apertium with this language pair",
            "fetch it with `lingraft assets fetch apertium-eng-spa`, or install it with apt-get",
        )


def _plain(sentence: str) -> str:
    """Return a sentence on one line, with blanks for the hyphens of compounds."""
    return _COMPOUND.sub(
        lambda match: match[0] if _KNOWN.match(match[0]) else match[0].replace("-", " "),
        " ".join(sentence.split()),
    )


def _tidy(sentence: str, answer: str) -> str:
    """Return an answer without the blanks that Apertium leaves where its rules took a word out."""
    tidy = _SPACES.sub(" ", answer).strip()
    return tidy if _BEFORE_MARK.search(sentence) else _BEFORE_MARK.sub("", tidy)

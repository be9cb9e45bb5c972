"""Response-language fidelity: are answers in the language that was asked for, by lines and by words?

The two rates are those of the Language Confusion Benchmark (arXiv 2406.20052):

* line-level pass rate: the share of answers of which every line is in the right language. Lines of fewer than five
  words are not judged, as in the benchmark's released code; an answer without a line to judge is skipped.
* word-level pass rate: the share of the answers that pass by lines which have no foreign word. The benchmark has it for
  Arabic, Hindi, Japanese, Korean, Russian and Chinese, where a foreign word is a lower-case English one of a word list.

Our choices: the identifier (lingua instead of fastText's lid.176); the most likely language counts whatever its
confidence, where the released code wants 0.3 of fastText's; in languages and scripts without spaces a line needs ten
letters, so that an answer in Chinese where Swahili was asked for is judged, and fails (the code cuts Chinese and
Japanese into words); code, addresses, tags, and a thought before the answer are hidden first; what a foreign word is
(`foreign_words`), that words of the prompt are none, and that a word rate is given for Latin scripts too.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingraft.corpora.language_id import LanguageIdentifier
from lingraft.errors import ConfigError
from lingraft.evaluation.word_scripts import (
    UNSPACED,
    foreign_words,
    letters,
    script_runs,
    strip_hidden,
    unspaced_letters,
    without_thought,
    word_rule,
)

MINIMUM_WORDS = 5
"""Words of a line that is judged."""
MINIMUM_LETTERS = 10
"""Letters of a line that is judged, in languages or scripts without spaces."""
EMPTY, SHORT = "empty", "no line long enough"
"""Why an answer is skipped."""
UNKNOWN = "unknown"
"""In the place of a language code: the identifier sees none."""
ENGLISH_REQUEST = "Answer in English."


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of one answer.

    Attributes:
        languages: The language of each line that was judged.
        foreign: Words that cannot be the language's; empty where words were not judged.
        skipped: Why nothing was judged, or "".
        echo: Whether a line of it is a line of the prompt again, which says little of the model's language.
    """

    languages: tuple[str, ...]
    foreign: tuple[str, ...]
    skipped: str
    echo: bool = False


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How many answers are in their language.

    Attributes:
        language: The language that was asked for.
        line_pass: float64 `[answers]`: 1 where every judged line is in the language, 0 where one is not, NaN where the
            answer was skipped.
        line_share: float64 `[answers]`: share of an answer's judged lines that are in the language, NaN where skipped.
        word_pass: float64 `[answers]`: 1 where no word is foreign, 0 where one is, NaN where the answer was skipped or
            did not pass by lines, and everywhere if words of this language are not judged.
        verdicts: What was said of each answer.
        word_rule: What the word rate checks.
    """

    language: str
    line_pass: NDArray[np.float64]
    line_share: NDArray[np.float64]
    word_pass: NDArray[np.float64]
    verdicts: tuple[Verdict, ...]
    word_rule: str

    @property
    def answers(self) -> int:
        """How many answers there are, skipped ones among them."""
        return len(self.verdicts)

    @property
    def judged(self) -> int:
        """How many answers were not skipped."""
        return int((~np.isnan(self.line_pass)).sum())

    @property
    def skipped(self) -> dict[str, int]:
        """How many answers were skipped, by reason; both reasons are always there."""
        found = Counter(verdict.skipped for verdict in self.verdicts)
        return {reason: found[reason] for reason in (EMPTY, SHORT)}

    @property
    def line_pass_rate(self) -> float:
        """Share of the judged answers that pass by lines; NaN if none was judged."""
        return _mean(self.line_pass)

    @property
    def word_pass_rate(self) -> float:
        """Share of the answers that pass by lines that pass by words; NaN if none did."""
        return _mean(self.word_pass)

    @property
    def line_languages(self) -> dict[str, int]:
        """How many judged lines are in each language, the most frequent first."""
        return dict(Counter(code for verdict in self.verdicts for code in verdict.languages).most_common())

    def summary(self) -> dict[str, Any]:
        """Return the numbers without the arrays, JSON-able: rates with their 95 % intervals, None for what has none."""
        return {
            "language": self.language,
            "answers": self.answers,
            "judged": self.judged,
            "skipped": sum(self.skipped.values()),
            "skipped_reasons": self.skipped,
            "line_pass_rate": pass_rate(self.line_pass),
            "word_pass_rate": pass_rate(self.word_pass),
            "word_rule": self.word_rule,
            "lines_right": None if not self.judged else _mean(self.line_share),
            "line_languages": self.line_languages,
            "echoes": sum(verdict.echo for verdict in self.verdicts),
        }


def score_fidelity(
    answers: Sequence[str],
    language: str,
    identifier: LanguageIdentifier,
    *,
    prompts: Sequence[str] | None = None,
    allowed: Collection[str] = (),
    accepted: Collection[str] = (),
    english_words: Collection[str] | None = None,
    minimum_words: int = MINIMUM_WORDS,
    minimum_letters: int = MINIMUM_LETTERS,
) -> Fidelity:
    """Judge answers by lines and by words; the module's text says what is the paper's.

    An identifier errs on real text too: score text that is known to be in the language, to see what a perfect model
    would get.

    Args:
        answers: The answers; a thought before one is left out (`without_thought`).
        language: ISO 639-1 code of what they should be in.
        identifier: What identifies languages.
        prompts: The prompt of each answer, whose words are not foreign in it. With them echoes are counted: answers
            that repeat a line of their prompt pass all the same (the benchmark does not look).
        allowed: More words that are not foreign, in any answer.
        accepted: More codes that count as the language (`nn` for `nb`).
        english_words: English words in lower case, for the paper's word rule.
        minimum_words: Words of a line that is judged.
        minimum_letters: Letters of a line that is judged, in languages and scripts that put no spaces between words.

    Returns:
        The rates, and what they are made of.

    Raises:
        ConfigError: Numbers of prompts and answers differ.
    """
    if prompts is not None and len(prompts) != len(answers):
        raise ConfigError(
            f"{len(prompts)} prompts and {len(answers)} answers", "one prompt an answer", "pair them up"
        )
    answers = [without_thought(answer) for answer in answers]
    lines = [_judged_lines(answer, language, minimum_words, minimum_letters) for answer in answers]
    guesses = iter(identifier.identify([line for several in lines for line in several]))
    right = {language, *accepted}
    verdicts = []
    line_pass, line_share, word_pass = (np.full(len(answers), np.nan) for _ in range(3))
    for number, answer in enumerate(answers):
        codes = tuple(next(guesses).language or UNKNOWN for _ in lines[number])
        foreign: list[str] | None = None
        if codes:
            line_share[number] = sum(code in right for code in codes) / len(codes)
            line_pass[number] = float(line_share[number] == 1)
        if line_pass[number] == 1:
            passing = [*allowed, *(_words(prompts[number]) if prompts is not None else ())]
            foreign = foreign_words(answer, language, allowed=passing, english_words=english_words)
        if foreign is not None:
            word_pass[number] = float(not foreign)
        skipped = "" if codes else SHORT if letters(answer) else EMPTY
        echo = prompts is not None and _repeats(prompts[number], answer)
        verdicts.append(Verdict(codes, tuple(foreign or ()), skipped, echo))
    rule = word_rule(language, with_list=english_words is not None)
    return Fidelity(language, line_pass, line_share, word_pass, tuple(verdicts), rule)


def ask_for_english(prompts: Sequence[str], request: str = ENGLISH_REQUEST) -> list[str]:
    """Put an explicit request for English under prompts of another language.

    A model that was tuned to answer in the prompt's language should still do what it is told: answer the result, and
    score the answers as English (`score_fidelity(answers, "en", ...)`).

    Args:
        prompts: Prompts in any language.
        request: The request, in English or in the prompts' language.

    Returns:
        The prompts, each with the request in a paragraph of its own.
    """
    return [f"{prompt.rstrip()}\n\n{request}" for prompt in prompts]


def pass_rate(passed: NDArray[np.float64], *, z: float = 1.959964) -> Mapping[str, float | int] | None:
    """Return a share with its Wilson interval, which is no point even where all or none pass (our choice).

    Args:
        passed: `[answers]`, 1, 0, or NaN for what does not count.
        z: Quantile of the normal distribution; 95 % by default.

    Returns:
        `value`, `low`, `high` and `observations`; None where nothing counts.
    """
    counted = passed[~np.isnan(passed)]
    total = len(counted)
    if not total:
        return None
    share = float(counted.mean())
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    reach = z / (1 + z * z / total) * (share * (1 - share) / total + z * z / (4 * total * total)) ** 0.5
    return {
        "value": share,
        "low": max(0.0, min(share, middle - reach)),
        "high": min(1.0, max(share, middle + reach)),
        "observations": total,
    }


def _judged_lines(answer: str, language: str, minimum_words: int, minimum_letters: int) -> list[str]:
    lines = [" ".join(line.split()) for line in strip_hidden(answer).splitlines()]
    if language in UNSPACED:
        # An answer in a language with spaces is judged here too, by its letters.
        return [line for line in lines if letters(line) >= minimum_letters]
    return [
        line
        for line in lines
        if sum(letters(word) > 0 for word in line.split()) >= minimum_words
        # What is in a script without spaces has few words, however long it is.
        or unspaced_letters(line) >= minimum_letters
    ]


def _words(prompt: str) -> set[str]:
    return {run for run, _script in script_runs(prompt)}


def _repeats(prompt: str, answer: str) -> bool:
    """Whether the two share a line of five letters or more, but for white space, punctuation and case."""
    asked, said = (
        {"".join(filter(str.isalpha, line.casefold())) for line in text.splitlines()}
        for text in (prompt, answer)
    )
    return any(len(line) >= 5 for line in asked & said)


def _mean(values: NDArray[np.float64]) -> float:
    counted = values[~np.isnan(values)]
    return float(counted.mean()) if len(counted) else float("nan")

"""Which built-in recipe a first look speaks for, and why; thresholds are our choice, and each reason tells its own."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lingraft.reports.intervals import Estimate

RecipeName = Literal["low-resource", "high-resource", "pretrain-only", "preference-only", "probe-only"]

SHORT_TOKENS = 0.6
"""Tokens that cover less than this share of what English tokens cover call for a larger vocabulary (our choice)."""
NEAR_ENGLISH = 1.3
"""Up to so many times the bits of English text, the model knows the language nearly as well (our choice)."""
FAR_FROM_ENGLISH = 2.0
"""From so many times the bits of English text on, the model hardly knows the language (our choice)."""
WORDS_KNOWN = 0.1
"""Least word-translation score of a language that the model knows in part, where no text says more (our choice)."""
RIGHT_LANGUAGE = 0.8
"""Least share of answers in the language that needs no tuning of answers (our choice)."""
FEWEST_ANSWERS = 4
"""Fewer judged answers say nothing (our choice)."""

LEAST_PREMIUM = 1.1
"""Fewer bytes a letter are taken as English's one (our choice)."""

Knowledge = Literal["near", "part", "hardly"]


@dataclass(frozen=True, slots=True)
class Findings:
    """What a first look found; None is what was not measured.

    Attributes:
        bytes_per_token: UTF-8 bytes that a token of target-language text covers.
        english_bytes_per_token: The same of English text.
        bits_per_byte: Of held-out target-language text.
        english_bits_per_byte: Of English text.
        byte_premium: Bytes of the language for a byte of English of like content, see `byte_premium`.
        word_score: Contrastive word-translation score, 0 to 1.
        answered_in_language: Share of judged answers in the language.
        judged_answers: How many answers were judged.
        chat_template: Whether the tokenizer brings a chat template.
        headroom: Upper bound of latent transplants less that of shuffled donors, as a share of instances.
    """

    bytes_per_token: float | None = None
    english_bytes_per_token: float | None = None
    bits_per_byte: float | None = None
    english_bits_per_byte: float | None = None
    byte_premium: float = 1.0
    word_score: Estimate | None = None
    answered_in_language: float | None = None
    judged_answers: int = 0
    chat_template: bool | None = None
    headroom: Estimate | None = None


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to run.

    Attributes:
        recipe: Name of a built-in recipe.
        reasons: Sentences with numbers and thresholds, the verdict last.
        changes: `STAGE.KEY` to value, what `--set` takes.
    """

    recipe: RecipeName
    reasons: tuple[str, ...]
    changes: Mapping[str, str] = field(default_factory=dict)

    def command(self, *, model: str, language: str, data: Mapping[str, str] | None = None) -> str:
        """Return the command line that starts the recipe, quoted for a POSIX shell.

        Args:
            model: Reference of the model.
            language: Code of the target language.
            data: Field of the recipe's `data` to what stands for it.

        Returns:
            One line.
        """
        settings = {"model": model, "language": language}
        settings |= {f"data.{name}": value for name, value in (data or {}).items()}
        options = [
            part for name, value in (settings | dict(self.changes)).items() for part in _set(name, value)
        ]
        return shlex.join(["lingraft", "run", self.recipe, "--out", f"runs/{language}", *options])


def recommend(findings: Findings) -> Recommendation:
    """Choose a recipe (our choice throughout).

    A vocabulary whose tokens are short is enlarged where the model must learn the language anyway; text teaches what
    it does not know; tuning on answers is for a model that knows the language and answers in another.

    Args:
        findings: What was found.

    Returns:
        The recipe, with a reason for every measurement and for the choice.
    """
    reasons: list[str] = []
    short = _short_tokens(findings, reasons)
    knowledge = _knowledge(findings, reasons)
    wrong = _wrong_language(findings, reasons)
    _transplants(findings, reasons)
    recipe, verdict = _choose(short, knowledge, wrong)
    changes = {}
    if short and recipe in {"low-resource", "high-resource"}:
        changes["vocabulary.mode"] = "extend"
    if short is False and recipe == "high-resource":
        reasons.append(
            "Its tokens fit already: take the vocabulary stage out (`lingraft recipes copy high-resource`)."
        )
    if findings.chat_template is False and recipe in {"low-resource", "high-resource", "preference-only"}:
        changes["preference.template"] = "plain"
        reasons.append("The tokenizer has no chat template, so answers are tuned in the plain format.")
    return Recommendation(recipe, (*reasons, verdict), changes)


def byte_premium(text: str) -> float:
    """Estimate the bytes of a language for a byte of English of like content, from its script (our choice).

    A letter of most alphabets stands for about as much as one of English, but takes more bytes: two in Cyrillic, three
    in Devanagari. A character of Chinese, Japanese or Korean takes three bytes, and holds about as much as three
    letters.

    Args:
        text: Some text of the language.

    Returns:
        Bytes a character; 1.0 where most letters are Han, kana or Hangul, where it would be less than 1.1 (a few
        accents), or where there is no text.
    """
    letters = [letter for letter in text if letter.isalpha()]
    dense = sum(0x1100 <= ord(letter) < 0x1200 or 0x3040 <= ord(letter) < 0xD7B0 for letter in letters)
    if not letters or 2 * dense > len(letters):
        return 1.0
    premium = len(text.encode()) / len(text)
    return premium if premium >= LEAST_PREMIUM else 1.0


Choice = tuple[RecipeName, str]


def _choose(short: bool | None, knowledge: Knowledge | None, wrong: bool | None) -> Choice:
    """Choose by three answers, each yes, no or not known."""
    if knowledge == "near":
        return _for_a_known_language(wrong)
    if knowledge == "part":
        return _for_a_language_known_in_part(short, wrong)
    if knowledge == "hardly":
        return _for_an_unknown_language(short)
    if wrong:
        return "preference-only", (
            "How well it knows the language was not measured; its answers are in another (preference-only)."
        )
    return "probe-only", (
        "How well it knows the language was not measured: look closer before training (probe-only), with --held-out,"
        " --english-held-out and words."
    )


def _for_a_known_language(wrong: bool | None) -> Choice:
    if wrong:
        return "preference-only", (
            "It knows the language and answers in another: tuning on answers is enough (preference-only)."
        )
    known = "answers in it" if wrong is False else "what it answers in was not measured (give --prompts)"
    return "probe-only", (
        f"It knows the language, and {known}: nothing measured here calls for training (probe-only)."
    )


def _for_a_language_known_in_part(short: bool | None, wrong: bool | None) -> Choice:
    faults = {"its tokens are short": short, "it answers in another": wrong}
    why = " and ".join(text for text, true in faults.items() if true)
    if why:
        return "high-resource", (
            f"It knows the language in part, and {why}: the whole way, on as much text as there is (high-resource)."
        )
    return "pretrain-only", (
        "It knows the language in part, and nothing else is wrong: more text is what it needs (pretrain-only)."
    )


def _for_an_unknown_language(short: bool | None) -> Choice:
    if short is False:
        return "pretrain-only", (
            "It hardly knows the language, but its tokens fit it: text first (pretrain-only), then answers"
            " (preference-only)."
        )
    return "low-resource", (
        "It hardly knows the language"
        + (", and its tokens are short" if short else "")
        + ": vocabulary, text and answers, in this order (low-resource)."
    )


def _short_tokens(findings: Findings, reasons: list[str]) -> bool | None:
    own, english = findings.bytes_per_token, findings.english_bytes_per_token
    if own is None or english is None:
        reasons.append("Tokens: not compared with English, for want of text.")
        return None
    share = own / findings.byte_premium / english
    short = share < SHORT_TOKENS
    side = "below" if short else "not below"
    sense = "a larger vocabulary makes text shorter" if short else "the vocabulary fits the language"
    reasons.append(
        f"Tokens: {own:.2f} bytes each, {english:.2f} in English{_corrected(findings)}: {share:.3f} of English,"
        f" {side} {SHORT_TOKENS:g}, so {sense}."
    )
    return short


def _knowledge(findings: Findings, reasons: list[str]) -> Knowledge | None:
    own, english = findings.bits_per_byte, findings.english_bits_per_byte
    if own is None or english is None:
        return _known_words(findings, reasons)
    times = own * findings.byte_premium / english
    told = f"Text: {own:.2f} bits per byte, {english:.2f} in English{_corrected(findings)}: {times:.3f} times"
    if times <= NEAR_ENGLISH:
        reasons.append(f"{told}, at most {NEAR_ENGLISH:g}, so it knows the language nearly as well.")
        return "near"
    if times < FAR_FROM_ENGLISH:
        reasons.append(
            f"{told}, between {NEAR_ENGLISH:g} and {FAR_FROM_ENGLISH:g}, so it knows the language in part."
        )
        return "part"
    reasons.append(f"{told}, at least {FAR_FROM_ENGLISH:g}, so it hardly knows the language.")
    return "hardly"


def _known_words(findings: Findings, reasons: list[str]) -> Knowledge | None:
    score = findings.word_score
    if score is None:
        reasons.append("Knowledge: neither text nor words were measured.")
        return None
    known = score.value >= WORDS_KNOWN
    reasons.append(
        f"Words: translated at a score of {score.value:.3f}, {'at least' if known else 'below'} {WORDS_KNOWN:g}, so"
        f" it {'knows the language in part' if known else 'hardly knows the language'}; no text was measured."
    )
    return "part" if known else "hardly"


def _wrong_language(findings: Findings, reasons: list[str]) -> bool | None:
    share, judged = findings.answered_in_language, findings.judged_answers
    if not judged:
        reasons.append("Answers: none was judged.")
        return None
    if share is None or judged < FEWEST_ANSWERS:
        reasons.append(
            f"Answers: {judged} judged, fewer than {FEWEST_ANSWERS}: nothing is concluded from them."
        )
        return None
    wrong = share < RIGHT_LANGUAGE
    reasons.append(
        f"Answers: {100 * share:.0f} % of {judged} are in the language, {'below' if wrong else 'not below'}"
        f" {100 * RIGHT_LANGUAGE:.0f} %, so {'they need tuning' if wrong else 'they need none'}."
    )
    return wrong


def _transplants(findings: Findings, reasons: list[str]) -> None:
    headroom = findings.headroom
    if headroom is None:
        return
    told = f"Transplants: {100 * headroom.value:+.0f} points over shuffled donors"
    if headroom.low is None or headroom.high is None:
        reasons.append(f"{told}, without an interval: nothing is concluded.")
        return
    told += f" ({100 * headroom.low:+.0f} to {100 * headroom.high:+.0f})"
    if headroom.low > 0:
        reasons.append(
            f"{told}, above 0, so English activations bring out what it does not show: try `lingraft patch` too."
        )
    else:
        reasons.append(f"{told}, not clearly above 0, so what transplants reach may be chance.")


def _corrected(findings: Findings) -> str:
    premium = findings.byte_premium
    return "" if premium == 1 else f" (whose letters take 1 byte, these {premium:.2f})"


def _set(name: str, value: str) -> tuple[str, str]:
    return "--set", f"{name}={value}"

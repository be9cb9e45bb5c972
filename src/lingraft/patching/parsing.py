"""Which generated texts are right: the parsing rule of each task."""

import re
import string
import unicodedata
from collections.abc import Callable, Sequence

from lingraft.corpora.word_characters import is_word_character
from lingraft.patching.instances import Instance
from lingraft.patching.scoring import Judge

Rule = Callable[[Instance], Judge]

_NAMED_OPTION = re.compile(r"^\((\w+)\)[^\S\n]*(\S[^\n]*)$", re.MULTILINE)
_MARKS = "\u0300-\u036f\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0903\u093a-\u0963\u0981-\u0dff"
"""Marks of Latin, Hebrew, Arabic and India's scripts, which Python's word class leaves out: words go on with them."""
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
)
"""Thai, Lao, Burmese, Khmer, Han and Kana letters: scripts that put no spaces between words."""


def find_judge(instance: Instance) -> Judge | None:
    """Find how an instance's generated texts are read.

    Its `task` names a rule of `RULES`. Without a name known there, `options` reads an instance with options, and
    `contains` one without.

    Args:
        instance: The paired prompts.

    Returns:
        What says of texts which are right, each distinct text parsed once; None where no answer is known.
    """
    if not instance.answers:
        return None
    rule = RULES.get(instance.task)
    if rule is None:
        rule = judge_options if instance.options else judge_containment
    return rule(instance)


def judge_options(instance: Instance) -> Judge:
    """The right option is in the output and no other is.

    The paper's words for XNLI and XCOPA, for options of any form. Our choice: full-width brackets count as plain
    ones; an option that is no marker `(k)` counts as a whole word, in any case, and not where it is part of a longer
    option.

    Args:
        instance: An instance with options.

    Returns:
        The judge.
    """
    options = [_plain(option).strip().casefold() for option in instance.options]
    right = {options[answer] for answer in instance.answers if isinstance(answer, int)}
    # The longest first: "New York City" is not also "New York".
    choices = "|".join(_bounded(option) for option in sorted(set(options), key=len, reverse=True) if option)
    pattern = re.compile(choices) if choices else None

    def check(text: str) -> bool:
        said = set(pattern.findall(_plain(text).casefold())) if pattern else set()
        return bool(said) and said <= right

    return _once(check)


def judge_numbered(instance: Instance) -> Judge:
    """XCOPA as the released code reads it: `(k)`, or nothing but `k`, and no other option.

    Full-width brackets count as plain ones.

    Args:
        instance: An instance whose options are markers, ` (1)`, ` (2)` and so on.

    Returns:
        The judge.
    """
    return _once(_marker_check(instance, {}))


def judge_named(instance: Instance) -> Judge:
    """XNLI as the released code reads it: `(k)`, nothing but `k`, or the option's name, and no other option.

    The design's shorter rule, `(k)` alone, is `options`. Names are those of the receiving prompt's lines `(k) NAME`,
    compared with their case; the released French names include their numbers, ours do not.

    Args:
        instance: An instance whose options are markers and whose prompt names them.

    Returns:
        The judge.
    """
    names = {mark: name.strip() for mark, name in _NAMED_OPTION.findall(_plain(instance.receiver))}
    return _once(_marker_check(instance, names))


def judge_letters(instance: Instance) -> Judge:
    """GlobalOpinionQA as the released code reads it: the right letter's `(X)`, or nothing but `X`, in any case.

    Any other letter's marker makes the output wrong, whether or not the question has such an option.

    Args:
        instance: An instance whose options are markers, ` (A)`, ` (B)` and so on; its first answer counts.

    Returns:
        The judge.
    """
    gold = instance.options[int(instance.answers[0])].strip(" ()").upper()
    others = [letter for letter in string.ascii_uppercase if letter != gold]

    def check(text: str) -> bool:
        upper = text.upper()
        alone = upper.strip()
        if f"({gold})" not in upper and alone != gold:
            return False
        return not any(f"({other})" in upper for other in others)

    return _once(check)


def judge_containment(instance: Instance) -> Judge:
    """The output contains an accepted answer, in any case (the paper's rule for XQuAD).

    Args:
        instance: An instance whose answers are texts, or options.

    Returns:
        The judge.
    """
    answers = [text.lower() for text in _answer_texts(instance)]
    return _once(lambda text: any(answer in text.lower() for answer in answers))


def judge_word(instance: Instance) -> Judge:
    """Word translation: the output's first line, or how it begins, is an accepted translation.

    Our choice. Both are put into NFC and one case, and punctuation around words is dropped. A translation in a script
    without spaces needs only to be in the first line, since nothing says where a word ends there.

    Args:
        instance: An instance whose answers are the accepted translations.

    Returns:
        The judge.
    """
    accepted = [text for text in (_words(answer) for answer in _answer_texts(instance)) if text]
    unspaced = ["".join(words) for words in accepted if _UNSPACED.search("".join(words))]

    def check(text: str) -> bool:
        line = next((line for line in text.splitlines() if _words(line)), "")
        said = _words(line)
        if any(said[: len(words)] == words for words in accepted):
            return True
        together = "".join(said)
        return any(word in together for word in unspaced)

    return _once(check)


RULES: dict[str, Rule] = {
    "options": judge_options,
    "contains": judge_containment,
    "xnli": judge_named,
    "xcopa": judge_numbered,
    "xquad": judge_containment,
    "globalopinionqa": judge_letters,
    "words": judge_word,
}
"""How generated texts are read, by the name that an instance's `task` gives."""


def _once(check: Callable[[str], bool]) -> Judge:
    """Judge each distinct text once: a map's rows say few different things."""
    known: dict[str, bool] = {}

    def judge(texts: Sequence[str]) -> list[bool]:
        for text in texts:
            if text not in known:
                known[text] = check(text)
        return [known[text] for text in texts]

    return judge


def _marker_check(instance: Instance, names: dict[str, str]) -> Callable[[str], bool]:
    marks = [option.strip(" ()") for option in instance.options]
    right = {marks[answer] for answer in instance.answers if isinstance(answer, int)}

    def says(text: str, mark: str) -> bool:
        return f"({mark})" in text or text.strip() == mark or (mark in names and names[mark] in text)

    def check(text: str) -> bool:
        said = {mark for mark in marks if says(_plain(text), mark)}
        return bool(said) and said <= right

    return check


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).replace("（", "(").replace("）", ")")


def _bounded(option: str) -> str:
    """Match an option where no word goes on at its ends; brackets end by themselves."""
    before = rf"(?<![\w{_MARKS}])" if is_word_character(option[0]) and not _UNSPACED.match(option[0]) else ""
    after = rf"(?![\w{_MARKS}])" if is_word_character(option[-1]) and not _UNSPACED.match(option[-1]) else ""
    return before + re.escape(option) + after


def _answer_texts(instance: Instance) -> list[str]:
    """Answers without the space that they follow a prompt with: an output may begin with one."""
    texts = (instance.options[answer] if isinstance(answer, int) else answer for answer in instance.answers)
    # A blank one would be in every output.
    return [bare for text in texts if (bare := text.strip())]


def _words(text: str) -> list[str]:
    """Words of a text in one form, without the punctuation around them."""
    form = unicodedata.normalize("NFC", text).casefold()
    bare = (_strip(word) for word in form.split())
    return [word for word in bare if word]


def _strip(word: str) -> str:
    begin, end = 0, len(word)
    while begin < end and unicodedata.category(word[begin])[0] in "PS":
        begin += 1
    while end > begin and unicodedata.category(word[end - 1])[0] in "PS":
        end -= 1
    return word[begin:end]

"""Texts through engines: sentences, protected passages, counts, and what an engine that dies leaves."""

import pickle
import re
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingraft.errors import TranslationError
from lingraft.preference.code_lines import code_lines
from lingraft.preference.protection import mask_passages, numbers_kept, protected_spans, without_passages
from lingraft.preference.segmentation import split_segments
from lingraft.preference.translation import (
    EMPTY,
    HIDDEN,
    KEPT,
    LOST_NUMBER,
    LOST_PASSAGE,
    CachedEngine,
    PartialTranslationError,
    TranslationPlan,
    translate_texts,
)
from lingraft.preference.translation_cache import TranslationCache


class Words:
    """Swaps the case of letters outside masks: every word is translated, and it can be checked."""

    name, version, licence = "words", "1", "CC0-1.0"
    source_language, target_language = "en", "es"

    def __init__(self, spoil=lambda text: text):
        self.spoil, self.asked = spoil, []

    def translate(self, sentences):
        self.asked += sentences
        return [self.spoil(text.swapcase()) for text in sentences]


def translated(texts, engine=None, plan=None, cache=None):
    engine = engine or Words()
    cache = cache or TranslationCache(
        None, engine=engine.name, version=engine.version, languages=("en", "es")
    )
    plan = plan or TranslationPlan(batch_size=3)
    cached = CachedEngine(engine, cache, plan.batch_size)
    answers, ways = translate_texts(texts, cached, plan)
    return answers, ways, cached, engine


def sentences(text, language="en"):
    spans = protected_spans(text)
    parts = split_segments(text, language=language, whole=spans)
    assert "".join(part.text for part in parts) == text
    return [part.text for part in parts if part.is_sentence]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello there. How are you?  Fine!", ["Hello there.", "How are you?", "Fine!"]),
        ("Dr. Smith met J. S. Bach, e.g. Monday.", ["Dr. Smith met J. S. Bach, e.g. Monday."]),
        ("See Fig. 3 and No. 5. Then rest.", ["See Fig. 3 and No. 5.", "Then rest."]),
        ('He said "Go." She went.', ['He said "Go."', "She went."]),
        ("Wait... what? (Yes.) So be it", ["Wait... what?", "(Yes.)", "So be it"]),
        ("It is I. You know.", ["It is I.", "You know."]),
        ("Use version 2.5.1 of Yahoo! it is old.", ["Use version 2.5.1 of Yahoo! it is old."]),
        ("Go to https://a.b/c?d. Then `x. Y` ends.", ["Go to https://a.b/c?d.", "Then `x. Y` ends."]),
        ("日本語です。これも文です！「はい。」次", ["日本語です。", "これも文です！", "「はい。」", "次"]),
        ("यह पहला है। वह दूसरा है॥ अंत", ["यह पहला है।", "वह दूसरा है॥", "अंत"]),
        ("هل هذا صحيح؟ نعم۔ حسنا", ["هل هذا صحيح؟", "نعم۔", "حسنا"]),
        ("- One. Two\n  * three\n\n2) four\n> # five", ["One.", "Two", "three", "four", "five"]),
        ("| A b | C |\n|---|---|\n| D e | 5 |", ["A b", "C", "D e"]),
        ("a | b or c", ["a | b or c"]),
        ("12345\n---\n... !?", []),
        ("line\r\nother\r\n", ["line", "other"]),
    ],
)
def test_sentences(text, expected):
    assert sentences(text) == expected


def test_languages_have_their_own_abbreviations():
    assert sentences("Am 3. Oktober kam Hr. Meier. Er ging.", "de") == [
        "Am 3. Oktober kam Hr. Meier.",
        "Er ging.",
    ]
    assert sentences("El Sr. Gil vino. Se fue.", "es") == ["El Sr. Gil vino.", "Se fue."]


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="aB1.!?。।| \n\t-*#>`{}<%[]⟦⟧@:/x", max_size=60))
def test_any_text_is_the_sum_of_its_parts_and_comes_back_when_nothing_is_translated(text):
    sentences(text)

    class Same(Words):
        def translate(self, texts):
            return list(texts)

    answers, _, _, _ = translated([text], Same())
    # Only white space within a line that a translation leaves out may differ; here there is none.
    assert answers == [text]


PASSAGES = [
    "`pip install x`",
    "https://example.org/a_(b)?q=1&r=2#s",
    "www.example.org/x",
    "jane.doe+x@mail.example.org",
    "{name}",
    "{{user_name}}",
    "{% if x %}",
    "${HOME}",
    "%s",
    "%(count)d",
    "%1$s",
    "%.2f",
    '<a href="x">',
    "</b>",
    "<br/>",
    "&nbsp;",
    r"\(x^2 + y\)",
    "$$a + b$$",
    "<code>x. Y</code>",
    "[1]",
    "⟦0⟧",
]


@pytest.mark.parametrize("passage", PASSAGES)
def test_each_kind_of_passage_comes_back_exactly(passage):
    text = f"The word {passage} stays, and the rest does not."
    answers, ways, _, engine = translated([text])
    assert answers == [f"tHE WORD {passage} STAYS, AND THE REST DOES NOT."]
    assert ways == {KEPT: 1} and "⟦0⟧" in engine.asked[0]
    # An engine that loses every mask gets what is between the passages.
    lossy = Words(lambda answer: re.sub(r"⟦\s*\d+\s*⟧", "", answer))
    answers, ways, _, _ = translated([text], lossy)
    assert answers == [f"tHE WORD {passage} STAYS, AND THE REST DOES NOT."]
    assert ways == {LOST_PASSAGE: 1}


@pytest.mark.parametrize(
    "text", ["50% discount now", "a < b and c", "the price is 5 %, Dan", "x{", "it's {\n}", "R&D; fun"]
)
def test_what_only_looks_like_a_passage(text):
    assert mask_passages(text, "⟦{}⟧").passages == ()


def test_numbers_are_checked_then_hidden_then_stood_around():
    text = "We paid 1,234.50 for 7 of 12 in 2024-05-01."
    assert translated([text])[0] == ["wE PAID 1,234.50 FOR 7 OF 12 IN 2024-05-01."]
    # Turns the decimal point into a comma: hidden behind a mask, the number is safe.
    comma = Words(lambda answer: answer.replace(".5", ",5"))
    answers, ways, _, engine = translated([text], comma)
    assert answers == ["wE PAID 1,234.50 FOR 7 OF 12 IN 2024-05-01."]
    assert ways == {HIDDEN: 1} and engine.asked[-1] == "We paid ⟦0⟧ for ⟦1⟧ of ⟦2⟧ in ⟦3⟧."
    digits = Words(lambda answer: re.sub(r"\d", "9", answer))
    answers, ways, _, engine = translated([text], digits)
    assert answers == ["wE PAID 1,234.50 FOR 7 OF 12 IN 2024-05-01."]
    assert ways == {LOST_NUMBER: 1} and "We paid" in engine.asked


def test_numbers_that_are_kept():
    assert numbers_kept("3 of 30", "30 de 3") and not numbers_kept("3 and 3", "3 y tres")
    assert not numbers_kept("12,345.5", "12.345,5") and not numbers_kept("50%", "50 %")
    assert numbers_kept("the 3rd B2B", "el tercer")  # part of a word, which may be translated


def test_masks_that_are_repeated_or_made_up_are_not_trusted():
    masked = mask_passages("Run `x` and `y`.", "⟦{}⟧")
    assert masked.text == "Run ⟦0⟧ and ⟦1⟧."
    assert masked.restore("Corre ⟦ 1 ⟧ y ⟦0⟧.") == "Corre `y` y `x`."
    for wrong in ("⟦0⟧", "⟦0⟧ ⟦0⟧ ⟦1⟧", "⟦0⟧ ⟦1⟧ ⟦2⟧", ""):
        assert masked.restore(wrong) is None


def test_code_is_left_alone_with_and_without_a_fence():
    fenced = "Look at this:\n\n```python\nprint('hello. World')  # a comment\n```\n\nIt prints."
    formula = "So it is:\n$$\nx = y\n$$\nThe <pre>a\nb</pre> end."
    plain = "Write it so:\n\ndef add(a, b):\n    # Adds two numbers\n    return a + b\n\nThat is all."
    answers, _, _, _ = translated([fenced, plain, formula])
    assert answers[0] == fenced.replace("Look at this", "lOOK AT THIS").replace("It prints", "iT PRINTS")
    assert answers[2] == "sO IT IS:\n$$\nx = y\n$$\ntHE <pre>a\nb</pre> END."
    assert answers[1] == plain.replace("Write it so", "wRITE IT SO").replace("That is all", "tHAT IS ALL")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("SELECT name\nFROM people\nWHERE age > 3;", True),
        ("int main() {\n  return 0;\n}", True),
        ("import os\nprint(os.name)", True),
        ("- apples (red);\n- pears (green);", False),
        ("If you want to sleep:\nGo to bed (now).", False),
        ("For dinner: rice\nReturn home", False),
        ("Name = Ada", False),
    ],
)
def test_what_looks_like_code(text, code):
    assert bool(code_lines(text)) == code


def test_the_language_of_a_text_shows_outside_its_passages():
    assert "`" not in without_passages(
        "Run `ls -l` 12 times at http://x.y/z"
    ) and "times" in without_passages("Run `ls -l` 12 times")


def test_repeated_sentences_are_translated_once_and_found_again():
    texts = ["Same here. Same here.", "Same here.", "Other."]
    answers, _, cached, engine = translated(texts)
    assert answers == ["sAME HERE. sAME HERE.", "sAME HERE.", "oTHER."]
    assert engine.asked == ["Same here.", "Other."]
    assert cached.counts == {"translated now": 2, "from the cache": 0} and cached.words == 3


def test_whole_texts_for_engines_that_want_them():
    text = "\n First line. And {x}:\n\n```\ncode\n```\nlast\n"
    answers, _, _, engine = translated([text], plan=TranslationPlan(segment=False))
    assert answers == ["\n fIRST LINE. aND {x}:\n\n```\ncode\n```\nLAST\n"]
    assert len(engine.asked) == 1 and "⟦1⟧" in engine.asked[0]
    answers, _, _, engine = translated([" {x} Yes\n"], plan=TranslationPlan(segment=False, protect=False))
    assert answers == [" {X} yES\n"] and engine.asked == ["{x} Yes"]


def test_nothing_from_the_engine_is_no_translation_and_is_asked_again_next_time():
    silent = Words(lambda answer: "" if answer.startswith("b") else answer)
    cache = TranslationCache(None, engine="words", version="1", languages=("en", "es"))
    for asked in (2, 3):
        answers, ways, _, _ = translated(["A dog. Bad.", "A dog."], silent, cache=cache)
        assert answers == [None, "a DOG."] and ways[EMPTY] == 1 and len(silent.asked) == asked
    unprotected = TranslationPlan(protect=False)
    assert translated(["Bad."], silent, unprotected)[:2] == ([None], Counter({EMPTY: 1}))


class Mortal(Words):
    """Dies after some sentences; half of the batch it dies in is done."""

    def __init__(self, lives):
        super().__init__()
        self.lives = lives

    def translate(self, texts):
        done = {}
        for text in texts:
            if not self.lives:
                error = TranslationError("the engine is gone", "an engine", "start it")
                raise PartialTranslationError(error, done)
            self.lives -= 1
            done.update(zip([text], super().translate([text]), strict=True))
        return list(done.values())


def test_an_engine_that_dies_keeps_what_it_did(tmp_path):
    texts = [f"Sentence {'abcdefghij'[number]}." for number in range(10)]
    file = tmp_path / "cache.sqlite"
    origin = {"engine": "words", "version": "1", "languages": ("en", "es")}
    with TranslationCache(file, **origin) as cache, pytest.raises(TranslationError) as caught:
        translated(texts, Mortal(5), cache=cache)
    assert "the engine is gone (5 new translations are kept, at least 5 are to do)" in str(caught.value)
    assert "run the same command again" in str(caught.value)
    with TranslationCache(file, **origin) as cache:
        answers, _, cached, engine = translated(texts, cache=cache)
    assert answers == [text.swapcase() for text in texts]
    assert engine.asked == texts[5:] and cached.counts == {"translated now": 5, "from the cache": 5}


def test_an_engine_that_miscounts_is_stopped():
    class Short(Words):
        def translate(self, texts):
            return super().translate(texts)[1:]

    with pytest.raises(TranslationError, match="words gave 2 translations of 3 sentences"):
        translated(["One. Two. Three. Four."], Short())


def test_a_partial_failure_survives_the_way_between_processes():
    error = PartialTranslationError(TranslationError("a", "b", "c"), {"x": "y"})
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is TranslationError and str(again) == str(error)


@pytest.mark.parametrize("text", ["Go to `x. Y` at 5. ", "<a ", "`", "{", "$$", "a.", "[1", "f(", "\\\\("])
def test_no_text_takes_long(text):
    long = text * (40_000 // len(text))
    started = time.monotonic()
    assert "".join(part.text for part in split_segments(long, whole=protected_spans(long))) == long
    assert time.monotonic() - started < 5

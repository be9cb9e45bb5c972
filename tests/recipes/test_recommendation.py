"""The recipe that a first look speaks for: every branch, and thresholds at their edges."""

import dataclasses
import math
import shlex

import pytest

from lingraft.recipes.diagnosing.recommendation import (
    FAR_FROM_ENGLISH,
    FEWEST_ANSWERS,
    NEAR_ENGLISH,
    RIGHT_LANGUAGE,
    SHORT_TOKENS,
    WORDS_KNOWN,
    Findings,
    Recommendation,
    byte_premium,
    recommend,
)
from lingraft.reports.intervals import Estimate

LONG, SHORT = 4.0, 2.0
NEAR, PART, FAR = 1.1, 1.6, 3.0
RIGHT, WRONG = 0.9, 0.4


def findings(tokens=None, bits=None, answers=None, **more):
    """Beside English's 5 bytes a token and 1 bit per byte."""
    given = {}
    if tokens is not None:
        given |= {"bytes_per_token": tokens, "english_bytes_per_token": 5.0}
    if bits is not None:
        given |= {"bits_per_byte": bits, "english_bits_per_byte": 1.0}
    if answers is not None:
        given |= {"answered_in_language": answers, "judged_answers": 8}
    return Findings(**(given | more))


@pytest.mark.parametrize(
    ("tokens", "bits", "answers", "recipe"),
    [
        (LONG, NEAR, WRONG, "preference-only"),
        (SHORT, NEAR, WRONG, "preference-only"),
        (None, NEAR, WRONG, "preference-only"),
        (LONG, NEAR, RIGHT, "probe-only"),
        (SHORT, NEAR, RIGHT, "probe-only"),
        (LONG, NEAR, None, "probe-only"),
        (SHORT, PART, RIGHT, "high-resource"),
        (SHORT, PART, WRONG, "high-resource"),
        (SHORT, PART, None, "high-resource"),
        (LONG, PART, WRONG, "high-resource"),
        (LONG, PART, RIGHT, "pretrain-only"),
        (LONG, PART, None, "pretrain-only"),
        (None, PART, None, "pretrain-only"),
        (SHORT, FAR, WRONG, "low-resource"),
        (SHORT, FAR, RIGHT, "low-resource"),
        (SHORT, FAR, None, "low-resource"),
        (None, FAR, None, "low-resource"),
        (LONG, FAR, WRONG, "pretrain-only"),
        (LONG, FAR, None, "pretrain-only"),
        (SHORT, None, WRONG, "preference-only"),
        (SHORT, None, RIGHT, "probe-only"),
        (None, None, None, "probe-only"),
    ],
)
def test_every_branch(tokens, bits, answers, recipe):
    found = recommend(findings(tokens, bits, answers))
    assert found.recipe == recipe
    assert f"({recipe})" in found.reasons[-1]
    extends = tokens == SHORT and recipe in {"low-resource", "high-resource"}
    assert found.changes == ({"vocabulary.mode": "extend"} if extends else {})
    # A measurement is told with its numbers, and its threshold.
    told = " ".join(found.reasons)
    assert (f"{tokens or 0:.2f} bytes each, 5.00 in English" in told) == (tokens is not None)
    assert (f"{bits or 0:.2f} bits per byte, 1.00 in English" in told) == (bits is not None)
    assert (f"{100 * (answers or 0):.0f} % of 8" in told) == (answers is not None)


def edge(name, value):
    below = math.nextafter(value, 0)
    return {
        "tokens": (
            findings(bytes_per_token=below, english_bytes_per_token=1.0, bits=FAR),
            findings(bytes_per_token=value, english_bytes_per_token=1.0, bits=FAR),
        ),
        "near": (findings(bits=value), findings(bits=math.nextafter(value, 9))),
        "far": (findings(bits=below, tokens=LONG), findings(bits=value)),
        "answers": (findings(LONG, NEAR, below), findings(LONG, NEAR, value)),
        "words": (findings(word_score=Estimate(below)), findings(word_score=Estimate(value))),
    }[name]


@pytest.mark.parametrize(
    ("name", "value", "recipes"),
    [
        ("tokens", SHORT_TOKENS, ("low-resource", "pretrain-only")),
        ("near", NEAR_ENGLISH, ("probe-only", "pretrain-only")),
        ("far", FAR_FROM_ENGLISH, ("pretrain-only", "low-resource")),
        ("answers", RIGHT_LANGUAGE, ("preference-only", "probe-only")),
        ("words", WORDS_KNOWN, ("low-resource", "pretrain-only")),
    ],
)
def test_thresholds_at_the_edge(name, value, recipes):
    assert tuple(recommend(one).recipe for one in edge(name, value)) == recipes


def test_a_fitting_vocabulary_needs_no_stage():
    assert any(
        "take the vocabulary stage out" in reason for reason in recommend(findings(LONG, PART, WRONG)).reasons
    )
    assert not any("take the" in reason for reason in recommend(findings(SHORT, PART, WRONG)).reasons)


def test_few_answers_say_nothing():
    enough = findings(LONG, NEAR, WRONG, judged_answers=FEWEST_ANSWERS)
    assert recommend(enough).recipe == "preference-only"
    few = recommend(dataclasses.replace(enough, judged_answers=FEWEST_ANSWERS - 1))
    assert few.recipe == "probe-only" and any("nothing is concluded" in reason for reason in few.reasons)


def test_text_counts_more_than_words():
    found = recommend(findings(bits=FAR, word_score=Estimate(0.9)))
    assert found.recipe == "low-resource"


@pytest.mark.parametrize(
    ("headroom", "said"),
    [
        (Estimate(0.25, 0.01, 0.5, 12), "+25 points over shuffled donors (+1 to +50), above 0"),
        (Estimate(0.25, 0.0, 0.5, 12), "not clearly above 0"),
        (Estimate(0.25, None, None, 1), "without an interval"),
    ],
)
def test_headroom_is_told(headroom, said):
    assert any(said in reason for reason in recommend(findings(LONG, NEAR, RIGHT, headroom=headroom)).reasons)


def test_bytes_are_weighed_by_script():
    # Cyrillic: two bytes a letter, so half of the bits per byte is as much per letter.
    cyrillic = findings(3.0, 0.9, byte_premium=1.8)
    assert recommend(cyrillic).recipe == "high-resource"
    assert recommend(dataclasses.replace(cyrillic, byte_premium=1.0)).recipe == "probe-only"
    assert any("these 1.80" in reason for reason in recommend(cyrillic).reasons)


def test_byte_premium():
    assert byte_premium("plain English") == 1.0 == byte_premium("") == byte_premium("123")
    assert byte_premium("Größe") == pytest.approx(7 / 5) and byte_premium("Größe" + 50 * "x") == 1.0
    assert byte_premium("Съешьещё") == 2.0
    assert byte_premium("मेरानाम") == 3.0
    for dense in ("文書を開いて", "안녕하세요 오늘은", "中文"):
        assert byte_premium(dense) == 1.0


def test_a_base_model_is_tuned_plainly():
    found = recommend(findings(LONG, NEAR, WRONG, chat_template=False))
    assert found.changes == {"preference.template": "plain"}
    assert recommend(findings(LONG, PART, RIGHT, chat_template=False)).changes == {}


def test_the_command_can_be_typed():
    found = Recommendation("low-resource", ("a",), {"vocabulary.mode": "extend"})
    line = found.command(model="./my model", language="eu", data={"held_out": "größe.txt"})
    assert shlex.split(line) == [
        *("lingraft", "run", "low-resource", "--out", "runs/eu"),
        *("--set", "model=./my model", "--set", "language=eu", "--set", "data.held_out=größe.txt"),
        *("--set", "vocabulary.mode=extend"),
    ]

"""Word pairs from parallel text: against counting by hand, and what is refused."""

import itertools
import math
import random
import unicodedata
from collections import Counter

import numpy as np
import pytest

from lingraft.errors import ConfigError
from lingraft.pivots import induction
from lingraft.pivots.induction import induce_pairs, words_of

SOURCE = ["dog", "Size", "naïve", "open", "don't", "page", "the", "same", "एक", "well-known"]
TARGET = ["Hund", "Größe", "नमस्ते", "ireki", "문서를", "orria", "der", "same", "ein", "x"]


def sentences(number=400, seed=0, noise=0.3):
    """Each source word mostly has its target word beside it; frequencies differ, and sentences differ in length."""
    chance = random.Random(seed)
    found = []
    for _ in range(number):
        places = [place for place in range(len(SOURCE)) if chance.random() < (place + 1) / 20]
        left = [SOURCE[place].upper() if chance.random() < 0.2 else SOURCE[place] for place in places]
        right = [TARGET[place] for place in places if chance.random() > noise]
        right += chance.choices(TARGET, k=chance.randrange(3))
        chance.shuffle(right)
        found.append((" ".join(left) + ".", unicodedata.normalize("NFD", ", ".join(right))))
    return found


def plain(given, measure, minimum_count, minimum_dice):
    """The same by sets and loops, in exact order."""
    given = [(a, b) for a, b in given if a.strip() != b.strip()]
    sides = [[{word.casefold() for word in words_of(pair[side])} for pair in given] for side in (0, 1)]
    counts = [Counter(word for words in side for word in words) for side in sides]
    both = Counter(pair for words in zip(*sides, strict=True) for pair in itertools.product(*words))
    total = len(given)

    def score(pair, kind):
        k, a, b = both[pair], counts[0][pair[0]], counts[1][pair[1]]
        if kind == "dice":
            return 2 * k / (a + b)
        if k * total <= a * b:
            return None
        observed = [[k, a - k], [b - k, total - a - b + k]]
        rows, columns = [a, total - a], [b, total - b]
        return 2 * sum(
            observed[i][j] * math.log(observed[i][j] * total / (rows[i] * columns[j]))
            for i in (0, 1)
            for j in (0, 1)
            if observed[i][j]
        )

    scored = {pair: score(pair, measure) for pair in both if both[pair] >= minimum_count}
    scored = {pair: value for pair, value in scored.items() if value is not None}
    best = [{}, {}]
    for side in (0, 1):
        for pair in sorted(scored, key=lambda one: (-round(scored[one], 9), -both[one], one[1 - side])):
            best[side].setdefault(pair[side], pair)
    kept = [
        pair
        for pair in scored
        if best[0][pair[0]] == pair == best[1][pair[1]]
        and pair[0] != pair[1]
        and score(pair, "dice") >= minimum_dice
    ]
    kept.sort(key=lambda one: (-round(scored[one], 9), -both[one], one))
    return [(a, b, scored[a, b], both[a, b], counts[0][a], counts[1][b]) for a, b in kept]


@pytest.mark.parametrize("measure", induction.MEASURES)
@pytest.mark.parametrize("minimum_count", [1, 5])
@pytest.mark.parametrize("minimum_dice", [0.0, 0.5])
@pytest.mark.parametrize("block", [1, 40, 10**6])
def test_as_counted_by_hand(monkeypatch, measure, minimum_count, minimum_dice, block):
    monkeypatch.setattr(induction, "BLOCK_ENTRIES", block)
    for seed in range(3):
        given = sentences(seed=seed)
        found = induce_pairs(given, measure=measure, minimum_count=minimum_count, minimum_dice=minimum_dice)
        wanted = plain(given, measure, minimum_count, minimum_dice)
        assert [(one.source_word.casefold(), one.target_word.casefold()) for one in found] == [
            one[:2] for one in wanted
        ]
        np.testing.assert_allclose([one.score for one in found], [one[2] for one in wanted], rtol=1e-9)
        assert [(one.both, one.source_count, one.target_count) for one in found] == [
            one[3:] for one in wanted
        ]


def test_finds_what_belongs_together_and_drops_the_same_string():
    found = {one.source_word: one.target_word for one in induce_pairs(sentences(2000, noise=0.1))}
    wanted = dict(zip(SOURCE, TARGET, strict=True))
    assert {word: wanted[word] for word in found} == found
    assert len(found) >= 7 and "same" not in found and "same" not in found.values()


def test_the_order_of_sentences_and_repetition_within_one_change_nothing():
    given = sentences()
    found = induce_pairs(given)
    assert induce_pairs(reversed(given)) == found
    repeated = [(f"{first} {first.lower()}", second) for first, second in given]
    assert [one.score for one in induce_pairs(repeated)] == [one.score for one in found]
    # Untranslated pairs are no evidence of anything.
    assert induce_pairs([*given, *([("dog Hund", " dog Hund ")] * 50)]) == found


def test_equal_scores_go_to_the_first_in_code_point_order():
    given = [("a", "z b")] * 6 + [("q", "r")] * 6
    (first, second) = induce_pairs(given)
    assert {(one.source_word, one.target_word) for one in (first, second)} == {("a", "b"), ("q", "r")}


def test_words_are_spelled_as_they_mostly_are():
    given = [("Open the file", "Datei Öffnen")] * 6 + [("open file", "Datei öffnen")] * 3
    given += [("other", "anders")] * 9
    found = {one.source_word: one.target_word for one in induce_pairs(given)}
    # A third of "Open" is in lower case, and nothing of "Datei" is.
    assert "other" in found and set(found) <= {"open", "the", "file", "other"}
    assert set(found.values()) <= {"Datei", "öffnen", "anders"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don’t stop: it's 3 o'clock!", ["Don’t", "stop", "it's", "o'clock"]),
        ("- the 'quoted' well-known x-", ["the", "quoted", "well-known", "x"]),
        ("A4 3D snake_case café", ["café"]),
        ("cafe\u0301", ["café"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("", []),
    ],
)
def test_words(text, words):
    assert list(words_of(text)) == words


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ([("one", "文書を開く、書式を選ぶ")] * 9, {}, "without spaces"),
        ([("12 34", "56")], {}, "no word"),
        ([], {}, "no word"),
        ([("same", "same ")], {}, "no word"),
        ([("a", "b")], {"measure": "pmi"}, "log-likelihood, dice"),
        ([("a", "b")], {"minimum_count": 0}, "at least 1"),
        ([("a", "b")], {"minimum_dice": 1.5}, "0 to 1"),
    ],
)
def test_refused(given, options, message):
    with pytest.raises(ConfigError, match=message):
        induce_pairs(given, **options)


def test_nothing_comes_together_often_enough():
    assert induce_pairs([("a", "b"), ("c", "d")]) == []
    assert induce_pairs([("a", "b")] * 6) == []  # no more often than by chance


@pytest.mark.real
def test_basque_help(real_asset):
    rows = (real_asset("libreoffice-help-eu") / "pairs.tsv").read_text(encoding="utf-8").split("\n")
    found = induce_pairs([tuple(row.split("\t")[2:]) for row in rows if row])
    pairs = {(one.source_word, one.target_word) for one in found}
    assert 1000 < len(found) < 1500
    assert pairs >= {("and", "eta"), ("value", "balioa"), ("color", "kolorea"), ("without", "gabe")}

"""Folding bytes against folding strings: every character, and every order of those that act on each other."""

import itertools
import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingraft.pivots.folding import Folder, code_points, composing
from lingraft.pivots.matching import Matching, is_unspaced

POLICIES = [
    Matching(normalise=normalise, fold_case=fold) for normalise in (True, False) for fold in (True, False)
]
IDS = ["NFC case", "NFC", "case", "raw"]
ACTIVE = [*"aAßİıΣςé한ᄒ각क़कनの か\n", "ᅡ", "ᆨ", "\u0301", "\u0323", "\u093c", "\u094d", "\u3099", "\u0e38", "\u0e48",
          "\u09be", "\u09c7", "\u0345", "ΐ", "ﬁ", "\u1e9e", "\u212a", "\ufb4b", "\U0002f800", "\U0001d15e", "𐐀", "😀",
          "\u0f71", "\u0f73", "\u0344", "ǰ", "ŉ", "ﾊ", "ﾞ"]  # fmt: skip


def is_of_words(character):
    """A mark is one, but where it shows how an emoji is drawn; one that encloses is none."""
    selector = "VARIATION SELECTOR" in unicodedata.name(
        character, ""
    ) and "MONGOLIAN" not in unicodedata.name(character)
    mark = unicodedata.category(character) in ("Mn", "Mc") and not selector
    return mark or re.match(r"\w", character) is not None


def check(folder, matching, text):
    found = folder.fold(text.encode())
    # Documents do not act on each other.
    expected = "\n".join(matching.apply(document) for document in text.split("\n"))
    assert found.data == expected.encode()
    words = [is_of_words(character) for character in expected]
    sizes = [len(character.encode()) for character in expected]
    assert found.is_word.tolist() == np.repeat(words, sizes).tolist()
    starts = np.cumsum([0, *sizes])[:-1].tolist()
    unspaced = [start for start, character in zip(starts, expected, strict=True) if is_unspaced(character)]
    assert found.leads[found.unspaced].tolist() == unspaced


@pytest.mark.parametrize("matching", POLICIES, ids=IDS)
def test_every_character_by_itself_and_after_a_letter(matching):
    folder = Folder(matching)
    for start in range(0, 0x110000, 4096):
        characters = [chr(code) for code in range(start, start + 4096) if not 0xD800 <= code < 0xE000]
        characters = [character for character in characters if character != "\n"]
        if any(unicodedata.category(character) != "Cn" for character in characters):
            check(folder, matching, "\n".join(characters))
            check(folder, matching, "\n".join(f"E{character}x" for character in characters))


@pytest.mark.parametrize("matching", POLICIES, ids=IDS)
def test_characters_that_act_on_each_other(matching):
    folder = Folder(matching)
    for pair in itertools.product(ACTIVE, repeat=2):
        check(folder, matching, "".join(pair))
    check(folder, matching, "\n".join("".join(triple) for triple in itertools.product(ACTIVE, repeat=3)))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(ACTIVE) | st.characters(codec="utf-8"), max_size=30).map("".join))
def test_any_text(text):
    for matching in POLICIES:
        check(Folder(matching), matching, text)


def test_code_points_and_what_composes():
    text = "aé中😀\u07ff\u0800\uffff\U00010000\U0010ffff z"
    leads, codes = code_points(text.encode())
    assert [chr(code) for code in codes.tolist()] == [character for character in text if character > "\x7f"]
    assert [text.encode()[lead:].decode()[0] for lead in leads.tolist()] == list(map(chr, codes.tolist()))
    for code in range(0x110000):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            assert int(parts[1], 16) in composing()

"""Samples side by side: every text is there, escaped, folded where long, and told its language."""

import html
import re

import pytest

from lingraft.errors import ConfigError
from lingraft.reports.page import SampleRow, Samples, Section, render_page
from lingraft.reports.samples import LONG, SHOWN, samples_html

HOSTILE = '</details><script>alert(1)</script> & "größe" 안녕'


def test_every_text_is_there_once_and_escaped():
    rows = [
        SampleRow(HOSTILE, [HOSTILE, "مرحبا بالعالم"], HOSTILE, language="ar"),
        SampleRow("b", ["", " \n"]),
    ]
    text = samples_html(Samples(HOSTILE, ["before", HOSTILE], rows))
    assert "<script>" not in text
    assert text.count(html.escape(HOSTILE)) == 6
    assert text.count('lang="ar" dir="auto"') == 3
    assert text.count("(empty)") == 2
    assert "<details" not in text


def test_long_texts_and_many_rows_fold():
    long = "größe " * 200
    text = samples_html(Samples("c", ["a"], [SampleRow("p", [long])] * (SHOWN + 3)))
    assert f"all {len(long):,} characters" in text and len(long) > LONG
    assert text.count(long) == SHOWN + 3
    assert ">3 more<" in text
    assert text.count("<details") == text.count("</details>") == SHOWN + 4
    assert text.index(">3 more<") > text.index(long)


def test_half_a_character_has_a_place_and_the_page_its_style():
    page = render_page([Section("s", [Samples("c", ["a"], [SampleRow("p", ["half \ud83d"])])])])
    assert "half ?" in page and ".samples" in page
    page.encode("utf-8")
    assert not re.search(r"\.samples", render_page([Section("s", [])]))


def test_a_row_must_have_an_answer_for_each_model():
    with pytest.raises(ConfigError, match="1 texts in sample 0; expected one for each of 2 columns"):
        Samples("c", ["a", "b"], [SampleRow("p", ["x"])])

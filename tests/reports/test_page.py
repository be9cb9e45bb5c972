import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from lingraft.errors import ConfigError
from lingraft.reports import heatmaps
from lingraft.reports.figures import Curve, bar_chart, dot_chart, histogram, loss_curves
from lingraft.reports.intervals import Estimate
from lingraft.reports.page import (
    Card,
    Cards,
    Command,
    Figure,
    Paragraph,
    Section,
    Table,
    format_cell,
    render_page,
    write_page,
)
from lingraft.reports.result import InputRevision, RunResult, collect_provenance

PNG = b"\x89PNG\r\n\x1a\n"
VOID = {"meta", "img", "source", "br"}


class Outline(HTMLParser):
    """Check that tags nest, and collect the tags with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def picture():
    return loss_curves([Curve("salt", [0, 50], [5.9, 2.3])], x_label="step", y_label="bits per byte")


def test_page_is_whole_escaped_and_loads_nothing(tmp_path, picture):
    hostile = '<script>alert("&")</script> Größe 한국어'
    sections = [
        Section(
            hostile,
            [
                Paragraph(hostile),
                Paragraph(hostile, warning=True),
                Command(hostile),
                Table(hostile, ("method", hostile), [(hostile, hostile), ("b", None)]),
                Figure(hostile, hostile, picture),
                Figure("light only", "x", picture.light),
            ],
        )
    ]
    path = write_page(tmp_path / "report.html", sections, title=hostile, summary=hostile)
    text = path.read_text(encoding="utf-8")
    page = Outline(text)
    assert not page.of("script")
    assert not page.of("link")
    assert hostile in page.words
    urls = [
        value for _, attributes in page.tags for key, value in attributes.items() if key in {"src", "srcset"}
    ]
    assert len(urls) == 3
    assert all(url.startswith("data:image/png;base64,") for url in urls)
    assert not re.search(r"https?://|url\(|@import", text)
    assert "default-src 'none'" in text
    assert [attributes["alt"] for attributes in page.of("img")] == [hostile, "x"]
    assert "prefers-color-scheme: dark" in text


def test_headings_anchors_and_tables_carry_their_meaning():
    table = Table("Bits per byte", ("method", "value"), [("a", 2.0), ("b", 1.0)], best=1)
    page = Outline(render_page([Section("Same", [table]), *[Section("Same", [])] * 3]))
    assert len(page.of("h1")) == 1
    anchors = [attributes["id"] for attributes in page.of("h2")]
    assert len(set(anchors)) == 4
    links = [attributes["href"] for attributes in page.of("a")]
    assert links == ["#content", *(f"#{anchor}" for anchor in anchors)]
    assert [attributes["scope"] for attributes in page.of("th")] == ["col", "col", "row", "row"]
    assert len(page.of("caption")) == 1


def test_groups_have_headings_and_contents_of_two_levels():
    sections = [
        Section("Outcome", [Paragraph("a")]),
        Section("", [Paragraph("about vocabulary")], "vocabulary"),
        Section("Before and after", [], "vocabulary"),
        Section("Before and after", [], "pretrain"),
    ]
    text = render_page(sections)
    page = Outline(text)
    assert [attributes["id"] for attributes in page.of("h2")] == ["outcome", "vocabulary", "pretrain"]
    assert [attributes["id"] for attributes in page.of("h3")] == ["before-and-after", "before-and-after-2"]
    assert [attributes["href"] for attributes in page.of("a")] == [
        "#content",
        "#outcome",
        "#vocabulary",
        "#before-and-after",
        "#pretrain",
        "#before-and-after-2",
    ]
    assert text.index("about vocabulary") < text.index('id="before-and-after"')
    labels = [attributes.get("aria-labelledby") for attributes in page.of("section")]
    assert labels == ["outcome", "vocabulary", "before-and-after", "pretrain", "before-and-after-2"]


def test_cards_tables_and_commands_fold_and_say_where_from():
    hostile = '<script>alert("&")</script>'
    card = Card(hostile, Estimate(1.9, 1.8, 2.0), 2.5, hostile, hostile)
    table = Table(hostile, ("a", "b"), [(hostile, 1)], folded=True, source=hostile)
    text = render_page([Section("s", [Cards(hostile, [card]), table, Command(hostile, title=hostile)])])
    page = Outline(text)
    assert not page.of("script") and page.words.count(hostile) == 8
    assert "1.90 " in page.words and "2.50" in page.words and "(1.80 to 2.00)" in page.words
    assert len(page.of("details")) == 2 and not page.of("caption")
    assert page.of("nav") == []


def test_cells_run_as_their_text_does():
    """Arabic with Latin words in it is in another order where its direction is not said."""
    arabic = "يستخدم Python 3 لكتابة البرامج، أليس كذلك؟\n1. افتح الملف (config.json)."
    page = render_page([Section("Answers", [Table("t", ("id", "answer", "n"), [("größe", arabic, 3.5)])])])
    assert f'<td class="prose" dir="auto">{arabic}</td>' in page
    assert '<td class="number">3.5' in page
    assert ".prose { min-width: 10rem; white-space: pre-wrap; }" in page
    mixed = render_page([Section("s", [Table("t", ("id", "n"), [("größe", 3.5), ("أ", "–"), ("a", "b")])])])
    assert '<th scope="row" dir="auto">أ</th><td class="number">–</td>' in mixed
    assert '<th scope="row">a</th><td class="number">b</td>' in mixed


def test_best_is_the_lowest_finite_value():
    rows = [("nan", float("nan")), ("a", Estimate(2.0, 1.9, 2.1)), ("b", Estimate(1.5)), ("none", None)]
    text = render_page([Section("s", [Table("c", ("m", "v"), rows, best=1)])])
    assert re.findall("<strong>(.*?)</strong>", text) == ["1.500"]


def test_result_adds_counts_command_and_provenance():
    result = RunResult(
        kind="vocab transfer",
        metrics={},
        counts={"tokens": {"copied": 4203}},
        inputs=(InputRevision(role="model", reference="größe", revision="sha256:ab"),),
        seeds={"data": 7},
        provenance=collect_provenance(command="lingraft vocab transfer --out 'a b'"),
    )
    page = Outline(render_page([], result=result))
    for word in (
        "copied",
        "4,203",
        "größe",
        "sha256:ab",
        "seed: data",
        "lingraft vocab transfer --out 'a b'",
    ):
        assert word in page.words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,234,567"),
        (2.05, "2.050"),
        (0.0, "0.000"),
        (0.00012345, "0.000123"),
        (-1234.5, "-1,234.500"),
        (float("inf"), "–"),
        (None, "–"),
        (True, "yes"),
        ("salt", "salt"),
        (Estimate(2.0, 1.9, 2.1), "2.000 (1.900 to 2.100)"),
        (Estimate(2.0), "2.000"),
    ],
)
def test_cells(value, text):
    assert format_cell(value, 3) == text


class TestFigures:
    estimates = {"salt": Estimate(2.3, 2.2, 2.5), "focus": Estimate(2.2)}  # noqa: RUF012

    def pictures(self):
        x = list(range(30))
        yield loss_curves(
            [
                Curve(f"m{n} $x", x, np.exp(-np.array(x) / (n + 1)) + 1, [1.0] * 30, [2.0] * 30, n == 0)
                for n in range(12)
            ],
            x_label="step",
            y_label="bits per byte",
            log_x=True,
            log_y=True,
        )
        yield dot_chart(
            {"step 0": self.estimates, "step 50": {"salt": Estimate(2.0)}}, x_label="b", reference=2.1
        )
        yield bar_chart({"before": self.estimates, "after": self.estimates}, y_label="b")
        yield histogram({"norm": [1.0, float("nan"), 2.0], "empty": []}, x_label="norm")

    def test_both_colourings_are_png_and_differ(self):
        for picture in self.pictures():
            assert picture.light.startswith(PNG)
            assert picture.dark.startswith(PNG)
            assert picture.light != picture.dark

    def test_equal_numbers_give_equal_bytes_and_leave_no_global_state(self):
        before = "matplotlib.pyplot" in sys.modules
        assert list(self.pictures()) == list(self.pictures())
        assert ("matplotlib.pyplot" in sys.modules) == before

    @pytest.mark.parametrize(
        "draw",
        [
            lambda: loss_curves([], x_label="x", y_label="y"),
            lambda: dot_chart({}, x_label="x"),
            lambda: bar_chart({"a": {}}, y_label="y"),
            lambda: histogram({"a": [float("nan")]}, x_label="x"),
        ],
    )
    def test_nothing_to_draw(self, draw):
        with pytest.raises(ConfigError, match="to draw"):
            draw()


def test_legends_of_heatmaps_stay_inside():
    names = [
        "TargetFirst (receiver layer 0)",
        "the paper's fixed pair",
        "best pair in hindsight",
        "unpatched",
    ]
    assert heatmaps._legend_columns(names, 6.7) == 2
    assert heatmaps._legend_columns(names, 10.9) == 4
    assert heatmaps._legend_columns(names[1:2], 1.0) == 1

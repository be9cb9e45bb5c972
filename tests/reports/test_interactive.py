"""The grid explorer: what is embedded is what was given, no text can break out, and the script is the only one."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from lingraft.reports.interactive import (
    GridExplorer,
    GridGroup,
    GridValues,
    GridView,
    Quantity,
    embedded_json,
    explorer_html,
    script,
    view_bytes,
)
from lingraft.reports.page import Paragraph, Section, render_page

HOSTILE = '</script><script>alert(1)</script><!-- & "größe" 안녕 \u2028 \\u003c'


class Elements(HTMLParser):
    """What a browser makes of the page: elements with attributes, and the text of each script."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "script":
            self.scripts.append([dict(attributes).get("type"), ""])

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script":
            self.scripts[-1][1] += data

    def handle_endtag(self, tag):
        self.tags.append((f"/{tag}", {}))


def decode(part, shape):
    """The reverse of the coding, written from its description."""
    raw = np.frombuffer(base64.b64decode(part["d"]), {1: "u1", 2: "<u2"}[part["w"]]).astype(float)
    missing = 256 ** part["w"] - 1
    values = part["lo"] + raw / (missing - 1) * (part["hi"] - part["lo"])
    return np.where(raw == missing, np.nan, values).reshape(shape)


def embedded(text):
    return [json.loads(data) for kind, data in Elements(text).scripts if kind == "application/json"]


def explorer(view, **options):
    group = GridGroup(HOSTILE, [1, 3], [0, 2, 5], [view], framed_column=0, frame_label=HOSTILE)
    return GridExplorer(
        caption=HOSTILE,
        label=HOSTILE,
        row_label="donor layer",
        column_label="receiver layer",
        quantities=[Quantity(HOSTILE, "nats"), Quantity("right", percent=True)],
        groups=[group],
        **options,
    )


def view(values=None, **options):
    values = np.array([[-1.5, np.nan, 2.0], [np.inf, 0.25, -np.inf]]) if values is None else values
    right = np.array([[1.0, 0.0, np.nan], [0.0, 1.0, 1.0]])
    return GridView(
        HOSTILE, "de", [GridValues(values, 0.5), GridValues(right, verdict=True)], HOSTILE, **options
    )


def test_numbers_come_back_and_what_is_not_finite_is_missing():
    one = view(codes=np.array([[0, 1, -1], [1, 0, 0]]), texts=("größe", HOSTILE), marks={"best": (1, 2)})
    (data,) = embedded(explorer_html(explorer(one)))
    (group,) = data["groups"]
    assert group["rows"] == [1, 3] and group["columns"] == [0, 2, 5] and group["frame"] == 0
    (shown,) = group["views"]
    values = decode(shown["values"][0], (2, 3))
    np.testing.assert_allclose(values, [[-1.5, np.nan, 2.0], [np.nan, 0.25, np.nan]], atol=3.5 / 65534)
    assert shown["values"][0]["ref"] == 0.5
    right = decode(shown["values"][1], (2, 3))
    np.testing.assert_array_equal(right, [[1, 0, np.nan], [0, 1, 1]])
    assert decode(shown["codes"], (2, 3)).tolist()[1] == [1, 0, 0]
    assert np.isnan(decode(shown["codes"], (2, 3))[0, 2])
    assert shown["texts"] == ["größe", HOSTILE] and shown["marks"] == [["best", 1, 2]]
    assert shown["name"] == shown["note"] == data["label"] == HOSTILE


@pytest.mark.parametrize("count", [1, 254, 255, 256, 3000])
def test_as_many_texts_as_there_are(count):
    codes = np.arange(count).reshape(1, -1)
    one = GridView("a", "", [], codes=codes, texts=[str(n) for n in range(count)])
    (data,) = embedded(explorer_html(explorer(one)))
    part = data["groups"][0]["views"][0]["codes"]
    assert np.rint(decode(part, codes.shape)).astype(int).tolist() == codes.tolist()


@pytest.mark.parametrize(
    "values", [np.full((2, 3), 7.25), np.full((2, 3), np.nan), np.zeros((1, 1)), np.full((2, 3), -1e30)]
)
def test_maps_of_one_value_or_none(values):
    (data,) = embedded(explorer_html(explorer(view(values.astype(np.float32)))))
    found = decode(data["groups"][0]["views"][0]["values"][0], values.shape)
    np.testing.assert_allclose(found, values, rtol=1e-6)


def test_no_text_ends_the_element_and_nothing_else_runs():
    page = render_page([Section(HOSTILE, [explorer(view(texts=(HOSTILE,), codes=np.zeros((2, 3), int)))])])
    found = Elements(page)
    assert [kind for kind, _ in found.scripts] == ["application/json", None]
    assert found.scripts[1][1] == script()
    assert sum(tag == "script" for tag, _ in found.tags) == sum(tag == "/script" for tag, _ in found.tags)
    # The policy names that script by its digest, so that no other would run.
    (policy,) = [
        one["content"]
        for tag, one in found.tags
        if tag == "meta" and "content" in one and "src" in one["content"]
    ]
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )
    assert not re.search(r"https?://|url\(|@import|innerHTML|eval\(", page)
    assert "</script" not in script().lower()


def test_a_page_without_explorer_has_no_script():
    page = render_page([Section("a", [Paragraph("b")])])
    assert "<script" not in page and "script-src" not in page and "explorer" not in page


def test_several_explorers_share_the_script():
    one = explorer(view())
    page = render_page([Section("a", [one, one]), Section("b", [one])])
    assert page.count(script()) == 1 and len(embedded(page)) == 3


def test_half_a_character_and_odd_numbers():
    text = "half \ud83d"
    assert json.loads(embedded_json({"a": text}))["a"] == "half ?"
    with pytest.raises(ValueError):
        embedded_json(float("nan"))
    (data,) = embedded(
        explorer_html(explorer(GridView("a", "", [GridValues(np.zeros((2, 3)), np.nan), None])))
    )
    assert data["groups"][0]["views"][0]["values"][0]["ref"] is None
    assert data["groups"][0]["views"][0]["values"][1] is None


def test_size_is_what_the_page_grows_by():
    first, second = view(), view(np.arange(6.0).reshape(2, 3))
    group = GridGroup("g", [1, 3], [0, 2, 5], [first])
    more = GridGroup("g", [1, 3], [0, 2, 5], [first, second])
    sizes = [
        len(explorer_html(GridExplorer("c", "l", "r", "c", [], [one])).encode()) for one in (group, more)
    ]
    assert sizes[1] - sizes[0] == view_bytes(second) + 1


@pytest.mark.skipif(shutil.which("node") is None, reason="no node to run the script with")
def test_the_script_decodes_as_python_encodes(tmp_path):
    (data,) = embedded(explorer_html(explorer(view())))
    parts = data["groups"][0]["views"][0]["values"]
    (tmp_path / "explorer.cjs").write_text(script(), encoding="utf-8")
    program = (
        "const {decode, scale, number} = require(process.argv[1]); const parts = JSON.parse(process.argv[2]);"
        "const q = {percent: true, digits: 3, unit: ''}; const n = {percent: false, digits: 2, unit: 'nats'};"
        "console.log(JSON.stringify({values: parts.map(p => [...decode(p)].map(v => isNaN(v) ? null : v)),"
        "scale: scale(parts[0], decode(parts[0])), none: scale(parts[0], [NaN]),"
        "said: [number(0.5, q), number(-0.1, q, {signed: true}), number(-0.001, n), number(2, n, {signed: true}),"
        "number(NaN, n)]}))"
    )
    done = subprocess.run(
        ["node", "-e", program, str(tmp_path / "explorer.cjs"), json.dumps(parts)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found = json.loads(done.stdout)
    for part, values in zip(parts, found["values"], strict=True):
        wanted = decode(part, (-1,))
        np.testing.assert_allclose([np.nan if v is None else v for v in values], wanted, rtol=1e-12)
    assert found["scale"]["centre"] == 0.5
    assert found["scale"]["low"] == pytest.approx(-1.5) and found["scale"]["high"] == pytest.approx(2.5)
    assert found["none"] == {"low": 0, "high": 1, "centre": None}
    assert found["said"] == ["50.0 %", "−10.0 points", "0.00 nats", "+2.00 nats", "no value"]

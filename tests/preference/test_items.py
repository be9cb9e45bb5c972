"""Paired items: what is read is what was written; every refused line has its number and its reason."""

import gzip
import json
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lingraft.errors import CorpusError, OutputError
from lingraft.preference.items import PairedItem, read_items, refusal, write_items

GOOD = {
    "english_prompt": "How big is it?",
    "english_response": "Very big.",
    "target_prompt": "Wie groß ist es?",
    "target_response": "Sehr groß.",
    "target_language": "de",
}
visible = st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(lambda text: text.strip())


def write_rows(path: Path, rows: list[object]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(visible, visible, visible, visible), min_size=1, max_size=4))
def test_what_is_written_is_read(tmp_path: Path, texts: list[tuple[str, str, str, str]]) -> None:
    # Line breaks, separators, quotes and every script; the marks make the two sides differ.
    items = [
        PairedItem("en " + a, "en " + b, "sw " + c, "sw " + d, "sw", f"item-{number}")
        for number, (a, b, c, d) in enumerate(texts)
    ]
    write_items(tmp_path / "items.jsonl", items)
    assert read_items(tmp_path / "items.jsonl") == (items, {})


def test_an_item_without_an_id_is_named_by_its_line(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "items.jsonl", ["", GOOD, GOOD | {"id": 7}, GOOD | {"id": "", "extra": [1]}])
    items, refused = read_items(path)
    assert [item.id for item in items] == ["2", "7", "4"] and not refused
    write_items(tmp_path / "again.jsonl", [replace(item, id="") for item in items])
    assert json.loads((tmp_path / "again.jsonl").read_text("utf-8").splitlines()[0]) == GOOD


def test_every_refused_line_has_its_number_and_reason(tmp_path: Path) -> None:
    composed, decomposed = "Sehr groß é", unicodedata.normalize("NFD", "  Sehr groß é\n")
    assert composed != decomposed.strip()
    bad = {
        "invalid JSON": '{"english_prompt": "cut',
        "not a JSON object": '["a list"]',
        "a lone surrogate": json.dumps(GOOD | {"target_prompt": "half \ud83d"}),
        "no english_prompt": {key: value for key, value in GOOD.items() if key != "english_prompt"},
        "no target_response": GOOD | {"target_response": None},
        "no target_prompt": {key: value for key, value in GOOD.items() if key != "target_prompt"},
        "no target_language": {key: value for key, value in GOOD.items() if key != "target_language"},
        "empty target_language": GOOD | {"target_language": " "},
        "empty english_response": GOOD | {"english_response": "\u3000\n"},
        "english_prompt is not a string": GOOD | {"english_prompt": 3},
        "identical answers": GOOD | {"english_response": composed, "target_response": decomposed},
        "identical prompts": GOOD | {"target_prompt": GOOD["english_prompt"] + " "},
    }
    path = write_rows(tmp_path / "items.jsonl", [*bad.values(), GOOD])
    with path.open("ab") as file:
        file.write(b'{"english_prompt": "\xff"}\n')
    items, refused = read_items(path, rejects=tmp_path / "out" / "rejects.jsonl")
    assert [item.english_prompt for item in items] == [GOOD["english_prompt"]]
    assert refused == {**dict.fromkeys(bad, 1), "invalid UTF-8": 1}
    kept = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").open(encoding="utf-8")]
    expected = [*enumerate(bad, start=1), (len(bad) + 2, "invalid UTF-8")]
    assert [(entry["line"], entry["reason"]) for entry in kept] == expected
    assert all(entry["file"] == str(path) and entry["content"] for entry in kept)


def test_the_option_names_the_language_of_rows_that_state_none(tmp_path: Path) -> None:
    unnamed = {key: value for key, value in GOOD.items() if key != "target_language"}
    items, _ = read_items(write_rows(tmp_path / "items.jsonl", [unnamed, GOOD]), target_language="gsw")
    assert [item.target_language for item in items] == ["gsw", "de"]


def test_compressed_files_and_byte_order_marks(tmp_path: Path) -> None:
    raw = b"\xef\xbb\xbf" + json.dumps(GOOD, ensure_ascii=False).encode() + b"\r\n"
    (tmp_path / "items.jsonl.gz").write_bytes(gzip.compress(raw))
    items, refused = read_items(tmp_path / "items.jsonl.gz")
    assert items[0].target_response == "Sehr groß." and not refused
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(raw)[:-9])
    with pytest.raises(CorpusError, match=r"cut\.jsonl\.gz cannot be read"):
        read_items(tmp_path / "cut.jsonl.gz")


def test_no_item_left_says_why(tmp_path: Path) -> None:
    path = write_rows(
        tmp_path / "items.jsonl", [GOOD | {"target_response": ""}, GOOD | {"target_response": ""}]
    )
    with pytest.raises(
        CorpusError, match=r"no paired item in .*2 empty target_response.*; expected .*; make"
    ):
        read_items(path)
    for name, content in (("empty.jsonl", "\n"), ("missing.jsonl", None)):
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(CorpusError, match=name):
            read_items(tmp_path / name)


def test_too_many_refused_lines_stop_the_reading(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "items.jsonl", [GOOD, *[GOOD | {"target_response": None}] * 3])
    assert read_items(path, maximum_bad_lines=3)[1] == {"no target_response": 3}
    with pytest.raises(
        CorpusError, match=r"3 bad lines \(3 no target_response\).*line 4; expected at most 2"
    ):
        read_items(path, maximum_bad_lines=2)


def test_writing_replaces_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text("before")

    def breaks() -> object:
        yield PairedItem("a", "b", "c", "d", "sw")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_items(path, breaks())
    assert path.read_text() == "before" and [file.name for file in tmp_path.iterdir()] == ["items.jsonl"]
    with pytest.raises(OutputError, match="could not write"):
        write_items(path / "below" / "items.jsonl", [])


def test_refusals_of_a_row_in_memory() -> None:
    assert refusal(GOOD) is None
    assert refusal(GOOD | {"target_response": GOOD["english_response"]}) == "identical answers"

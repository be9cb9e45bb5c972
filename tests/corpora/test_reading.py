"""Streaming readers: every format gives the same documents; bad lines are kept and counted, never fatal at once."""

import bz2
import gzip
import json
import lzma
import sys
from pathlib import Path

import pyarrow as arrow
import pytest
import zstandard
from pyarrow import parquet

from lingraft.corpora.documents import Document
from lingraft.corpora.reading import ReadingCounts, read_documents, read_pairs, read_texts
from lingraft.errors import CorpusError, MissingExtraError

TEXTS = ["Kaixo mundua", "Größe und Maß", "안녕하세요 세계", "नमस्ते दुनिया", "a\u2028b \x85 c"]


def write(path: Path, texts: list[str]) -> Path:
    name = path.name.lower()
    for packed in (".gz", ".zst", ".xz", ".bz2"):
        name = name.removesuffix(packed)
    if name.endswith(".parquet"):
        table = arrow.table({"text": texts, "id": [f"d{n}" for n in range(len(texts))]})
        parquet.write_table(table, path, row_group_size=2)
        return path
    if name.endswith((".jsonl", ".ndjson", ".json")):
        lines = [
            json.dumps({"text": text, "id": f"d{n}"}, ensure_ascii=n % 2 == 0) for n, text in enumerate(texts)
        ]
        if "list" in name:
            lines = ["\ufeff", "[", ",\n".join(lines), "]"]
    elif name.endswith(".csv"):
        quoted = [text.replace('"', '""') for text in texts]
        lines = ["id,text", *(f'd{n},"{text}"' for n, text in enumerate(quoted))]
    elif name.endswith(".tsv"):
        lines = ["id\ttext", *(f"d{n}\t{text}" for n, text in enumerate(texts))]
    else:
        lines = texts
    raw = "".join(f"{line}\n" for line in lines).encode()
    if path.suffix == ".gz":
        raw = gzip.compress(raw)
    elif path.suffix == ".xz":
        raw = lzma.compress(raw)
    elif path.suffix == ".bz2":
        raw = bz2.compress(raw)
    elif path.suffix == ".zst":
        half = len(raw) // 2
        raw = zstandard.compress(raw[:half]) + zstandard.compress(raw[half:])
    path.write_bytes(raw)
    return path


FORMATS = [
    "c.txt",
    "c.txt.gz",
    "c.txt.zst",
    "c.jsonl",
    "c.jsonl.gz",
    "c.jsonl.zst",
    "c.tsv",
    "c.tsv.gz",
    "c.parquet",
    "c.txt.xz",
    "c.txt.bz2",
    "c.sw",
    "C.JSONL",
    "c.ndjson",
    "c.json",
    "c.json.gz",
    "list.json",
    "list.json.xz",
    "c.csv",
    "C.CSV",
    "c.csv.bz2",
]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_texts(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, TEXTS)
    documents = list(read_documents(path, language="eu"))
    assert [document.text for document in documents] == TEXTS
    assert len({document.id for document in documents}) == len(TEXTS)
    assert {document.language for document in documents} == {"eu"}
    if ".txt" in name or ".sw" in name:
        assert documents[1].id == f"{path}:2"
    else:
        assert documents[1].id == "d1"


def test_fields_ids_and_languages(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(
        '{"body": "Kaixo", "id": 7, "language": "eu", "site": "x"}\n{"body": "Hi"}\n', encoding="utf-8"
    )
    assert list(read_documents(path, text_field="body", language="en")) == [
        Document("Kaixo", "7", "eu", {"site": "x"}),
        Document("Hi", f"{path}:2", "en"),
    ]


def test_tables_without_a_header_are_read_by_number(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("house\tetxe\nwater\tur\n", encoding="utf-8")
    assert read_texts(path, text_field="2") == ["etxe", "ur"]
    pairs = list(read_pairs(path, source_field="1", target_field="2", target_language="eu"))
    assert [(pair.source_text, pair.target_text, pair.target_language) for pair in pairs] == [
        ("house", "etxe", "eu"),
        ("water", "ur", "eu"),
    ]
    with pytest.raises(CorpusError, match="'3'"):
        list(read_pairs(path, source_field="1", target_field="3"))
    with pytest.raises(CorpusError, match="columns house, etxe"):
        read_texts(path)


def test_directories_and_patterns_are_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    write(tmp_path / "b" / "2.jsonl", ["zwei"])
    write(tmp_path / "1.txt.gz", ["one"])
    write(tmp_path / "3.parquet", ["hiru"])
    (tmp_path / "notes.md").write_text("no corpus")
    (tmp_path / ".hidden.txt").write_text("no corpus")
    assert read_texts(tmp_path) == ["one", "hiru", "zwei"]
    assert read_texts(str(tmp_path / "*.parquet")) == ["hiru"]
    assert read_texts([tmp_path / "b", tmp_path / "1.txt.gz"]) == ["zwei", "one"]


@pytest.mark.parametrize("count", [1, 3, 7])
def test_shards_are_disjoint_and_complete(tmp_path: Path, count: int) -> None:
    texts = [f"text {n}" for n in range(20)]
    path = write(tmp_path / "c.txt", texts)
    shards = [[d.text for d in read_documents(path, shard=(index, count))] for index in range(count)]
    assert sorted(text for shard in shards for text in shard) == sorted(texts)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    with pytest.raises(CorpusError, match=f"shard {count} of {count}"):
        list(read_documents(path, shard=(count, count)))


def test_more_shards_than_documents_leaves_some_empty(tmp_path: Path) -> None:
    path = write(tmp_path / "c.txt", ["one"])
    assert list(read_documents(path, shard=(1, 2))) == []


def test_bad_lines_are_kept_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    lines = [
        b'{"text": "good"}',
        b'{"text": "cut',
        b'{"text": "\xff\xfe"}',
        b'{"other": 1}',
        b'{"text": 5}',
        b"[1]",
        b'{"text": "\\ud800"}',
        b"",
        '{"text": "ondo — bai"}'.encode(),
    ]
    path.write_bytes(b"\n".join(lines))
    rejects, counts = tmp_path / "out" / "rejects.jsonl", ReadingCounts()
    texts = [d.text for d in read_documents(path, rejects=rejects, counts=counts)]
    assert texts == ["good", "ondo — bai"]
    kept = [json.loads(line) for line in rejects.read_text(encoding="utf-8").splitlines()]
    assert [(entry["line"], entry["reason"]) for entry in kept] == [
        (2, "invalid JSON"),
        (3, "invalid UTF-8"),
        (4, "no field 'text'"),
        (5, "'text' is not a string"),
        (6, "not a JSON object"),
        (7, "a lone surrogate"),
    ]
    assert {entry["file"] for entry in kept} == {str(path)}
    assert counts.documents == 2
    assert sum(counts.bad.values()) == 6


def test_half_a_surrogate_in_a_rejected_row_is_kept_as_an_escape(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text('{"t": "\\ud800"}\n{"text": "ona"}\n', encoding="utf-8")
    assert [d.text for d in read_documents(path, rejects=tmp_path / "r")] == ["ona"]
    assert "ud800" in (tmp_path / "r").read_text(encoding="utf-8")


def test_too_many_bad_lines_stop_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    path.write_bytes(b"ona\n" + b"\xff\n" * 5)
    assert len(list(read_documents(path, maximum_bad_lines=5))) == 1
    with pytest.raises(
        CorpusError, match=r"5 bad lines \(5 invalid UTF-8\), the last one .*c.txt line 6.*at most 4"
    ):
        list(read_documents(path, maximum_bad_lines=4, rejects=tmp_path / "r"))
    assert len((tmp_path / "r").read_text(encoding="utf-8").splitlines()) == 5
    path.write_text("orain ondo\n", encoding="utf-8")
    list(read_documents(path, rejects=tmp_path / "r"))
    assert not (tmp_path / "r").exists()


def test_blank_lines_and_marks(tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    path.write_bytes("\ufeffbat\r\n\r\n   \nbi".encode())
    assert read_texts(path) == ["bat", "bi"]


def test_files_at_home_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bat.txt").write_text("bat\n", encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    for reference in ("~/bat.txt", "~/*.txt", "~"):
        assert [document.text for document in read_documents(reference)] == ["bat"]


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no file .*gone\.txt"):
        read_texts(tmp_path / "gone.txt")
    with pytest.raises(CorpusError, match="no corpus file"):
        read_texts(tmp_path)
    with pytest.raises(CorpusError, match="no corpus file"):
        read_texts(str(tmp_path / "*.txt"))
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(CorpusError, match="no document in"):
        read_texts(tmp_path / "empty.txt")


@pytest.mark.parametrize("name", ["c.txt.gz", "c.jsonl.zst", "c.parquet", "c.txt.xz", "c.csv.bz2"])
def test_truncated_files_are_an_error(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, [f"{text} {n * n}" for n in range(500) for text in TEXTS])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CorpusError, match="cannot be read"):
        read_texts(path)
    path.write_bytes(b"not at all what the name says")
    with pytest.raises(CorpusError, match="cannot be read"):
        read_texts(path)


def test_a_missing_column_or_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "c.parquet", TEXTS)
    with pytest.raises(CorpusError, match="columns text, id"):
        read_texts(path, text_field="body")
    packed = write(tmp_path / "c.txt.zst", TEXTS)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(MissingExtraError, match=r"lingraft\[corpora\]"):
        read_texts(packed)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"lingraft\[train\]"):
        read_texts("hf:some/corpus")


def test_named_data_sets_are_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    def load(name: str, config: str | None, *, split: str, streaming: bool) -> list[dict[str, str]]:
        asked.append((name, config, split, streaming))
        if name == "gone":
            raise FileNotFoundError("no such data set\nlong story")
        return [{"text": text} for text in TEXTS]

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert read_texts("hf:some/corpus:eu:validation") == TEXTS
    assert read_texts("hf:some/corpus") == TEXTS
    assert asked == [("some/corpus", "eu", "validation", True), ("some/corpus", None, "train", True)]
    with pytest.raises(CorpusError, match=r"'gone' cannot be loaded \(FileNotFoundError: no such data set\)"):
        read_texts("hf:gone")


def test_reading_holds_no_corpus(tmp_path: Path) -> None:
    path = write(tmp_path / "c.txt.gz", ["lerro bat"] * 1000)
    stream = read_documents(path)
    assert next(stream).text == "lerro bat"
    stream.close()

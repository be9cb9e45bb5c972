"""What a file is told to hold by its name and first bytes: read as that, or refused in one line."""

import json

import pytest

from lingraft.corpora.json_objects import JsonObject, read_objects
from lingraft.corpora.reading import ReadingCounts, read_documents, read_pairs, read_texts
from lingraft.corpora.shards import ShardReading, plan_shards, read_batches
from lingraft.errors import CorpusError


def shard_texts(path, **options):
    texts = []
    for shard in plan_shards([path], shard_bytes=20):
        for batch in read_batches(shard, ShardReading(), **options):
            texts += [text for text in batch.text.removesuffix("\n").split("\n") if text.strip()]
    return texts


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("data-00000.arrow", "hf:DIRECTORY"),
        ("CC-MAIN.warc.wet.gz", "extract its texts"),
        ("wiki.XML.bz2", "extract its texts"),
        ("texts.zip", "unpack it"),
        ("model.safetensors", "a file of texts"),
    ],
)
def test_files_known_to_hold_no_lines_are_refused_by_name(tmp_path, name, remedy):
    path = tmp_path / name
    path.write_bytes(b"Kaixo\nmundua\n")
    for read in (read_texts, shard_texts, lambda file: list(read_objects(file))):
        with pytest.raises(CorpusError, match=remedy):
            read(path)


@pytest.mark.parametrize(
    ("content", "found", "remedy"),
    [
        ("Kaixo\nmundua\n".encode("utf-16"), "text in UTF-16", "iconv -f UTF-16"),
        ("Kaixo\nmundua\n".encode("utf-32"), "text in UTF-32", "iconv -f UTF-32"),
        (b"\xfe\xff" + "größe\n".encode("utf-16-be"), "text in UTF-16", "iconv"),
        (b"\x1f\x8b\x08rest", "gzip data", "ending"),
        (b"ARROW1\0\0rest", "Arrow data", "hf:DIRECTORY"),
        (b"PK\x03\x04rest", "a zip archive", "unpack"),
    ],
)
def test_what_begins_as_no_text_does_is_refused(tmp_path, content, found, remedy):
    path = tmp_path / "c.txt"
    path.write_bytes(content)
    for read in (read_texts, shard_texts, lambda file: list(read_objects(file))):
        with pytest.raises(CorpusError, match=f"{found}.*{remedy}"):
            read(path)


def test_text_in_portuguese_is_named_so(tmp_path):
    (tmp_path / "europarl.pt").write_text("Olá mundo\n", encoding="utf-8")
    assert read_texts(tmp_path / "europarl.pt") == shard_texts(tmp_path / "europarl.pt") == ["Olá mundo"]


def test_lines_with_nul_characters_are_bad(tmp_path):
    path = tmp_path / "c.txt"
    path.write_bytes(b"ona\n" + "Kaixo\n".encode("utf-16-le") + b"ona da\n")
    counts = ReadingCounts()
    # The code units of the line's end stand apart: one half is a line of its own.
    assert [d.text for d in read_documents(path, counts=counts)] == ["ona"]
    assert counts.bad == {"a NUL character": 2}
    assert shard_texts(path) == ["ona"]
    reading = ShardReading()
    list(read_batches(plan_shards([path])[0], reading))
    assert [(record.line, record.reason) for record in reading.bad] == [
        (2, "a NUL character"),
        (3, "a NUL character"),
    ]


def test_upper_case_names_are_cut_too(tmp_path):
    path = tmp_path / "C.JSONL"
    texts = ["bat", "größe", "日本"]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    assert len(plan_shards([path], shard_bytes=20)) > 1
    assert shard_texts(path) == texts
    listed = tmp_path / "c.json"
    listed.write_text(json.dumps([{"text": text} for text in texts]), encoding="utf-8")
    assert len(plan_shards([listed], shard_bytes=20)) == 1
    assert shard_texts(listed) == texts


def test_cells_of_many_lines_and_of_any_length(tmp_path):
    path = tmp_path / "c.csv"
    long = "luze, " * 40_000
    path.write_bytes(f'text,other\r\n"bi\n""lerro""",1\r\n"{long}",\r\n\r\nazkena,größe\r\n'.encode())
    documents = list(read_documents(path))
    assert [d.text for d in documents] == ['bi\n"lerro"', long, "azkena"]
    assert [d.id.rpartition(":")[2] for d in documents] == ["2", "4", "6"]
    assert documents[2].meta == {"other": "größe"}
    pairs = list(read_pairs(path, source_field="text", target_field="other"))
    assert [pair.target_text for pair in pairs] == ["1", "größe"]


def test_bad_rows_of_a_table_with_quotes(tmp_path):
    path = tmp_path / "c.csv"
    path.write_bytes(b'text,n\nona,1\n"\xff\nbi",2\n"bat"x,3\nbat\nazkena,4\n')
    rejects = tmp_path / "rejects.jsonl"
    assert [d.text for d in read_documents(path, rejects=rejects)] == ["ona", "azkena"]
    kept = [json.loads(line) for line in rejects.read_text(encoding="utf-8").splitlines()]
    assert [(entry["line"], entry["reason"]) for entry in kept] == [
        (3, "invalid UTF-8"),
        (5, "invalid CSV"),
        (6, "not 2 columns"),
    ]
    path.write_bytes(b'text,n\nona,1\n"ireki,2\n' + b"beste bat,3\n" * 50)
    with pytest.raises(CorpusError, match=r"c\.csv with a quote in line 3 that is not closed"):
        read_texts(path)


def test_null_texts_are_blank_and_no_faults(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"text": null, "t": "a"}\n' * 50 + '{"text": "ona", "t": null}\n', encoding="utf-8")
    counts = ReadingCounts()
    assert [d.text for d in read_documents(path, maximum_bad_lines=0, counts=counts)] == ["ona"]
    assert counts.bad == {}
    assert list(read_pairs(path, source_field="text", target_field="t")) == []
    assert shard_texts(path) == ["ona"]


def test_a_directory_holds_every_kind_but_what_is_about_its_files(tmp_path):
    (tmp_path / "c4-train.00000-of-01024.json.gz").write_bytes(b"")
    for name in ("a.JSONL", "b.csv", "c.ndjson", "d.txt.xz", "dataset_info.json", "notes.md", "x.zip"):
        (tmp_path / name).write_text('{"text": "x"}\n' if "b" not in name else "text\nx\n")
    found = [shard.file.rpartition("/")[2] for shard in plan_shards([tmp_path])]
    assert found == ["a.JSONL", "b.csv", "c.ndjson", "c4-train.00000-of-01024.json.gz", "d.txt.xz"]


def test_objects_of_a_list_are_those_of_lines(tmp_path):
    rows = [{"prompt": "größe"}, {"prompt": "日本"}]
    (tmp_path / "a.json").write_text(" \n" + json.dumps(rows, indent=1), encoding="utf-8-sig")
    (tmp_path / "b.json").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8-sig")
    read = [list(read_objects(tmp_path / name)) for name in ("a.json", "b.json")]
    for objects in read:
        assert [row.fields for row in objects if isinstance(row, JsonObject)] == rows
    (tmp_path / "c.json").write_text('[{"prompt": 1},')
    with pytest.raises(CorpusError, match="is not JSON"):
        list(read_objects(tmp_path / "c.json"))
    (tmp_path / "d.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorpusError, match=r"d\.parquet is a parquet file.*hf:DIRECTORY"):
        list(read_objects(tmp_path / "d.parquet"))

"""Passes over a corpus: every document once, whatever the cuts, the workers, the kills and the damage."""

import json
import os
import signal
from functools import partial

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lingraft.corpora.engine import map_corpus
from lingraft.corpora.partials import PARTIALS
from lingraft.corpora.shards import ShardReading, plan_shards, read_batches
from lingraft.errors import ConfigError, CorpusError


class Letters:
    """Counts the letters of each kind; a trap word stops it."""

    def __init__(self, trap=None):
        self.trap = trap

    def describe(self):
        return {"letters": "äb中"}

    def empty(self):
        return {"counts": np.zeros(3, dtype=np.int64)}

    def merge(self, left, right):
        return {"counts": left["counts"] + right["counts"]}

    def open(self):
        return partial(count, self.trap)


def count(trap, batch):
    if "TRAP" in batch.text:
        if trap == "raise":
            raise ConfigError("a trap", "none", "go on")
        if trap == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
    return {"counts": np.array([batch.text.count(letter) for letter in "äb中"], dtype=np.int64)}


def documents_of(shard, **options):
    reading = ShardReading()
    texts = [
        text
        for batch in read_batches(shard, reading, **options)
        for text in batch.text.removesuffix("\n").split("\n")
        if text.strip()
    ]
    return texts, reading


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.text(st.sampled_from([*"ab ä中𠮷\r\t\x85\u2028"]), max_size=12), max_size=20),
    st.booleans(),
    st.integers(1, 40),
    st.integers(1, 60),
)
def test_cuts_neither_lose_nor_repeat_a_line(tmp_path_factory, lines, ended, shard_bytes, batch_bytes):
    file = tmp_path_factory.mktemp("cuts") / "c.txt"
    file.write_bytes(("\n".join(lines) + "\n" * ended).encode())
    shards = plan_shards([file], shard_bytes=shard_bytes)
    parts = [documents_of(shard, batch_bytes=batch_bytes) for shard in shards]
    assert [text.rstrip("\r") for texts, _ in parts for text in texts] == [
        line.rstrip("\r") for line in lines if line.strip()
    ]
    assert sum(reading.documents for _, reading in parts) == sum(bool(line.strip()) for line in lines)
    assert sum(reading.lines for _, reading in parts) == file.read_bytes().count(b"\n") + (
        not file.read_bytes().endswith(b"\n") and file.stat().st_size > 0
    )


@pytest.mark.parametrize("trap", ["raise", "kill"])
def test_what_was_finished_before_a_kill_stays_and_the_rest_is_done(tmp_path, trap):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number in range(5):
        (corpus / f"{number}.txt").write_text(
            "ä b\n中\n" * (number + 1) + "TRAP\n" * (number == 2), encoding="utf-8"
        )
    workers = 2 if trap == "kill" else 1
    with pytest.raises(ConfigError):
        map_corpus([corpus], Letters(trap), out=tmp_path / "out", workers=workers)
    partials = tmp_path / "out" / PARTIALS
    before = {file.name: file.stat().st_mtime_ns for file in partials.glob("*.safetensors")}
    assert 2 <= len(before) < 5 if trap == "raise" else len(before) < 5
    result = map_corpus([corpus], Letters(), out=tmp_path / "out", workers=workers)
    after = {file.name: file.stat().st_mtime_ns for file in partials.glob("*.safetensors")}
    assert len(after) == 5 and {name: after[name] for name in before} == before
    whole = map_corpus([corpus], Letters(), out=tmp_path / "whole")
    assert result.partial["counts"].tolist() == whole.partial["counts"].tolist() == [15, 15, 15]
    assert result.documents == whole.documents == 31
    assert {f.name: f.read_bytes() for f in partials.glob("*.safetensors")} == {
        f.name: f.read_bytes() for f in (tmp_path / "whole" / PARTIALS).iterdir()
    }


def test_damage_is_one_line_and_a_mended_file_continues(tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "a.txt").write_text("ä\n", encoding="utf-8")
    whole = zstandard.compress("b中 größe\n".encode() * 500 + os.urandom(4000).hex().encode())
    (corpus / "b.jsonl.zst").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        CorpusError, match=r"b\.jsonl\.zst cannot be read: the file ends inside a compressed frame"
    ):
        map_corpus([corpus], Letters(), out=tmp_path / "out", maximum_bad_lines=10**6)
    (corpus / "b.jsonl.zst").write_bytes(zstandard.compress(json.dumps({"text": "b中"}).encode()))
    result = map_corpus([corpus], Letters(), out=tmp_path / "out", maximum_bad_lines=10**6)
    assert result.partial["counts"].tolist() == [1, 1, 1]


def test_a_file_that_vanishes_is_named_and_not_left_out(tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name in "abc":
        (corpus / f"{name}.txt").write_text("ä\n", encoding="utf-8")
    shards = plan_shards([corpus])
    (corpus / "b.txt").unlink()
    with pytest.raises(CorpusError, match=r"b\.txt cannot be read: No such file"):
        list(read_batches(shards[1], ShardReading()))
    (corpus / "b.txt").write_text("TRAP ä\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="a trap"):
        map_corpus([corpus], Letters("raise"), out=tmp_path / "out")
    (corpus / "b.txt").unlink()
    with pytest.raises(CorpusError, match=r"b\.txt is gone; expected the 3 files"):
        map_corpus([corpus], Letters(), out=tmp_path / "out")
    (corpus / "b.txt").write_text("ää\n", encoding="utf-8")
    assert map_corpus([corpus], Letters(), out=tmp_path / "out").partial["counts"].tolist() == [4, 0, 0]


def test_bad_lines_have_their_number_in_the_whole_file(tmp_path):
    file = tmp_path / "c.jsonl"
    good = json.dumps({"text": "ä\nb"}, ensure_ascii=False).encode()
    lines = [good, b"", b"{", good, b"\xff", good, b"[]", good, b"", b'{"text": 3}']
    file.write_bytes(b"\n".join(lines))
    for size in (5, 23, 1000):
        result = map_corpus([file], Letters(), out=tmp_path / str(size), shard_bytes=size, batch_bytes=7)
        entries = [
            json.loads(line) for line in (tmp_path / str(size) / "rejects.jsonl").open(encoding="utf-8")
        ]
        assert [entry["line"] for entry in entries] == [3, 5, 7, 10]
        assert result.documents == 4 and sum(result.bad.values()) == 4
        assert result.partial["counts"].tolist() == [4, 4, 0]
    with pytest.raises(CorpusError, match=r"2 bad lines .*at most 1"):
        map_corpus([file], Letters(), out=tmp_path / "few", maximum_bad_lines=1)


def test_an_empty_corpus_is_an_error(tmp_path):
    (tmp_path / "c.txt").write_bytes(b"\n \n")
    with pytest.raises(CorpusError, match="no document in 1 files"):
        map_corpus([tmp_path / "c.txt"], Letters(), out=tmp_path / "out")

"""`lingraft pivots count` as it is typed: exact tables, resumable, and one line for whatever goes wrong."""

import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import zstandard

from lingraft.cli.app import main

WORDS = ["Hund", "dog", "größe", "size", "मेज़", "table", "日本", "Japan", "بيت", "house", "ไทย", "Thai", "xyq"]
PAIRS = [(WORDS[i], WORDS[i + 1]) for i in range(0, 12, 2)] + [("dog", "HOUSE"), ("nowhere", "xyq")]
SAME = ("counts.parquet", "semantics.json", "manifest.json")
ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="no ray")


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pairs.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in PAIRS), encoding="utf-8")
    Path("corpus").mkdir()
    return tmp_path


def documents(number, seed):
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS, k=chance.randrange(1, 9))) + "." for _ in range(number)]


def write_corpus(files=4, number=300):
    for name in range(files):
        lines = documents(number, name)
        Path(f"corpus/{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def count(*more, corpus="corpus", out="out"):
    return ["pivots", "count", "--corpus", corpus, "--pairs", "pairs.tsv", "--out", out, *more]


def contents(out="out"):
    return {name: Path(out, name).read_bytes() for name in SAME}


def error_of(capsys):
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and said.err.count("\n") == 1, said.err
    return said.err


def popen(*more, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "lingraft.cli.app", *count(*more, **options)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def partials(out="out"):
    return {file: file.stat().st_mtime_ns for file in Path(out, "partials").glob("[!.]*.safetensors")}


def wait_for_partials(process, at_least=1, out="out"):
    deadline = time.monotonic() + 120
    while process.poll() is None and len(partials(out)) < at_least and time.monotonic() < deadline:
        time.sleep(0.0005)


def test_what_is_typed_and_what_lies_on_the_disk(world, capsys):
    write_corpus()
    # Several paths may follow one option, or it comes again.
    several = ["pivots", "count", "--corpus", "corpus/0.txt", "corpus/1.txt", "--corpus", "corpus/[23].txt"]
    assert main([*several, "--pairs", "pairs.tsv", "--out", "out", "--window", "2", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["metrics"]["documents"] == 1200 and result["metrics"]["words_absent"] == 1
    for part in ("exact", "documents", "NFC", "case-folded", "whole words", "near"):
        assert part in result["metrics"]["semantics"]
    rows = pq.read_table("out/counts.parquet").to_pylist()
    texts = [line.lower() for name in range(4) for line in documents(300, name)]
    for row, (source, target) in zip(rows, PAIRS, strict=True):
        assert (row["source_word"], row["target_word"]) == (source, target)
        # No word of the list is a part of another, or of what the words are joined by.
        left, right = ([word.lower() in text for text in texts] for word in (source, target))
        assert row["source_documents"] == sum(left) and row["target_documents"] == sum(right)
        assert row["both"] == sum(a and b for a, b in zip(left, right, strict=True)) >= row["near"]
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "Hund / dog" in page and "nowhere" in page and "data:image/png" in page
    assert main(count("--whole-words", "--window", "2")) == 2
    assert "differs in: paths" in error_of(capsys)


def test_the_same_for_any_workers(world, capsys):
    write_corpus(files=9, number=100)
    assert main(count(out="one")) == 0
    for workers in ("2", "8"):
        assert main(count("--workers", workers, out=f"of-{workers}")) == 0
        assert contents(f"of-{workers}") == contents("one")
    said = capsys.readouterr()
    assert "8 pairs" in said.out and not said.err


@pytest.mark.slow
@ray
@pytest.mark.parametrize("workers", ["1", "2", "8"])
def test_the_same_on_ray(world, workers):
    write_corpus(files=9, number=100)
    assert main(count(out="one")) == 0
    assert main(count("--ray", "local", "--workers", workers, out="of-ray")) == 0
    assert contents("of-ray") == contents("one")


def write_large_corpus(mebibytes, name="corpus/large.txt"):
    lines = "".join(f"{line}\n" for line in documents(30_000, 1)).encode()
    lines += b"\xff poison\n"
    Path(name).write_bytes(lines * (1 + mebibytes * 2**20 // len(lines)))


def test_killed_in_the_middle_and_started_again(world):
    write_large_corpus(12)
    options = ("--shard-mib", "1")
    assert main(count(*options, out="undisturbed")) == 0
    deaths, kept = 0, {}
    for number in range(1, 9, 2):
        process = popen(*options)
        wait_for_partials(process, number)
        process.kill()
        process.communicate()
        deaths += process.returncode == -signal.SIGKILL
        now = partials()
        assert {file: now[file] for file in kept} == kept
        kept = now
    assert deaths >= 3 and 3 <= len(kept) < len(partials("undisturbed"))
    assert main(count(*options)) == 0
    assert {file: partials()[file] for file in kept} == kept
    assert contents() == contents("undisturbed")
    for name in ("rejects.jsonl", *(f"partials/{file.name}" for file in partials())):
        assert Path("out", name).read_bytes() == Path("undisturbed", name).read_bytes()
    assert not list(Path("out").rglob(".*.part"))


@pytest.mark.parametrize("change", ["vanish", "grow"])
def test_a_file_that_vanishes_or_grows_in_the_middle(world, capsys, change):
    write_corpus(files=1, number=5)
    write_large_corpus(8)
    shutil.copy("corpus/large.txt", "corpus/z.txt")
    process = popen("--shard-mib", "1")
    wait_for_partials(process)
    process.send_signal(signal.SIGSTOP)
    before = Path("corpus/z.txt").stat()
    if change == "vanish":
        Path("corpus/z.txt").rename("kept")
    else:
        with Path("corpus/z.txt").open("ab") as file:
            file.write(b"more\n")
    process.send_signal(signal.SIGCONT)
    _, said = process.communicate()
    why = "cannot be read: No such file" if change == "vanish" else "was changed while it was read"
    assert process.returncode == 2 and f"error: corpus/z.txt {why}" in said and said.count("\n") == 1
    assert 8 <= len(partials()) <= 10 and not Path("out/counts.parquet").exists()
    if change == "vanish":
        assert main(count("--shard-mib", "1")) == 2
        assert "corpus/z.txt is gone; expected the 3 files" in error_of(capsys)
        Path("kept").rename("corpus/z.txt")
    else:
        os.truncate("corpus/z.txt", before.st_size)
        os.utime("corpus/z.txt", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert main(count("--shard-mib", "1")) == main(count("--shard-mib", "1", out="undisturbed")) == 0
    assert contents() == contents("undisturbed")


def test_poison_lines_are_counted_and_kept(world, capsys):
    good = [json.dumps({"text": line}, ensure_ascii=False).encode() for line in documents(20, 0)]
    poison = [b"\xff\xfe", b'{"text": "cut', b'{"other": "x"}', b'{"text": 7}', b"[]", b'{"text": "\\ud800"}']
    Path("corpus/c.jsonl").write_bytes(b"\n".join([*good[:10], *poison, *good[10:], b""]))
    assert main(count("--max-bad-lines", "5")) == 2
    assert "6 bad lines" in error_of(capsys)
    assert main(count("--max-bad-lines", "6")) == 0
    assert "bad lines passed over: 1 invalid UTF-8, 1 invalid JSON" in capsys.readouterr().out
    rejects = [
        json.loads(line) for line in Path("out/rejects.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [entry["line"] for entry in rejects] == [11, 12, 13, 14, 15, 16]
    result = json.loads(Path("out/result.json").read_text(encoding="utf-8"))
    assert result["metrics"]["bad_lines"] == 6 and sum(result["counts"]["lines or rows"].values()) == 26
    Path("corpus/c.jsonl").write_bytes(b"\n".join([*good, b""]))
    assert main(count(out="clean")) == 0
    assert Path("out/counts.parquet").read_bytes() == Path("clean/counts.parquet").read_bytes()


def test_half_a_zstd_frame_is_named_and_can_be_mended(world, capsys):
    write_corpus(files=2)
    whole = zstandard.compress("\n".join(documents(5000, 3)).encode())
    Path("corpus/x.txt.zst").write_bytes(whole[: len(whole) // 2])
    assert main(count()) == 2
    assert (
        "corpus/x.txt.zst cannot be read: the file ends inside a compressed frame; expected a readable, "
        "undamaged file; check its permissions, or fetch it again" in error_of(capsys)
    )
    assert len(partials()) == 2 and not Path("out/counts.parquet").exists()
    Path("corpus/x.txt.zst").write_bytes(whole)
    assert main(count()) == main(count(out="undisturbed")) == 0
    assert contents() == contents("undisturbed")


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ("dog\tHund\n \tKatze\n", "pairs.tsv line 2: the word '' is empty"),
        ("dog\t\u200b\n", r"pairs.tsv line 1: the word '\u200b' has no visible character"),
        ("dog\t\u0301\n", "line 1: the word '\u0301' has no visible character"),
        ("dog\n", "pairs.tsv line 1 has 0 tabs: 'dog'; expected source word, tab, target word"),
        ("\n \n", "no pair in pairs.tsv"),
    ],
)
def test_words_of_which_nothing_is_left(world, capsys, pairs, said):
    write_corpus(files=1)
    Path("pairs.tsv").write_text(pairs, encoding="utf-8")
    assert main(count()) == 2
    assert said in error_of(capsys) and not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (count(corpus="nowhere.txt"), "no file nowhere.txt"),
        (count("--text-field", "body", corpus="t.tsv"), "a header line with a column 'body'"),
        (count(corpus="empty.txt"), "no document in 1 files"),
        (count("--window", "0"), "--window"),
        (count("--workers", "0"), "--workers"),
        (count(out="pairs.tsv"), "pairs.tsv is a file"),
        (count(out="corpus"), "not made by lingraft"),
        (["pivots", "count", "--corpus", "corpus", "--pairs", "no.tsv", "--out", "o"], "no.tsv cannot be read"),
        (["pivots", "count", "--corpus", "corpus", "--out", "o"], "--pairs"),
    ],
)  # fmt: skip
def test_bad_options(world, capsys, arguments, said):
    write_corpus(files=1)
    Path("t.tsv").write_text("a\ttext\n1\tdog\n", encoding="utf-8")
    Path("empty.txt").write_text("\n \n", encoding="utf-8")
    assert main(arguments) == 2
    assert said in error_of(capsys)


@pytest.fixture
def small_disk(world):
    """A disk of half a mebibyte."""
    Path("disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", "disk"]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a disk")
    yield Path("disk")
    subprocess.run(["umount", "-l", str(world / "disk")], check=True)


def test_a_full_disk_is_one_line_and_nothing_is_lost(small_disk, capsys):
    # Partial counts of that many pairs fill it after a few.
    names = [f"w{number}" for number in range(6000)]
    Path("pairs.tsv").write_text("".join(f"{name}\tdog\n" for name in names), encoding="utf-8")
    write_corpus(files=12, number=5)
    assert main(count(out="disk/out")) == 2
    line = error_of(capsys)
    assert "could not write " in line and "disk/out/partials/" in line and "No space left on device" in line
    assert "free some space or give another output path, then run the same command again" in line
    kept = partials("disk/out")
    assert 1 <= len(kept) < 12 and not list(Path("disk").rglob("*.part"))
    subprocess.run(["mount", "-o", "remount,size=16m", "disk"], check=True)
    assert main(count(out="disk/out")) == main(count(out="undisturbed")) == 0
    now = partials("disk/out")
    assert {file: now[file] for file in kept} == kept
    assert contents("disk/out") == contents("undisturbed")


def actors_below(process):
    """Process ids of Ray actors that descend from a process."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            names[int(folder.name)] = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
    found = []
    for actor, name in names.items():
        above = actor
        while above in parents and above != process:
            above = parents[above]
        if above == process and name.startswith(b"ray::Worker"):
            found.append(actor)
    return found


@pytest.mark.slow
@ray
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
def test_a_ray_worker_that_is_killed(world):
    write_large_corpus(60)
    options = ("--shard-mib", "1", "--ray", "local", "--workers", "2")
    process = popen(*options)
    wait_for_partials(process, 2)
    actors = actors_below(process.pid)
    assert actors
    os.kill(actors[0], signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2, said
    # Ray's own notice of the dead process may stand before it.
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and errors[0].startswith("error: a Ray actor died; ") and "Traceback" not in said
    assert "run the same command again" in said and not Path("out/counts.parquet").exists()
    kept = partials()
    assert 2 <= len(kept) < 60
    assert main(count("--shard-mib", "1")) == main(count("--shard-mib", "8", out="undisturbed")) == 0
    now = partials()
    assert {file: now[file] for file in kept} == kept
    for name in ("counts.parquet", "semantics.json", "rejects.jsonl"):
        assert Path("out", name).read_bytes() == Path("undisturbed", name).read_bytes()

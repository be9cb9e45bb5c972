"""`lingraft pivots words --aligned`: words from parallel text, as typed, and one line for whatever goes wrong."""

import json
import random
from pathlib import Path

import pytest

from lingraft.cli.app import main
from lingraft.pivots.task_file import read_word_task

LETTERS = "etaoinshrdlucm"


def word(number, ending=""):
    text, number = "", number + 20
    while number:
        text += LETTERS[number % len(LETTERS)]
        number //= len(LETTERS)
    return text + ending


PAIRS = [(word(n), word(7 * n + 3, "ñak")) for n in range(60)]


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chance = random.Random(0)
    rows = []
    for number in range(900):
        drawn = chance.sample(PAIRS, 3)
        texts = (" ".join(first for first, _ in drawn).capitalize() + ".", " ".join(b for _, b in drawn))
        rows.append((f"file{number // 9}", f"par_{number}", *texts))
    write("four.tsv", rows)
    write("two.tsv", [row[2:] for row in rows])
    return tmp_path


def write(name, rows):
    Path(name).write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


def words(*more, aligned="four.tsv", source="en", target="eu", out="words.jsonl"):
    given = ["--aligned", aligned] if aligned else []
    return main(["pivots", "words", *given, "--source", source, "--target", target, "--out", out, *more])


def one_line(capsys):
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and said.err.count("\n") == 1, said.err
    assert not Path("words.jsonl").exists() and not Path("lexicon.tsv").exists()
    return said.err


def test_words_of_parallel_text(world, capsys):
    with Path("four.tsv").open("ab") as file:
        file.write(b"file\tid\tlowerBarrier.\tBehekoLanga\n" * 9)
        file.write(b"one column\n\xff\ta\tb\tc\nfile\tid\tuntranslated\t\n")
    assert words("--lexicon-out", "lexicon.tsv", "--limit", "10", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    task = read_word_task(Path("words.jsonl"))
    assert result["words"] == len(task.items) == 10
    assert {(one.source_word, one.target_word) for one in task.items} <= set(PAIRS)
    rejected = result["counts"]["rejected rows"]
    assert rejected["aligned: not UTF-8"] == 1 and rejected["aligned: neither two nor four columns"] == 1
    assert rejected["aligned: an identifier or acronym"] == 1
    rows = [line.split("\t") for line in Path("lexicon.tsv").read_text(encoding="utf-8").splitlines()]
    assert {(row[0], row[1]) for row in rows} <= set(PAIRS) and len(rows) > 50
    scores = [float(row[2]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    header = json.loads(Path("words.jsonl").read_text(encoding="utf-8").splitlines()[0])["about"]
    assert header["aligned"] == "four.tsv" and len(header["aligned_sha256"]) == 64
    # What was written is a lexicon, and gives the same test; the same command gives the same bytes.
    first = Path("words.jsonl").read_bytes()
    assert words("--lexicon-out", "lexicon.tsv", "--limit", "10") == 0
    assert "rejected, aligned: not UTF-8: 1" in capsys.readouterr().out
    assert Path("words.jsonl").read_bytes() == first
    again = ["--lexicon", "lexicon.tsv", "--limit", "10"]
    assert words(*again, aligned=None, out="again.jsonl") == 0
    assert read_word_task(Path("again.jsonl")) == task


def test_the_direction(world):
    assert words("--limit", "5", source="eu", target="en") == 0
    turned = {(one.target_word, one.source_word) for one in read_word_task(Path("words.jsonl")).items}
    assert turned <= set(PAIRS)
    assert words("--limit", "5", aligned="two.tsv", out="two.jsonl") == 0
    assert words("--limit", "5", "--swap", aligned="two.tsv", out="eu.jsonl", source="eu", target="en") == 0
    assert read_word_task(Path("eu.jsonl")).items == read_word_task(Path("words.jsonl")).items


@pytest.mark.parametrize(
    ("more", "options", "message"),
    [
        ([], {"aligned": None}, "neither --lexicon nor --aligned"),
        (["--lexicon", "x.tsv"], {}, "both --lexicon and --aligned"),
        (["--lexicon", "x.tsv", "--lexicon-out", "y"], {"aligned": None}, "--lexicon-out without --aligned"),
        ([], {"aligned": "nowhere.tsv"}, "no file nowhere.tsv"),
        ([], {"aligned": "libreoffice-help-xx"}, "no file libreoffice-help-xx"),
        ([], {"aligned": "libreoffice-help-de"}, "libreoffice-help-de for English to Basque"),
        ([], {"aligned": "libreoffice-help-eu", "source": "de"}, "libreoffice-help-eu for German to Basque"),
        ([], {"aligned": "empty.tsv"}, "holds no sentence pair (it is empty)"),
        ([], {"aligned": "columns.tsv"}, "1 aligned: neither two nor four columns"),
        ([], {"aligned": "few.tsv"}, "no two words come together often enough in 3 sentence pairs"),
        ([], {"aligned": "japanese.tsv", "target": "ja"}, "a script without spaces"),
        ([], {"target": "ru"}, "the words of four.tsv has no usable row"),
        (["--lexicon-out", "."], {}, ". is a directory"),
    ],
)
def test_one_line(world, capsys, more, options, message):
    Path("empty.tsv").write_text("", encoding="utf-8")
    write("columns.tsv", [("a", "b", "c")])
    write("few.tsv", [("a b", "c d")] * 3)
    write("japanese.tsv", [("open the file", "文書を開きます")] * 9)
    assert words(*more, **options) == 2
    assert message in one_line(capsys)

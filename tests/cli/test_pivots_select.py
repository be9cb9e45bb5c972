"""`lingraft pivots select` end to end: what lies on the disk, that training reads it, and one line for bad input."""

import json
import random
import re

import pyarrow.parquet as pq
import pytest

from lingraft.cli.app import main
from lingraft.corpora.reading import read_documents, read_texts
from lingraft.tokenizers.document_start import document_start
from lingraft.training.causal import train_causal
from lingraft.training.packing import pack_with_counts

WORDS = ["und", "größe", "kwa", "run", "étude", "天気", *(f"w{number}" for number in range(40))]


def rows(documents=400):
    generator = random.Random(4)
    found = []
    for number in range(documents):
        words = generator.choices(WORDS, k=generator.randint(20, 40))
        if number % 4 == 0:
            words += generator.choices(["dach", "wohnen"], k=generator.randint(1, 9))
        generator.shuffle(words)
        found.append(
            {"text": " ".join(words), "id": f"größe-{number}", "language": "de" if number % 2 else "sw"}
        )
    return found


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows()]
    (tmp_path / "c.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "pivots.txt").write_text("Dach\nwohnen\n", encoding="utf-8")
    return tmp_path


def select(*more, tokens=500, out="out", pivots="pivots.txt", corpus="c.jsonl"):
    return main(
        [
            "pivots",
            "select",
            "--corpus",
            corpus,
            "--pivots",
            pivots,
            "--tokens",
            str(tokens),
            "--out",
            out,
            *more,
        ]
    )


def test_everything_a_run_leaves(world, capsys):
    controls = ["--control", "random", "--control", "matched", "--control", "frequency"]
    assert select(*controls, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["tokens"]) for row in result["metrics"]["sets"]] == [
        (name, 500) for name in ("selected", "random", "matched", "frequency")
    ]
    shares = {row["name"]: row["pivot_share"]["value"] for row in result["metrics"]["sets"]}
    assert shares["selected"] > 2 * max(share for name, share in shares.items() if name != "selected")
    table = pq.read_table(world / "out" / "selection.parquet").to_pylist()
    assert {row["set"] for row in table} == set(shares)
    documents = list(read_documents(world / "out" / "selected"))
    assert [d.id for d in documents] == [row["id"] for row in table if row["set"] == "selected"]
    assert {document.language for document in documents} == {"sw"}
    assert all(document.meta["reason"]["pivots"] for document in documents)
    page = (world / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") >= 6
    assert "größe-" in page
    assert "No test words were given" in page
    assert (world / "out" / "recipe.yaml").exists()
    assert not list((world / "out").rglob("*.part"))
    # Again the same, and no other run in its place.
    before = (world / "out" / "selected" / "part-00000.jsonl").read_bytes()
    assert select(*controls) == 0
    assert (world / "out" / "selected" / "part-00000.jsonl").read_bytes() == before
    assert "controls: random" in capsys.readouterr().out
    assert select(tokens=400) == 2
    assert "another command" in capsys.readouterr().err


def test_the_budget_is_in_tokens_of_a_tokenizer_and_training_reads_what_was_chosen(
    world, capsys, byte_bpe_tokenizer, tiny_llama_tied
):
    byte_bpe_tokenizer.save_pretrained("tok")
    assert select("--tokenizer", "tok", "--control", "random", tokens=3000) == 0
    for directory in (world / "out" / "selected", world / "out" / "controls" / "random"):
        texts = read_texts(directory)
        total = sum(len(byte_bpe_tokenizer(text, add_special_tokens=False).input_ids) for text in texts)
        # A cut text may be tokenized otherwise at its end.
        assert abs(total - 3000) <= 3
        blocks, counts = pack_with_counts(texts, byte_bpe_tokenizer, 32)
        # A document-start token before every text, and before what goes on in another block.
        assert counts.documents == len(texts)
        starts = int((blocks == document_start(byte_bpe_tokenizer)).sum())
        assert abs(blocks.size - counts.repeated_tokens + counts.dropped_tokens - total - starts) <= 2
        trained = train_causal(tiny_llama_tied, blocks, steps=2, batch_size=2, learning_rate=1e-3)
        assert trained.tokens == 2 * 2 * 32


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"tokens": 10**6}, r"of 1,000,000 for selected \(in words\).*; give --tokens \d+ or --shrink-to-fit"),
        ({"tokens": 0}, "--tokens 0"),
        ({"more": ["--control", "luck"]}, "--control luck; expected one of random, matched, parallel, frequency"),
        ({"more": ["--control", "random", "--control", "random"]}, "--control random twice"),
        ({"more": ["--control", "parallel"]}, "give --languages en,de or --parallel-corpus"),
        ({"more": ["--quota", "de=0.5"]}, "the quotas de=0.5; expected positive shares that sum to 1"),
        ({"more": ["--quota", "de:1"]}, "--quota de:1"),
        ({"more": ["--quota", "fi=0.5", "--quota", "sw=0.5"]}, "0 of 250 for selected in fi"),
        ({"more": ["--languages", "de,xx"]}, "the languages de, xx"),
        ({"more": ["--keep-out-test-pairs"]}, "--keep-out-test-pairs without test words"),
        ({"more": ["--test-words", "t.txt"], "t.txt": "DACH\nWohnen\nwohnen\n"}, "all 2 pivots are test words"),
        ({"more": ["--test-words", "t.txt"], "t.txt": "\n"}, "no word in t.txt"),
        ({"more": ["--test-words", "t.txt"], "t.txt": "a\tb\nc\t\u200b\n"}, "t.txt line 2: .* no visible character"),
        ({"more": ["--test-words", "no.txt"]}, "no.txt cannot be read"),
        ({"pivots.txt": ""}, "no pivot in pivots.txt"),
        ({"pivots.txt": "dach\nein haus\n"}, "pivots.txt line 2: 'ein haus' is 2 words"),
        ({"pivots": "c.jsonl.parquet", "c.jsonl.parquet": "nothing"}, "cannot be read as a table"),
        ({"pivots": "missing.txt"}, "missing.txt cannot be read: No such file"),
        ({"corpus": "missing.jsonl"}, "no file missing.jsonl"),
        ({"more": ["--text-field", "body"]}, "400 no field 'body'"),
        ({"more": ["--max-bad-lines", "1"], "c.jsonl": "{\n[]\n" * 2}, "bad lines"),
        ({"more": ["--parallel-fields", "en"]}, "--parallel-fields en; expected two fields"),
        ({"more": ["--tokenizer", "no/where"]}, "no/where"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_in_one_line(world, capsys, more, said):
    for name, content in more.items():
        if "." in name:
            (world / name).write_text(content, encoding="utf-8")
    given = {name: value for name, value in more.items() if name in ("tokens", "pivots", "corpus")}
    assert select(*more.get("more", []), **given) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert re.search(said, error), error
    assert not (world / "out" / "selected").exists()
    assert not (world / "out" / "result.json").exists()


def test_what_there_is_can_be_taken(world, capsys):
    assert select("--control", "random", "--control", "matched", tokens=10**6) == 2
    most = int(re.search(r"give --tokens (\d+)", capsys.readouterr().err)[1])
    # The same run directory goes on.
    assert (
        select("--control", "random", "--control", "matched", "--shrink-to-fit", "--json", tokens=10**6) == 0
    )
    sets = json.loads(capsys.readouterr().out)["metrics"]["sets"]
    assert {row["tokens"] for row in sets} == {most}
    assert "all shrank to" in (world / "out" / "report.html").read_text(encoding="utf-8")
    assert select(tokens=most, out="other") == 0
    assert select(tokens=most + 1, out="third") == 2


def test_poison_lines_are_counted_and_kept(world, capsys):
    content = (world / "c.jsonl").read_bytes()
    poison = b'{"text": 5}\n\xff\xfe\n{"text": "\\ud800"}\nnull\n'
    (world / "c.jsonl").write_bytes(poison + content + b'{"text": "half a')
    assert select("--json") == 0
    assert sum(json.loads(capsys.readouterr().out)["counts"]["bad lines"].values()) == 5
    (rejects,) = (world / "out").rglob("rejects.jsonl")
    lines = [json.loads(line)["line"] for line in rejects.read_text(encoding="utf-8").splitlines()]
    assert lines == [1, 2, 3, 4, 405]


def test_pivots_of_discover_choose_documents(world, capsys):
    generator, lines = random.Random(1), []
    for number in range(400):
        topic = ["dach", "wand", "boot", "paa", "ukuta", "mashua", "", ""][number % 8]
        words = [
            *generator.choices(WORDS, k=20),
            topic,
            "nabe" if topic not in ("", "boot", "mashua") else "leer",
        ]
        lines.append(json.dumps({"text": " ".join(words)}))
    (world / "c.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (world / "pairs.tsv").write_text("dach\tpaa\nwand\tukuta\nboot\tmashua\n", encoding="utf-8")
    assert main(["pivots", "discover", "--corpus", "c.jsonl", "--pairs", "pairs.tsv", "--out", "found"]) == 0
    assert "nabe" in {row["token"] for row in pq.read_table("found/hubs.parquet").to_pylist()}
    for name in ("pivots.parquet", "hubs.parquet"):
        assert select(pivots=f"found/{name}", out=f"by-{name}", tokens=200) == 0
    chosen = (world / "by-hubs.parquet" / "selected" / "part-00000.jsonl").read_text(encoding="utf-8")
    assert all(list(json.loads(line)["reason"]["pivots"]) == ["nabe"] for line in chosen.splitlines())
    (world / "none.tsv").write_text("dach\tsegel\nwohnen\tmashua\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["pivots", "discover", "--corpus", "c.jsonl", "--pairs", "none.tsv", "--out", "none"]) == 2
    assert "no pair of none.tsv has both its words in the 400 documents" in capsys.readouterr().err

"""Stage `select`: words, pivots, documents and controls; test words kept out; killed and continued."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from lingraft.corpora.reading import read_texts
from lingraft.errors import ConfigError
from lingraft.recipes.stages.select import KIND

PAIRS = [(f"word{chr(97 + n)}", f"hitz{chr(97 + n)}") for n in range(20)]
FILLER = ["und", "größe", "kwa", "étude", *(f"w{number}" for number in range(60))]
BRIDGES = ["brücke", "pont", "zubia"]


def documents(count=300):
    """Documents in two languages; words of the lexicon come with bridges on both sides."""
    chance = random.Random(2)
    for number in range(count):
        words = chance.choices(FILLER, k=24)
        if number % 3:
            side = number % 2
            words += [pair[side] for pair in chance.sample(PAIRS, 3)] + chance.choices(BRIDGES, k=3)
        chance.shuffle(words)
        yield {"text": " ".join(words), "id": f"größe-{number}", "language": "eu" if number % 2 else "en"}


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = list(documents())
    for code in ("eu", "en"):
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows if row["language"] == code]
        Path(f"{code}.jsonl").write_text("".join(lines), encoding="utf-8")
    Path("lexicon.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in PAIRS), encoding="utf-8")
    Path("test.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in PAIRS[:4]), encoding="utf-8")
    return tmp_path


GIVEN = {"corpus": ["eu.jsonl"], "english": ["en.jsonl"], "lexicon": "lexicon.tsv", "tokens": 400}


@pytest.mark.slow
def test_all_of_it(world, staged):
    result, page = staged(
        KIND,
        **GIVEN,
        controls=["random", "matched", "frequency"],
        test_words=["test.tsv"],
        least_length=10,
    )
    lines = Path("out/words.tsv").read_text("utf-8").splitlines()
    assert len(lines) == 16 and not {line.split("\t")[0] for line in lines} & {pair[0] for pair in PAIRS[:4]}
    hubs = pq.read_table("out/discovered/hubs.parquet")["token"].to_pylist()
    assert set(BRIDGES) <= set(hubs)
    sets = {row["name"]: row for row in result.metrics["sets"]}
    assert list(sets) == ["selected", "random", "matched", "frequency"]
    assert {row["tokens"] for row in sets.values()} == {400}
    assert sets["selected"]["pivot_share"]["value"] > sets["random"]["pivot_share"]["value"]
    for name in sets:
        texts = read_texts(Path("out") / result.files[name])
        assert sum(len(text.split()) for text in texts) == 400
    assert result.metrics["guard"]["test_words"] == 8 and "parallel" not in result.files
    assert "documents selected" in page and "brücke" in page
    assert result.metrics["hubs"] == len(hubs)


def test_pivots_of_ones_own_need_no_lexicon(world, staged, byte_bpe_tokenizer):
    byte_bpe_tokenizer.save_pretrained("tok")
    Path("pivots.txt").write_text("brücke\npont\n", encoding="utf-8")
    given = {"corpus": ["eu.jsonl", "en.jsonl"], "tokens": 1500, "tokenizer": "tok", "pivots": "pivots.txt"}
    result, _ = staged(KIND, **given, controls=["random"], quotas={"eu": 0.75, "en": 0.25}, least_length=10)
    assert not Path("out/words.jsonl").exists() and "hubs" not in result.metrics
    assert result.metrics["sets"][0]["languages"] == pytest.approx({"eu": 1125, "en": 375}, abs=3)


def test_parallel_documents_give_words_and_english_text(world, staged):
    """The English sides of `aligned` stand for `english`, whole documents of them."""
    chance = random.Random(5)
    lines = []
    for document in range(80):
        for part in range(6):
            drawn = [*chance.sample(PAIRS, 4), *((word, word) for word in chance.sample(BRIDGES, 2))]
            sides = (" ".join(pair[side] for pair in drawn) for side in (0, 1))
            lines.append("\t".join([f"größe{document}", f"par{part}", *sides]) + "\n")
    Path("pairs.tsv").write_text("".join(lines), encoding="utf-8")
    given = {"corpus": ["eu.jsonl"], "english": ["missing.txt"], "aligned": "pairs.tsv", "tokens": 300}
    staged(KIND, **given, least_length=10)
    rows = [json.loads(line) for line in Path("out/english.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == 80 and rows[0]["id"] == "größe0" and rows[0]["text"].count("\n") == 5
    found = {tuple(line.split("\t")) for line in Path("out/words.tsv").read_text("utf-8").splitlines()}
    assert len(found & set(PAIRS)) > 10


def test_what_is_missing_is_said(world, staged):
    bare = {name: value for name, value in GIVEN.items() if name != "lexicon"}
    with pytest.raises(ConfigError, match="stage it without word pairs; expected a lexicon"):
        staged(KIND, **bare)
    with pytest.raises(ConfigError, match=r"all 20 words of lexicon\.tsv are test words"):
        staged(KIND, **GIVEN, test_words=["lexicon.tsv"])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"controls": ["random", "random"]}, "a control stands twice"),
        ({"controls": ["parallel"]}, r"needs `languages: \[en, ...\]`"),
        ({"quotas": {"eu": 0.5}}, "quotas sum to 0.5: make it 1"),
        ({"quotas": {"eu": 1.5, "en": -0.5}}, "a quota of 0 or less"),
        ({"controls": ["luck"]}, "'random', 'matched', 'frequency' or 'parallel'"),
    ],
)
def test_settings_that_do_not_fit(more, said):
    with pytest.raises(ValidationError, match=said):
        KIND.settings.model_validate({"tokens": 5, **more})


def test_what_is_offered():
    settings = KIND.settings.model_validate({"tokens": 5, "controls": ["matched"]})
    assert list(KIND.made_by(settings)) == ["selected", "matched"]


KILLED = """
import importlib, json, os, signal, sys
from pathlib import Path
from lingraft.recipes.stages.contract import StageContext
from lingraft.recipes.stages.select import KIND
module, name = sys.argv[2].split(":")
owner = importlib.import_module(module)
def fatal(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, name, fatal)
Path("killed").mkdir()
settings = KIND.settings.model_validate(json.loads(sys.argv[1]))
KIND.run(settings, StageContext(name="it", out=Path("killed"), language="eu", seed=3, device="cpu"))
"""


@pytest.mark.slow
def test_killed_and_continued(world, staged):
    place = "lingraft.recipes.pivots.selecting:write_selection_table"
    given = {**GIVEN, "controls": ["random"], "least_length": 10}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, json.dumps(given), place],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    whole, _ = staged(KIND, Path("whole"), again=False, **given)
    killed, _ = staged(KIND, Path("killed"), again=False, **given)
    assert whole.metrics == killed.metrics
    for name in ("selected", "random"):
        one, two = (Path(out) / whole.files[name] / "part-00000.jsonl" for out in ("whole", "killed"))
        assert one.read_bytes() == two.read_bytes()

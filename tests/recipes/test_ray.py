"""A recipe with a `scale:` section: its corpus and sweep stages on a local Ray cluster give what one process gives."""

import hashlib
import importlib
import json
import random
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lingraft.cli.app import main

pytest.importorskip("ray", reason="ray is not installed")
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
tiny_world = importlib.import_module("tiny_world")

PAIRS = [(f"word{chr(97 + n)}", f"hitz{chr(97 + n)}") for n in range(20)]
FILLER = ["und", "größe", "kwa", "étude", *(f"w{number}" for number in range(60))]
RECIPE = """\
language: eu
model: ./model
data: {corpus: eu.jsonl, english: en.jsonl, lexicon: lexicon.tsv, patch_pairs: pairs.jsonl}
stages:
  select: {tokens: 900, controls: [random, frequency], least_length: 10, shrink_to_fit: true}
  patching: {score: options, folds: 2}
"""


def documents() -> list[dict[str, str]]:
    chance = random.Random(2)
    rows = []
    for number in range(200):
        side = number % 2
        words = chance.choices(FILLER, k=20) + [pair[side] for pair in chance.sample(PAIRS, 3)]
        words += chance.choices(["brücke", "pont", "zubia"], k=3) if number % 3 else []
        chance.shuffle(words)
        rows.append({"text": " ".join(words), "id": f"größe-{number}", "language": "eu" if side else "en"})
    return rows


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tiny_world.make_world(tmp_path)
    monkeypatch.chdir(tmp_path)
    rows = documents()
    for code in ("eu", "en"):
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows if row["language"] == code]
        Path(f"{code}.jsonl").write_text("".join(lines), encoding="utf-8")
    Path("lexicon.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in PAIRS), encoding="utf-8")
    pairs = [
        {
            "id": f"größe-{number}",
            "donor": f"Open the document {number} and choose",
            "receiver": f"Ireki dokumentua {'안녕 ' * number}eta aukeratu",
            "options": [" Formatua", " papera", " the size"],
            "answer": number % 3,
            "language": "eu",
        }
        for number in range(6)
    ]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs), encoding="utf-8")
    Path("recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def found(out: Path) -> dict[str, str]:
    """The chosen documents and the map."""
    files = [*out.glob("stages/select-*/chosen/**/*.jsonl"), *out.glob("stages/select-*/chosen/*.parquet")]
    marks = {
        file.relative_to(out).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files
    }
    assert len(marks) >= 4
    table = pq.read_table(next(out.glob("stages/patching-*/sweep/map.parquet")))
    return {**marks, "map": json.dumps(table.to_pylist(), default=str)}


@pytest.mark.slow
def test_ray_gives_what_one_process_gives(world: Path) -> None:
    assert main(["run", "recipe.yaml", "--out", "one", "--device", "cpu"]) == 0
    scale = ["--set", "scale.workers=2", "--set", "scale.ray=local"]
    assert main(["run", "recipe.yaml", "--out", "ray", "--device", "cpu", *scale]) == 0
    assert found(world / "one") == found(world / "ray")

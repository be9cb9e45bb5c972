"""Stage `patching` on a tiny model: prompts from a file, a word task and a known task; bounds beside controls."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from lingraft.errors import ConfigError
from lingraft.patching.instances import read_instances
from lingraft.patching.records import finished_instances
from lingraft.recipes.pivots.paired_words import word_instances
from lingraft.recipes.pivots.word_lists import make_words
from lingraft.recipes.stages.patching import KIND

ROWS = [
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
LEXICON = [("house", "etxe"), ("dog", "txakur"), ("sea", "itsaso"), ("paper", "paper"), ("table", "taula")]


def write(name, rows):
    Path(name).write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )


@pytest.mark.slow
def test_pairs_of_ones_own(world, staged):
    write("rows.jsonl", ROWS)
    result, page = staged(
        KIND, model="model", pairs="rows.jsonl", score="options", controls=["shuffled", "noise"], folds=2
    )
    metrics = result.metrics
    assert set(metrics["controls"]) == {"shuffled", "noise"}
    assert metrics["upper_bound"]["value"] >= metrics["unpatched"]["value"]
    assert metrics["controls"]["shuffled"]["tries"] == 4 and "seconds" not in metrics
    maps = pq.read_table(f"out/{result.files['map']}")
    assert maps.num_rows == 6 * 4 and result.files["map"] == "sweep/map.parquet"
    # Both the map to walk through and the choices beside their controls, and no word of controls not run.
    assert "The map, cell by cell" in page and "Does the upper bound beat chance?" in page
    assert "by chance alone" in page and "compares it with no control" not in page and "Formatua" in page
    assert not (world / "out" / "pairs.jsonl").exists()


def test_a_word_task(world, staged):
    Path("lexicon.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in LEXICON * 2), encoding="utf-8")
    make_words(
        "lexicon.tsv", source="en", target="eu", out=Path("words.jsonl"), examples=0, draws=1, distractors=0
    )
    result, page = staged(KIND, model="model", words="words.jsonl", limit=4, controls=[], folds=2)
    rows = read_instances(Path("out/pairs.jsonl"))
    assert len(rows) == 4 and rows[0].task == "words" and rows[0].id == "eu-0000"
    word = rows[0].receiver.splitlines()[-2].removeprefix("Ingelesa: ")
    assert rows[0].donor == (f"Translate from English to Basque.\n\nEnglish: {word}\nBasque:",)
    assert rows[0].receiver == f"Itzuli ingelesetik euskarara.\n\nIngelesa: {word}\nEuskara:"
    assert rows[0].answers == (f" {dict(LEXICON)[word]}",)
    assert result.metrics["controls"] == {} and "without a control" in page
    assert result.counts["instances"] == {"eu": 4}


def test_words_from_another_language_are_refused(world):
    Path("l.tsv").write_text("".join(f"{b}\t{a}\n" for a, b in LEXICON), encoding="utf-8")
    make_words("l.tsv", source="eu", target="de", out=Path("w.jsonl"), examples=0, draws=1, distractors=0)
    with pytest.raises(ConfigError, match="words of Basque; expected English words"):
        word_instances(Path("w.jsonl"))


def test_a_known_task(world, staged):
    Path("data").mkdir()
    Path("data/basque.txt").write_text(
        "".join(f"word{chr(97 + n)}{chr(98 + n)}\thitz{chr(97 + n)}\n" for n in range(24)), encoding="utf-8"
    )
    given = {"task": "words", "data": "data", "limit": 3, "donor_layers": [1], "receiver_layers": [0, 1]}
    # Stands there by a default of the recipe.
    result, _ = staged(KIND, model="model", pairs="missing.jsonl", folds=2, **given)
    assert pq.read_table(f"out/{result.files['map']}").num_rows == 3 * 2
    assert [row.language for row in read_instances(Path("out/pairs.jsonl"))] == ["eu"] * 3


def test_without_answers(world, staged):
    write("rows.jsonl", [{name: row[name] for name in ("id", "donor", "receiver")} for row in ROWS[:3]])
    result, page = staged(KIND, model="model", pairs="rows.jsonl")
    assert result.metrics["accuracy"] == {} and "upper_bound" not in result.metrics
    assert "No right answers are known" in page and "The map, cell by cell" in page


def test_without_prompts(world, staged):
    with pytest.raises(ConfigError, match="stage it without prompts; expected paired prompts, a word task"):
        staged(KIND, model="model")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"task": "xnli"}, "task and data go together: add data"),
        ({"data": "here"}, "task and data go together: add task"),
        ({"site": "head"}, "site 'head' is none of ffn, "),
        ({"controls": ["noise", "noise"]}, "a control stands twice"),
        ({"donor_layers": [-1]}, "donor_layers count from 0"),
        ({"controls": ["luck"]}, "'shuffled', 'noise' or 'self'"),
    ],
)
def test_settings_that_do_not_fit(given, said):
    with pytest.raises(ValidationError, match=said):
        KIND.settings.model_validate(given)


KILLED = """
import json, os, signal, sys
from pathlib import Path
import lingraft.recipes.patching.sweeping as sweeping
from lingraft.recipes.stages.contract import StageContext
from lingraft.recipes.stages.patching import KIND
write, seen = sweeping.write_instance, []
def fatal(*given):
    write(*given)
    seen.append(given)
    if len(seen) == 8: os.kill(os.getpid(), signal.SIGKILL)
sweeping.write_instance = fatal
Path("killed").mkdir()
settings = KIND.settings.model_validate(json.loads(sys.argv[1]))
KIND.run(settings, StageContext(name="it", out=Path("killed"), language="eu", seed=3, device="cpu"))
"""


@pytest.mark.slow
def test_killed_in_the_control_and_continued(world, staged):
    write("rows.jsonl", ROWS)
    given = {"model": "model", "pairs": "rows.jsonl", "score": "options", "folds": 2}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, json.dumps(given)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert (world / "killed" / "sweep" / "result.json").exists()
    assert len(finished_instances(world / "killed" / "control-shuffled", 6)) == 2
    whole, _ = staged(KIND, Path("whole"), again=False, **given)
    killed, _ = staged(KIND, Path("killed"), again=False, **given)
    assert whole.metrics == killed.metrics

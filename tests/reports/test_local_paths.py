"""What others read names no directories of this machine."""

import dataclasses
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))

from whole_run import make_run

from lingraft.recipes.showing.model_card import model_card
from lingraft.reports.local_paths import command_names, path_name


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("/home/My Name/größe/", "größe"),
        ("~/models/x.gguf", "x.gguf"),
        ("../secret/base", "base"),
        ("./base", "base"),
        ("C:\\\\Users\\\\me\\\\base", "base"),
        ("parallel:/home/me/x.tsv", "parallel:x.tsv"),
        ("/home/me/tasks.py:build", "tasks.py:build"),
        ("owner/here", "here"),
        ("words:owner/here", "words:here"),
        *[
            (same, same)
            for same in (
                *("owner/model", "owner/model@refs/pr/1", "smollm2-135m-instruct", "asset:help-eu/train.txt"),
                *(
                    "https://example.org/a/b",
                    "endpoint:http://127.0.0.1:9/v1#any",
                    "/no_think",
                    "w/o",
                    "",
                    ".",
                ),
            )
        ],
    ],
)
def test_of_paths_the_last_part(tmp_path, monkeypatch, reference, name):
    (tmp_path / "owner" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert path_name(reference) == name


def test_of_commands_the_paths_alone():
    command = (
        "lingraft run '/home/My Name/a b.yaml' --out=~/runs/x --set model=/data/me/base --set pairs=owner/set"
    )
    assert command_names(command) == (
        "lingraft run 'a b.yaml' --out=x --set model=base --set pairs=owner/set"
    )


def test_the_card_of_a_recipe_names_no_directories(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "base").mkdir(parents=True)
    run = make_run(tmp_path / "secret" / "run", title="eu for models/base")
    content = yaml.safe_load(run.recipe_text)
    del content["title"]
    content["data"] = {"corpus": ["/home/me/secret/eu.txt"], "english": "owner/set"}
    cached = "/home/me/secret/assets/libreoffice-help-eu/v2/en/train.txt"
    content["stages"]["measure"] |= {"engine": "parallel:/home/me/secret/x.tsv", "texts": {"eu": cached}}
    stages = []
    for stage in run.stages:
        item = stage.result.inputs[0].model_copy(update={"reference": "/home/me/secret/corpus.txt"})
        result = stage.result.model_copy(update={"inputs": (item, *stage.result.inputs)})
        stages.append(dataclasses.replace(stage, result=result))
    text = model_card(
        dataclasses.replace(
            run,
            model="models/base",
            recipe_text=yaml.safe_dump(content),
            command="lingraft run secret/mine.yaml --out /home/me/secret/run",
            stages=stages,
        )
    )
    assert "/home" not in text and "models/base" not in text and "base_model" not in text
    assert "# eu for base\n" in text and "`base` adapted" in text
    assert "| `corpus.txt` |" in text
    for told in (
        "- eu.txt",
        "english: owner/set",
        "engine: parallel:x.tsv",
        "eu: asset:libreoffice-help-eu/en/train.txt",
    ):
        assert told in text

import json
import math
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import ValidationError

from lingraft.errors import ConfigError
from lingraft.reports.result import (
    InputRevision,
    RunResult,
    collect_provenance,
    current_command,
    read_result,
    write_recipe,
    write_result,
)


@pytest.fixture
def result():
    return RunResult(
        kind="vocab transfer",
        metrics={"bits_per_byte": {"before": 2.5, "after": 1.66}, "language": "Euskara €"},
        counts={"tokens": {"copied": 4203, "regressed": 5034}},
        inputs=(InputRevision(role="model", reference="größe", revision="sha256:00"),),
        seeds={"data": 3},
        files={"provenance": "provenance.parquet"},
        provenance=collect_provenance(command="lingraft vocab transfer --out 'a b'"),
    )


def test_comes_back_as_it_was(tmp_path, result):
    path = write_result(tmp_path, result)
    assert path == tmp_path / "result.json"
    assert read_result(tmp_path) == result
    assert "Euskara €" in path.read_text(encoding="utf-8")


def test_numbers_that_are_not_finite_become_null(tmp_path, result):
    broken = result.model_copy(update={"metrics": {"loss": math.nan, "steps": [1.0, math.inf]}})
    write_result(tmp_path, broken)
    assert json.loads((tmp_path / "result.json").read_text())["metrics"] == {
        "loss": None,
        "steps": [1.0, None],
    }


def test_is_frozen_and_takes_no_unknown_field(result):
    with pytest.raises(ValidationError):
        result.kind = "other"
    with pytest.raises(ValidationError):
        RunResult(kind="x", metrics={}, provenance=result.provenance, metric={})


def test_provenance_has_the_versions(result):
    assert result.provenance.libraries["torch"] == torch.__version__
    assert result.provenance.lingraft
    assert set(result.provenance.libraries) >= {"torch", "transformers", "tokenizers", "numpy"}


def test_the_command_is_quoted_for_the_shell(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/some/where/bin/lingraft", "eval", "bpb", "--text", "my file.txt"])
    assert current_command() == "lingraft eval bpb --text 'my file.txt'"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no .*result.json; expected the result of a run"),
        ("{", "cannot be read"),
        ("{}", "kind: Field required"),
        ('{"kind": 1}', "expected one of this version"),
    ],
)
def test_a_bad_result_is_one_line(tmp_path, text, message):
    if text is not None:
        (tmp_path / "result.json").write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_result(tmp_path)
    assert "\n" not in str(caught.value)


def test_recipe_is_resolved_and_repeats_itself(tmp_path, result):
    recipe = {
        "method": "salt",
        "corpus": Path("a/größe.txt"),
        "layers": (1, 2),
        "dtype": torch.bfloat16,
        "x": None,
    }
    provenance = result.provenance
    first = write_recipe(tmp_path, recipe, provenance=provenance, inputs=result.inputs, seeds={"data": 3})
    text = first.read_text(encoding="utf-8")
    later = provenance.model_copy(update={"finished": "2030-01-01T00:00:00+00:00"})
    write_recipe(tmp_path, recipe, provenance=later, inputs=result.inputs, seeds={"data": 3})
    assert first.read_text(encoding="utf-8") == text
    loaded = yaml.safe_load(text)
    assert loaded["recipe"] == {
        "method": "salt",
        "corpus": "a/größe.txt",
        "layers": [1, 2],
        "dtype": "torch.bfloat16",
        "x": None,
    }
    assert loaded["resolved"]["inputs"][0]["revision"] == "sha256:00"
    assert loaded["resolved"]["seeds"] == {"data": 3}
    assert loaded["resolved"]["libraries"]["torch"] == torch.__version__

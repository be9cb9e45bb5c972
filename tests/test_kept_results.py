"""Finished parts of an evidence run, packed beside the page and unpacked on another machine."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from lingraft.files import RUN_MARKER, open_run_directory, write_json

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
kept_results = importlib.import_module("kept_results")
COMMAND = {"verb": "vocab compare", "corpus": "größe.txt"}


def test_what_was_packed_goes_on_elsewhere(tmp_path):
    here, there, kept = tmp_path / "here", tmp_path / "there", tmp_path / "kept.jsonl"
    open_run_directory(here, COMMAND)
    (here / "probes").mkdir()
    write_json(here / "probes" / "replace-mean-0.json", {"run": {"größe": [1.5, None]}})
    write_json(here / "probes" / "replace-mean-1.json", {"run": 1})
    assert kept_results.pack(here, kept) == 2
    assert RUN_MARKER in kept.read_text(encoding="utf-8").splitlines()[0]
    (there / "probes").mkdir(parents=True)
    write_json(there / "probes" / "replace-mean-1.json", {"run": "newer"})
    assert kept_results.unpack(kept, there) == 2
    assert open_run_directory(there, COMMAND), "an earlier start of the same command"
    assert (there / "probes/replace-mean-0.json").read_bytes() == (
        here / "probes/replace-mean-0.json"
    ).read_bytes()
    assert json.loads((there / "probes/replace-mean-1.json").read_text(encoding="utf-8")) == {"run": "newer"}


def test_nothing_is_unpacked_outside(tmp_path):
    kept = tmp_path / "kept.jsonl"
    kept.write_text(json.dumps({"file": "../outside.json", "holds": 1}), encoding="utf-8")
    with pytest.raises(SystemExit, match="outside of"):
        kept_results.unpack(kept, tmp_path / "run")
    assert not (tmp_path / "outside.json").exists()


def test_a_run_of_another_command_is_not_mixed_in(tmp_path):
    open_run_directory(tmp_path / "here", COMMAND)
    (tmp_path / "here/cells").mkdir()
    write_json(tmp_path / "here/cells/clo-400-0.json", {})
    kept_results.pack(tmp_path / "here", tmp_path / "kept.jsonl")
    open_run_directory(tmp_path / "there", {**COMMAND, "seed": 1})
    with pytest.raises(SystemExit, match="another command"):
        kept_results.unpack(tmp_path / "kept.jsonl", tmp_path / "there")
    assert not (tmp_path / "there/cells").exists()

"""Every bad input gets one line that says what was found, what was expected and what to do; nothing half-written."""

import contextlib
import dataclasses
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import unittest.mock
from pathlib import Path

import pytest

from lingraft.cli.app import main

PROJECT = Path(__file__).parents[2]
sys.path.insert(0, str(PROJECT / "benchmarks"))
CASES = importlib.import_module("error_cases").CASES
error_lines = importlib.import_module("error_lines")
tiny_world = importlib.import_module("tiny_world")

USAGE = {
    **dict.fromkeys(
        ("unknown-mode", "bad-number", "negative-seed", "no-new-tokens", "misspelt-option", "missing-option"),
        "vocab transfer",
    ),
    "merge-share": "merge interpolate",
}
"""Cases that the option parser itself refuses, and their verbs; they end in `see: ... --help`."""

RESUMABLE = {"count-no-text", "count-half-packed", "discover-nowhere", "select-budget", "translate-endpoint"}
"""Cases that are met after a part of the work was done; a later start uses what they leave."""

MUST_SAY = {
    "missing-model": r"'./modle'.*check the spelling",
    "hub-offline": r"someone/basque-1b.*out of reach.*connect",
    "truncated-safetensors": r"model\.safetensors has \d+ bytes; expected \d+ bytes.*fetch the model again",
    "truncated-gguf": r"half\.gguf.*ends at byte 512, its tensors at \d+",
    "pickle-directory": r"pickled weights.*run code.*safetensors",
    "pickle-file": r"pickle checkpoint.*run code",
    "encoder-as-model": r"an encoder can only be a donor",
    "nan-source": r"1 of \d+ rows of the input embeddings of model.*row 7",
    "nan-donor": r"1 of \d+ rows of the input embeddings of donor.*row 7",
    "no-eos": r"without an eos token.*eos_token",
    "donor-mismatch": r"tokenizer of donor has ids up to \d+ .* its matrix \d+ rows",
    "empty-corpus": r"no document in corpus\.txt",
    "invalid-utf8": r"3 invalid UTF-8",
    "many-bad-lines": r"1001 bad lines \(1001 invalid UTF-8\).*corpus\.txt line 2001",
    "lexicon-encoding": r"lexicon\.tsv.*UTF-8",
    "small-overlap-salt": r"only 1 shared tokens.*at least 2 for salt",
    "small-overlap-sava": r"only 1 shared tokens.*at least 24 for sava",
    "small-overlap-omp": r"only 1 shared tokens.*at least 24 for omp",
    "no-donor": r"no donor model for salt.*--donor",
    "trim-without-corpus": r"trim:target without --corpus",
    "train-without-corpus": r"train:bpe without --corpus",
    "extend-without-corpus": r"without --corpus",
    "unknown-method": r"'slat'.*salt, salt-safe, focus",
    "unknown-mode": r"'merge' is not one of 'replace', 'extend'",
    "unknown-auxiliary": r"'word2vec'.*fasttext, words:FILE or donor",
    "unknown-asset": r"did you mean multilingual-e5-small\?",
    "asset-sha256": r"sha256 [0-9a-f]{64} .*expected sha256 f4b89df3[0-9a-f]{56}; the file was not kept",
    "output-taken": r"thesis is not empty and was not made by lingraft",
    "output-other-run": r"another command \(differs in: .*model",
    "output-file": r"corpus\.txt is a file",
    "little-space": r"1 MiB free.*expected at least \d+ MiB for out; free some space",
    "disk-full": r"could not write out: No space left on device.*free some space",
}
"""What the line of a case that the documentation promises must say."""


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return tiny_world.make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def world(template, tmp_path, monkeypatch):
    """A copy of the tiny world to work in."""
    shutil.copytree(template, tmp_path / "world")
    monkeypatch.chdir(tmp_path / "world")
    return tmp_path / "world"


@pytest.fixture(scope="module")
def documented():
    """The line of each case in the documentation."""
    page = (PROJECT / "docs" / "errors.md").read_text(encoding="utf-8")
    blocks = re.findall(r"\(`([a-z0-9-]+)`\)\n\n```text\n\$ lingraft (.+)\n(.+)\n```", page)
    return {name: (command, line) for name, command, line in blocks}


def run(*arguments, **environment):
    """Run the real command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "lingraft.cli.app", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
        timeout=120,
        check=False,
    )


def transfer(*more, out="out"):
    """The arguments of a transfer that works."""
    options = {"model": "model", "tokenizer": "target", "donor": "donor", "corpus": "corpus.txt", "out": out}
    return [
        "vocab",
        "transfer",
        *(part for name, value in options.items() for part in (f"--{name}", value)),
        *more,
    ]


@pytest.mark.parametrize("name", CASES)
def test_one_line_and_nothing_half_written(name, template, tmp_path, documented):
    outcome = error_lines.run_case(CASES[name], template, tmp_path / "world")
    assert outcome.status == 2, outcome.err
    assert outcome.out == ""
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    if name in RESUMABLE:
        assert {"out", "out/.lingraft-run.json"} <= outcome.left
        assert not [
            left for left in outcome.left if not left.startswith("out") or left.endswith((".part", ".html"))
        ]
        assert "out/result.json" not in outcome.left
    else:
        assert outcome.left == frozenset()
    assert "Traceback" not in outcome.err
    line = outcome.err.rstrip("\n")
    if name in USAGE:
        assert line.endswith(f"; see: lingraft {USAGE[name]} --help")
    else:
        assert re.fullmatch(r"error: .+; expected .+; .+", line)
    assert re.search(MUST_SAY.get(name, ""), line), line
    command, said = documented[name]
    assert command == CASES[name].command
    found, found_there = (line.split("; expected")[0], said.split("; expected")[0])
    outdated = "docs/errors.md is out of date: run python benchmarks/error_lines.py"
    assert (found, CASES[name].varies or line) == (found_there, CASES[name].varies or said), outdated


def test_the_documentation_holds_every_case(documented):
    # Recipes have a test of their own.
    assert [name for name in documented if name in CASES] == list(CASES)
    assert set(MUST_SAY) <= set(CASES)


@pytest.mark.parametrize(
    "name",
    [
        "missing-model",
        "no-eos",
        "donor-mismatch",
        "nan-donor",
        "invalid-utf8",
        "missing-tokenizer",
        "extend-unigram",
    ],
)
def test_inspect_says_the_same(name, template, tmp_path, documented):
    """The pre-flight report meets bad input as the transfer does."""
    command = CASES[name].command.replace("vocab transfer", "vocab inspect").replace(" --out out", "")
    case = dataclasses.replace(CASES[name], command=command)
    outcome = error_lines.run_case(case, template, tmp_path / "world")
    assert (outcome.status, outcome.out, outcome.left) == (2, "", frozenset())
    assert outcome.err == documented[name][1] + "\n"


# --------------------------------------------------------------------------- what a process of its own prints


def test_libraries_stay_silent_in_a_real_process(world):
    """transformers has pages to say about an encoder that is loaded as a causal model."""
    done = run(*transfer("--json", "--model", "donor"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: donor lacks ") and done.stderr.count("\n") == 1
    assert not (world / "out").exists()


def test_the_corrected_command_works_in_the_same_place(world):
    assert main(transfer("--method", "slat")) == 2
    assert main(transfer("--seed", "-1")) == 2
    assert main(transfer("--donor", "nowhere/nothing")) == 2
    assert not (world / "out").exists()
    assert main(transfer()) == 0
    assert (world / "out" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    "spoilt",
    [["--corpus", "copus.txt"], ["--held-out", "held.txt"], ["--donor", "./donro"], ["--methods", "slat"]],
)
def test_a_comparison_leaves_nothing_that_would_stop_the_corrected_one(world, capsys, spoilt):
    arguments = [
        "vocab",
        "compare",
        "--model",
        "model",
        "--tokenizer",
        "target",
        "--donor",
        "donor",
        "--out",
        "out",
    ]
    arguments += ["--corpus", "corpus.txt", "--held-out", "corpus.txt", "--methods", "salt"]
    assert main([*arguments, *spoilt]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and spoilt[1].strip("./") in line
    assert not (world / "out").exists()


# ------------------------------------------------------------------------------------- what is not fatal


def test_invalid_lines_are_counted_and_passed_over(world, capsys):
    lines = [line.encode() for line in tiny_world.TARGET_TEXTS * 4]
    (world / "corpus.txt").write_bytes(
        b"\n".join([*lines[:3], "Größe".encode("latin-1"), *lines[3:], b"\xff", b""])
    )
    assert main(transfer("--json")) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["counts"]["corpus"] == {"documents": 20, "invalid UTF-8": 2}
    assert main(transfer()) == 0
    assert "lines of the corpus passed over: 2 invalid UTF-8" in capsys.readouterr().out
    assert (
        main(["vocab", "inspect", "--model", "model", "--tokenizer", "target", "--corpus", "corpus.txt"]) == 0
    )
    assert "passed over: 2 invalid UTF-8" in capsys.readouterr().out
    assert main(["eval", "bpb", "--model", "model", "--text", "corpus.txt", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert (measured["documents"], measured["bad_lines"]) == (20, {"invalid UTF-8": 2})


def test_fewer_new_tokens_than_asked_for(world, capsys):
    arguments = [
        "vocab",
        "transfer",
        "--model",
        "model",
        "--corpus",
        "corpus.txt",
        "--donor",
        "donor",
        "--out",
        "out",
    ]
    assert main([*arguments, "--mode", "extend", "--new-tokens", "5000", "--json"]) == 0
    captured = capsys.readouterr()
    match = re.fullmatch(r"warning: the corpus gave (\d+) new tokens of the 5000 asked for\n", captured.err)
    assert match, captured.err
    assert json.loads(captured.out)["metrics"]["target_tokens"] == 420 + int(match[1])


# ------------------------------------------------------------------------------------------- full disks


@contextlib.contextmanager
def tiny_disk(directory, kilobytes):
    """Mount a disk of this size, or skip where that is not allowed."""
    directory.mkdir(exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(directory)]
    if (
        shutil.which("mount") is None
        or subprocess.run(["mount", *options], capture_output=True, check=False).returncode
    ):
        pytest.skip("this user may not mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", str(directory)], capture_output=True, check=False)


def test_a_small_disk_is_refused_before_the_work(world, capsys):
    with (
        tiny_disk(world / "disk", 200),
        unittest.mock.patch("lingraft.recipes.vocabulary.transferring.transfer_vocabulary") as work,
    ):
        assert main(transfer(out="disk/out")) == 2
        assert not list((world / "disk").iterdir())
    work.assert_not_called()
    assert re.search(r"0 MiB free at disk; expected at least 32 MiB for disk/out", capsys.readouterr().err)


@pytest.mark.parametrize("kilobytes", [16, 100, 120, 150, 190])
def test_a_disk_that_fills_while_writing(world, capsys, monkeypatch, kilobytes):
    """The weights, the tokenizer, the table and the page each meet the end of the disk in their own library's words."""
    for module in ("lingraft.recipes.vocabulary.transferring", "lingraft.models.saving"):
        monkeypatch.setattr(f"{module}.require_free_space", lambda *arguments: None)
    with tiny_disk(world / "disk", kilobytes):
        assert main(transfer(out="disk/out")) == 2
        assert not list((world / "disk").iterdir())
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert re.match(r"error: could not write disk/out\S*: No space left on device; ", line)
    assert ".part" not in line


@pytest.mark.parametrize(
    ("place", "error"),
    [
        (
            "transformers.PreTrainedModel.save_pretrained",
            "Error while serializing: No space left (os error 28)",
        ),
        ("transformers.PreTrainedTokenizerBase.save_pretrained", "No space left on device (os error 28)"),
        ("lingraft.vocabulary.writing.pq.write_table", OSError(28, "Error writing bytes to file")),
        ("lingraft.vocabulary.writing.mark_run", OSError(28, "No space left on device")),
    ],
)
def test_a_full_disk_where_none_can_be_mounted(world, capsys, place, error):
    raised = Exception(error) if isinstance(error, str) else error
    with unittest.mock.patch(place, side_effect=raised):
        assert main(transfer()) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: could not write out: No space left on device; ") and line.count("\n") == 1
    assert not list(world.glob("*out*")) + list(world.glob(".*.part"))


def test_an_output_that_may_not_be_written(world, capsys):
    (world / "closed").mkdir(mode=0o555)
    with unittest.mock.patch("lingraft.recipes.vocabulary.transferring.load_inputs") as loading:
        if os.access(world / "closed", os.W_OK):  # the superuser may write anywhere
            with unittest.mock.patch("os.access", lambda path, mode, **more: not mode & os.W_OK):
                assert main(transfer(out="closed/out")) == 2
        else:
            assert main(transfer(out="closed/out")) == 2
    loading.assert_not_called()
    assert re.search(
        r"closed cannot be written to; expected a directory that you may write", capsys.readouterr().err
    )


def test_errors_of_a_stranger_are_not_hidden(world, capsys):
    """A mistake of ours is no error of the user: another status, and a word on how to report it."""
    with unittest.mock.patch(
        "lingraft.recipes.vocabulary.transferring.transfer_vocabulary", side_effect=ZeroDivisionError("0/0")
    ):
        assert main(transfer()) == 70
    err = capsys.readouterr().err
    assert "ZeroDivisionError: 0/0 (a mistake in lingraft" in err and err.count("\n") == 1
    assert not (world / "out").exists()

"""`lingraft export gguf` as a user types it."""

import json

import pytest

from lingraft.cli.app import main
from lingraft.models.checkpoints import weight_files

pytest.importorskip("gguf", reason='gguf is not installed: pip install "lingraft[gguf]"')


@pytest.fixture
def model(tmp_path, monkeypatch, make_tiny_llama, byte_bpe_tokenizer):
    make_tiny_llama(600).save_pretrained(tmp_path / "model")
    byte_bpe_tokenizer.save_pretrained(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "model"


def run(*arguments):
    return main(["export", *map(str, arguments)])


def test_a_checkpoint_becomes_a_file(model, capsys):
    assert run("gguf", "--model", model, "--out", "m.gguf") == 0
    assert "m.gguf" in capsys.readouterr().out
    assert (
        run("gguf", "--model", model, "--out", "m.gguf", "--overwrite", "--dtype", "float16", "--json") == 0
    )
    result = json.loads(capsys.readouterr().out)
    assert result["dtype"] == "float16"
    assert result["vocabulary"] == "gpt2"
    assert result["pre"] == "gpt-2"
    assert result["bytes"] < weight_files(model)[0].stat().st_size + 200_000


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--model", "model", "--out", "m.bin"], ".gguf"),
        (["--model", "model", "--out", "m.gguf", "--dtype", "int3"], "float32, float16, bfloat16, q8_0"),
        (["--model", "./nowhere", "--out", "m.gguf"], "nowhere"),
        (["--model", "model", "--out", "model.gguf"], "exists"),
    ],
)
def test_what_cannot_be_is_one_line(model, arguments, line, capsys):
    model.with_suffix(".gguf").touch()
    assert run("gguf", *arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert line in captured.err
    assert captured.out == ""
    assert not model.with_name("m.gguf").exists()

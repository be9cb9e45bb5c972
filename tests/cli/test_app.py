import errno
import io
import json
import os
import subprocess
import sys
import types

import pytest
import typer

from lingraft import __version__
from lingraft.cli import app as module
from lingraft.cli.app import NOUNS, main
from lingraft.cli.output import print_result, prints_to_stderr, report_exception
from lingraft.errors import ModelError


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "lingraft.cli.app", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120,
        check=False,
    )


@pytest.fixture
def noun(monkeypatch):
    """A noun `probe` with one command that does what the test says."""
    fake = types.ModuleType("lingraft_test_probe")
    fake.app = typer.Typer(rich_markup_mode=None)
    fake.action = lambda: None

    @fake.app.command()
    def go(rows: int = 1) -> None:
        """Do it."""
        fake.action()

    monkeypatch.setitem(sys.modules, "lingraft_test_probe", fake)
    monkeypatch.setitem(NOUNS, "eval", ("lingraft_test_probe:app", "Probe."))
    return fake


def test_what_the_terminal_cannot_write_is_written_otherwise(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("# 안녕 größe\nlanguage: eu\n", encoding="utf-8")
    shown = run("recipes", "show", str(recipe), PYTHONIOENCODING="ascii")
    assert shown.returncode == 0, shown.stderr
    assert "\\uc548\\ub155 gr\\xf6\\xdfe" in shown.stdout
    printed = run("assets", "list", "--json", PYTHONIOENCODING="ascii")
    assert printed.returncode == 0 and json.loads(printed.stdout)


def test_help_names_every_noun_and_imports_nothing_heavy():
    program = (
        "import sys\n"
        "from lingraft.cli.app import main\n"
        "status = main(['--help'])\n"
        "heavy = {'torch', 'transformers', 'numpy', 'matplotlib', 'pydantic', 'pyarrow'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else status)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in NOUNS:
        assert f"  {name} " in done.stdout
    assert "Examples:\n    lingraft diagnose " in done.stdout


@pytest.mark.parametrize("arguments", [("eval", "--help"), ("eval", "bpb", "--help"), ("assets", "--help")])
def test_help_of_a_noun_does_not_import_torch(arguments):
    program = (
        "import sys\nfrom lingraft.cli.app import main\n"
        f"status = main({list(arguments)})\n"
        "sys.exit('imported torch' if {'torch', 'transformers'} & set(sys.modules) else status)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"Usage: lingraft {' '.join(arguments[:-1])} " in done.stdout


def test_version_and_bare_call(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lingraft {__version__}\n"
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("Usage: lingraft ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evla"], "No such command 'evla'. Did you mean 'eval'?; see: lingraft --help"),
        (["eval", "bpb", "--moel", "x"], "No such option: --moel"),
        (["eval", "bpb", "--model", "x"], "Missing option '--text'; see: lingraft eval bpb --help"),
        (
            ["eval", "bpb", "--model", "x", "--text", "y", "--batch-size", "0"],
            "Invalid value for '--batch-size'",
        ),
    ],
)
def test_usage_errors_are_one_line(capsys, arguments, message):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_a_noun_alone_shows_its_help(capsys):
    assert main(["eval"]) == 0
    assert "bpb" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (
            ModelError("no file\nin größe", "one", "give one"),
            2,
            "error: no file in größe; expected one; give one",
        ),
        (KeyboardInterrupt(), 130, "error: interrupted; the same command continues"),
        (
            OSError(errno.ENOSPC, "No space left on device", "out/x"),
            2,
            "out/x: No space left on device; free some",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/x"),
            2,
            "error: /x: Permission denied; give a path",
        ),
        (MemoryError(), 2, "error: out of memory"),
        (
            ZeroDivisionError("division by zero"),
            70,
            "ZeroDivisionError: division by zero (a mistake in lingraft",
        ),
        (OSError(errno.ELOOP, "Too many levels"), 70, "LINGRAFT_DEBUG=1"),
    ],
)
def test_errors_are_one_line_with_their_status(noun, capsys, monkeypatch, error, status, message):
    monkeypatch.delenv("LINGRAFT_DEBUG", raising=False)

    def fail():
        raise error

    noun.action = fail
    assert main(["eval", "go"]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_debug_shows_the_traceback(noun, capsys, monkeypatch):
    monkeypatch.setenv("LINGRAFT_DEBUG", "1")

    def fail():
        raise ZeroDivisionError

    noun.action = fail
    assert main(["eval", "go"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_a_long_message_is_cut(capsys):
    assert report_exception(ValueError("x" * 5000)) == 70
    assert len(capsys.readouterr().err) < 600


def test_a_commands_own_exit_status_is_kept(noun):
    def leave():
        raise typer.Exit(3)

    noun.action = leave
    assert main(["eval", "go"]) == 3


def test_a_closed_pipe_is_met_in_silence():
    program = "import lingraft.cli.app as a; a.main(['--help'])"
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_json_is_alone_on_stdout(capsys):
    with prints_to_stderr():
        print("a library says hello")
    print_result({"bits_per_byte": 1.5, "text": "größe"}, ["for people"], as_json=True)
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"bits_per_byte": 1.5, "text": "größe"}
    assert captured.err == "a library says hello\n"
    print_result({"bits_per_byte": 1.5}, ["for people"], as_json=False)
    assert capsys.readouterr().out == "for people\n"


def test_results_survive_a_terminal_without_utf8():
    program = "from lingraft.cli.output import print_result; print_result({'a': 'größe €'}, [], as_json=True)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert json.loads(done.stdout) == {"a": "größe €"}


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8", "utf-16"])
def test_no_character_loses_a_result(noun, monkeypatch, encoding):
    said = {"größe": ["Mji mkuu 안녕 😀", "half of one: \ud83d"]}
    for as_json in (True, False):
        noun.action = lambda as_json=as_json: print_result(said, said["größe"], as_json=as_json)
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["eval", "go"]) == 0
        text = stream.buffer.getvalue().decode(encoding)
        if as_json:
            assert json.loads(text) == said
        else:
            assert text.splitlines()[1] == "half of one: \\ud83d"
            assert ("안녕" in text) is encoding.startswith("utf") is ("\\uc548\\ub155" not in text)


def test_every_noun_points_at_a_module_that_is_there():
    from importlib import import_module

    for place, _ in NOUNS.values():
        name, _, attribute = place.partition(":")
        assert isinstance(getattr(import_module(name), attribute), typer.Typer)


def test_eval_bpb_end_to_end(tmp_path, make_tiny_llama, byte_bpe_tokenizer, multilingual_texts):
    model = tmp_path / "model"
    make_tiny_llama(len(byte_bpe_tokenizer)).save_pretrained(model)
    byte_bpe_tokenizer.save_pretrained(model)
    lines = [" ".join(text.split()) for text in multilingual_texts]
    (tmp_path / "held out.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    arguments = [
        "eval",
        "bpb",
        "--model",
        str(model),
        "--text",
        str(tmp_path / "held out.txt"),
        "--device",
        "cpu",
    ]
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["bytes"] == sum(len(line.encode()) for line in lines)
    assert result["tokens"] == sum(len(byte_bpe_tokenizer(line).input_ids) for line in lines)
    assert result["documents"] == len(lines)
    low, high = result["interval"]
    assert low < result["bits_per_byte"] < high
    assert done.stderr == ""
    missing = run("eval", "bpb", "--model", str(model), "--text", str(tmp_path / "nowhere.txt"))
    assert missing.returncode == 2
    assert missing.stdout == ""
    assert missing.stderr.startswith("error: ")
    assert missing.stderr.count("\n") == 1


def test_module_keeps_its_table_of_nouns_in_step_with_the_group():
    assert [group.name for group in module.app.registered_groups] == list(NOUNS)

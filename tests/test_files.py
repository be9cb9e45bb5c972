import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections import namedtuple
from pathlib import Path
from types import MappingProxyType

import pytest

from lingraft import files
from lingraft.errors import OutputError
from lingraft.files import (
    RUN_MARKER,
    fingerprint,
    open_run_directory,
    remove_leftovers,
    replacing,
    replacing_directory,
    require_free_space,
    sha256_of,
    write_json,
    write_text,
)


def listing(directory):
    return sorted(item.name for item in directory.iterdir())


def no_space(*arguments, **keywords):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class TestReplacing:
    def test_replaces_at_once_and_leaves_nothing_else(self, tmp_path):
        path = tmp_path / "größe.txt"
        write_text(path, "old")
        with replacing(path) as temporary:
            temporary.write_text("new €", encoding="utf-8")
            assert path.read_text(encoding="utf-8") == "old"
            assert temporary.parent == path.parent
        assert path.read_text(encoding="utf-8") == "new €"
        assert listing(tmp_path) == ["größe.txt"]
        assert path.stat().st_mode & 0o777 == 0o644

    def test_an_error_inside_keeps_the_old_file(self, tmp_path):
        path = tmp_path / "a.txt"
        write_text(path, "old")
        with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError
        assert path.read_text() == "old"
        assert listing(tmp_path) == ["a.txt"]

    @pytest.mark.parametrize("place", ["write", "fsync", "mkstemp"])
    def test_a_full_disk_is_one_line_and_nothing_half_written(self, tmp_path, monkeypatch, place):
        path = tmp_path / "a.json"
        write_json(path, {"old": 1})
        target = {"write": (Path, "write_text"), "fsync": (files.os, "fsync")}.get(
            place, (files.tempfile, "mkstemp")
        )
        monkeypatch.setattr(*target, no_space)
        with pytest.raises(
            OutputError, match=r"could not write .*a\.json: No space left on device"
        ) as caught:
            write_json(path, {"new": 2})
        monkeypatch.undo()
        assert "\n" not in str(caught.value)
        assert json.loads(path.read_text()) == {"old": 1}
        assert listing(tmp_path) == ["a.json"]

    def test_a_parent_that_is_a_file(self, tmp_path):
        (tmp_path / "taken").write_text("")
        with pytest.raises(OutputError, match="could not write"):
            write_text(tmp_path / "taken" / "a.txt", "x")

    def test_json_refuses_what_json_has_no_word_for(self, tmp_path):
        with pytest.raises(ValueError, match="JSON"):
            write_json(tmp_path / "a.json", {"loss": float("nan")})
        assert listing(tmp_path) == []

    def test_killed_while_writing(self, tmp_path):
        path = tmp_path / "a.txt"
        write_text(path, "old")
        run_and_kill(
            f"""
            from pathlib import Path
            from lingraft.files import replacing
            with replacing(Path({str(path)!r})) as temporary:
                temporary.write_text("half")
                print("ready", flush=True)
                time.sleep(60)
            """
        )
        assert path.read_text() == "old"
        assert len(listing(tmp_path)) == 2
        remove_leftovers(tmp_path)
        assert listing(tmp_path) == ["a.txt"]


class TestReplacingDirectory:
    def test_appears_whole(self, tmp_path):
        target = tmp_path / "model"
        with replacing_directory(target) as temporary:
            (temporary / "sub").mkdir()
            (temporary / "sub" / "w.bin").write_bytes(b"\0\1")
            assert not target.exists()
        assert (target / "sub" / "w.bin").read_bytes() == b"\0\1"
        assert listing(tmp_path) == ["model"]

    def test_an_error_inside_leaves_nothing(self, tmp_path):
        with (
            pytest.raises(OutputError, match="No space left"),
            replacing_directory(tmp_path / "model") as temporary,
        ):
            (temporary / "w.bin").write_bytes(b"half")
            no_space()
        assert listing(tmp_path) == []

    def test_never_overwrites_what_is_there(self, tmp_path):
        target = tmp_path / "model"
        target.mkdir()
        (target / "precious").write_text("mine")
        with pytest.raises(OutputError), replacing_directory(target) as temporary:
            (temporary / "w.bin").write_bytes(b"new")
        assert listing(target) == ["precious"]
        assert listing(tmp_path) == ["model"]

    def test_killed_while_writing(self, tmp_path):
        run_and_kill(
            f"""
            from pathlib import Path
            from lingraft.files import replacing_directory
            with replacing_directory(Path({str(tmp_path / "model")!r})) as temporary:
                (temporary / "w.bin").write_bytes(b"half")
                print("ready", flush=True)
                time.sleep(60)
            """
        )
        assert "model" not in listing(tmp_path)
        assert len(listing(tmp_path)) == 1
        remove_leftovers(tmp_path)
        assert listing(tmp_path) == []


class TestRunDirectory:
    command = MappingProxyType({"verb": "vocab transfer", "model": "größe", "seed": 0})

    def test_new_then_continued(self, tmp_path):
        out = tmp_path / "a" / "run"
        assert open_run_directory(out, self.command) is False
        assert open_run_directory(out, self.command) is True
        assert open_run_directory(out, dict(reversed(self.command.items()))) is True

    def test_an_empty_directory_is_taken(self, tmp_path):
        assert open_run_directory(tmp_path, self.command) is False

    def test_another_command_is_refused_and_named(self, tmp_path):
        open_run_directory(tmp_path, self.command)
        with pytest.raises(OutputError, match=r"differs in: extra, seed\)"):
            open_run_directory(tmp_path, {**self.command, "seed": 1, "extra": True})
        assert open_run_directory(tmp_path, self.command) is True

    def test_something_else_is_refused_and_kept(self, tmp_path):
        (tmp_path / "thesis.tex").write_text("mine")
        with pytest.raises(OutputError, match="not empty and was not made by lingraft"):
            open_run_directory(tmp_path, self.command)
        assert listing(tmp_path) == ["thesis.tex"]

    def test_a_file_is_refused(self, tmp_path):
        path = tmp_path / "file"
        path.write_text("mine")
        with pytest.raises(OutputError, match="is a file"):
            open_run_directory(path, self.command)
        assert path.read_text() == "mine"

    def test_paths_and_tuples_in_a_command_stay_the_same_command(self, tmp_path):
        command = {"text": Path("a/b.txt"), "layers": (1, 2)}
        assert open_run_directory(tmp_path, command) is False
        assert open_run_directory(tmp_path, command) is True

    def test_killed_before_the_marker_was_there(self, tmp_path):
        run_and_kill(
            f"""
            from pathlib import Path
            from lingraft.files import replacing, RUN_MARKER
            with replacing(Path({str(tmp_path / RUN_MARKER)!r})):
                print("ready", flush=True)
                time.sleep(60)
            """
        )
        assert len(listing(tmp_path)) == 1
        assert open_run_directory(tmp_path, self.command) is False
        assert listing(tmp_path) == [RUN_MARKER]

    def test_leftovers_of_the_living_stay(self, tmp_path):
        with replacing(tmp_path / "a.txt") as temporary:
            remove_leftovers(tmp_path)
            assert temporary.exists()

    def test_hidden_files_of_others_stay(self, tmp_path):
        for name in (".download.part", ".a-1.part", "b.part"):
            (tmp_path / name).write_text("mine")
        remove_leftovers(tmp_path)
        assert len(listing(tmp_path)) == 3


def test_free_space(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(0, 0, 5 * 2**20)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda place: usage)
    require_free_space(tmp_path / "not" / "yet", 5 * 2**20)
    with pytest.raises(OutputError, match=r"5 MiB free at .*; expected at least 6 MiB"):
        require_free_space(tmp_path / "not" / "yet", 6 * 2**20)


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_fingerprint_ignores_order_only():
    assert fingerprint({"a": 1, "b": "é"}) == fingerprint({"b": "é", "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def run_and_kill(program):
    """Run a program until it prints a line, then kill it with the signal that nothing can catch."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import time\n" + textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "ready\n"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL

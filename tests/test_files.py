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
    require_replaceable,
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

    @pytest.mark.parametrize("place", ["write", "fsync", "touch"])
    def test_a_full_disk_is_one_line_and_nothing_half_written(self, tmp_path, monkeypatch, place):
        path = tmp_path / "a.json"
        write_json(path, {"old": 1})
        target = {"write": (Path, "write_text"), "fsync": (os, "fsync")}.get(place, (Path, "touch"))
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

    def test_what_a_killed_process_left_below_is_removed(self, tmp_path):
        open_run_directory(tmp_path / "run", self.command)
        before = listing(tmp_path / "run")
        run_and_kill(
            f"""
            from pathlib import Path
            from lingraft.files import replacing, replacing_directory
            place = Path({str(tmp_path / "run" / "model" / "deeper")!r})
            with replacing(place / "steps.txt"), replacing_directory(place / "data"):
                print("ready", flush=True)
                time.sleep(60)
            """
        )
        deeper = tmp_path / "run" / "model" / "deeper"
        assert len(listing(deeper)) == 2
        assert open_run_directory(tmp_path / "run", self.command)
        assert listing(deeper) == [] and before == [RUN_MARKER]

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


class TestModesAndErrors:
    @pytest.mark.parametrize("mask", [0o022, 0o027, 0o002])
    def test_modes_follow_the_umask(self, tmp_path, mask):
        """safetensors makes files for their owner alone, and a file of ours begins as such."""
        before = os.umask(mask)
        try:
            with replacing_directory(tmp_path / "model") as temporary:
                (temporary / "sub").mkdir(mode=0o700)
                for name in ("model.safetensors", "sub/tool.sh"):
                    (temporary / name).write_text("x")
                    (temporary / name).chmod(0o700 if name.endswith("sh") else 0o600)
            write_text(tmp_path / "a.txt", "x")
        finally:
            os.umask(before)
        modes = {
            name: (tmp_path / name).stat().st_mode & 0o777
            for name in ("model", "model/sub", "model/model.safetensors", "model/sub/tool.sh", "a.txt")
        }
        assert modes == {
            "model": 0o777 & ~mask,
            "model/sub": 0o777 & ~mask,
            "model/model.safetensors": 0o666 & ~mask,
            "model/sub/tool.sh": (0o666 | 0o100) & ~mask,
            "a.txt": 0o666 & ~mask,
        }

    @pytest.mark.parametrize(
        "error",
        [
            OSError(errno.ENOSPC, "Error writing bytes"),
            Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
        ],
    )
    @pytest.mark.parametrize("whole", [replacing_directory, replacing])
    def test_a_full_disk_whatever_the_library_calls_it(self, tmp_path, error, whole):
        with pytest.raises(OutputError) as caught, whole(tmp_path / "model"):
            raise error
        assert caught.value.found == f"could not write {tmp_path / 'model'}: No space left on device"
        assert "free some space" in caught.value.remedy
        assert listing(tmp_path) == []

    @pytest.mark.parametrize("whole", [replacing_directory, replacing])
    def test_another_mistake_stays_what_it_is(self, tmp_path, whole):
        with pytest.raises(ValueError, match="ours"), whole(tmp_path / "model"):
            raise ValueError("ours")
        assert listing(tmp_path) == []

    def test_an_error_inside_names_the_final_place(self, tmp_path, monkeypatch):
        with (
            pytest.raises(OutputError, match="No space left") as caught,
            replacing_directory(tmp_path / "model") as temporary,
        ):
            monkeypatch.setattr(Path, "write_text", no_space)
            write_text(temporary / "report.html", "x")
        assert str(tmp_path / "model" / "report.html") in str(caught.value)
        assert ".part" not in str(caught.value)

    def test_no_room_is_no_matter_of_space(self, tmp_path):
        (tmp_path / "taken").write_text("")
        with pytest.raises(OutputError) as caught:
            write_text(tmp_path / "taken" / "a.txt", "x")
        assert "space" not in caught.value.remedy


class TestReplaceable:
    def test_a_free_place_is_taken(self, tmp_path):
        require_replaceable(tmp_path / "not" / "yet")
        (tmp_path / "empty").mkdir()
        require_replaceable(tmp_path / "empty")
        assert listing(tmp_path) == ["empty"]

    def test_under_a_file(self, tmp_path):
        (tmp_path / "taken").write_text("")
        with pytest.raises(OutputError, match="taken is a file"):
            require_replaceable(tmp_path / "taken" / "out")

    def test_a_mount_point(self):
        with pytest.raises(OutputError, match=r"is a mount point.*give /proc/run"):
            require_replaceable(Path("/proc"))

    def test_without_the_right_to_write(self, tmp_path, monkeypatch):
        monkeypatch.setattr(os, "access", lambda *arguments: False)
        with pytest.raises(OutputError, match=r"cannot be written to; expected a directory that you may"):
            require_replaceable(tmp_path / "out")


def test_an_unreadable_mark_is_that_of_another_command(tmp_path):
    (tmp_path / RUN_MARKER).write_text("{")
    with pytest.raises(OutputError, match="holds a run of another command"):
        open_run_directory(tmp_path, {"seed": 0})


def test_leftovers_beside_the_directory_are_those_of_its_name(tmp_path):
    """A killed transfer leaves one directory nested by name in another; other runs' stay."""
    program = """
        import sys
        from pathlib import Path
        from lingraft.files import replacing_directory
        with replacing_directory(Path(sys.argv[1]) / NAME) as outer, replacing_directory(outer) as inner:
            (inner / "w.bin").write_bytes(b"half")
            print("ready", flush=True)
            time.sleep(60)
    """
    for name in ("out", "other"):
        run_and_kill(program.replace("NAME", repr(name)).replace("sys.argv[1]", repr(str(tmp_path))))
    assert len(listing(tmp_path)) == 4
    assert open_run_directory(tmp_path / "out", {"seed": 0}) is False
    left = listing(tmp_path)
    assert len(left) == 3 and "out" in left and all("other" in name for name in left if name != "out")


@pytest.mark.parametrize(("maker", "making"), [(replacing, "touch"), (replacing_directory, "mkdir")])
def test_an_interruption_the_moment_after_the_temporary_is_made(tmp_path, monkeypatch, maker, making):
    real = getattr(Path, making)

    def interrupted(path, *arguments, **options):
        real(path, *arguments, **options)
        if path.name.endswith(".part"):
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, making, interrupted)
    with pytest.raises(KeyboardInterrupt), maker(tmp_path / "out"):
        raise AssertionError("the block must not begin")
    assert listing(tmp_path) == []

"""Several processes share a list of tasks: each is done once, and what a killed one had is taken over."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from lingraft.claims import shared_tasks
from lingraft.files import write_text

WORKER = """
import sys, time
from pathlib import Path
from lingraft.claims import shared_tasks
from lingraft.files import write_text

place, seconds = Path(sys.argv[1]), float(sys.argv[2])
for task in shared_tasks(range(12), lambda task: place / f"{task}.txt"):
    with (place.parent / "log.txt").open("a") as log:
        log.write(f"{task}\\n")
    print(task, flush=True)
    time.sleep(seconds)
    write_text(place / f"{task}.txt", str(task))
print("through", len(list(place.glob("*.txt"))), flush=True)
"""


def start(place: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WORKER), str(place), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    )


def begun(tmp_path: Path) -> list[int]:
    return sorted(map(int, (tmp_path / "log.txt").read_text(encoding="utf-8").split()))


def test_processes_do_each_task_once_and_return_when_all_are_done(tmp_path):
    place = tmp_path / "größe"
    workers = [start(place, 0.05) for _ in range(3)]
    said = [worker.communicate(timeout=60)[0].splitlines() for worker in workers]
    assert begun(tmp_path) == list(range(12))
    assert [lines[-1] for lines in said] == ["through 12"] * 3
    assert sorted(file.name for file in place.iterdir()) == sorted(f"{task}.txt" for task in range(12))


def test_what_a_killed_process_had_is_taken_over(tmp_path):
    place = tmp_path / "parts"
    with start(place, 60) as stuck:
        assert stuck.stdout is not None and stuck.stdout.readline() == "0\n"
        with start(place, 0) as other:
            assert other.stdout is not None
            others = [other.stdout.readline() for _ in range(11)]
            assert others == [f"{task}\n" for task in range(1, 12)]
            stuck.send_signal(signal.SIGKILL)
            assert other.communicate(timeout=60)[0].splitlines() == ["0", "through 12"]
    assert begun(tmp_path) == [0, 0, *range(1, 12)]
    assert len(list(place.iterdir())) == 12


def test_done_ones_are_not_yielded_and_an_error_gives_the_task_back(tmp_path):
    write_text(tmp_path / "1.txt", "done")

    def file_of(task: int) -> Path:
        return tmp_path / f"{task}.txt"

    with pytest.raises(ZeroDivisionError):
        for task in shared_tasks([0, 1], file_of):
            task // 0
    assert [file.name for file in tmp_path.iterdir()] == ["1.txt"]
    seen = []
    for task in shared_tasks([3, 1, 0], file_of):
        seen.append(task)
        write_text(file_of(task), "done")
    assert seen == [3, 0]

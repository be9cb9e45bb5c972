"""Killed at any point and started again with the same command: it continues, and the result is the same.

A server process imports the libraries once and forks a child for each run, so that many runs can be killed. The child
runs the real command line; SIGKILL comes from itself at a named point of the work, or from outside at a random time.
"""

import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lingraft.cli.app import main

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
tiny_world = importlib.import_module("tiny_world")

SAME = ("model.safetensors", "tokenizer.json", "provenance.parquet")
"""Files that must not differ in a byte."""

SERVER = """
import importlib, json, os, signal, sys
from lingraft.cli.app import main

# Everything that is imported late is imported now, once.
os.chdir(sys.argv[1])
with open(os.devnull, "w") as sys.stdout:
    assert main(json.loads(sys.argv[2])) == 0
sys.stdout = sys.__stdout__
print("ready", 0, flush=True)

def kill_at(place, moment):
    module, _, name = place.rpartition(":")
    owner = importlib.import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    real = getattr(owner, last)
    def fatal(*arguments, **options):
        if moment == "after":
            real(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(owner, last, fatal)

for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if not child:
        out = os.open(order["stdout"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        err = os.open(order["stderr"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1), os.dup2(err, 2)
        os.chdir(order["directory"])
        if order["place"]:
            kill_at(order["place"], order["moment"])
        status = main(order["arguments"])
        sys.stdout.flush()
        os._exit(status)
    print("started", child, flush=True)
    print("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

PLACES = [
    ("lingraft.recipes.vocabulary.transferring:load_inputs", "before"),
    ("lingraft.models.loading:load_donor", "after"),
    ("lingraft.recipes.vocabulary.transferring:load_inputs", "after"),
    ("lingraft.vocabulary.transfer:build_problem", "after"),
    ("lingraft.vocabulary.transfer:provenance_table", "after"),
    ("lingraft.vocabulary.transfer:write_embeddings", "after"),
    ("lingraft.recipes.vocabulary.transferring:transfer_vocabulary", "after"),
    ("lingraft.models.saving:require_free_space", "after"),
    ("transformers:PreTrainedModel.save_pretrained", "before"),
    ("transformers:PreTrainedModel.save_pretrained", "after"),
    ("transformers:PreTrainedTokenizerBase.save_pretrained", "after"),
    ("lingraft.vocabulary.writing:save_checkpoint", "after"),
    ("pyarrow.parquet:write_table", "after"),
    ("lingraft.vocabulary.writing:write_page", "after"),
    ("lingraft.vocabulary.writing:write_result", "after"),
    ("lingraft.vocabulary.writing:mark_run", "after"),
    ("lingraft.replacing:_settle", "after"),
]
"""Points of the work, in their order, at which a run is killed before its output is in place."""


class Server:
    """Runs commands in forked children of a warm process."""

    def __init__(self, folder, world):
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(world), json.dumps(transfer(out=str(folder / "warm")))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        )

        self.heard("ready")

    def heard(self, word):
        """Return the number that the server says with this word, which must come next."""
        said, number = self.process.stdout.readline().split()
        assert said == word
        return int(number)

    def start(self, directory, arguments, place=None, moment="before"):
        """Start a command; return the child's process id."""
        order = {"directory": str(directory), "arguments": arguments, "place": place, "moment": moment}
        order |= {name: str(self.folder / name) for name in ("stdout", "stderr")}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self.heard("started")

    def wait(self):
        """Return the exit status of the child, negative for the signal that ended it."""
        return self.heard("ended")

    def send(self, child, number):
        """Send a signal to the child, which may be over by now; return its exit status."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)
        return self.wait()

    def run(self, *arguments, **options):
        self.start(*arguments, **options)
        return self.wait()

    def said(self, stream):
        return (self.folder / stream).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return tiny_world.make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def server(tmp_path_factory, template):
    started = Server(tmp_path_factory.mktemp("streams"), template)
    yield started
    started.process.stdin.close()
    started.process.wait(timeout=60)


@pytest.fixture
def world(template, tmp_path):
    shutil.copytree(template, tmp_path / "world")
    return tmp_path / "world"


def transfer(*more, out="out"):
    options = [
        "--model",
        "untied",
        "--tokenizer",
        "trim:target",
        "--donor",
        "donor",
        "--corpus",
        "corpus.txt",
    ]
    return ["vocab", "transfer", *options, "--method", "salt", "--seed", "7", "--out", out, *more]


@pytest.fixture(scope="module")
def uninterrupted(server, template, tmp_path_factory):
    """The files of a run that nothing disturbed, and how long it took."""
    directory = tmp_path_factory.mktemp("uninterrupted") / "world"
    shutil.copytree(template, directory)
    begin = time.monotonic()
    assert server.run(directory, transfer()) == 0, server.said("stderr")
    return contents(directory / "out"), time.monotonic() - begin


def contents(directory):
    return {name: (directory / name).read_bytes() for name in SAME}


def leftovers(world):
    return [path.name for path in world.iterdir() if path.name.endswith(".part")]


def added(world):
    """What a world holds beyond what it was made of."""
    made = {"model", "untied", "donor", "target", "corpus.txt"}
    return {path.name for path in world.iterdir()} - made


@pytest.mark.parametrize(("place", "moment"), PLACES)
def test_killed_at_a_point_and_started_again(server, world, uninterrupted, place, moment):
    assert server.run(world, transfer(), place=place, moment=moment) == -signal.SIGKILL
    assert not (world / "out").exists()
    assert server.run(world, transfer()) == 0, server.said("stderr")
    assert contents(world / "out") == uninterrupted[0]
    assert added(world) == {"out"}


def test_killed_when_the_output_is_in_place_already(server, world, uninterrupted):
    """The rename is the last step: from then on the run is finished, and is not repeated."""
    place = "lingraft.recipes.vocabulary.transferring:write_transfer"
    assert server.run(world, transfer(), place=place, moment="after") == -signal.SIGKILL
    assert contents(world / "out") == uninterrupted[0]
    stamp = (world / "out" / "model.safetensors").stat().st_mtime_ns
    assert server.run(world, transfer("--json")) == 0
    assert json.loads(server.said("stdout"))["kind"] == "vocab transfer"
    assert (world / "out" / "model.safetensors").stat().st_mtime_ns == stamp
    assert added(world) == {"out"}


def test_killed_at_random_times_again_and_again(server, world, uninterrupted):
    """One output directory, many deaths, then a run that is let live."""
    files, seconds = uninterrupted
    generator = random.Random(20260101)
    deaths = 0
    for _ in range(16):
        child = server.start(world, transfer())
        time.sleep(generator.uniform(0, 1.1 * seconds))
        deaths += server.send(child, signal.SIGKILL) == -signal.SIGKILL
        if (world / "out").exists():
            assert contents(world / "out") == files
            assert leftovers(world) == []
            shutil.rmtree(world / "out")
    assert deaths >= 5
    assert server.run(world, transfer()) == 0
    assert contents(world / "out") == files
    assert added(world) == {"out"}


def test_leftovers_of_a_killed_run_are_cleaned_by_the_next_even_if_it_fails(server, world):
    for place in ("transformers:PreTrainedModel.save_pretrained", "lingraft.vocabulary.writing:write_page"):
        assert server.run(world, transfer(), place=place, moment="after") == -signal.SIGKILL
        assert leftovers(world)
    assert server.run(world, transfer("--corpus", "nowhere.txt")) == 2
    assert added(world) == set()


def test_what_the_living_write_is_left_alone(server, world, uninterrupted):
    """Another run into a directory whose name begins the same, and a file that is none of ours."""
    (world / ".out.notes.part").write_text("mine")
    (world / f".out.{os.uname().nodename}-{os.getpid()}.abc.part").mkdir()
    assert server.run(world, transfer()) == 0
    assert len(leftovers(world)) == 2
    assert contents(world / "out") == uninterrupted[0]


def test_interrupted_by_hand(server, world, uninterrupted):
    """Ctrl-C: one line, status 130, nothing left behind."""
    child = server.start(world, transfer())
    deadline = time.monotonic() + 30
    while not leftovers(world) and time.monotonic() < deadline:
        time.sleep(0.001)
    status = server.send(child, signal.SIGINT)
    if status == 0:  # it was too fast for us
        assert contents(world / "out") == uninterrupted[0]
        return
    assert status == 130
    assert server.said("stderr").startswith("error: interrupted; the same command") and not server.said(
        "stdout"
    )
    assert added(world) <= {"out"} and leftovers(world) == []


def test_two_at_once(server, world, uninterrupted, monkeypatch):
    """The first is held while it writes; the second wins, and the first says so in a line."""
    child = server.start(world, transfer())
    deadline = time.monotonic() + 30
    while not leftovers(world) and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(child, signal.SIGSTOP)
    held = not (world / "out").exists()
    monkeypatch.chdir(world)
    assert main(transfer()) == 0
    assert contents(world / "out") == uninterrupted[0]
    status = server.send(child, signal.SIGCONT)
    if held:
        assert status == 2
        assert server.said("stderr").startswith("error: could not write out: Directory not empty; ")
        assert server.said("stderr").count("\n") == 1
    assert contents(world / "out") == uninterrupted[0]
    assert added(world) == {"out"}


def compare(out="compared"):
    return [
        *("vocab", "compare", "--model", "model", "--tokenizer", "trim:target", "--donor", "donor"),
        *("--corpus", "corpus.txt", "--held-out", "heldout.txt", "--methods", "salt,mean"),
        *("--modes", "replace,extend", "--new-tokens", "20", "--probe-steps", "1,3", "--seeds", "2"),
        *("--batch-size", "1", "--block-length", "8", "--precision", "float32", "--out", out),
    ]


def compared(world):
    """The table, and every probe without the seconds that it took."""
    probes = {}
    for file in (world / "compared" / "probes").iterdir():
        probes[file.name] = json.loads(file.read_text(encoding="utf-8"))
        del probes[file.name]["run"]["seconds"]
    return (world / "compared" / "table.md").read_text(encoding="utf-8"), probes


@pytest.mark.slow
def test_a_comparison_killed_again_and_again_ends_with_the_same_table(server, world, template, tmp_path):
    """SIGKILL at random times of the real command; probes that were finished stay as they are."""
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(template, undisturbed)
    for place in (world, undisturbed):
        tiny_world.write_lines(place / "heldout.txt", tiny_world.TARGET_TEXTS[:2])
    begin = time.monotonic()
    assert server.run(undisturbed, compare()) == 0, server.said("stderr")
    seconds = time.monotonic() - begin
    generator = random.Random(20260202)
    deaths, kept = 0, {}
    for _ in range(8):
        child = server.start(world, compare())
        time.sleep(generator.uniform(0.1, 0.5) * seconds)
        deaths += server.send(child, signal.SIGKILL) == -signal.SIGKILL
        stamps = {file: file.stat().st_mtime_ns for file in (world / "compared").glob("probes/*.json")}
        assert {file: stamps[file] for file in kept} == kept
        kept = stamps
        if (world / "compared" / "result.json").exists():
            break
    assert deaths >= 2
    assert server.run(world, compare()) == 0, server.said("stderr")
    assert compared(world) == compared(undisturbed)
    assert len(compared(world)[1]) == 10


def test_the_same_command_over_changed_text_is_another_run(server, world):
    """A finished run is known by what its files held, not by their names alone."""
    assert server.run(world, transfer()) == 0, server.said("stderr")
    with (world / "corpus.txt").open("a", encoding="utf-8") as file:
        file.write("Beste lerro bat.\n")
    assert server.run(world, transfer()) == 2
    assert "differs in: content of corpus" in server.said("stderr")


@pytest.mark.parametrize("wait_for_writing", [True, False])
def test_the_real_command_killed_from_outside(world, uninterrupted, server, wait_for_writing):
    """A process of its own, killed while it loads or as soon as it has begun to write."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "lingraft.cli.app", *transfer()]
    process = subprocess.Popen(
        command, cwd=world, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    begin = time.monotonic()
    while process.poll() is None and not leftovers(world):
        if not wait_for_writing and time.monotonic() - begin > 1.0:
            break
        time.sleep(0.001)
    process.kill()
    process.communicate(timeout=60)
    if process.returncode == -signal.SIGKILL:
        assert not (world / "out").exists() or contents(world / "out") == uninterrupted[0]
    assert server.run(world, transfer()) == 0, server.said("stderr")
    assert contents(world / "out") == uninterrupted[0]
    assert added(world) == {"out"}


SWEEP_PLACES = [
    ("lingraft.recipes.patching.sweeping:open_run_directory", "after"),
    ("lingraft.recipes.patching.sweeping:sweep_instance", "before"),
    ("pyarrow.parquet:write_table", "after"),
    ("lingraft.recipes.patching.sweeping:write_instance", "after"),
    ("lingraft.recipes.patching.sweeping:merge_instances", "before"),
    ("lingraft.patching.records:_parts", "before"),
    ("lingraft.recipes.patching.sweeping:merge_instances", "after"),
    ("lingraft.recipes.patching.sweep_result:heatmaps", "after"),
    ("lingraft.recipes.patching.sweep_result:write_page", "after"),
    ("lingraft.recipes.patching.sweep_result:write_result", "after"),
]
"""Points of a sweep, in their order."""


def sweep(out="swept"):
    given = ("--model", "model", "--pairs", "pairs.jsonl", "--site", "attn,ffn", "--samples", "4")
    return ["patch", "sweep", *given, "--score", "options", "--out", out]


def write_pairs(world):
    rows = [
        {
            "id": f"ñ{number}",
            "donor": f"Open the document {number}",
            "receiver": "Ireki " * (number + 1),
            "options": [" taula", " papera"],
            "answer": number % 2,
        }
        for number in range(3)
    ]
    tiny_world.write_lines(world / "pairs.jsonl", [json.dumps(row, ensure_ascii=False) for row in rows])


def swept(world):
    """The tables' bytes, and the result without times."""
    tables = {
        name: (world / "swept" / f"{name}.parquet").read_bytes() for name in ("map", "vanilla", "samples")
    }
    result = json.loads((world / "swept" / "result.json").read_text(encoding="utf-8"))
    del result["provenance"], result["metrics"]["seconds"]
    return tables, result


@pytest.mark.slow
def test_a_sweep_killed_at_every_point_ends_with_the_same_tables(server, world, template, tmp_path):
    """One run directory, a death at each point in turn; finished instances stay as they are."""
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(template, undisturbed)
    for place in (world, undisturbed):
        write_pairs(place)
    assert server.run(undisturbed, sweep()) == 0, server.said("stderr")
    kept = {}
    for place, moment in SWEEP_PLACES:
        status = server.run(world, sweep(), place=place, moment=moment)
        assert status in {-signal.SIGKILL, 0}
        assert status or place.endswith(("sweep_instance", "write_table", "write_instance")), place
        stamps = {file: file.stat().st_mtime_ns for file in (world / "swept").glob("instances/*.parquet")}
        assert {file: stamps[file] for file in kept} == kept
        kept = stamps
    assert len(kept) == 3
    assert server.run(world, sweep()) == 0, server.said("stderr")
    assert swept(world) == swept(undisturbed)
    assert not list((world / "swept").rglob(".*.part"))

"""Kill a recipe's run at random moments, continue it each time, and compare what it leaves with an uninterrupted run.

    python benchmarks/killed_recipe.py demo --whole runs/demo --out runs/killed --page docs/results/killed_demo.md

The uninterrupted run is made first in --whole, or taken from there. Then --out is started again and again; each
start is ended by SIGKILL, at a random moment of a stage that is drawn at random. At last it is left
alone, and every file of both is compared, byte by byte; of JSON files and tables what is no time, place or process.
Kills are written down beside --out, so that the same command goes on where it was stopped.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TIMES = {"seconds", "finished", "training_seconds", "command", "wall_seconds", "identity", "partial"}
"""Keys that tell when, where and how fast, not what. Counts of a file are kept under a name made from its path and its
time of change (`identity`, `partial`): they are compared by what they hold."""
SKIPPED = {
    ".lock",
    "report.html",
    "run.json",
    "stage.json",
    ".lingraft-run.json",
    "README.md",
    "recipe.yaml",
    "training_args.bin",
}
"""Files that hold times and places beside figures that are in other files too."""


def command(recipe: str, out: Path, more: list[str]) -> list[str]:
    return [sys.executable, "-m", "lingraft.cli.app", "run", recipe, "--out", str(out), *more]


def run(
    recipe: str, out: Path, more: list[str], log: Path, kill: tuple[list[str], float] | None = None
) -> tuple[bool, str]:
    """Run it, or kill it and all that it started some seconds into one of some stages; say if it ended, and where."""
    with (
        log.open("w", encoding="utf-8") as file,
        subprocess.Popen(
            command(recipe, out, more), stderr=file, stdout=file, start_new_session=True
        ) as process,
    ):
        begun = None
        while process.poll() is None:
            time.sleep(0.1)
            if kill is None:
                continue
            if begun is None and begins(log.read_text(encoding="utf-8"), kill[0]):
                begun = time.monotonic()
            if begun is not None and time.monotonic() - begun > kill[1]:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        status = process.returncode
    lines = [line.strip() for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("[")]
    if status not in (0, -signal.SIGKILL):
        sys.exit(f"the run failed: see {log}")
    return status == 0, lines[-1].partition("] ")[2] if lines else "before its first stage"


def begins(log: str, names: list[str]) -> bool:
    """Whether one of the stages is being run."""
    lines = [line for line in log.splitlines() if not line.endswith("kept from before")]
    return any(f"] {name}: " in line for line in lines for name in names)


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        if "revision" in value and "stages/" in str(value.get("reference")):
            # Of a file that the run itself wrote: its time of change is in it. The file is compared by itself.
            value = {**value, "revision": ""}
        return {
            key: without_times(item)
            for key, item in value.items()
            if key not in TIMES and "second" not in key
        }
    if isinstance(value, list):
        return [without_times(item) for item in value]
    return value


def fingerprints(out: Path) -> Iterator[tuple[str, str]]:
    """Go through the files of a run with what they hold."""
    for file in sorted(out.rglob("*")):
        if not file.is_file() or file.name in SKIPPED:
            continue
        yield fingerprint(file, out)


def fingerprint(file: Path, out: Path) -> tuple[str, str]:
    """Return a file's name below its run, and a digest of what it holds."""
    data, name = file.read_bytes(), file.relative_to(out).as_posix()
    if file.suffix == ".json":
        text = json.dumps(without_times(json.loads(data)), sort_keys=True, ensure_ascii=False)
        data = text.replace(f"{out}/", "OUT/").encode()
    elif file.suffix == ".parquet":
        data = table_of(file)
    elif file.parent.name == "partials":
        (length,) = struct.unpack("<Q", data[:8])
        tensors = {key: one for key, one in json.loads(data[8 : 8 + length]).items() if key != "__metadata__"}
        data = json.dumps(tensors, sort_keys=True).encode() + data[8 + length :]
        name = f"{file.relative_to(out).parent.as_posix()}/{hashlib.sha256(data).hexdigest()[:24]}"
    return name, hashlib.sha256(data).hexdigest()


def table_of(file: Path) -> bytes:
    """Return a table's names, types and rows, and what is written at its head."""
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    head = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    kept = {
        "head": head,
        "types": {one.name: str(one.type) for one in table.schema},
        "rows": table.to_pylist(),
    }
    return json.dumps(without_times(kept), ensure_ascii=False, default=str).encode()


def page(
    arguments: argparse.Namespace,
    whole: float,
    moments: list[tuple[float, str]],
    files: int,
    unlike: list[str],
) -> str:
    lines = [
        "# A run killed and continued",
        "",
        f"`python benchmarks/killed_recipe.py {' '.join(sys.argv[1:])}`: the recipe `{arguments.recipe}`, killed by"
        f" SIGKILL at {len(moments)} moments (seed {arguments.seed}), its process and all that it had started, and then"
        f" left alone. Its uninterrupted run took {whole / 60:.1f} minutes; the machine had {os.cpu_count()} cores.",
        "",
        f"Compared: {files} files (checkpoints, tables, pictures, results without times). Unlike: {len(unlike)}.",
        "",
        *(f"- `{name}`" for name in unlike),
        *([""] if unlike else []),
        "| kill | seconds into its stage | the last it had said |",
        "|---|---|---|",
        *(f"| {n} | {seconds:.1f} | {place} |" for n, (seconds, place) in enumerate(moments, 1)),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--whole", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--longest", type=float, default=40, help="seconds into a stage at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--set", action="append", default=[], help="as for lingraft run")
    arguments = parser.parse_args()
    more = [part for text in arguments.set for part in ("--set", text)]
    logs = arguments.out.with_suffix(".log")
    logs.parent.mkdir(parents=True, exist_ok=True)
    run(arguments.recipe, arguments.whole, more, logs)
    stages = json.loads((arguments.whole / "run.json").read_text(encoding="utf-8"))["stages"]
    whole = sum(stage["seconds"] for stage in stages)
    print(f"uninterrupted: {whole:.0f} s in its stages", flush=True)
    # A stage for each kill, in order, and a moment in it: any in a short one, in a long one soon enough that the kills
    # before the next checkpoint do not add up.
    generator = random.Random(arguments.seed)
    drawn = sorted(generator.choices(range(len(stages)), k=arguments.kills))
    written = arguments.out.with_suffix(".kills.json")
    moments: list[tuple[float, str]] = []
    if written.exists():
        moments = [(seconds, place) for seconds, place in json.loads(written.read_text(encoding="utf-8"))]
    for place_of_kill, number in enumerate(drawn):
        seconds = generator.uniform(0, min(arguments.longest, stages[number]["seconds"]))
        if place_of_kill < len(moments):
            continue
        # The first of those from there on that is not finished already.
        kill = ([stage["name"] for stage in stages[number:]], seconds)
        done, place = run(arguments.recipe, arguments.out, more, logs, kill)
        if done:
            break
        moments.append((seconds, place))
        written.write_text(json.dumps(moments), encoding="utf-8")
        print(f"killed {seconds:.1f} s into a stage: {place}", flush=True)
    run(arguments.recipe, arguments.out, more, logs)
    one, two = (dict(fingerprints(place)) for place in (arguments.whole, arguments.out))
    unlike = sorted(name for name in {*one, *two} if one.get(name) != two.get(name))
    text = page(arguments, whole, moments, len(one), unlike)
    print(text)
    if arguments.page is not None:
        arguments.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

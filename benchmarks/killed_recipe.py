"""Kill a recipe's run at random moments, continue it each time, and compare what it leaves with an uninterrupted run.

    python benchmarks/killed_recipe.py demo --whole runs/demo --out runs/killed --page docs/results/killed_demo.md

The uninterrupted run is made first in --whole, or taken from there. Then --out is started again and again; each
start is ended by SIGKILL after a time drawn evenly from what the uninterrupted run still had to do. At last it is left
alone, and every file of both is compared, byte by byte; of JSON files what is no time, place or process.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TIMES = {"seconds", "finished", "training_seconds", "command", "wall_seconds"}
"""Keys that tell when, where and how fast, not what."""
SKIPPED = {".lock", "report.html", "run.json", "stage.json", ".lingraft-run.json", "README.md", "recipe.yaml"}
"""Files that hold times and places beside figures that are in other files too."""


def command(recipe: str, out: Path, more: list[str]) -> list[str]:
    return [sys.executable, "-m", "lingraft.cli.app", "run", recipe, "--out", str(out), *more]


def run(recipe: str, out: Path, more: list[str], log: Path, seconds: float | None = None) -> tuple[bool, str]:
    """Run it, or kill it and all that it started after some seconds; say whether it ended, and where it was."""
    with (
        log.open("w", encoding="utf-8") as file,
        subprocess.Popen(
            command(recipe, out, more), stderr=file, stdout=file, start_new_session=True
        ) as process,
    ):
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            status = -signal.SIGKILL
    lines = [line.strip() for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("[")]
    if status not in (0, -signal.SIGKILL):
        sys.exit(f"the run failed: see {log}")
    return status == 0, lines[-1].partition("] ")[2] if lines else "before its first stage"


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
        data = file.read_bytes()
        if file.suffix == ".json":
            text = json.dumps(without_times(json.loads(data)), sort_keys=True, ensure_ascii=False)
            data = text.replace(f"{out}/", "OUT/").encode()
        if file.name == "steps.parquet":
            data = json.dumps(without_times(rows_of(file))).encode()
        yield file.relative_to(out).as_posix(), hashlib.sha256(data).hexdigest()


def rows_of(file: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return pq.read_table(file).to_pylist()


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
        "| kill | seconds after its start | the last it had said |",
        "|---|---|---|",
        *(f"| {n} | {seconds:.0f} | {place} |" for n, (seconds, place) in enumerate(moments, 1)),
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
    # Evenly over the run: the moments of a run that would never be killed, one kill after another.
    generator = random.Random(arguments.seed)
    planned = sorted(generator.uniform(0, whole) for _ in range(arguments.kills))
    moments: list[tuple[float, str]] = []
    before = 0.0
    for moment in planned:
        # What a start does again before it is where the last was killed is about this long.
        seconds = 12 + moment - before
        done, place = run(arguments.recipe, arguments.out, more, logs, seconds)
        if done:
            break
        before = moment
        moments.append((seconds, place))
        print(f"killed after {seconds:.0f} s: {place}", flush=True)
    run(arguments.recipe, arguments.out, more, logs)
    one, two = (dict(fingerprints(place)) for place in (arguments.whole, arguments.out))
    unlike = sorted(name for name in {*one, *two} if one.get(name) != two.get(name))
    text = page(arguments, whole, moments, len(one), unlike)
    print(text)
    if arguments.page is not None:
        arguments.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

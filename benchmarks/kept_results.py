"""Keep a long evidence run's finished parts beside its results page, so that another machine goes on with them.

    python benchmarks/kept_results.py pack DIRECTORY KEPT.jsonl     (the run directory's mark and its finished parts)
    python benchmarks/kept_results.py unpack KEPT.jsonl DIRECTORY   (before the run is started there)

A line a file: its path in the run directory and the JSON that it holds. The mark says which command and which input
files the parts are of; lingraft refuses to go on where they differ.
"""

import argparse
import json
from pathlib import Path

from lingraft.files import RUN_MARKER, write_json, write_text

PARTS = ("probes", "cells")


def pack(directory: Path, kept: Path) -> int:
    """Write the mark and every finished part of a run directory into one file; return how many parts."""
    files = [file for part in PARTS for file in sorted((directory / part).glob("*.json"))]
    lines = [
        json.dumps(
            {
                "file": file.relative_to(directory).as_posix(),
                "holds": json.loads(file.read_text(encoding="utf-8")),
            },
            ensure_ascii=False,
        )
        for file in (directory / RUN_MARKER, *files)
    ]
    write_text(kept, "\n".join(lines) + "\n")
    return len(files)


def unpack(kept: Path, directory: Path) -> int:
    """Write what `pack` kept into a run directory; what is there already stays. Return how many files are new."""
    new = 0
    for line in kept.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        file = directory / row["file"]
        if not file.resolve().is_relative_to(directory.resolve()):
            raise SystemExit(f"{kept}: {row['file']} is outside of {directory}")
        if file.name == RUN_MARKER and file.exists() and json.loads(file.read_text("utf-8")) != row["holds"]:
            raise SystemExit(f"{directory} holds a run of another command than {kept}: give another --out")
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, row["holds"])
            new += 1
    return new


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=("pack", "unpack"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    given = parser.parse_args()
    count = (pack if given.verb == "pack" else unpack)(given.source, given.target)
    print(f"{count} {'parts packed' if given.verb == 'pack' else 'files unpacked'}")


if __name__ == "__main__":
    main()

"""Time and memory of `lingraft pivots count`, against ripgrep, wc, polars, DuckDB and the search of the released code.

    python benchmarks/cooccurrence.py --folder /tmp/counts --data data --ripgrep rg --page page.md

Every contender runs as a process of its own, on one thread, in turn with the others. The number that counts is
processor time (user and system), the least of the rounds, since other work on the machine moves it least.
"""

import argparse
import contextlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from cooccurrence_problem import make_problem

PEERS = Path(__file__).with_name("cooccurrence_peers.py")
SEQUENTIAL_PAIRS = {"sequential": 40, "sequential_words": 10}
SAMPLE = 2**26
"""Bytes of text that the slower contenders are given."""


@dataclass(frozen=True)
class Measure:
    """What one process took."""

    seconds: float
    wall: float
    mebibytes: float


def measure(command, *, environment=None, out=subprocess.DEVNULL):
    began = time.monotonic()
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=out,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", **(environment or {})},
    )
    peak, ended = 0.0, 0
    while not ended:
        # The process's own peak: what wait4 reports includes that of this one, which it was forked from.
        with contextlib.suppress(OSError, IndexError):
            status_file = Path(f"/proc/{process.pid}/status").read_text()
            peak = int(status_file.split("VmHWM:")[1].split()[0]) / 1024
        time.sleep(0.02)
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        said = process.stderr.read().decode(errors="replace")
        raise SystemExit(f"{shlex.join(map(str, command))}: {said[-400:]}")
    return Measure(used.ru_utime + used.ru_stime, time.monotonic() - began, peak)


def count_command(corpora, problem, out):
    shutil.rmtree(out, ignore_errors=True)
    return [sys.executable, "-m", "lingraft.cli.app", "pivots", "count", "--corpus", *corpora,
            "--pairs", problem.pairs_file, "--out", out]  # fmt: skip


def whole(problem, options):
    """Contenders on the whole corpus, in turn; the best round of each."""
    out = options.folder / "run"
    found = {}
    for number in range(options.rounds):
        commands = {"lingraft": count_command([problem.corpus], problem, out)}
        for name in options.ripgrep:
            commands[version(name)] = [name, "-o", "-w", "-F", "-f", problem.words_file, problem.corpus]
        commands["wc -w"] = ["wc", "-w", problem.corpus]
        for name, command in commands.items():
            took = measure(command, environment={"LC_ALL": "C.UTF-8"})
            found.setdefault(name, []).append(took)
            print(f"round {number + 1}, {name}: {took}", flush=True)
    return {name: min(rounds, key=lambda took: took.seconds) for name, rounds in found.items()}


def version(name):
    return " ".join(
        subprocess.run([name, "--version"], capture_output=True, text=True, check=True).stdout.split()[:2]
    )


def on_sample(problem, options, script):
    """Slower contenders on the corpus's beginning, and Lingraft on the same; with how many pairs each did."""
    sample = options.folder / f"{script}-sample.txt"
    with problem.corpus.open("rb") as file:
        data = file.read(options.sample)
    sample.write_bytes(data[: data.rindex(b"\n") + 1])
    out = options.folder / "run"
    found = {"lingraft": (measure(count_command([sample], problem, out)), len(problem.pairs))}
    ours = {
        (row["source_word"], row["target_word"]): row["both"]
        for row in pq.read_table(out / "counts.parquet").to_pylist()
    }
    agreement = {}
    environment = {"PYTHONPATH": str(options.site)} if options.site else {}
    queries = {"polars_query": len(ours), "duckdb_query": len(ours)} if options.site else {}
    for name, pairs in {**queries, **SEQUENTIAL_PAIRS}.items():
        listed = options.folder / "peer.tsv"
        with listed.open("wb") as file:
            found[name] = (
                measure([sys.executable, PEERS, name, sample, problem.pairs_file, pairs],
                        environment=environment, out=file),
                pairs,
            )  # fmt: skip
        theirs = dict.fromkeys(list(ours)[:pairs], 0)
        for line in listed.read_text(encoding="utf-8").splitlines():
            source, target, both = line.split("\t")
            theirs[source, target] = int(both)
        agreement[name] = sum(theirs[pair] == ours[pair] for pair in theirs), len(theirs)
        print(f"sample, {name}: {found[name]}, equal {agreement[name]}", flush=True)
    return sample.stat().st_size, found, agreement


def flat(problem, options):
    """Memory over one copy of the corpus and over ten: hard links, which are ten files to a reader."""
    links = [options.folder / f"copy-{number}.txt" for number in range(10)]
    for link in links:
        link.unlink(missing_ok=True)
        link.hardlink_to(problem.corpus)
    out = options.folder / "run"
    found = [measure(count_command(links[:number], problem, out)) for number in (1, 10)]
    for link in links:
        link.unlink()
    print("memory:", found, flush=True)
    return found


def table(heads, rows):
    return ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads),
            *("| " + " | ".join(map(str, row)) + " |" for row in rows), ""]  # fmt: skip


def report(script, problem, results, sampled):
    size = problem.corpus.stat().st_size
    mine = results["lingraft"].seconds
    lines = [f"## {TITLES[script]}", "",
             f"{size / 2**30:.2f} GiB, {len(problem.pairs):,} pairs, {len(problem.words):,} words.", ""]  # fmt: skip
    rows = [
        (name, f"{took.seconds:.1f}", f"{took.wall:.1f}", f"{took.mebibytes:,.0f}",
         f"{size / 2**20 / took.seconds:,.0f}", f"{took.seconds / mine:.2f}")
        for name, took in results.items()
    ]  # fmt: skip
    lines += table(["", "processor s", "wall s", "peak MiB", "MiB/s", "times Lingraft's"], rows)
    if sampled:
        bytes_read, found, agreement = sampled
        lines += [f"On the first {bytes_read / 2**20:.0f} MiB; the last columns extrapolate in proportion to text"
                  " and pairs:", ""]  # fmt: skip
        rows = []
        for name, (took, pairs) in found.items():
            scaled = took.seconds * size / bytes_read * len(problem.pairs) / pairs
            equal = "-" if name not in agreement else "{:,} of {:,}".format(*agreement[name])
            rows.append((NAMES[name], f"{pairs:,}", f"{took.seconds:.1f}", f"{took.mebibytes:,.0f}", equal,
                         f"{scaled:,.0f}", f"{scaled / mine:,.1f}"))  # fmt: skip
        heads = [
            "",
            "pairs",
            "processor s",
            "peak MiB",
            "pairs with equal counts",
            "whole, s",
            "times Lingraft's",
        ]
        lines += table(heads, rows)
    return lines


TITLES = {
    "latin": "English, German, Spanish, Swahili",
    "mixed": "English, Japanese, Hindi, Korean, Swahili",
}
NAMES = {
    "lingraft": "lingraft pivots count",
    "polars_query": "polars, lower-cased `\\w+` runs joined over documents",
    "duckdb_query": "DuckDB, the same in SQL",
    "sequential": "pair by pair through all documents, substrings",
    "sequential_words": "pair by pair, whole words",
}
REMARKS = """\
- Lingraft's time is that of the whole command: start, the imports, all counts of words and pairs over documents, the
  table, the picture and the report. It matches after NFC and case folding, in Chinese, Japanese, Thai, Khmer, Lao and
  Burmese by substring; ripgrep here matches the bytes as they are, prints the occurrences and counts nothing (its `-i`
  takes several times longer).
- ripgrep's `-w` has no rule for scripts without spaces, so in the mixed text it does less than Lingraft does.
- The queries split at the same characters but do not normalise, fold by lower-casing, and find no word in a run of a
  script without spaces nor any with a mark or hyphen in it: the column of equal counts says how often that shows.
  Substrings are found inside words too.
- The sequential search is a sample: its time grows with pairs times text, so the extrapolation is a proportion.
- The corpus is some ten megabytes of distinct paragraphs drawn at random; no contender keeps what it has seen.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="for the corpora, a gibibyte each")
    parser.add_argument("--data", type=Path, required=True, help="holds swahili/ and lexicons/")
    parser.add_argument("--ripgrep", action="append", default=[], help="a ripgrep; may come again")
    parser.add_argument("--site", type=Path, help="where polars and duckdb are installed")
    parser.add_argument("--scripts", default="latin,mixed")
    parser.add_argument("--size", type=int, default=2**30)
    parser.add_argument("--sample", type=int, default=SAMPLE)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-flat", action="store_true", help="leave out the ten gibibytes")
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    lines = [
        "# Counting co-occurrences",
        "",
        "Made by `python benchmarks/cooccurrence.py --folder FOLDER --data DATA --ripgrep rg --site SITE"
        f" --sample {options.sample} --rounds {options.rounds} --page PAGE`.",
        f"One thread each, the best of {options.rounds} rounds in turn, by processor time (user and system).",
        f"{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} when it began (other work shared it);"
        f" Python {platform.python_version()}.",
        "",
    ]
    sections = {}
    for script in options.scripts.split(","):
        problem = make_problem(options.folder, data=options.data, script=script, size=options.size)
        sections[script] = report(
            script, problem, whole(problem, options), on_sample(problem, options, script)
        )
        write(options.page, lines, sections)
    if not options.no_flat:
        problem = make_problem(options.folder, data=options.data, size=options.size)
        rows = [
            (f"{n} x {options.size / 2**30:g} GiB", f"{took.mebibytes:,.0f}", f"{took.seconds:.1f}")
            for n, took in zip((1, 10), flat(problem, options), strict=True)
        ]
        sections["memory"] = ["## Memory", "", "The same file once, and ten times under ten names:", ""]
        sections["memory"] += table(["text", "peak MiB", "processor s"], rows)
    print(write(options.page, lines, sections))


def write(page, lines, sections):
    text = "\n".join(
        [*lines, *(line for section in sections.values() for line in section), "## Remarks", "", REMARKS]
    )
    if page:
        page.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    return text


def processor():
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()

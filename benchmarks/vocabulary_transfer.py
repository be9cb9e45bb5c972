"""Speed and memory of `salt` and `omp` against the literal formula and mergekit, measured in one run.

    OMP_WAIT_POLICY=passive python benchmarks/vocabulary_transfer.py            # 250,000 target tokens
    OMP_WAIT_POLICY=passive python benchmarks/vocabulary_transfer.py --quick    # a small problem, to see it run

mergekit pins old versions of what Lingraft uses, so install it without its dependencies: `pip install --no-deps
mergekit`. Without it its rows are left out. The real-data part needs `lingraft assets fetch` of smollm2-135m-instruct
and multilingual-e5-small and is left out where they are absent.
"""

import argparse
import contextlib
import os
import platform
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from transfer_peers import ATOMS, MERGEKIT_BATCH, find_batch_omp, pursue_both, relative_error, time_literal
from transfer_problem import QUICK, Size, make_problem, real_problem

from lingraft.models.embeddings import EmbeddingMatrices
from lingraft.vocabulary import salt as salt_module
from lingraft.vocabulary import screening
from lingraft.vocabulary.mixtures import Mixture
from lingraft.vocabulary.transfer import make_matrices

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "vocabulary_transfer_speed.md"
DTYPES = (torch.float32, torch.float64, torch.bfloat16)
COMMAND = "OMP_WAIT_POLICY=passive python benchmarks/vocabulary_transfer.py"


@dataclass
class Clock:
    """Seconds by step."""

    seconds: dict = field(default_factory=dict)

    @contextlib.contextmanager
    def step(self, name):
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def wrap(self, name, function):
        def timed(*args, **kwargs):
            with self.step(name):
                return function(*args, **kwargs)

        return timed


def run_salt(problem):
    """The new matrix, seconds by step, and the neighbours found."""
    clock = Clock()
    kept = salt_module.sparsemax_neighbours, salt_module.minimum_norm_coefficients, Mixture.fill
    salt_module.sparsemax_neighbours = clock.wrap("neighbour search", kept[0])
    salt_module.minimum_norm_coefficients = clock.wrap("regression", kept[1])
    Mixture.fill = clock.wrap("application", kept[2])
    start = time.perf_counter()
    try:
        rule = salt_module.salt(problem)
        matrices = EmbeddingMatrices(problem.source_input, None, None, tied=True)
        matrix = make_matrices(matrices, problem, rule, "replace").input
    finally:
        salt_module.sparsemax_neighbours, salt_module.minimum_norm_coefficients, Mixture.fill = kept
    total = time.perf_counter() - start
    clock.seconds["copies and checks"] = total - sum(clock.seconds.values())
    return matrix, total, clock.seconds, next(iter(problem.neighbour_cache.values()))


def gemm_rate(dtype, size=4096):
    """Largest number of floating-point operations a second in a square product."""
    left, right = torch.ones(size, size, dtype=dtype), torch.ones(size, size, dtype=dtype)
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        left @ right.T
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


@dataclass
class Report:
    """Lines that are printed as they come, and written at the end."""

    lines: list = field(default_factory=list)

    def say(self, line=""):
        self.lines.append(line)
        print(line, flush=True)


def processor():
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.processor())


def peak_memory(quick):
    """Peak resident bytes of a process of its own that only builds the problem and runs `salt`."""
    command = [sys.executable, __file__, "--memory-only", *(["--quick"] if quick else [])]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(out.split()[-1])


@dataclass(frozen=True)
class Measured:
    """One run on the synthetic problem; `pursuit` holds our seconds, mergekit's, and how far they agree."""

    total: float
    steps: dict
    counts: np.ndarray
    literal: float
    error: float
    pursuit: tuple
    pursued: int
    rates: dict


def measure(size, batch_omp):
    """Time everything; peers before and after `salt`, so that the machine's load falls on all."""
    rates = {dtype: gemm_rate(dtype) for dtype in DTYPES}
    problem = make_problem(size)
    tokens = problem.new_ids[:: max(1, size.new // size.literal_sample)]
    pursued = problem.new_ids[:: max(1, size.new // size.pursuit_sample)][: size.pursuit_sample]
    middle, pursued_middle = len(tokens) // 2, len(pursued) // 2
    before, exact_before = time_literal(problem, tokens[:middle])
    ours_before = pursue_both(problem, pursued[:pursued_middle], batch_omp)
    matrix, total, steps, found = run_salt(problem)
    after, exact_after = time_literal(problem, tokens[middle:])
    ours_after = pursue_both(problem, pursued[pursued_middle:], batch_omp)
    rates = {dtype: max(rate, gemm_rate(dtype)) for dtype, rate in rates.items()}
    pursuit = (
        ours_before[0] + ours_after[0],
        ours_before[1] + ours_after[1],
        (ours_before[2] + ours_after[2]) / 2,
        max(ours_before[3], ours_after[3]),
    )
    error = relative_error(matrix[tokens], torch.cat([exact_before, exact_after]))
    return Measured(total, steps, found.counts, (before + after) / 2, error, pursuit, len(pursued), rates)


def report_problem(report, size, counts, rates):
    report.say(
        f"Problem: {size.target:,} target tokens, {size.shared:,} of them shared, donor width {size.donor_width}, model"
        f" width {size.model_width}, source vocabulary {size.source:,}; neighbours sought in the donor's own space."
        " Donor rows are synthetic, seeded (`donor_rows`: a common direction + 400 topics + 900 senses + noise);"
        f" supports: mean {counts.mean():.0f}, least {counts.min()}, largest {counts.max()}."
    )
    report.say()
    named = ", ".join(
        f"{str(dtype).removeprefix('torch.')} {rate / 1e9:.0f}" for dtype, rate in rates.items()
    )
    report.say(f"Matrix multiply limit in this run (4096 x 4096 x 4096, best of 8), Gflop/s: {named}.")
    report.say()


def report_steps(report, size, steps, total, counts, rates):
    """Share of each step and its distance to the matrix-multiply limit."""
    squares = float((counts.astype(float) ** 2).sum())
    work = {
        "neighbour search": (2.0 * size.new * size.shared * size.donor_width, screening.fastest_dtype()),
        "regression": (2.0 * squares * size.donor_width, torch.float64),
        "application": (2.0 * float(counts.sum()) * size.model_width, torch.float32),
    }
    report.say("| step of `salt` | seconds | share | operations | of the multiply limit |")
    report.say("|---|---|---|---|---|")
    for name, seconds in steps.items():
        cells = "| - | - |"
        if name in work:
            operations, dtype = work[name]
            kind = str(dtype).removeprefix("torch.")
            cells = f"| {operations / 1e12:.2f} T {kind} | {operations / seconds / rates[dtype]:.0%} |"
        report.say(f"| {name} | {seconds:.1f} | {seconds / total:.0%} {cells}")
    report.say()
    least = sum(operations / rates[dtype] for operations, dtype in work.values())
    report.say(
        f"At the multiply limit of each dtype the three would take {least:.1f} s: `salt` takes"
        f" {total / least:.1f} times that. The application reads rows rather than multiplies, so memory bounds it."
    )
    report.say()


def report_claims(report, size, measured, quick, compared):
    """The table of what was wanted and what came out; the memory is measured here."""
    total, literal = measured.total, measured.literal
    report.say("| claim | wanted | measured |")
    report.say("|---|---|---|")
    report.say(
        f"| `salt` against the literal formula, token by token | 50 | {literal * size.new / total:.0f} times"
        f" ({total:.0f} s; {1e3 * literal:.0f} ms a token on a sample, {literal * size.new:.0f} s for all) |"
    )
    ours, theirs, same, gap = measured.pursuit
    if compared:
        extrapolated = theirs / measured.pursued * size.new
        report.say(
            f"| `salt` against mergekit's `batch_omp`, k = {ATOMS} | 30 | {extrapolated / total:.0f} times"
            f" ({1e3 * theirs / measured.pursued:.0f} ms a token on {measured.pursued} in batches of {MERGEKIT_BATCH},"
            f" {extrapolated:.0f} s for all, without applying the coefficients) |"
        )
        report.say(
            f"| our `omp` against it | 3 | {theirs / ours:.1f} times ({1e3 * ours / measured.pursued:.0f} ms a token);"
            f" identical supports in the same order: {same:.2%}, largest relative gap of their coefficients {gap:.0e} |"
        )
    report.say(
        f"| largest relative error of `salt`'s rows against the formula | 1e-5 | {measured.error:.1e} |"
    )
    matrix_bytes = 4 * size.model_width * (size.source + size.target)
    past = (peak_memory(quick) - matrix_bytes) / 2**30
    report.say(
        f"| peak memory past the two matrices ({matrix_bytes / 2**30:.2f} GiB) | 2 GiB | {past:.2f} GiB"
        " (a process of its own, donor, imports and all) |"
    )
    report.say()
    report.say(
        "Times for all new tokens are extrapolated from the samples, which were timed before and after `salt`; ours and"
        " mergekit's pursuit took the same batches in turn."
    )
    report.say()


def report_real(report):
    problem = real_problem()
    if problem is None:
        report.say(
            "Real data: left out, smollm2-135m-instruct or multilingual-e5-small is not in the asset cache."
        )
        return
    known = problem.new_ids[problem.donor.target_known[problem.new_ids]]
    tokens = known[:: max(1, len(known) // 24)]
    shared = len(problem.shared_ordinary(problem.donor.target_known)[0])
    before, _ = time_literal(problem, tokens)
    matrix, total, steps, found = run_salt(problem)
    after, rows = time_literal(problem, tokens)
    each = (before + after) / 2
    error = relative_error(matrix[tokens], rows)
    report.say(
        f"SmolLM2-135M x multilingual-E5-small, whole vocabulary: {len(problem.new_ids):,} new tokens, {shared:,}"
        f" shared, widths {rows.shape[1]} and {problem.donor.target.shape[1]}, supports of {found.counts.mean():.0f}"
        f" (largest {found.counts.max()}): {total:.1f} s ("
        + ", ".join(f"{name} {seconds:.1f}" for name, seconds in steps.items())
        + f"); the literal formula takes {1e3 * each:.1f} ms a token, {each * len(problem.new_ids) / total:.0f} times"
        f" as long for all. Largest relative error of {len(tokens)} rows: {error:.1e}."
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a small problem; writes no results page")
    parser.add_argument(
        "--memory-only", action="store_true", help="run salt alone and print the peak in bytes"
    )
    options = parser.parse_args()
    size = QUICK if options.quick else Size()
    if options.memory_only:
        run_salt(make_problem(size))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
        return
    report, batch_omp = Report(), find_batch_omp()
    report.say("# Speed and memory of vocabulary transfer")
    report.say()
    report.say(
        f"Made by `{COMMAND}`. {processor()}, {os.cpu_count()} cores, torch {torch.__version__},"
        f" {torch.get_num_threads()} threads. Other programs running at the start: load {os.getloadavg()[0]:.1f}."
    )
    report.say()
    measured = measure(size, batch_omp)
    report_problem(report, size, measured.counts, measured.rates)
    report_steps(report, size, measured.steps, measured.total, measured.counts, measured.rates)
    report_claims(report, size, measured, options.quick, batch_omp is not None)
    report_real(report)
    if not options.quick:
        RESULTS.write_text("\n".join(report.lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

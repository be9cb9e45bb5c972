"""The results page of `patching_sweep.py`: what was measured, beside what was wanted and what the plan counts."""

import os
import platform
import statistics
from pathlib import Path

import torch
import transformers
from patching_curve import counts
from patching_parts import REMARKS, TITLES, Report, ratio, report_agreement, report_curve, report_second
from patching_peers import released_forwards
from patching_problem import on_one_thread, timed

WANTED = {"first-token": 80, "generate": 10}


def write_report(page, problem, options, found, forwards, second, agreement, curve):
    """Print everything; write the page and its figure where there is one to be written."""
    report = Report()
    report.say("# Speed of latent transplantation")
    report.say()
    report_machine(report, problem, options)
    report_claims(report, problem, found, forwards)
    report_times(report, problem, found)
    report_cost(report, problem, options, found, forwards)
    if second is not None:
        report_second(report, problem, options, second)
    if agreement:
        report_agreement(report, agreement)
    if curve:
        report_curve(report, curve, page)
    for line in REMARKS.splitlines():
        report.say(line)
    if page is not None:
        page.write_text("\n".join(report.lines).rstrip() + "\n", encoding="utf-8")


def processor():
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.processor())


def command(options):
    given = []
    if options.shape:
        given += ["--shape", options.shape]
    elif options.model != "smollm2-135m-instruct":
        given += ["--model", options.model]
    if options.pairs:
        given += ["--pairs", options.pairs.name]
    for name, value, usual in (
        ("--device", options.device, "cpu"),
        ("--dtype", options.dtype, "float32"),
        ("--second-threads", options.second_threads, 0),
        ("--rounds", options.rounds, 2),
        ("--sample", options.sample, 6),
    ):
        given += [name, str(value)] if value != usual else []
    names = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")
    start = "".join(f"{name}={os.environ[name]} " for name in names if name in os.environ)
    return " ".join([f"{start}python benchmarks/patching_sweep.py", *given])


def multiply_rate(problem, size=2048):
    """Largest number of floating-point operations a second in a square product of the model's type."""
    left = torch.randn(size, size, dtype=problem.model.dtype, device=problem.device)
    best = min(timed(lambda: left @ left.T, problem.device)[1] for _ in range(8))
    return 2 * size**3 / best


def report_machine(report, problem, options):
    config = problem.model.config
    where = torch.cuda.get_device_name(problem.device) if problem.device.type == "cuda" else processor()
    report.say(
        f"Made by `{command(options)}`. {where}, {torch.get_num_threads()} of {os.cpu_count()} cores used,"
        f" torch {torch.__version__}, transformers {transformers.__version__}. Load of the machine {options.load:.1f}"
        f" before, {os.getloadavg()[0]:.1f} at the end, this program included."
        + (
            " Seconds are of the processor, not of the clock: other programs then count little."
            if on_one_thread(problem.device)
            else ""
        )
    )
    report.say()
    report.say(
        f"Problem: {problem.name} ({problem.layers} layers, width {config.hidden_size}, vocabulary"
        f" {config.vocab_size:,}, {str(problem.model.dtype).removeprefix('torch.')}), a donor prompt of"
        f" {len(problem.donor)} tokens and a receiver prompt of {len(problem.receiver)}, all {problem.layers**2}"
        " pairs of layers. The model is loaded once for all."
    )
    report.say()
    sampled = options.rounds * options.sample
    report.say(
        f"Lingraft is `sweep_instance`, everything in it: both prefills, the rows, their scores, the two prompts' own"
        f" answers. The released algorithm is written anew (`benchmarks/patching_peers.py`): for every pair one token"
        f" is generated from the donor prompt, and 1 or 20 from the patched receiver prompt; in its favour, loading the"
        f" model for every pair is left out. It is timed on {sampled} random pairs (seed {options.seed}) in"
        f" {options.rounds} rounds that take turns with Lingraft, and extrapolated to all pairs by its median."
        " The plain loop reads the donor once and runs one hook and one forward (or generation) a pair."
        + (
            f" nnsight {options.nnsight.__version__}: one trace a receiver layer, all donor layers as a batch of"
            f" whole prompts, timed on {options.rounds} receiver layers (20 tokens: one)."
            if options.nnsight
            else " nnsight is not installed here: `pip install nnsight` adds its row."
        )
    )
    report.say()


def report_claims(report, problem, found, forwards):
    rows = []
    for score, wanted in WANTED.items():
        ratios = {
            site: ratio(problem, found[site, score], "released") for site, kind in found if kind == score
        }
        rows.append(
            [
                f"all pairs against the released algorithm, {TITLES[score]}",
                f"{wanted} times faster",
                ", ".join(f"{value:.0f} times ({site})" for site, value in ratios.items()),
            ]
        )
    last, every = map(statistics.median, forwards)
    maps = {site: found[site, "first-token"].middle("ours") for site, kind in found if kind == "first-token"}
    rows.append(
        [
            "the first-token map in ordinary forwards over both prompts, one after the other",
            "at most 4",
            ", ".join(
                f"{spent / last:.1f} ({site}; {spent / every:.1f} of forwards with every token's logits)"
                for site, spent in maps.items()
            ),
        ]
    )
    same = [equal for seconds in found.values() for answers in seconds.agree.values() for equal in answers]
    rows.append(
        [
            "answers equal to the peers' (first tokens; whole texts)",
            "all" if problem.model.dtype == torch.float32 else "reported",
            f"{sum(same):,} of {len(same):,}",
        ]
    )
    report.table(["claim", "wanted", "measured"], rows)


def report_times(report, problem, found):
    report.say("## All pairs, seconds")
    report.say()
    rows = []
    names = {"released": "released", "hook": "plain loop", "traced": "nnsight, a trace a layer"}
    for (site, score), seconds in found.items():
        mine = seconds.middle("ours")
        span = f"{min(seconds.ours):.1f} to {max(seconds.ours):.1f}"
        cells = []
        for name in names:
            each = seconds.middle(name)
            if each is None:
                cells.append("-")
                continue
            total = each * (problem.layers if name == "traced" else problem.layers**2)
            equal = seconds.agree[name]
            cells.append(f"{total:,.0f} ({total / mine:.0f} times; equal {sum(equal)} of {len(equal)})")
        rows.append([site, TITLES[score], f"{mine:.1f} ({span}, {len(seconds.ours)} runs)", *cells])
    report.table(["site", "score", "Lingraft", *names.values()], rows)
    report.say(
        "Peers' totals are extrapolated from medians; in brackets, how many times Lingraft's median, and how many of"
        " the timed answers are the same as Lingraft's."
    )
    report.say()


def report_cost(report, problem, options, found, forwards):
    report.say("## Counted, and against the limit of the machine")
    report.say()
    rate, pairs = multiply_rate(problem), problem.layers**2
    last = statistics.median(forwards[0])
    rows = []
    for score, new_tokens in (("first-token", 1), ("generate", 20)):
        cost = counts(problem, score, new_tokens, options.memory_bytes)
        mine = found["ffn", score].middle("ours")
        passed = (len(problem.donor) + len(problem.receiver) + new_tokens - 1) * problem.layers * pairs
        rows.append(
            [
                TITLES[score],
                f"{cost.forwards:,}",
                f"{released_forwards(pairs, new_tokens):,}",
                f"{cost.token_layers:,}",
                f"{passed:,} ({passed / cost.token_layers:.0f} times)",
                f"{cost.flops / 1e12:.2f} T",
                f"{mine:.1f} s",
                f"{cost.flops / rate:.1f} s",
            ]
        )
    report.table(
        [
            "score",
            "forwards",
            "released",
            "token-layers",
            "released",
            "operations of matrices",
            "measured (ffn)",
            "at the multiply limit",
        ],
        rows,
    )
    counted = counts(problem, "first-token", 1, options.memory_bytes).token_layers
    plain = (len(problem.donor) + len(problem.receiver)) * problem.layers
    head = problem.model.config.hidden_size * problem.model.config.vocab_size
    body = sum(p.numel() for n, p in problem.model.named_parameters() if ".layers." in n) / problem.layers
    report.say(
        f"One forward over both prompts passes {plain:,} token-layers in {last:.2f} s; the first-token map passes"
        f" {counted:,}, {counted / plain:.2f} times as many, and besides gives every row its logits over the"
        f" vocabulary, as much as {pairs * head / body:,.0f} token-layers ({pairs * head / body / plain:.2f} forwards)."
        f" Multiply limit in this run (2048 x 2048 x 2048, best of 8): {rate / 1e9:.0f} Gflop/s; attention scores,"
        " softmax and copies are not among the operations counted."
    )
    report.say()

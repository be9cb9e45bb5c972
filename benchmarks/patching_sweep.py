"""The whole map of layer pairs against XTransplant's released algorithm, the plain loop and nnsight, in one run.

    OMP_NUM_THREADS=1 python benchmarks/patching_sweep.py            # SmolLM2-135M, writes the results page
    python benchmarks/patching_sweep.py --shape tiny --quick         # a small random model, to see it run
    python benchmarks/patching_sweep.py --shape llama-2-7b --device cuda --dtype bfloat16

The first needs `lingraft assets fetch smollm2-135m-instruct`. nnsight (`pip install nnsight`) is left out where it is
absent. Peers are timed on a random sample of pairs, in turn with Lingraft; the model is loaded once for all.
"""

import argparse
import os
import random
import statistics
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import torch
from patching_curve import measure_curve
from patching_halves import measure_agreement
from patching_page import write_report
from patching_peers import donor_values, find_nnsight, one_hook, released, traced_layer
from patching_problem import LENGTH, SHAPES, random_problem, real_problem, timed

from lingraft.patching.sweep import SweepSettings, sweep_instance

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "patching_speed.md"
SITES = ("ffn", "attn")
NEW_TOKENS = {"first-token": 1, "generate": 20}


@dataclass
class Seconds:
    """Timings of one site and score; peers by pair, nnsight by receiver layer."""

    ours: list = field(default_factory=list)
    released: list = field(default_factory=list)
    hook: list = field(default_factory=list)
    traced: list = field(default_factory=list)
    agree: dict = field(default_factory=lambda: defaultdict(list))

    def middle(self, name):
        values = getattr(self, name)
        return statistics.median(values) if values else None


def ours(problem, site, score, memory_bytes):
    settings = SweepSettings((site,), score, new_tokens=NEW_TOKENS[score], memory_bytes=memory_bytes)
    return sweep_instance(problem.model, problem.tokenizer, problem.prompt, settings)


def answer_of(answers, layers, donor_layer, receiver_layer):
    """The answer of one pair: rows run over receiver layers, then donor layers."""
    row = receiver_layer * layers + donor_layer
    return int(answers.rows.token_id[row]) if answers.rows.text is None else answers.rows.text[row]


def said(problem, tokens, score):
    return tokens[0] if score == "first-token" else problem.decode(until_end(problem, tokens))


def until_end(problem, tokens):
    """Without the padding of a batch whose rows end at different times."""
    ends = problem.model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    stop = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[: stop + 1]


def measure_forwards(problem, times):
    """Medians of one ordinary forward over both prompts, with the last token's logits and with all tokens'."""

    @torch.no_grad()
    def both(**options):
        for ids in (problem.donor, problem.receiver):
            problem.model(input_ids=problem.tensor(ids), use_cache=True, **options)

    last = [timed(lambda: both(logits_to_keep=1), problem.device)[1] for _ in range(times)]
    every = [timed(both, problem.device)[1] for _ in range(times)]
    return last, every


def measure_round(problem, site, score, pairs, layers, seconds, options):
    """Lingraft, then the peers on these pairs and (nnsight) receiver layers; compare every answer."""
    new_tokens = NEW_TOKENS[score]
    answers, spent = timed(lambda: ours(problem, site, score, options.memory_bytes), problem.device)
    seconds.ours.append(spent)
    values = donor_values(problem, site)
    for giver, taker in pairs:
        mine = answer_of(answers, problem.layers, giver, taker)
        for name, call in (
            ("released", lambda g=giver, t=taker: released(problem, site, g, t, new_tokens)),
            ("hook", lambda g=giver, t=taker: one_hook(problem, site, values[g], t, new_tokens)),
        ):
            tokens, spent = timed(call, problem.device)
            getattr(seconds, name).append(spent)
            seconds.agree[name].append(said(problem, tokens, score) == mine)
    for taker in layers if options.nnsight else ():
        rows, spent = timed(
            lambda t=taker: traced_layer(options.nnsight, problem, site, values, t, new_tokens),
            problem.device,
        )
        seconds.traced.append(spent)
        for giver, tokens in enumerate(rows):
            mine = answer_of(answers, problem.layers, giver, taker)
            seconds.agree["traced"].append(said(problem, tokens, score) == mine)


def measure(problem, options):
    """Everything in turn: `(site, score)` to its timings, and the forwards'."""
    draw = random.Random(options.seed)
    every = [(giver, taker) for giver in range(problem.layers) for taker in range(problem.layers)]
    chosen = draw.sample(every, min(options.sample * options.rounds, len(every)))
    takers = draw.sample(range(problem.layers), min(options.rounds, problem.layers))
    found = {(site, score): Seconds() for score in NEW_TOKENS for site in SITES}
    last, all_tokens = [], []
    ours(problem, "ffn", "first-token", options.memory_bytes)
    for number in range(options.rounds):
        some = chosen[number * options.sample : (number + 1) * options.sample]
        for (site, score), seconds in found.items():
            for kept, new in zip((last, all_tokens), measure_forwards(problem, 2), strict=True):
                kept.extend(new)
            # A trace of a whole generation takes long: in the first round only.
            traced = takers[number : number + 1] if score == "first-token" or not number else []
            measure_round(problem, site, score, some, traced, seconds, options)
            log(options, f"round {number + 1} of {options.rounds}: {site}, {score}")
    # First tokens are quick: once more of each, so that a disturbance of one moment does not count.
    for site in SITES:
        for _ in range(2):
            _, spent = timed(
                lambda s=site: ours(problem, s, "first-token", options.memory_bytes), problem.device
            )
            found[site, "first-token"].ours.append(spent)
    return found, last, all_tokens


def measure_threads(problem, options, threads):
    """A short second measurement with another number of threads: the ffn site, a few pairs, no nnsight."""
    kept = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        short = argparse.Namespace(**{**vars(options), "nnsight": None})
        found = {("ffn", score): Seconds() for score in NEW_TOKENS}
        pairs = [(layer, (7 * layer + 3) % problem.layers) for layer in range(0, problem.layers, 5)]
        last, _ = measure_forwards(problem, 5)
        for (site, score), seconds in found.items():
            measure_round(problem, site, score, pairs, [], seconds, short)
        return found, last
    finally:
        torch.set_num_threads(kept)


def log(options, line):
    if not options.quiet:
        print(line, file=sys.stderr, flush=True)


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m-instruct", help="a Llama-shaped model")
    parser.add_argument("--shape", choices=sorted(SHAPES), help="a random model instead")
    parser.add_argument("--pairs", type=Path, help="prompts: a JSONL file as `lingraft patch sweep` reads it")
    parser.add_argument("--tokens", type=int, default=LENGTH, help="length of the prompts")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=2, help="how often Lingraft and the peers take turns")
    parser.add_argument("--sample", type=int, default=6, help="pairs a round that the peers are timed on")
    parser.add_argument(
        "--second-threads", type=int, default=0, help="a short second part with so many threads"
    )
    parser.add_argument("--memory-mib", type=int, default=2048, help="memory that rows may take")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the page; by default the results page of the default model")
    parser.add_argument(
        "--quick", action="store_true", help="one round, two pairs, a short curve; writes no page"
    )
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.sample = 1, 2
    options.memory_bytes = options.memory_mib * 2**20
    options.nnsight = find_nnsight()
    options.load = os.getloadavg()[0]
    return options


def main():
    options = parse()
    if options.shape:
        problem = random_problem(
            options.shape,
            SHAPES[options.shape],
            dtype=getattr(torch, options.dtype),
            device=options.device,
            length=options.tokens,
        )
    else:
        problem = real_problem(
            options.model,
            dtype=options.dtype,
            device=options.device,
            pairs=options.pairs,
            length=options.tokens,
        )
    found, last, every = measure(problem, options)
    second = None
    if options.second_threads:
        second = measure_threads(problem, options, options.second_threads)
        log(options, f"{options.second_threads} threads done")
    agreement = measure_agreement(problem, options)
    log(options, "bfloat16 done")
    curve = [] if options.shape == "llama-2-7b" else measure_curve(options)
    plain = not (options.shape or options.pairs or options.quick)
    page = options.out or (RESULTS if plain else None)
    write_report(page, problem, options, found, (last, every), second, agreement, curve)


if __name__ == "__main__":
    main()

"""How far bfloat16 changes a map: rows in one batch against one hook and one forward, and both against float32."""

import copy
import random
from dataclasses import dataclass, replace

import torch
from patching_peers import donor_values, one_hook
from patching_problem import timed

from lingraft.patching.sweep import SweepSettings, sweep_instance

PAIRS = 60
TEXTS = 12


@dataclass(frozen=True)
class Agreement:
    """One site. Shares of equal first tokens and (ffn alone) of equal 20-token texts; seconds of the bfloat16 map."""

    site: str
    pairs: int
    texts: int
    batched_naive: float
    batched_float: float
    naive_float: float
    all_float: float
    batched_naive_texts: float
    seconds: float
    text_seconds: float


def share(left, right):
    return sum(a == b for a, b in zip(left, right, strict=True)) / len(left)


def measure_agreement(problem, options):
    """Both sites, on a sample of pairs; nothing where the model is no float32 one to begin with."""
    if problem.model.dtype != torch.float32:
        return []
    halves = replace(problem, model=copy.deepcopy(problem.model).to(torch.bfloat16))
    pairs = [(giver, taker) for giver in range(problem.layers) for taker in range(problem.layers)]
    chosen = random.Random(options.seed + 1).sample(pairs, min(4 if options.quick else PAIRS, len(pairs)))
    return [_agreement(problem, halves, site, chosen, options.memory_bytes) for site in ("ffn", "attn")]


def _agreement(problem, halves, site, chosen, memory_bytes):
    def sweep(which, score):
        settings = SweepSettings((site,), score, memory_bytes=memory_bytes)
        return timed(
            lambda: sweep_instance(which.model, which.tokenizer, which.prompt, settings).rows, which.device
        )

    whole, _ = sweep(problem, "first-token")
    sweep(halves, "first-token")
    batched, seconds = sweep(halves, "first-token")
    values, exact_values = donor_values(halves, site), donor_values(problem, site)
    rows = [taker * problem.layers + giver for giver, taker in chosen]
    naive = [one_hook(halves, site, values[giver], taker, 1)[0] for giver, taker in chosen]
    exact = [one_hook(problem, site, exact_values[giver], taker, 1)[0] for giver, taker in chosen]
    mine = [int(batched.token_id[row]) for row in rows]
    texts, text_seconds = sweep(halves, "generate") if site == "ffn" else (batched, 0.0)
    some = list(zip(chosen, rows, strict=True))[:TEXTS] if site == "ffn" else []
    alone = [halves.decode(one_hook(halves, site, values[giver], taker, 20)) for (giver, taker), _ in some]
    return Agreement(
        site=site,
        pairs=len(chosen),
        texts=len(some),
        batched_naive=share(mine, naive),
        batched_float=share(mine, exact),
        naive_float=share(naive, exact),
        all_float=share(batched.token_id.tolist(), whole.token_id.tolist()),
        batched_naive_texts=share([texts.text[row] for _, row in some], alone) if some else 0.0,
        seconds=seconds,
        text_seconds=text_seconds,
    )

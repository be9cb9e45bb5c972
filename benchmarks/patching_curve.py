"""What a map costs as layers N and prompt length T grow, beside what the plan counts."""

import statistics
from dataclasses import dataclass

import torch
from patching_peers import released
from patching_problem import curve_problem, timed

from lingraft.patching.pairs import all_pairs
from lingraft.patching.plan import plan_sweep
from lingraft.patching.sweep import SweepSettings, sweep_instance

LAYERS = (4, 8, 16, 32)
LENGTHS = (32, 128, 512)
SAMPLE = 6
TEXT_LENGTH = 128
"""Where 20 tokens are generated too."""


@dataclass(frozen=True)
class Point:
    """One model and length; seconds, and counts of the plan. `released` is extrapolated from a few pairs."""

    layers: int
    length: int
    counted: int
    counted_text: int
    forward: float
    first: float
    text: float | None
    released: float

    @property
    def counted_forwards(self):
        """The map's token-layers in forwards over both prompts."""
        return self.counted / (2 * self.layers * self.length)


def measure_curve(options):
    device = torch.device(options.device)
    layers, lengths = ((4, 8), (32, 128)) if options.quick else (LAYERS, LENGTHS)
    return [
        _point(curve_problem(n, t, device=device), options, texts=t == TEXT_LENGTH)
        for t in lengths
        for n in layers
    ]


def counts(problem, score, new_tokens, memory_bytes):
    """What the plan says of one instance with every pair."""
    return plan_sweep(
        problem.model,
        [problem.prompt],
        all_pairs(problem.layers),
        score=score,
        new_tokens=new_tokens,
        budget_bytes=memory_bytes,
    )


def _point(problem, options, *, texts):
    def sweep(score):
        settings = SweepSettings(("ffn",), score, memory_bytes=options.memory_bytes)
        return sweep_instance(problem.model, problem.tokenizer, problem.prompt, settings)

    @torch.no_grad()
    def forwards():
        for ids in (problem.donor, problem.receiver):
            problem.model(input_ids=problem.tensor(ids), use_cache=True, logits_to_keep=1)

    def median(function, times):
        function()
        return statistics.median(timed(function, problem.device)[1] for _ in range(times))

    spread = [(k % problem.layers, (3 * k + 1) % problem.layers) for k in range(SAMPLE)]
    pair = statistics.median(
        timed(lambda g=giver, t=taker: released(problem, "ffn", g, t, 1), problem.device)[1]
        for giver, taker in spread
    )
    return Point(
        layers=problem.layers,
        length=len(problem.receiver),
        counted=counts(problem, "first-token", 1, options.memory_bytes).token_layers,
        counted_text=counts(problem, "generate", 20, options.memory_bytes).token_layers,
        forward=median(forwards, 5),
        first=median(lambda: sweep("first-token"), 3),
        text=timed(lambda: sweep("generate"), problem.device)[1] if texts else None,
        released=pair * problem.layers**2,
    )

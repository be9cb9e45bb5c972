"""Where the time of a step goes, and how far it is from what matrix products alone would take."""

import time
from collections import Counter

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

PARTS = {
    "output head, softmax and log-probabilities": ("_FrozenHead", "ChunkedLogProb"),
    "attention itself": ("_Attention", "scaled_dot_product", "ScaledDotProduct"),
    "optimiser": ("Optimizer.",),
}
PRODUCTS, REST = "matrix products of layers", "norms, rotary positions, activations, copies, sums"
OUTSIDE = "Python and the loop"
MATMUL = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")


class Window:
    """Switches something on after the first step of a run and off after the last."""

    def __init__(self, manager, first, last):
        self.manager, self.first, self.last, self.seconds = manager, first, last, 0.0

    def __call__(self, step):
        if step == self.first:
            self.manager.__enter__()
            self.seconds = time.perf_counter()
        elif step == self.last:
            self.seconds = time.perf_counter() - self.seconds
            self.manager.__exit__(None, None, None)


def part_of(event):
    names, at = [], event
    while at is not None:
        names.append(at.name)
        at = at.cpu_parent
    for part, marks in PARTS.items():
        if any(mark in name for name in names for mark in marks):
            return part
    return PRODUCTS if event.name in MATMUL else REST


def shares(run, steps):
    """What part of the seconds of the steps after the first each thing takes; `run(around)` is a training."""
    window = Window(profile(activities=[ProfilerActivity.CPU]), 1, steps)
    run(window)
    spent = Counter()
    for event in window.manager.events():
        spent[part_of(event)] += event.self_cpu_time_total / 1e6
    spent[OUTSIDE] = max(0.0, window.seconds - spent.total())
    whole = spent.total()
    order = (PRODUCTS, *PARTS, REST, OUTSIDE)
    return {name: spent[name] / whole for name in order}


def operations(run, steps):
    """Floating-point operations of matrix products of a step."""
    window = Window(FlopCounterMode(display=False), 1, steps)
    run(window)
    return window.manager.get_total_flops() / (steps - 1)


def matmul_limit(dtype=torch.bfloat16, size=2048, times=8):
    """Most operations a second of the processor of a square product, on torch's threads."""
    left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(times):
        begin = time.process_time()
        left @ right
        best = min(best, time.process_time() - begin)
    return 2 * size**3 / best

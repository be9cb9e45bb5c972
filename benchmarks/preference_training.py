"""Speed and memory of cross-lingual preference training, beside TRL's DPOTrainer.

    python benchmarks/preference_training.py [--models smollm2-135m-instruct] [--lengths 128/128,32/128,256/64]
        [--parameters attention,full] [--items 1] [--steps 1] [--rounds 3] [--page docs/results/preference_speed.md]

Lengths are tokens of prompt/answer; `128/128~` draws each between a half and one and a half of that. `--items` items a
step, each two preferences. Lingraft and TRL take turns on the same token ids, each on its own copy of the model, in
bfloat16; the first step of each run is thrown away. Seconds are of the processor: other programs then count little.
Memory is measured in processes of their own. `--kept FILE` keeps what is measured; a second start goes on from it.
"""

import argparse
import copy
import json
import os
import time
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TQDM_DISABLE", "1")

import preference_memory
import preference_parts as parts
import preference_peers as peers
import torch
from preference_page import page_lines
from transformers.utils import logging

from lingraft.models.loading import load_model

VARIANTS = {
    "fastest": {},
    "compact": {"compact": True},
    "online": {"online": True},
    "default": {"online": True, "checkpointing": True},
}
"""Ways of running TRL; see preference_page.py. The first is timed in every round, the others where asked."""
MEMORY_ITEMS, SAME_TOKENS = 2, 3
"""Items a piece where memory is measured; three of `sft-both` have as many tokens as two of `clo` have, where prompts
are as long as answers."""


class Kept:
    """What has been measured, by name; in a file where one is given."""

    def __init__(self, file):
        self.file = file
        self.values = json.loads(file.read_text(encoding="utf-8")) if file and file.exists() else {}

    def get(self, name, measure):
        if name not in self.values:
            begin = time.perf_counter()
            self.values[name] = measure()
            print(f"{name}: {self.values[name]} ({time.perf_counter() - begin:.0f} s)", flush=True)
            if self.file:
                self.file.write_text(json.dumps(self.values, indent=1), encoding="utf-8")
        return self.values[name]


class Models:
    """Two copies of a model, loaded when they are first needed."""

    def __init__(self):
        self.reference = self.loaded = None

    def take(self, reference):
        if self.reference != reference:
            self.loaded = None
            found = load_model(reference, dtype="bfloat16", device="cpu")
            self.reference = reference
            self.loaded = (found.model, copy.deepcopy(found.model), found.tokenizer)
        return self.loaded


def measure_speed(options, cases, kept, models):
    for reference, length, parameters in cases:
        for turn in range(options.rounds):
            which = [name for name in VARIANTS if name == "fastest" or name in options.variants]

            def run(how, *, reference=reference, length=length, parameters=parameters, turn=turn):
                prompt, answer = map(int, length.rstrip("~").split("/"))
                mine, theirs, tokenizer = models.take(reference)
                count = options.items * (peers.SKIPPED + options.steps)
                items = peers.random_items(
                    count, prompt, answer, mine.config.vocab_size, turn, ragged=length.endswith("~")
                )
                if how == "ours":
                    return asdict(peers.ours(mine, items, options.items, parameters))
                return asdict(
                    peers.trl_dpo(theirs, tokenizer, items, options.items, parameters, **VARIANTS[how])
                )

            # Who begins changes from round to round.
            turns = ["ours", *which] if turn % 2 == 0 else [*which, "ours"]
            # All ways of running TRL where attention learns, at the first lengths.
            extra = (length, parameters) == (options.lengths[0], options.parameters[0])
            for how in turns:
                if how in ("ours", "fastest") or extra:
                    name = f"speed {reference} {length} {options.items} {parameters} {turn} {how}"
                    kept.get(name, lambda how=how: run(how))


def measure_parts(options, kept, models):
    """Shares and operations of a step, on the first model and lengths, training attention."""
    reference, length = options.models[0], options.lengths[0]
    prompt, answer = map(int, length.rstrip("~").split("/"))
    steps = peers.SKIPPED + 1

    def runs():
        mine, theirs, tokenizer = models.take(reference)
        items = peers.random_items(steps * options.items, prompt, answer, mine.config.vocab_size, 0)
        return {
            "ours": lambda around: peers.ours(mine, items, options.items, "attention", around=around),
            "fastest": lambda around: peers.trl_dpo(
                theirs, tokenizer, items, options.items, "attention", around=around
            ),
        }

    for how in ("ours", "fastest"):
        kept.get(f"shares {how}", lambda how=how: parts.shares(runs()[how], steps))
        kept.get(f"operations {how}", lambda how=how: parts.operations(runs()[how], steps))
    kept.get("limit", lambda: max(parts.matmul_limit() for _ in range(3)))


def measure_memory(options, kept):
    reference, length = options.models[0], options.lengths[0]
    prompt, answer = map(int, length.rstrip("~").split("/"))
    for parameters in options.parameters:
        cases = [("clo", MEMORY_ITEMS), ("clo-by-rows", MEMORY_ITEMS)]
        cases += [("sft-both", SAME_TOKENS), ("sft-both", MEMORY_ITEMS)]
        if parameters == options.parameters[0]:
            cases += [(how, MEMORY_ITEMS) for how in ("trl-dpo", "trl-sft")]
        for how, items in cases:
            for turn in range(options.memory_rounds):
                kept.get(
                    f"memory {parameters} {how} {items} {turn}",
                    lambda how=how, items=items, parameters=parameters: preference_memory.measure(
                        reference, how, parameters, prompt, answer, items
                    ),
                )


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="smollm2-135m-instruct")
    parser.add_argument("--lengths", default="128/128,32/128,256/64,128/128~")
    parser.add_argument("--parameters", default="attention,full")
    parser.add_argument("--variants", default="compact,online,default", help="other ways of running TRL")
    parser.add_argument("--items", type=int, default=1, help="items a step, two preferences each")
    parser.add_argument("--steps", type=int, default=1, help="timed steps of a run, after one that is not")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-rounds", type=int, default=1)
    parser.add_argument("--part", choices=("speed", "memory", "parts", "none"), help="measure this alone")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--kept", type=Path)
    options = parser.parse_args()
    usual = ("models", "lengths", "parameters", "variants", "items", "steps", "rounds", "memory_rounds")
    options.given = "".join(
        f" --{name.replace('_', '-')} {getattr(options, name)}"
        for name in usual
        if getattr(options, name) != parser.get_default(name)
    )
    for name in ("models", "lengths", "parameters", "variants"):
        setattr(options, name, getattr(options, name).split(","))
    # The first model is measured in every case, the others at the first lengths with attention alone.
    options.cases = [(options.models[0], length, p) for length in options.lengths for p in options.parameters]
    options.cases += [(model, options.lengths[0], options.parameters[0]) for model in options.models[1:]]
    return options


def main():
    options = parse()
    logging.set_verbosity_error()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if peers.find_trl() is None:
        raise SystemExit("TRL is not installed: pip install trl")
    kept, models = Kept(options.kept), Models()
    kept.get("load", lambda: os.getloadavg()[0])
    # Tied matrices are one parameter; bfloat16.
    kept.get("weights", lambda: 2 * sum(p.numel() for p in models.take(options.models[0])[0].parameters()))
    # What matters most first, so that a run that is cut short has it.
    first = [case for case in options.cases if case[:2] == (options.models[0], options.lengths[0])]
    others = [case for case in options.cases if case not in first]
    measures = (
        ("speed", lambda: measure_speed(options, first, kept, models)),
        ("memory", lambda: measure_memory(options, kept)),
        ("parts", lambda: measure_parts(options, kept, models)),
        ("speed", lambda: measure_speed(options, others, kept, models)),
    )
    for part, measure in measures:
        if options.part in (None, part):
            measure()
    kept.get("load at the end", lambda: os.getloadavg()[0])
    lines = list(page_lines(options, kept.values))
    print("\n".join(lines))
    if options.page:
        options.page.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

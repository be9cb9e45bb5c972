"""The page of what preference_training.py has measured; what was not measured has no row."""

import os
import platform
import statistics
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path

import torch
from preference_peers import Spent

OURS, FASTEST = "ours", "fastest"
TOLD = {
    FASTEST: "TRL, reference computed before, no checkpointing (its fastest as released)",
    "compact": "the same, changed by us to score answers alone",
    "online": "TRL, reference model in every step, no checkpointing",
    "default": "TRL, reference model in every step, checkpointing (its defaults)",
}


def processor():
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.processor())


def speeds(values):
    """From `(model, lengths, items a step, parameters)` to what each way spent, by round."""
    found = defaultdict(lambda: defaultdict(dict))
    for name, value in values.items():
        if name.startswith("speed "):
            _, model, length, items, parameters, turn, how = name.split()
            found[model, length, items, parameters][how][int(turn)] = Spent(**value)
    return found


def middle(numbers, form):
    """Median and spread."""
    numbers = list(numbers)
    shown = form.format(statistics.median(numbers))
    if len(numbers) == 1:
        return f"{shown} (one round)"
    return f"{shown} ({form.format(min(numbers))} to {form.format(max(numbers))})"


def ratios(mine, theirs, *, reference, clock=0):
    """Round by round, how many times our rate is theirs; a peer with a reference in every step has it included."""
    return [
        mine[turn].rate(reference=reference, clock=clock) / peer.rate(reference=reference, clock=clock)
        for turn, peer in sorted(theirs.items())
        if turn in mine
    ]


def head_lines(options, values):
    yield "# Speed and memory of preference training"
    yield ""
    yield (
        f"Made by `OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']} python benchmarks/preference_training.py"
        f"{options.given}`. {processor()}, {torch.get_num_threads()} of {os.cpu_count()} cores used, torch"
        f" {torch.__version__}, transformers {version('transformers')}, trl {version('trl')}. Load of the machine:"
        f" {values.get('load', 0):.1f} before the start; {values.get('load at the end', 0):.1f} at the end, this"
        " program's own 1 included. Seconds are of the processor, not of the clock."
    )
    yield ""
    yield (
        "Every run is a new trainer on the same token ids (random, so that prompts and answers have exactly these"
        " lengths; `~` draws each between a half and one and a half). An item is 2 preferences, 4 answers."
        " Weights bfloat16, AdamW steps included, the first step thrown away. Lingraft is `train_preference`,"
        " objective `clo`, and steps float32 masters; TRL is `DPOTrainer` with the sigmoid loss on weights that are"
        " bfloat16 without masters, and is given the ids past its tokenization. Both train the same parameters, and"
        " take turns, who is first changing from round to round."
    )
    yield ""


def speed_lines(values):
    yield "## Tokens of answers a second"
    yield ""
    yield (
        "| model | prompt/answer | items a step | trained | | tokens/s, reference left out | Lingraft is"
        " | tokens/s, reference of one epoch included | Lingraft is |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for (model, length, items, parameters), ways in speeds(values).items():
        mine = ways.get(OURS, {})
        for how in (OURS, *TOLD):
            spent = ways.get(how)
            if not spent or not mine:
                continue
            cells = [f"| {model} | {length} | {items} | {parameters} | {TOLD.get(how, 'Lingraft')}"]
            for reference in (False, True):
                if not reference and how in ("online", "default"):
                    cells.append("- | -")
                    continue
                rate = middle((one.rate(reference=reference) for one in spent.values()), "{:.0f}")
                times = ratios(mine, spent, reference=reference)
                cells.append(f"{rate} | {'1' if how == OURS else middle(times, '{:.2f}') + ' times as fast'}")
            yield " | ".join(cells) + " |"
    yield ""
    yield (
        "Ratios are taken round by round, then the median (least to largest). Both references are passes over the"
        " answers that are trained on, so including them means one epoch; with more epochs the truth moves towards the"
        " left column. On a CPU TRL's output head scores every position, prompts too (on a GPU, through Triton, only"
        ' answers), and its metrics of entropy and mean logits come with it. The row "changed by us" takes that'
        " away, so it shows what the shared prompt, one pass of the head and the attention give by themselves."
    )
    yield ""
    clocks = [
        (case, middle(ratios(ways[OURS], ways[FASTEST], reference=True, clock=1), "{:.2f}"))
        for case, ways in speeds(values).items()
        if ways.get(OURS) and ways.get(FASTEST)
    ]
    told = "; ".join(
        f"{length}, {items} item{'' if items == '1' else 's'} a step, {trained}: {ratio}"
        for (_, length, items, trained), ratio in clocks
    )
    yield f"By the clock, reference included: {told}."
    yield ""


def parts_lines(values):
    if "shares ours" not in values and "operations ours" not in values:
        return
    yield "## Where the time goes"
    yield ""
    if "shares ours" in values:
        theirs = values.get("shares fastest", {})
        yield "| share of a step (attention trained, first lengths) | Lingraft | TRL |"
        yield "|---|---|---|"
        for name, share in values["shares ours"].items():
            yield f"| {name} | {share:.0%} | {f'{theirs[name]:.0%}' if theirs else '-'} |"
        yield ""
    if "operations ours" in values:
        limit = values["limit"]
        lines = []
        first = next(iter(speeds(values).values()))
        for how, name in ((OURS, "Lingraft"), (FASTEST, "TRL")):
            work = values.get(f"operations {how}")
            if work is None:
                continue
            seconds = statistics.median(one.step[0] for one in first[how].values())
            lines.append(
                f"{name}'s step is {work / 1e9:.0f} billion operations of matrix products, {work / limit:.2f} s at the"
                f" limit of this machine, and takes {seconds:.2f} s ({work / limit / seconds:.0%} of the limit)"
            )
        yield (
            f"{'; '.join(lines)}. The limit is a bfloat16 product of 2048 x 2048 x 2048 on one thread, best of several:"
            f" {limit / 1e9:.0f} billion operations a second. Operations of the library's fused attention kernel are"
            " not among those counted."
        )
        yield ""


def peaks(values):
    """From `(parameters, how, items a piece)` to bytes above the loaded model, the median of its rounds."""
    found = defaultdict(list)
    for name, value in values.items():
        if name.startswith("memory "):
            _, parameters, how, items, _turn = name.split()
            found[parameters, how, int(items)].append(value["above"])
    return {case: statistics.median(taken) for case, taken in found.items()}


def memory_lines(values):
    found = peaks(values)
    if not found:
        return
    weights = values["weights"]
    names = {
        "clo": "Lingraft, `clo`",
        "clo-by-rows": "Lingraft, `clo`, a piece's rows in groups (`--tokens-together`)",
        "sft-both": "Lingraft, `sft-both`",
        "trl-dpo": "TRL, DPOTrainer, reference computed before",
        "trl-sft": "TRL, SFTTrainer",
    }
    yield "## Memory"
    yield ""
    yield (
        "| trained | | items a piece | peak above the loaded model, MiB | with the weights, MiB | times SFT of the same"
        " program, same items | times SFT, same tokens | times TRL's SFT, same items |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for (parameters, how, items), above in found.items():
        cells = [f"{above / 2**20:,.0f}", f"{(above + weights) / 2**20:,.0f}"]
        sft = {"clo": "sft-both", "clo-by-rows": "sft-both", "trl-dpo": "trl-sft"}.get(how)
        against = [(sft, items), (None, 0), (None, 0)]
        if how == "clo":
            against[1:] = [(sft, 3), ("trl-sft", items)]
        for other in (found.get((parameters, *base)) for base in against):
            if other is None:
                cells.append("-")
                continue
            cells.append(
                f"{above / other:.2f} (weights included {(above + weights) / (other + weights):.2f})"
            )
        yield f"| {parameters} | {names[how]} | {items} | {' | '.join(cells)} |"
    yield ""
    yield (
        "Resident memory of a process of its own, two steps, prompts and answers of the first lengths, without the"
        " libraries. `sft-both` trains on each item's two answers, `clo` on four: two items of `clo` are as many tokens"
        " in a forward pass as three of `sft-both`. A step's pieces (`gradient_accumulation`) change nothing but memory"
        " and a little time, since the loss is normalised by the whole step: so the same tokens are what a training"
        " within a given memory compares. With `--tokens-together` a piece's rows go through the model as many tokens"
        " at a time as supervised training's of the same items, one group after the other."
    )
    yield ""


def speed_aim(values):
    times = defaultdict(list)
    for (model, length, _, trained), ways in speeds(values).items():
        prompt, answer = length.rstrip("~").split("/")
        for how in (FASTEST, "compact") if prompt == answer else ():
            if found := ratios(ways[OURS], ways[how], reference=True):
                times[how].append(f"{statistics.median(found):.2f} ({model}, {length}, {trained})")
    released, changed = (", ".join(times[how]) or "not measured" for how in (FASTEST, "compact"))
    return (
        "Tokens of answers a second where prompts are as long as answers, reference included: at least 1.6 times TRL's."
        f" Came out: {released}; where TRL is changed to score answers alone, {changed}."
    )


def memory_aim(values):
    found, told = peaks(values), []
    for (parameters, how, items), above in found.items():
        if how != "clo":
            continue
        rows, same, tokens = (
            found.get((parameters, *case))
            for case in (("clo-by-rows", items), ("sft-both", items), ("sft-both", 3))
        )
        shares = [
            (above, tokens, "at the same tokens a forward pass"),
            (rows, same, "at the same items, rows in groups"),
            (above, same, "at the same items, all rows at once"),
        ]
        shown = [f"{mine / theirs:.2f} {what}" for mine, theirs, what in shares if mine and theirs]
        told.append(f"{parameters}: {', '.join(shown)}")
    return (
        "Peak memory above the loaded model: at most 1.15 times supervised training's with the same parameters trained."
        f" Came out: {'; '.join(told) or 'not measured'}."
    )


def aim_lines(values):
    """What was wanted, and what came out."""
    yield from ("## What was wanted", "", speed_aim(values), "", memory_aim(values))


def page_lines(options, values):
    yield from head_lines(options, values)
    yield from speed_lines(values)
    yield from parts_lines(values)
    yield from memory_lines(values)
    yield from aim_lines(values)

"""Time and memory of `lingraft merge` beside mergekit and a plain loop over loaded models; writes a page.

    OMP_NUM_THREADS=1 python benchmarks/merging.py --folder /var/tmp/merging --page docs/results/merging.md

A process each, on a real model and two perturbed copies; the peak is that of the process, imports and all.
"""

import argparse
import os
import platform
import resource
import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

BASE = "smollm2-135m-instruct"
NOISE = 0.002
"""Standard deviation of what is added to every weight of a copy."""
BOTTOM, TOP = 5, 2
WEIGHT = 0.7
FOLDER_OPTION = "--folder"


def perturbed(base: Path, out: Path, seed: int) -> None:
    """Save a copy of the model with noise on every weight."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_((NOISE * torch.randn(parameter.shape, generator=generator)).to(parameter.dtype))
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(base).save_pretrained(out)


def imports() -> None:
    """What Lingraft's command imports, and nothing else."""
    import lingraft.cli.app
    import lingraft.preference.merging_plans
    import lingraft.recipes.merging.run  # noqa: F401


def lingraft(verb: str, options: dict[str, object], out: Path) -> None:
    """Run the command."""
    from lingraft.cli.app import main

    given = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    if main(["merge", verb, *given, "--out", str(out)]) != 0:
        sys.exit("lingraft failed")


def mergekit(config: dict[str, object], out: Path) -> None:
    """Run mergekit, which copies no tokenizer here."""
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    options = MergeOptions(quiet=True, copy_tokenizer=False, write_model_card=False)
    run_merge(MergeConfiguration.model_validate({"dtype": "float32", **config}), str(out), options)


def loaded(rule: Callable[..., object], directories: list[Path], out: Path) -> None:
    """Load all models, apply a rule to each parameter, save: what one writes by hand."""
    import torch
    from transformers import AutoModelForCausalLM

    models = [AutoModelForCausalLM.from_pretrained(directory, dtype="auto") for directory in directories]
    with torch.no_grad():
        for parts in zip(*(model.named_parameters() for model in models), strict=True):
            parts[0][1].copy_(rule(parts[0][0], *(value for _, value in parts)))
    models[0].save_pretrained(out)


def own_process(work: Callable[[], None]) -> tuple[float, float]:
    """Run a function in a forked process; return its processor seconds and its peak in MiB."""
    child = os.fork()
    if child == 0:
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1)
        work()
        os._exit(0)
    _, status, usage = os.wait4(child, 0)
    if status != 0:
        sys.exit(f"a measurement failed: {status}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def largest_gap(ours: Path, theirs: Path) -> str:
    """The largest difference between two checkpoints, tensor by tensor."""
    import torch

    from lingraft.preference.tensor_stream import read_blocks, read_slots

    first, second = read_slots(ours, "ours"), read_slots(theirs, "theirs")
    same = first.keys() & second.keys()
    gap = 0.0
    for name in same:
        for one, other in read_blocks([first[name], second[name]]):
            gap = max(gap, float((one.double() - other.double()).abs().max()))
    assert len(same) == len(first) and torch.isfinite(torch.tensor(gap))
    return "0" if gap == 0 else f"{gap:.0e}"


def problems(folder: Path, base: Path) -> dict[str, dict[str, Callable[[Path], None]]]:
    """Each verb's ways, by name."""
    one, two = folder / "one", folder / "two"
    layers = 30
    slices = [(one, [0, BOTTOM]), (two, [BOTTOM, layers - TOP]), (one, [layers - TOP, layers])]
    inner = tuple(f"layers.{i}." for i in range(BOTTOM, layers - TOP))
    weighted = [{"model": str(base), "parameters": {"weight": 1 - WEIGHT}}]
    weighted += [{"model": str(one), "parameters": {"weight": WEIGHT}}]
    added = [{"model": str(d), "parameters": {"weight": w}} for d, w in ((one, 1.0), (two, WEIGHT))]
    return {
        "interpolate": {
            "lingraft": lambda out: lingraft(
                "interpolate", {"base": base, "tuned": one, "weight": WEIGHT}, out
            ),
            "mergekit linear": lambda out: mergekit({"merge_method": "linear", "models": weighted}, out),
            "models loaded, summed": lambda out: loaded(
                lambda _, a, b: (1 - WEIGHT) * a + WEIGHT * b, [base, one], out
            ),
        },
        "chat-vector": {
            "lingraft": lambda out: lingraft(
                "chat-vector", {"target": one, "chat": two, "base": base, "scale": WEIGHT}, out
            ),
            "mergekit task_arithmetic": lambda out: mergekit(
                {"merge_method": "task_arithmetic", "base_model": str(base), "models": added}, out
            ),
            "models loaded, summed": lambda out: loaded(
                lambda _, a, b, c: a + WEIGHT * (b - c), [one, two, base], out
            ),
        },
        "layer-swap": {
            "lingraft": lambda out: lingraft(
                "layer-swap", {"language": one, "task": two, "bottom": BOTTOM, "top": TOP}, out
            ),
            "mergekit passthrough": lambda out: mergekit(
                {
                    "merge_method": "passthrough",
                    "slices": [{"sources": [{"model": str(d), "layer_range": r}]} for d, r in slices],
                },
                out,
            ),
            "models loaded, copied": lambda out: loaded(
                lambda name, a, b: b if any(part in name for part in inner) else a, [one, two], out
            ),
        },
    }


def measure(folder: Path, base: Path, rounds: int) -> list[str]:
    """The rows of the page."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for verb, ways in problems(folder, base).items():
            for name, work in ways.items():
                out = place(folder, verb, name)
                shutil.rmtree(out, ignore_errors=True)
                spent = own_process(lambda work=work, out=out: work(out))  # type: ignore[misc]
                found.setdefault((verb, name), []).append(spent)
                print(verb, name, *spent, flush=True)
    # Only now: comparing imports torch, which measured processes would inherit.
    rows = []
    for (verb, name), spent in found.items():
        ours, theirs = place(folder, verb, "lingraft"), place(folder, verb, name)
        gap = "-" if name == "lingraft" else largest_gap(ours, theirs)
        seconds, peak = min(part[0] for part in spent), max(part[1] for part in spent)
        rows.append(f"| {verb} | {name} | {seconds:.1f} | {peak:,.0f} | {gap} |")
    return rows


def place(folder: Path, verb: str, name: str) -> Path:
    """Where a way's checkpoint is written."""
    return folder / "out" / verb / name.replace(" ", "-")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(FOLDER_OPTION, type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--page", type=Path)
    chosen = parser.parse_args()
    load = os.getloadavg()[0]
    asset = own_lookup()
    for seed, name in enumerate(("one", "two")):
        if not (chosen.folder / name / "config.json").exists():
            own_process(lambda seed=seed, name=name: perturbed(asset, chosen.folder / name, seed))  # type: ignore[misc]
    bare = own_process(imports)
    rows = measure(chosen.folder, asset, chosen.rounds)
    size = (asset / "model.safetensors").stat().st_size / 2**20
    libraries = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "mergekit")
    )
    text = (
        f"""# Merging checkpoints: time and memory

Made by `OMP_NUM_THREADS=1 python benchmarks/merging.py {FOLDER_OPTION} FOLDER --rounds {chosen.rounds} --page PAGE`.
{platform.machine()}, one thread, {libraries}; load {load:.1f} when it began
(other work shared the machine).

{BASE} ({size:,.0f} MiB in float32) and two copies with noise of {NOISE} on every weight. A process each; the least
of {chosen.rounds} rounds by processor time (user and system), the largest peak of resident memory, pages of mapped
files included. Lingraft's imports alone take {bare[0]:.1f} s and {bare[1]:,.0f} MiB. Lingraft besides hashes its
inputs, compares tokenizers, checks every value, and writes tokenizer, card and report; the others write weights and
config alone. The last column: the largest difference of a weight from Lingraft's, which sums in float64.

| verb | way | processor s | peak MiB | largest difference |
|---|---|---|---|---|
"""
        + "\n".join(rows)
        + "\n"
    )
    if chosen.page is not None:
        chosen.page.write_text(text, encoding="utf-8")
    shutil.rmtree(chosen.folder / "out", ignore_errors=True)


def own_lookup() -> Path:
    """Where the asset is cached; looked up without importing torch, so that forked processes start bare."""
    from lingraft.assets.catalog import find_asset

    found = find_asset(BASE)
    if found is None:
        sys.exit(f"run: lingraft assets fetch {BASE}")
    return found


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()

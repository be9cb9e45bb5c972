"""The evidence for latent transplants: real maps on Gemma-3-270M, every way to choose a pair, and chance controls.

    python benchmarks/patching_evidence.py --out runs/patching --xnli DIRECTORY --xquad DIRECTORY --words DIRECTORY
        [--only xnli] [--page docs/results/patching_evidence.md]

The directories hold the tasks' files as `lingraft patch pairs --help` lists them; this project does not carry them.
Finished instances are kept, so the same command continues a killed run; --page is written from the tasks that are done.
"""

import argparse
import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from lingraft.patching.instances import Instance, read_instances, write_instances
from lingraft.patching.tasks import build_pairs
from lingraft.recipes.patching.pair_choice import run_selection
from lingraft.recipes.patching.sweep_options import SweepOptions
from lingraft.recipes.patching.sweeping import run_sweep
from lingraft.reports.intervals import Estimate

CONTROLS = ("shuffled", "noise", "self")
ENGLISH = "english"
"""A run whose receiver is the English prompt too: what transplants give where there is no other language."""


@dataclass(frozen=True)
class Setting:
    """How a task is swept: the paper's site for its kind, and every pair of layers.

    Attributes:
        languages: Receivers; the donor is English.
        kind: Of the task, which names the paper's fixed pair.
        site: What is transplanted.
        score: How a row is read.
        limit: Instances a language.
        dtype: Of the model.
    """

    languages: tuple[str, ...]
    kind: Any
    site: str
    score: str
    limit: int
    dtype: str = "float32"


SETTINGS = {
    "xnli": Setting(("de", "hi", "sw", "zh"), "understanding", "attn", "options", 12),
    "words": Setting(("de", "hi", "sw", "zh"), "generation", "ffn", "first-token", 24),
    "xquad": Setting(("de", "hi", "ru", "zh"), "generation", "ffn", "generate", 6, "bfloat16"),
}

NOTE = """\
Gemma-3-270M, a small model of 18 layers: what it shows need not hold for larger ones. Greedy, at most 20 new tokens;
float32, but for XQuAD's texts (bfloat16). XNLI: the likeliest of ` (1)`, ` (2)`, ` (3)`; words: whether the first
token begins an accepted translation; XQuAD: whether the generated text contains the answer. Intervals: 95%, bootstrap
over instances, and rough, as there are few. `best pair`, `target first` and the chosen subsets were chosen on other
instances than they are scored on (5 folds); label-free selectors use no labels. Controls take the same union over as
many tries: `shuffled` has donors of other questions, `noise` random directions of the donors' lengths, `self` the
receiving prompt as its own donor, `english` the English prompt as donor and receiver (compared by the gain over its
own unpatched answers; in XNLI and XQuAD the same rows serve all languages, so its interval is too narrow), `samples`
answers drawn from the unpatched model at temperature 1."""


def sweep_task(name: str, directory: Path, out: Path, device: str) -> Path:
    """Run a task and its controls; return the selection's directory."""
    setting = SETTINGS[name]
    pairs = out / f"{name}.jsonl"
    if not pairs.exists():
        out.mkdir(parents=True, exist_ok=True)
        rows = build_pairs(name, directory, receivers=setting.languages, limit=setting.limit)
        write_instances(pairs, rows)
    tries = 18 * 18
    in_english = out / f"{name}-english.jsonl"
    if not in_english.exists():
        write_instances(in_english, english_rows(name, directory, read_instances(pairs)))
    for control in ("none", *CONTROLS, ENGLISH):
        options = SweepOptions(
            model="gemma-3-270m",
            pairs=str(in_english if control == ENGLISH else pairs),
            sites=(setting.site,),
            score=setting.score,
            control="none" if control == ENGLISH else control,
            samples=tries if control == "none" else 0,
            dtype=setting.dtype,
            accept_terms=True,
        )
        result = run_sweep(options, out=out / f"{name}-{control}", device=device)
        assert result is not None
        print(
            json.dumps({"task": name, "control": control, "seconds": result.metrics["seconds"]}), flush=True
        )
    chosen = out / f"{name}-choice"
    controls = {control: out / f"{name}-{control}" for control in (*CONTROLS, ENGLISH)}
    run_selection(out / f"{name}-none", out=chosen, controls=controls, task_kind=setting.kind)
    return chosen


def english_rows(name: str, directory: Path, rows: Sequence[Instance]) -> list[Instance]:
    """The same questions with the English prompt as donor and receiver, and the answers that are right in English."""
    if name == "words":
        return [replace(row, receiver=row.donor[0]) for row in rows]
    english = build_pairs(name, directory, receivers=("en",), limit=SETTINGS[name].limit)
    found = []
    for row in rows:
        own = english[int(row.id.rpartition("-")[2])]
        found.append(replace(own, id=row.id, language=row.language))
    return found


def share(estimate: Mapping[str, Any] | Estimate | None, *, signed: bool = False) -> str:
    """Percent with its interval."""
    if estimate is None:
        return "–"
    value, low, high = (
        (estimate.value, estimate.low, estimate.high)
        if isinstance(estimate, Estimate)
        else (estimate["value"], estimate["low"], estimate["high"])
    )
    form = "{:+.1f}" if signed else "{:.1f}"
    interval = "" if low is None else f" ({form.format(100 * low)} to {form.format(100 * high)})"
    return form.format(100 * value) + interval


def task_section(name: str, chosen: Path, cost: Mapping[str, Any], seconds: float) -> Iterator[str]:
    """Markdown of one task."""
    setting, metrics = (
        SETTINGS[name],
        json.loads((chosen / "result.json").read_text(encoding="utf-8"))["metrics"],
    )
    yield from (f"## {name}", "")
    pairs, each = metrics["bound"]["pairs"], seconds / cost["instances"]
    yield (
        f"{setting.site}, {setting.score}, {setting.dtype}, all layers: {pairs} pairs, {setting.limit} instances in"
        f" each of {', '.join(setting.languages)}. {cost['forwards']:,} forwards, {each:.1f} s an instance"
        " (one thread, beside other work)."
    )
    yield from ("", metrics["verdict"], "")
    lines = metrics["methods"]
    languages = list(dict.fromkeys(line["language"] for line in lines))
    yield f"| method | {' | '.join(languages)} | all, less unpatched | labels |"
    yield "|" + "---|" * (len(languages) + 3)
    for method in dict.fromkeys(line["method"] for line in lines):
        own = {line["language"]: line for line in lines if line["method"] == method}
        cells = [share(own[language]["accuracy"]) if language in own else "–" for language in languages]
        gain = share(own["all"]["difference"], signed=True)
        yield f"| {method} | {' | '.join(cells)} | {gain} | {'yes' if own['all']['uses_labels'] else 'no'} |"
    yield from (
        "",
        "| control | tries | upper bound | control's union | difference |",
        "|---|---|---|---|---|",
    )
    for line in metrics["bound"]["controls"]:
        counted = line["gain_difference"] or line["difference"]
        cells = (
            str(line["tries"]),
            share(line["bound"]),
            share(line["control"]),
            share(counted, signed=True),
        )
        yield f"| {line['name']} | {' | '.join(cells)} |"
    yield ""


def finding(out: Path, names: Sequence[str]) -> str:
    """In a sentence, in how many tasks the upper bound beats its controls, and unlabelled choices the model."""
    beaten, controls, better, choices = 0, 0, 0, 0
    for name in names:
        metrics = json.loads((out / f"{name}-choice" / "result.json").read_text(encoding="utf-8"))["metrics"]
        for line in metrics["bound"]["controls"]:
            controls += 1
            beaten += (line["gain_difference"] or line["difference"])["low"] > 0
        for line in metrics["methods"]:
            if line["language"] == "all" and not line["uses_labels"] and line["difference"] is not None:
                choices += 1
                better += line["difference"]["low"] > 0
    return (
        f"**The upper bound beats {beaten} of {controls} controls (an interval above zero), and {better} of {choices}"
        " choices without labels are better than the unpatched model.** Each task's own sentence is below."
    )


def write_page(page: Path, out: Path, names: Sequence[str], only: str) -> None:
    """Write the page from the tasks that are done."""
    given = " ".join(f"--{name} DIRECTORY" for name in names)
    lines = ["# What transplants do on a small model", "", "```sh"]
    lines += [f"python benchmarks/patching_evidence.py --out runs/patching {given}{only}", "```", ""]
    lines += [finding(out, names), "", *NOTE.splitlines(), "", f"Written on {platform.machine()}.", ""]
    for name in names:
        result = json.loads((out / f"{name}-none" / "result.json").read_text(encoding="utf-8"))["metrics"]
        lines += task_section(name, out / f"{name}-choice", result["cost"], result["seconds"])
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    for name in SETTINGS:
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--only", default=",".join(SETTINGS))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--page", type=Path)
    arguments = parser.parse_args()
    done = []
    for name in arguments.only.split(","):
        directory = getattr(arguments, name)
        if directory is None:
            parser.error(f"--{name} DIRECTORY is missing; or leave {name} out with --only")
        sweep_task(name, directory, arguments.out, arguments.device)
        done.append(name)
    if arguments.page is not None:
        left_out = len(done) < len(SETTINGS)
        write_page(arguments.page, arguments.out, done, f" --only {','.join(done)}" if left_out else "")


if __name__ == "__main__":
    main()

"""One fixed layer pair from references: answers to prompts, and how many are right."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lingraft.contents import with_contents
from lingraft.errors import ConfigError
from lingraft.files import find_run, open_run_directory, write_text
from lingraft.patching.generate import answer_plainly, generate
from lingraft.patching.instances import Instance, read_instances
from lingraft.patching.map_files import read_answers, read_maps
from lingraft.patching.prompts import encode_prompt
from lingraft.patching.records import DONORS_FILE, MAP_FILE, VANILLA_FILE
from lingraft.patching.selection import SelectionLine
from lingraft.patching.sites import find_operator
from lingraft.recipes.patching.pair_choice import answer_lines
from lingraft.recipes.patching.sweep_inputs import first_of_each_language, load_for
from lingraft.recipes.patching.sweep_options import SweepOptions
from lingraft.recipes.patching.sweeping import run_sweep
from lingraft.reports.page import Section, Table, write_page
from lingraft.reports.result import RunResult, collect_provenance, read_result, write_result

SWEEP = "sweep"
"""Where in an evaluation's directory its rows are kept."""


def evaluate_pair(
    options: SweepOptions, *, out: Path, device: str = "auto", memory_mib: int | None = None
) -> tuple[RunResult, list[SelectionLine]]:
    """Score one pair beside the unpatched model and the donor's own answers.

    Args:
        options: A sweep of one site and one pair.
        out: Run directory; finished instances in it are kept.
        device: Where the model is put.
        memory_mib: Memory that rows may take.

    Returns:
        The result, and its table's lines.

    Raises:
        LingraftError: A bad option or input, or no answer is known.
    """
    command = with_contents({"verb": "evaluate", **options.as_command()})
    done = find_run(out, command) and (out / "result.json").exists()
    if not done:
        if not any(instance.answers for instance in read_instances(Path(options.pairs))):
            raise ConfigError(f"{options.pairs}: no answers", "an answer in some rows", "add them")
        swept = _sweep_in(out, command, options, device, memory_mib)
    maps = read_maps(out / SWEEP / MAP_FILE, donor=-1 if options.mean_donors else 0)
    vanilla = read_answers(out / SWEEP / VANILLA_FILE)
    lines = answer_lines(maps, vanilla, read_answers(out / SWEEP / DONORS_FILE, donor=0), options.seed)
    if done:
        return read_result(out), lines
    result = RunResult(
        kind="patch evaluate",
        metrics={
            "site": options.sites[0],
            "donor_layer": int(maps.donor_layers[0]),
            "receiver_layer": int(maps.receiver_layers[0]),
            "score": options.score,
            "methods": [asdict(line) for line in lines],
        },
        counts=swept.counts,
        inputs=swept.inputs,
        seeds={"seed": options.seed},
        files={"rows": f"{SWEEP}/{MAP_FILE}", "report": "report.html"},
        provenance=collect_provenance(device=swept.provenance.device),
    )
    write_page(
        out / "report.html",
        [Section("Right answers", [_table(lines)])],
        title="One layer pair",
        summary=_sentence(result.metrics, lines),
        result=result,
    )
    write_result(out, result)
    return result, lines


def answer_pairs(
    instances: Sequence[Instance],
    options: SweepOptions,
    *,
    donor_layer: int,
    receiver_layer: int,
    batch_size: int,
    device: str,
    unpatched: bool,
) -> list[dict[str, Any]]:
    """Generate an answer to every receiving prompt with one transplant.

    Args:
        instances: The prompts; of several donors the first counts.
        options: Model, site, operator, length.
        donor_layer: Where the value is taken.
        receiver_layer: Where it is put.
        batch_size: Prompts at once.
        device: Where the model is put.
        unpatched: Generate without a transplant too.

    Returns:
        A mapping a row: `id`, `language`, `text`, and `unpatched`.

    Raises:
        LingraftError: A bad option or input.
    """
    operator = find_operator(options.operator)
    if options.limit is not None:
        instances = first_of_each_language(instances, options.limit)
    loaded = load_for(options, device)
    prompts = [
        encode_prompt(loaded.tokenizer, item, chat_template=options.chat_template) for item in instances
    ]
    receivers = [prompt.receiver for prompt in prompts]
    texts = generate(
        loaded.model,
        loaded.tokenizer,
        receivers,
        [prompt.donors[0] for prompt in prompts],
        site=options.sites[0],
        donor_layer=donor_layer,
        receiver_layer=receiver_layer,
        operator=operator,
        new_tokens=options.new_tokens,
        batch_size=batch_size,
        progress=True,
    )
    rows: list[dict[str, Any]] = [
        {"id": item.id, "language": item.language, "text": text}
        for item, text in zip(instances, texts, strict=True)
    ]
    if unpatched:
        plain = answer_plainly(
            loaded.model,
            loaded.tokenizer,
            receivers,
            new_tokens=options.new_tokens,
            batch_size=batch_size,
            progress=True,
        )
        rows = [{**row, "unpatched": text} for row, text in zip(rows, plain, strict=True)]
    return rows


def write_answers(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write answers as JSONL.

    Args:
        path: Where.
        rows: Of `answer_pairs`.

    Raises:
        OutputError: It cannot be written.
    """
    write_text(path, "".join(json.dumps(dict(row), ensure_ascii=False) + "\n" for row in rows))


def _sweep_in(
    out: Path, command: Mapping[str, Any], options: SweepOptions, device: str, memory_mib: int | None
) -> RunResult:
    """Sweep the one pair in a directory of its own below `out`; nothing is left there if an input is bad."""
    fresh = not out.exists()
    open_run_directory(out, command)
    try:
        swept = run_sweep(options, out=out / SWEEP, device=device, memory_mib=memory_mib)
    except BaseException:
        if fresh and not (out / SWEEP).exists():
            _forget(out)
        raise
    assert swept is not None, "there is one shard"
    return swept


def _forget(out: Path) -> None:
    for item in out.iterdir():
        item.unlink()
    out.rmdir()


def _table(lines: Sequence[SelectionLine]) -> Table:
    rows = [(line.language, line.method, line.accuracy, line.difference, line.instances) for line in lines]
    columns = ("language", "method", "share right", "less unpatched", "instances")
    return Table("Shares of right answers, 95 % over instances", columns, rows)


def _sentence(metrics: Mapping[str, Any], lines: Sequence[SelectionLine]) -> str:
    own = {line.method: line for line in lines if line.language == "all"}
    patched = own["patched"]
    assert patched.difference is not None, "only the unpatched line has none"
    return (
        f"{metrics['site']}, layer {metrics['donor_layer']} into layer {metrics['receiver_layer']}:"
        f" {100 * patched.accuracy.value:.1f} % right, {100 * patched.difference.value:+.1f} points to the"
        f" unpatched {100 * own['vanilla'].accuracy.value:.1f} %."
    )


def one_pair(options: SweepOptions, donor_layer: int, receiver_layer: int) -> SweepOptions:
    """The sweep of a single pair.

    Args:
        options: Everything else.
        donor_layer: Where the value is taken.
        receiver_layer: Where it is put.

    Returns:
        The options.
    """
    return replace(options, donor_layers=(donor_layer,), receiver_layers=(receiver_layer,))

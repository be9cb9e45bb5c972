"""`lingraft patch plan` and `sweep`: the whole map, and what it costs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lingraft.cli.options import DeviceOption, DtypeOption, RemoteCodeOption, SeedOption, TermsOption
from lingraft.cli.output import JsonOption, print_result, prints_to_stderr
from lingraft.cli.patch_options import (
    DonorLayersOption,
    LimitOption,
    MeanOption,
    MemoryOption,
    ModelOption,
    NewTokensOption,
    OperatorOption,
    PairsOption,
    ReceiverLayersOption,
    ScoreOption,
    SitesOption,
    TemplateOption,
    app,
    sweep_options,
)

PLAN_EPILOG = """\b
Example:
  lingraft patch plan --model smollm2-135m-instruct --pairs xnli-sw.jsonl --site ffn,attn --score generate"""

SWEEP_EPILOG = """\b
Examples:
  lingraft patch sweep --model smollm2-135m-instruct --pairs xnli-sw.jsonl --site ffn \\
    --score options --out runs/xnli-sw
  lingraft patch sweep --model smollm2-135m-instruct --pairs xnli-sw.jsonl --site ffn \\
    --score options --control shuffled --out runs/xnli-sw-shuffled

\b
Leaves map.parquet (a row an instance and layer pair), vanilla.parquet and donors.parquet (unpatched answers),
result.json, heatmaps and report.html. Layers count from 0. Finished instances are kept: the same command
continues a killed sweep. --shard K/N takes every Nth instance, in as many processes or machines as you like;
whichever finishes last writes the tables. `lingraft patch select` reads what a sweep left."""

ControlOption = Annotated[
    Literal["none", "self", "noise", "shuffled"],
    typer.Option(
        help="A chance control in the donors' place: self (the receiving prompt), noise (random directions of"
        " the donors' lengths), shuffled (donors of other rows)."
    ),
]
SamplesOption = Annotated[
    int, typer.Option(help="Answers to draw from the unpatched model, for the control of many tries.", min=0)
]


@app.command(epilog=PLAN_EPILOG)
def plan(
    model: ModelOption,
    pairs: PairsOption,
    site: SitesOption = "ffn",
    score: ScoreOption = "first-token",
    donor_layers: DonorLayersOption = None,
    receiver_layers: ReceiverLayersOption = None,
    new_tokens: NewTokensOption = 20,
    mean_donors: MeanOption = False,
    chat_template: TemplateOption = False,
    limit: LimitOption = None,
    memory_mib: MemoryOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = None,
    trust_remote_code: RemoteCodeOption = False,
    accept_terms: TermsOption = False,
    json: JsonOption = False,
) -> None:
    """What a sweep would cost: forwards, token-layers, operations, memory; and what pair by pair would."""
    given = dict(locals())
    with prints_to_stderr():
        from lingraft.recipes.patching.sweeping import prepare_sweep

        cost = prepare_sweep(sweep_options(given), device=device, memory_mib=memory_mib).cost.as_json()
    print_result(cost, plan_lines(cost), as_json=json)


@app.command(epilog=SWEEP_EPILOG)
def sweep(
    model: ModelOption,
    pairs: PairsOption,
    out: Annotated[Path, typer.Option(help="Run directory.")],
    site: SitesOption = "ffn",
    score: ScoreOption = "first-token",
    operator: OperatorOption = "replace",
    donor_layers: DonorLayersOption = None,
    receiver_layers: ReceiverLayersOption = None,
    new_tokens: NewTokensOption = 20,
    mean_donors: MeanOption = False,
    control: ControlOption = "none",
    samples: SamplesOption = 0,
    temperature: Annotated[float, typer.Option(help="Of --samples.")] = 1.0,
    chat_template: TemplateOption = False,
    limit: LimitOption = None,
    shard: Annotated[str | None, typer.Option(help="Take every Nth instance: K/N, K from 1.")] = None,
    workers: Annotated[int, typer.Option(help="Processes, or Ray actors, each with a model.", min=1)] = 1,
    ray: Annotated[
        str | None, typer.Option(help="Workers on a Ray cluster that sees --out: auto, local, or an address.")
    ] = None,
    memory_mib: MemoryOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    dtype: DtypeOption = None,
    trust_remote_code: RemoteCodeOption = False,
    accept_terms: TermsOption = False,
    json: JsonOption = False,
) -> None:
    """Transplant every donor layer into every receiver layer, for all rows; score and map the answers."""
    given = dict(locals())
    with prints_to_stderr():
        from lingraft.recipes.patching.sweep_options import Shard
        from lingraft.recipes.patching.sweeping import run_sweep

        result = run_sweep(
            sweep_options(given),
            out=out,
            device=device,
            memory_mib=memory_mib,
            shard=None if shard is None else Shard.parse(shard),
            workers=workers,
            ray_address=ray,
        )
    if result is None:
        waiting = {"out": str(out), "complete": False, "shard": shard}
        line = f"shard {shard} is done; the tables come when the other shards of {out} are"
        print_result(waiting, [line], as_json=json)
        return
    lines = [*accuracy_lines(result.metrics["accuracy"]), f"report: {out / 'report.html'}"]
    print_result({**result.as_json(), "out": str(out), "complete": True}, lines, as_json=json)


def plan_lines(cost: Mapping[str, Any]) -> list[str]:
    """A plan for a person."""
    ratio = cost["naive_token_layers"] / max(1, cost["token_layers"])
    return [
        f"{cost['instances']:,} instances, {cost['rows']:,} transplants",
        f"{cost['forwards']:,} forwards, {cost['token_layers']:,} token-layers, {cost['flops']:.2e} operations",
        f"pair by pair: {cost['naive_forwards']:,} forwards, {cost['naive_token_layers']:,} token-layers"
        f" ({ratio:,.0f} times as many)",
        f"{cost['chunk_rows']:,} rows at once, {cost['chunk_bytes'] / 2**20:,.0f} MiB beside the model",
    ]


def accuracy_lines(accuracy: Mapping[str, Any]) -> list[str]:
    """Shares of right answers for a person."""
    if not accuracy:
        return ["no answers are known, so nothing is judged"]
    lines = []
    for site, donors in accuracy.items():
        for donor, line in donors.items():
            best = line["best_pair_in_hindsight"]
            lines += [
                f"{site}, {donor}:",
                f"  unpatched                {_percent(line['vanilla'])}",
                *([f"  the donor itself         {_percent(line['donor'])}"] if "donor" in line else []),
                f"  mean pair                {_percent(line['mean_pair'])}",
                f"  best pair, in hindsight  {_percent(best)}: layer {best['donor_layer']} into layer"
                f" {best['receiver_layer']}",
                f"  any pair (upper bound)   {_percent(line['upper_bound'])}: a union of many tries, see select",
            ]
    return lines


def _percent(estimate: Mapping[str, Any]) -> str:
    interval = ""
    if estimate["low"] is not None:
        interval = f" ({100 * estimate['low']:.1f} to {100 * estimate['high']:.1f})"
    return f"{100 * estimate['value']:5.1f} %{interval}"

"""`lingraft clo compare`: objectives side by side at equal data."""

from pathlib import Path
from typing import Annotated

import typer

from lingraft.cli.clo_options import (
    AnswerOption,
    AskedOption,
    BatchOption,
    BetaOption,
    LengthOption,
    ModelOption,
    PairsOption,
    PiecesOption,
    PrecisionOption,
    RateOption,
    ScheduleOption,
    ShareOption,
    TemplateOption,
    TogetherOption,
    WarmupOption,
    app,
)
from lingraft.cli.options import DeviceOption, RemoteCodeOption, TermsOption
from lingraft.cli.output import JsonOption, print_result, prints_to_stderr

COMPARE_EPILOG = """\b
Examples:
  lingraft clo compare --model smollm2-135m-instruct --pairs sw.jsonl --held-out sw.heldout.jsonl --out runs/compare
  lingraft clo compare --model MODEL --pairs sw.jsonl --held-out h.jsonl --arms clo,clo@full,sft-both@full \\
    --sizes 400,1600,3200 --seeds 3 --out runs/full

\b
An arm is OBJECTIVE[+OBJECTIVE][@PARAMETERS]: clo, sft-both+dpo (two trainings, one after the other), clo@full.
base, the model as it is, is always there. Every arm of a seed has the same items in the same order, once; items too
long for any arm are left out for all. --share and --beta are for the objectives that begin with clo.
Finished trainings are kept: the same command continues a killed run, one with other --arms, --sizes or --seeds adds
to it, and started in several shells at once it shares the trainings between them."""


@app.command("compare", epilog=COMPARE_EPILOG)
def compare(
    model: ModelOption,
    pairs: PairsOption,
    held_out: Annotated[Path, typer.Option(help="JSON lines of paired items to measure on.")],
    out: Annotated[Path, typer.Option(help="Run directory.")],
    arms: Annotated[str, typer.Option(help="What to compare, separated by commas.")] = (
        "base,sft,sft-both,sft-both+dpo,clo-both,clo"
    ),
    sizes: Annotated[str, typer.Option(help="Numbers of items, separated by commas.")] = "400",
    seeds: Annotated[int, typer.Option(help="How many seeds.", min=1)] = 1,
    parameters: Annotated[
        str,
        typer.Option(help="What learns where an arm does not say: attention, full, lora, train_then_revert."),
    ] = "attention",
    batch_size: BatchOption = 16,
    gradient_accumulation: PiecesOption = 1,
    tokens_together: TogetherOption = None,
    learning_rate: RateOption = 1e-5,
    warmup_steps: WarmupOption = 0,
    schedule: ScheduleOption = "linear",
    share: ShareOption = None,
    beta: BetaOption = None,
    max_length: LengthOption = None,
    precision: PrecisionOption = "bfloat16",
    template: TemplateOption = "chat",
    fidelity_prompts: AskedOption = 32,
    max_new_tokens: AnswerOption = 48,
    device: DeviceOption = "auto",
    trust_remote_code: RemoteCodeOption = False,
    accept_terms: TermsOption = False,
    json: JsonOption = False,
) -> None:
    """Train by several objectives on the same items, and put the outcomes side by side."""
    with prints_to_stderr():
        from lingraft.preference.monitor import MonitorOptions
        from lingraft.preference.plan import PreferencePlan
        from lingraft.recipes.preference.comparing_objectives import (
            CompareOptions,
            run_comparison_of_objectives,
        )
        from lingraft.recipes.preference.objectives_report import table_lines

        plan = PreferencePlan(
            parameters=parameters,
            batch_size=batch_size,
            learning_rate=learning_rate,
            warmup_steps=warmup_steps,
            schedule=schedule,
            share=share,
            beta=beta,
            longest=max_length,
            precision=precision,
        )
        options = CompareOptions(
            model=model,
            pairs=pairs,
            held_out=held_out,
            arms=tuple(_names(arms)),
            sizes=tuple(_numbers(sizes)),
            seeds=seeds,
            plan=plan,
            template=template,
            monitor=MonitorOptions(fidelity_prompts=fidelity_prompts, max_new_tokens=max_new_tokens),
        )
        result = run_comparison_of_objectives(
            options,
            out=out,
            device=device,
            gradient_accumulation=gradient_accumulation,
            tokens_together=tokens_together,
            trust_remote_code=trust_remote_code,
            accept_terms=accept_terms,
            say=print,
        )
    lines = [*table_lines(result.metrics), f"report: {out / 'report.html'}"]
    print_result(result.as_json(), lines, as_json=json)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[int]:
    """Read numbers of items; a mistake is one line."""
    from lingraft.errors import ConfigError

    names = _names(text)
    if not names or not all(name.isdecimal() and int(name) > 0 for name in names):
        raise ConfigError(f"--sizes {text!r}", "whole numbers above 0, such as 400,1600", "correct it")
    return [int(name) for name in names]

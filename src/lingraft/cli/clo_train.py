"""`lingraft clo train`: tune a model on paired items."""

from pathlib import Path
from typing import Annotated, Literal

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
from lingraft.cli.options import DeviceOption, RemoteCodeOption, SeedOption, TermsOption
from lingraft.cli.output import JsonOption, print_result, prints_to_stderr

TRAIN_EPILOG = """\b
Examples:
  lingraft clo train --model smollm2-135m-instruct --pairs sw.jsonl --held-out sw.heldout.jsonl --out runs/clo
  lingraft clo train --model MODEL --pairs sw.jsonl --objective sft-both --parameters full --out runs/sft
  accelerate launch -m lingraft.cli.app clo train --model MODEL --pairs sw.jsonl --out runs/clo

\b
Pairs: JSON lines with english_prompt, english_response, target_prompt, target_response, target_language.
Objectives: clo (the paper's: prefer the answer in the prompt's language both ways, and likelihood of target
answers), clo-both (English likelihood too), clo-normalised (margins a token), clo-free (no reference), sft,
sft-both, dpo, orpo. SFT and then DPO is two trainings: the second begins at the first one's model.
Parameters: attention (the paper's), full, lora, train_then_revert (all learn, then all but attention go back).
With --held-out the report says what became of both languages, and --keep best takes the weights with the best
target fidelity among those that keep English."""


@app.command("train", epilog=TRAIN_EPILOG)
def train(
    model: ModelOption,
    pairs: PairsOption,
    out: Annotated[Path, typer.Option(help="Run directory; the checkpoint is in its `model`.")],
    held_out: Annotated[
        Path | None, typer.Option(help="Paired items to measure on, before, during and after.")
    ] = None,
    objective: Annotated[str, typer.Option(help="What is minimised; see below.")] = "clo",
    parameters: Annotated[str, typer.Option(help="What learns; see below.")] = "attention",
    steps: Annotated[int | None, typer.Option(help="Steps (default: once through the items).", min=1)] = None,
    batch_size: BatchOption = 16,
    gradient_accumulation: PiecesOption = 1,
    tokens_together: TogetherOption = None,
    learning_rate: RateOption = 1e-5,
    warmup_steps: WarmupOption = 0,
    schedule: ScheduleOption = "linear",
    weight_decay: Annotated[float, typer.Option(help="AdamW's.", min=0)] = 0.0,
    gradient_clip: Annotated[float, typer.Option(help="Largest norm of the gradient.")] = 1.0,
    share: ShareOption = None,
    beta: BetaOption = None,
    max_length: LengthOption = None,
    precision: PrecisionOption = "bfloat16",
    lora_rank: Annotated[int, typer.Option(help="Rank of --parameters lora.", min=1)] = 16,
    lora_alpha: Annotated[float, typer.Option(help="Scale of --parameters lora.")] = 32.0,
    template: TemplateOption = "chat",
    evaluations: Annotated[int, typer.Option(help="Measurements after the first.", min=1)] = 4,
    fidelity_prompts: AskedOption = 32,
    max_new_tokens: AnswerOption = 48,
    keep: Annotated[
        Literal["best", "last"], typer.Option(help="Which measured weights the checkpoint gets.")
    ] = "best",
    limit: Annotated[int | None, typer.Option(help="Only the first so many items.", min=1)] = None,
    save_every: Annotated[int | None, typer.Option(help="Steps between checkpoints.", min=1)] = None,
    track: Annotated[
        list[str] | None, typer.Option(help="A tracker that transformers knows: tensorboard, wandb, ...")
    ] = None,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option(help="Type of the checkpoint (default: the model's)."),
    ] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    trust_remote_code: RemoteCodeOption = False,
    accept_terms: TermsOption = False,
    json: JsonOption = False,
) -> None:
    """Tune a model to answer in the prompt's language, from paired items."""
    with prints_to_stderr():
        from lingraft.preference.monitor import MonitorOptions
        from lingraft.preference.plan import PreferencePlan
        from lingraft.preference.policies import LoraOptions
        from lingraft.recipes.preference.training import PreferenceOptions, run_preference
        from lingraft.recipes.preference.training_report import summary_lines

        plan = PreferencePlan(
            objective=objective,
            parameters=parameters,
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            warmup_steps=warmup_steps,
            schedule=schedule,
            weight_decay=weight_decay,
            gradient_clip=gradient_clip,
            share=share,
            beta=beta,
            longest=max_length,
            precision=precision,
            seed=seed,
            lora=LoraOptions(rank=lora_rank, alpha=lora_alpha),
        )
        options = PreferenceOptions(
            model=model,
            pairs=pairs,
            held_out=held_out,
            plan=plan,
            template=template,
            evaluations=evaluations,
            monitor=MonitorOptions(fidelity_prompts=fidelity_prompts, max_new_tokens=max_new_tokens),
            keep=keep,
            limit=limit,
            dtype=dtype,
        )
        result = run_preference(
            options,
            out=out,
            device=device,
            gradient_accumulation=gradient_accumulation,
            tokens_together=tokens_together,
            save_every=save_every,
            trackers=tuple(track or ()),
            trust_remote_code=trust_remote_code,
            accept_terms=accept_terms,
            say=print,
        )
    metrics = result.metrics
    lines = [*summary_lines(metrics), f"checkpoint: {out / 'model'}; report: {out / 'report.html'}"]
    dropped = {
        name: n for name, n in result.counts["items"].items() if name not in {"read", "trained on"} and n
    }
    if dropped:
        lines.append("items passed over: " + ", ".join(f"{n:,} {name}" for name, n in dropped.items()))
    if metrics["warning"]:
        lines.append(f"note: {metrics['warning']}")
    print_result(result.as_json(), lines, as_json=json)

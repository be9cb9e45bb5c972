"""`lingraft pretrain`: go on training a model on text."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from lingraft.cli.options import DeviceOption, RemoteCodeOption, SeedOption, TermsOption
from lingraft.cli.output import JsonOption, print_result, prints_to_stderr

__all__ = ["app", "pretrain"]

app = typer.Typer(help="Continued pre-training.", rich_markup_mode=None, add_completion=False)

PRETRAIN_EPILOG = """\b
Examples:
  lingraft pretrain --model ./runs/basque/model --corpus eu.txt --held-out eu.heldout.txt --out runs/eu
  lingraft pretrain --model MODEL --corpus 'eu/*.jsonl' --english en.txt --english-share 0.2 --out runs/mix
  lingraft pretrain --model smollm2-135m-instruct --equal-compute-with ./runs/basque/model \\
    --corpus eu.txt --steps 200 --out runs/unchanged
  accelerate launch -m lingraft.cli.app pretrain --model MODEL --corpus eu.txt --out runs/eu

\b
Text: .txt (a document a line), .jsonl, .json, .tsv, .csv, .parquet, also .gz, .zst, .xz, .bz2; a directory, a glob
pattern, or hf:NAME[:CONFIG[:SPLIT]] for a data set. Documents that are in a held-out file are left out.
Documents are packed into blocks; English blocks are spread evenly over the training.
A killed run continues from its last checkpoint and ends with the same result."""


@app.command("pretrain", epilog=PRETRAIN_EPILOG)
def pretrain(
    model: Annotated[
        str, typer.Option(help="Hub id, directory, .gguf file or asset name of a causal language model.")
    ],
    corpus: Annotated[list[str], typer.Option(help="Text to train on; may come several times.")],
    out: Annotated[Path, typer.Option(help="Run directory; the checkpoint is in its `model`.")],
    held_out: Annotated[
        str | None, typer.Option(help="Target-language text to measure on, before, during and after.")
    ] = None,
    english: Annotated[
        list[str] | None, typer.Option(help="English text to mix in, so that English is kept.")
    ] = None,
    english_share: Annotated[
        float | None,
        typer.Option(help="Share of the blocks that is English (default 0.2 with --english; 0 is none)."),
    ] = None,
    english_held_out: Annotated[str | None, typer.Option(help="English text to measure on.")] = None,
    held_out_bytes: Annotated[
        int, typer.Option(help="UTF-8 bytes of each held-out text that are scored.", min=1)
    ] = 64_000,
    evaluations: Annotated[int, typer.Option(help="Measurements after the first.", min=1)] = 4,
    steps: Annotated[int, typer.Option(help="Optimiser steps.", min=1)] = 100,
    equal_compute_with: Annotated[
        str | None, typer.Option(help="Train for the compute that --steps would take on this model.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Blocks a step, over all processes.", min=1)] = 8,
    block_length: Annotated[int, typer.Option(help="Tokens a block.", min=2)] = 512,
    gradient_accumulation: Annotated[
        int, typer.Option(help="Pieces that a step is computed in: less memory, same result.", min=1)
    ] = 1,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-4,
    embedding_learning_rate: Annotated[
        float | None, typer.Option(help="Peak rate of the embeddings (default: the same).")
    ] = None,
    warmup_steps: Annotated[int, typer.Option(help="Steps of linear rise.", min=0)] = 10,
    schedule: Annotated[
        Literal["constant", "cosine", "linear"], typer.Option(help="What follows the rise.")
    ] = "cosine",
    body_after: Annotated[
        int, typer.Option(help="First steps in which the embeddings learn alone.", min=0)
    ] = 0,
    weight_decay: Annotated[float, typer.Option(help="AdamW's, on matrices of the body.", min=0)] = 0.0,
    gradient_clip: Annotated[float, typer.Option(help="Largest norm of the gradient.")] = 1.0,
    precision: Annotated[
        Literal["float32", "bf16-autocast", "bfloat16"],
        typer.Option(help="Of training; bfloat16 has float32 masters of the weights."),
    ] = "bfloat16",
    save_every: Annotated[
        int | None, typer.Option(help="Steps between checkpoints (default: a tenth, at least 25).", min=1)
    ] = None,
    track: Annotated[
        list[str] | None, typer.Option(help="A tracker that transformers knows: tensorboard, wandb, ...")
    ] = None,
    text_field: Annotated[str, typer.Option(help="Field of the text in JSON lines and tables.")] = "text",
    max_bad_lines: Annotated[
        int, typer.Option(help="How many lines of each text that hold none to go on after.", min=0)
    ] = 1000,
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
    """Train a model further on text of a language, and measure what becomes of it and of English."""
    with prints_to_stderr():
        from lingraft.recipes.pretraining.options import PretrainingOptions
        from lingraft.recipes.pretraining.report import summary_lines
        from lingraft.recipes.pretraining.run import run_pretraining
        from lingraft.training.processes import is_main_process

        options = PretrainingOptions(
            model=model,
            corpus=tuple(corpus),
            english=tuple(english or ()),
            english_share=english_share,
            held_out=held_out,
            english_held_out=english_held_out,
            held_out_bytes=held_out_bytes,
            evaluations=evaluations,
            steps=steps,
            equal_compute_with=equal_compute_with,
            batch_size=batch_size,
            block_length=block_length,
            learning_rate=learning_rate,
            embedding_learning_rate=embedding_learning_rate,
            warmup_steps=warmup_steps,
            schedule=schedule,
            body_after=body_after,
            weight_decay=weight_decay,
            gradient_clip=gradient_clip,
            precision=precision,
            text_field=text_field,
            max_bad_lines=max_bad_lines,
            dtype=dtype,
            seed=seed,
        )
        result = run_pretraining(
            options,
            out=out,
            device=device,
            gradient_accumulation=gradient_accumulation,
            save_every=save_every,
            trackers=tuple(track or ()),
            trust_remote_code=trust_remote_code,
            accept_terms=accept_terms,
            say=print if is_main_process() else lambda _: None,
        )
    if is_main_process():
        lines = [*summary_lines(result), f"checkpoint: {out / 'model'}; report: {out / 'report.html'}"]
        print_result(result.as_json(), lines, as_json=json)

"""`lingraft eval compare`: several models side by side."""

from pathlib import Path
from typing import Annotated

import typer

from lingraft.cli.eval_options import app
from lingraft.cli.options import DeviceOption, DtypeOption, RemoteCodeOption, SeedOption, TermsOption
from lingraft.cli.output import JsonOption, print_result, prints_to_stderr

COMPARE_EPILOG = """\b
Examples:
  lingraft eval compare --model before=smollm2-135m-instruct --model after=./runs/eu/model \\
    --held-out eu.heldout.txt --english-held-out en.heldout.txt --out runs/compared
  lingraft eval compare --model before=MODEL --model after=./tuned --prompts pairs.heldout.jsonl \\
    --language eu --words eu.words.json --out runs/answers

\b
The others are compared with the first model, on the same documents, prompts and words.
Without --prompts, the samples carry on beginnings of held-out documents.
One model is in memory at a time. A killed run continues: what is measured is kept in models/NAME."""


@app.command("compare", epilog=COMPARE_EPILOG)
def compare(
    model: Annotated[
        list[str],
        typer.Option(help="NAME=REFERENCE: hub id, directory, .gguf file or asset name; several times."),
    ],
    out: Annotated[Path, typer.Option(help="Run directory.")],
    held_out: Annotated[
        str | None, typer.Option(help="Target-language text: .txt (a document a line), .jsonl, .parquet.")
    ] = None,
    english_held_out: Annotated[str | None, typer.Option(help="English text.")] = None,
    held_out_bytes: Annotated[
        int, typer.Option(help="UTF-8 bytes of each text that are scored.", min=1)
    ] = 64_000,
    prompts: Annotated[
        Path | None, typer.Option(help="JSON lines of paired items, or with a `prompt` each.")
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="ISO 639-1 code of what the answers should be in: eu, sw.")
    ] = None,
    fidelity_prompts: Annotated[
        int, typer.Option(help="Prompts that are answered and judged; 0 judges none.", min=0)
    ] = 32,
    english_prompts: Annotated[
        int, typer.Option(help="English prompts of paired items that are, too.", min=0)
    ] = 8,
    samples: Annotated[int, typer.Option(help="Answers of each kind kept side by side.", min=0)] = 8,
    max_new_tokens: Annotated[int, typer.Option(help="Most tokens of an answer.", min=1)] = 64,
    template: Annotated[
        str, typer.Option(help="chat, plain, a Jinja file, or auto: chat where all models have a template.")
    ] = "auto",
    batch_size: Annotated[int, typer.Option(help="Prompts or full windows at once.", min=1)] = 8,
    words: Annotated[Path | None, typer.Option(help="Word task (of `pivots words`) to score, too.")] = None,
    word_limit: Annotated[int | None, typer.Option(help="Only its first so many words.", min=1)] = None,
    word_draws: Annotated[
        int | None, typer.Option(help="Only its first so many draws of examples.", min=1)
    ] = None,
    tasks: Annotated[
        list[str] | None, typer.Option(help="A task of lm-eval or a YAML file; may come several times.")
    ] = None,
    task_limit: Annotated[int | None, typer.Option(help="Only so many documents of a task.", min=1)] = None,
    text_field: Annotated[str, typer.Option(help="Field of the text in JSON lines and tables.")] = "text",
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    dtype: DtypeOption = None,
    trust_remote_code: RemoteCodeOption = False,
    accept_terms: TermsOption = False,
    json: JsonOption = False,
) -> None:
    """Measure models side by side: the language, English, and what they write."""
    with prints_to_stderr():
        from lingraft.recipes.evaluating.options import EvaluationOptions, parse_models
        from lingraft.recipes.evaluating.run import run_evaluation
        from lingraft.recipes.evaluating.summary import evaluation_lines

        options = EvaluationOptions(
            models=parse_models(model),
            held_out=held_out,
            english_held_out=english_held_out,
            held_out_bytes=held_out_bytes,
            prompts=prompts,
            language=language,
            fidelity_prompts=fidelity_prompts,
            english_prompts=english_prompts,
            samples=samples,
            max_new_tokens=max_new_tokens,
            template=template,
            batch_size=batch_size,
            words=words,
            word_limit=word_limit,
            word_draws=word_draws,
            tasks=tuple(tasks or ()),
            task_limit=task_limit,
            text_field=text_field,
            dtype=dtype,
            seed=seed,
        )
        result = run_evaluation(
            options,
            out=out,
            device=device,
            trust_remote_code=trust_remote_code,
            accept_terms=accept_terms,
            say=print,
        )
    lines = [*evaluation_lines(result.metrics), f"report: {out / 'report.html'}"]
    print_result(result.as_json(), lines, as_json=json)

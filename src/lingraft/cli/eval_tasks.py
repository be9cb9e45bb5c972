"""`lingraft eval tasks`: lm-eval's tasks, and one's own from files."""

from pathlib import Path
from typing import Annotated

import typer

from lingraft.cli.eval_options import ModelOption, app
from lingraft.cli.options import DeviceOption, DtypeOption, RemoteCodeOption, TermsOption
from lingraft.cli.output import JsonOption, print_result, prints_to_stderr

TASKS_EPILOG = """\b
Examples:
  lingraft eval tasks --model ./tuned --tasks my-task.yaml --out runs/mine
  lingraft eval tasks --model smollm2-135m-instruct --tasks xnli_sw --tasks xcopa_sw --limit 200 \\
    --out runs/swahili
  lingraft eval tasks --model ./tuned --include ./tasks --tasks my_group --shots 3 --out runs/group

\b
A task file is lm-eval's YAML. With data on the disk nothing is fetched:
  task: my_task
  dataset_path: json
  dataset_kwargs: {data_files: {test: data.jsonl}}     (seen from where you are)
A task may name Python functions beside its file (!function): use only files that you trust.
A killed run continues with the task that it was in."""


@app.command(epilog=TASKS_EPILOG)
def tasks(
    model: ModelOption,
    tasks: Annotated[
        list[str],
        typer.Option(help="A task or group of lm-eval, or a YAML file; may come several times."),
    ],
    out: Annotated[Path, typer.Option(help="Run directory.")],
    include: Annotated[Path | None, typer.Option(help="Directory of task files of one's own.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many documents of a task.")] = None,
    shots: Annotated[
        int | None,
        typer.Option(help="Examples in front, except where a task says 0 (default: what the task says)."),
    ] = None,
    chat_template: Annotated[
        bool, typer.Option("--chat-template", help="Put contexts into the tokenizer's chat template.")
    ] = False,
    batch_size: Annotated[int, typer.Option(help="Rows of a forward pass.", min=1)] = 8,
    seed: Annotated[int, typer.Option(help="Of the choice of examples.", min=0)] = 1234,
    device: DeviceOption = "auto",
    dtype: DtypeOption = None,
    trust_remote_code: RemoteCodeOption = False,
    accept_terms: TermsOption = False,
    json: JsonOption = False,
) -> None:
    """Metrics of tasks, by lm-eval, on a model from anywhere."""
    with prints_to_stderr():
        from lingraft.recipes.evaluating.measuring_tasks import run_tasks, task_notes, task_rows
        from lingraft.recipes.evaluating.task_inputs import TaskOptions
        from lingraft.reports.page import format_cell

        result = run_tasks(
            TaskOptions(
                model=model,
                tasks=tuple(tasks),
                include=include,
                limit=limit,
                shots=shots,
                chat_template=chat_template,
                batch_size=batch_size,
                seed=seed,
                dtype=dtype,
            ),
            out=out,
            device=device,
            trust_remote_code=trust_remote_code,
            accept_terms=accept_terms,
        )
        rows = [f"{task} {name}: {format_cell(value, 4)}" for task, name, value in task_rows(result.metrics)]
        rows += [f"note: {note}" for note in task_notes(result)]
    print_result(
        {**result.as_json(), "out": str(out)}, [*rows, f"report: {out / 'report.html'}"], as_json=json
    )

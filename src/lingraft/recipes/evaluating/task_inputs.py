"""What measuring tasks is given: options, task files, and every refusal before a model is loaded."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lingraft.contents import with_contents
from lingraft.errors import ConfigError
from lingraft.evaluation.harness_tasks import check_tasks
from lingraft.files import sha256_of

TASK_FILES = frozenset({".yaml", ".yml"})
NAMED_FILE = re.compile(r"[^\s\"',:{}\[\]]+\.(?:jsonl?|csv|tsv|txt|parquet|py|ya?ml)\b")
NAMED_FUNCTION = re.compile(r"!function\s+(\w+)\.")
READ_WHOLE = 2**20
"""Bytes: larger files are told apart by size and time of change."""


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """Everything that changes what is measured.

    Attributes:
        model: Reference of the model.
        tasks: Names of tasks or groups, or YAML files.
        include: A directory of tasks of one's own, or None.
        limit: Documents of each task; None for all.
        shots: Examples in front, except where a task says 0; None for what each task says.
        chat_template: Put contexts into the tokenizer's chat template.
        batch_size: Rows of a call.
        seed: Of the choice of examples.
        dtype: Type to compute in; None keeps the checkpoint's.
    """

    model: str
    tasks: tuple[str, ...]
    include: Path | None = None
    limit: int | None = None
    shots: int | None = None
    chat_template: bool = False
    batch_size: int = 8
    seed: int = 1234
    dtype: str | None = None


def check_options(options: TaskOptions) -> None:
    """Refuse a bad option or task before anything is loaded or written.

    Args:
        options: What to measure.

    Raises:
        ConfigError: A number is too small, a path is missing, two tasks have the same name, or one cannot be loaded
            or filled in.
        MissingExtraError: lm-eval is not installed.
    """
    for name, least in (("limit", 1), ("shots", 0), ("batch_size", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise ConfigError(
                f"--{name.replace('_', '-')} {value}", f"at least {least}", "give a larger number"
            )
    if options.include is not None and not options.include.is_dir():
        raise ConfigError(f"--include {options.include}", "a directory with task files", "check the path")
    for task in options.tasks:
        if is_task_file(task) and not Path(task).is_file():
            raise ConfigError(f"--tasks {task}: there is no such file", "a task file", "check the path")
    check_tasks(options.tasks, include_path=options.include, num_fewshot=options.shots, limit=options.limit)


def task_command(options: TaskOptions) -> dict[str, Any]:
    """Return what a run is known again by: the options, and what the files that tasks are made of hold.

    Args:
        options: What to measure.

    Returns:
        A mapping for `open_run_directory`.
    """
    given = {
        **asdict(options),
        "tasks": list(options.tasks),
        "include": options.include and str(options.include),
    }
    files = [Path(task) for task in options.tasks if is_task_file(task)]
    if options.include is not None:
        files += [file for file in sorted(options.include.rglob("*")) if file.suffix in TASK_FILES]
    named = {str(named) for file in files for named in (file, *_named_files(file))}
    marks = {name: _mark(Path(name)) for name in sorted(named)}
    return with_contents({"verb": "eval tasks", **given, "task_files": marks})


def _named_files(file: Path) -> list[Path]:
    """Find the data and Python files that a task file names."""
    text = file.read_text(encoding="utf-8", errors="replace")
    names = [*NAMED_FILE.findall(text), *(f"{name}.py" for name in NAMED_FUNCTION.findall(text))]
    found = [place for name in names for place in (Path(name), file.parent / name)]
    return [place for place in found if place.is_file()]


def is_task_file(task: str) -> bool:
    """Whether one of `--tasks` is the path of a file, by its ending."""
    return Path(task).suffix in TASK_FILES


def _mark(file: Path) -> str:
    status = file.stat()
    large = status.st_size > READ_WHOLE
    return f"{status.st_size} bytes of {status.st_mtime_ns}" if large else sha256_of(file)

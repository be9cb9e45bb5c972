"""lm-eval's tasks: found by name or in files, before a model is there; the only file that imports the library."""

import contextlib
import importlib
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lingraft.errors import ConfigError, LingraftError, MissingExtraError

Task = str | Mapping[str, Any]
"""A name, the path of a YAML file, or a task's configuration as lm-eval's YAML holds it."""


def load_tasks(
    tasks: Sequence[Task],
    include_path: Path | None,
    num_fewshot: int | None,
    generation: Mapping[str, Any] | None,
    seed: int,
) -> Any:
    """Load tasks as lm-eval's `simple_evaluate` does, which also seeds all generators of the process.

    Args:
        tasks: Names of tasks or groups, YAML files, or configurations.
        include_path: A directory of tasks of one's own.
        num_fewshot: Examples in front, except where a task says 0; None for what the task says.
        generation: Settings of generation that take the place of the tasks'.
        seed: Of the choice of examples.

    Returns:
        What lm-eval's `evaluate` takes: `tasks` by name, and the groups.

    Raises:
        MissingExtraError: lm-eval is missing.
        ConfigError: No task is given, or one is unknown or cannot be loaded.
    """
    manager = harness_library("lm_eval.tasks").TaskManager
    if not tasks:
        raise ConfigError("no task", "at least one", "name a task")
    specs = [task if isinstance(task, str) else dict(task) for task in tasks]
    try:
        try:
            # Reading the thousands of built-in tasks takes seconds; one's own are found without them.
            loaded = manager(include_path=include_path, include_defaults=False).load(specs)
        except KeyError:
            loaded = manager(include_path=include_path).load(specs)
    except Exception as error:
        raise unusable_tasks(tasks, error) from error
    for task in loaded["tasks"].values():
        if generation and task.get_config("output_type") == "generate_until":
            task.set_config(key="generation_kwargs", value=dict(generation), update=True)
        default = task.get_config("num_fewshot")
        if num_fewshot is not None and default != 0:
            task.set_config(key="num_fewshot", value=num_fewshot)
        elif default is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=seed)
    return loaded


def check_tasks(
    tasks: Sequence[Task], *, include_path: Path | None = None, num_fewshot: int | None = None
) -> list[str]:
    """Load tasks and fill in the first document of each, so that a bad one is known before the work begins.

    Args:
        tasks: As in `evaluate_tasks`.
        include_path: A directory of tasks of one's own.
        num_fewshot: Examples in front.

    Returns:
        The names of the tasks; a group's members in its place.

    Raises:
        MissingExtraError: lm-eval is missing.
        ConfigError: No task is given, or one is unknown or cannot be loaded or filled in.
    """
    with quiet(shown=False):
        loaded = load_tasks(tasks, include_path, num_fewshot, None, 0)["tasks"]
        for task in loaded.values():
            try:
                task.build_all_requests(limit=1, rank=0, world_size=1)
            # Jinja's errors, and whatever the task's own Python raises.
            except Exception as error:
                raise unusable_tasks(tasks, error) from error
    return list(loaded)


def unusable_tasks(tasks: Sequence[Task], error: Exception) -> LingraftError:
    """Say in one line which tasks cannot be used, and the first line of why.

    Args:
        tasks: What was asked for.
        error: What came of it.

    Returns:
        The error to raise.
    """
    names = ", ".join(map(task_name, tasks))
    # A KeyError shows its message in quotes.
    said = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    first = next((line.strip() for line in said.splitlines() if line.strip()), "")
    return ConfigError(
        f"--tasks {names}: {type(error).__name__}: {first[:200]}",
        "tasks that lm-eval knows, or finds in the directory of one's own, with data that can be read",
        "correct the name, the file or the connection (lm-eval ls tasks lists what there is)",
    )


def task_name(task: Task) -> str:
    """Return what to call a task in a message."""
    return task if isinstance(task, str) else str(task.get("task", "a configuration"))


def harness_library(name: str) -> Any:
    """Import a module of lm-eval, or of what comes with it.

    Args:
        name: The module.

    Returns:
        The module.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        # lm-eval itself, or one of what its extra `hf` brings.
        missing = (error.name or "lm_eval").partition(".")[0]
        raise MissingExtraError(missing, "eval", "evaluation with lm-eval") from error


@contextlib.contextmanager
def quiet(shown: bool) -> Iterator[None]:
    """Hold back bars, notes and prints, for which lm-eval and its libraries have no switch."""
    if shown:
        yield
        return
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()), quiet_log():
        yield


@contextlib.contextmanager
def quiet_log() -> Iterator[None]:
    """Let only errors of lm-eval into the log."""
    logger = logging.getLogger("lm_eval")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)

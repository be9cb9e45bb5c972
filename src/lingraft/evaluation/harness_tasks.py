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
        ConfigError: No task is given, two have the same name, or one is unknown or cannot be loaded.
    """
    loaded, _ = _load(tasks, include_path)
    for task in loaded["tasks"].values():
        _set_up(task, num_fewshot, generation, seed)
    return loaded


def _load(tasks: Sequence[Task], include_path: Path | None) -> tuple[dict[str, Any], dict[str, str]]:
    """Load tasks, and say of each name which of `tasks` gave it."""
    if not tasks:
        raise ConfigError("no task", "at least one", "name a task")
    loaded: dict[str, dict[str, Any]] = {"tasks": {}, "groups": {}, "group_map": {}}
    givers: dict[str, str] = {}
    for task, found in zip(tasks, _found(tasks, include_path), strict=True):
        for name in (*found["tasks"], *found["groups"]):
            if name in givers:
                raise ConfigError(
                    f"--tasks {givers[name]} and --tasks {task_name(task)}, which both give {name}",
                    "each name once, since results go by it",
                    "leave one of the two out, or rename its `task:`",
                )
            givers[name] = task_name(task)
        for kind, named in loaded.items():
            named.update(found[kind])
    return loaded, givers


def _found(tasks: Sequence[Task], include_path: Path | None) -> Iterator[Any]:
    """Load what each of `tasks` names; an error is of that one."""
    manager = harness_library("lm_eval.tasks").TaskManager
    managers: dict[bool, Any] = {}

    def load(spec: Any, defaults: bool) -> Any:
        if defaults not in managers:
            managers[defaults] = manager(include_path=include_path, include_defaults=defaults)
        return managers[defaults].load([spec])

    for task in tasks:
        spec = task if isinstance(task, str) else dict(task)
        try:
            try:
                # Reading the thousands of built-in tasks takes seconds; one's own are found without them.
                found = load(spec, False)
            except KeyError:
                found = load(spec, True)
        except Exception as error:
            raise unusable_tasks([task], error) from error
        yield found


def _set_up(task: Any, num_fewshot: int | None, generation: Mapping[str, Any] | None, seed: int) -> None:
    if generation and task.get_config("output_type") == "generate_until":
        task.set_config(key="generation_kwargs", value=dict(generation), update=True)
    default = task.get_config("num_fewshot")
    if task.get_config("output_type") == "loglikelihood_rolling":
        # A whole text is scored with nothing in front, whatever the number says.
        task.set_config(key="num_fewshot", value=0)
    elif num_fewshot is not None and default != 0:
        task.set_config(key="num_fewshot", value=num_fewshot)
    elif default is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=seed)


def check_tasks(
    tasks: Sequence[Task],
    *,
    include_path: Path | None = None,
    num_fewshot: int | None = None,
    limit: int | None = None,
) -> list[str]:
    """Load tasks and fill in their documents, so that a bad one is known before the work begins.

    Of each task the first document, with its examples; where the data are on the disk, all of them: these rows are
    one's own, and nobody has run them before.

    Args:
        tasks: As in `evaluate_tasks`.
        include_path: A directory of tasks of one's own.
        num_fewshot: Examples in front.
        limit: Documents of a task; None for all.

    Returns:
        The names of the tasks; a group's members in its place.

    Raises:
        MissingExtraError: lm-eval is missing.
        ConfigError: No task is given, two have the same name, or one is unknown or cannot be loaded or filled in.
    """
    with quiet(shown=False):
        loaded, givers = _load(tasks, include_path)
        for name, task in loaded["tasks"].items():
            _set_up(task, num_fewshot, None, 0)
            if _on_disk(task):
                _check_documents(task, givers[name], limit)
            try:
                task.build_all_requests(limit=1, rank=0, world_size=1)
            # Jinja's errors, and whatever the task's own Python raises.
            except Exception as error:
                raise unusable_tasks([givers[name]], error) from error
    return list(loaded["tasks"])


def _on_disk(task: Any) -> bool:
    path = task.get_config("dataset_path")
    return "data_files" in (task.get_config("dataset_kwargs") or {}) or bool(path and Path(path).exists())


def _check_documents(task: Any, giver: str, limit: int | None) -> None:
    """Make the requests of each document, without examples, and see that one of its options is right."""
    name = task.get_config("task")
    for number, document in task.doc_iterator(limit=limit):
        try:
            fault = _choice_fault(task, document) or _request_fault(task, document, number)
        except Exception as error:
            raise _bad_document(giver, name, number, document, _said(error)) from error
        if fault:
            raise _bad_document(giver, name, number, document, fault)


def _request_fault(task: Any, document: Any, number: int) -> str:
    """Make the requests, and say what of them the model could not read."""
    context = task.fewshot_context(document, num_fewshot=0, gen_prefix=task.doc_to_prefix(document))
    name = task.get_config("task")
    made = task.construct_requests(doc=document, ctx=context, metadata=(name, number, 1))
    parts = [part for request in (made if isinstance(made, list) else [made]) for part in request.args]
    # Beside texts there are settings of generation.
    odd = [part for part in parts if not isinstance(part, str | Mapping)]
    return f"{odd[0]!r} in the place of a text" if odd else ""


def _choice_fault(task: Any, document: Mapping[str, Any]) -> str:
    """Say why lm-eval could not tell whether the model chose right, or would count it wrong whatever it chose."""
    if task.OUTPUT_TYPE != "multiple_choice" or callable(task.config.process_results):
        return ""
    options = task.doc_to_choice(document)
    if not options or isinstance(options, str) or not all(isinstance(option, str) for option in options):
        return f"the options {str(options)[:60]}, where a list of texts should be"
    right = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
    if isinstance(right, str):
        known = right in options
    else:
        numbers = right if isinstance(right, list) else [right]
        known = bool(numbers) and all(one in range(len(options)) for one in numbers)
    return "" if known else f"the right answer {right!r}, none of the {len(options)} options (from 0)"


def _bad_document(giver: str, name: str, number: int, document: Any, fault: str) -> LingraftError:
    return ConfigError(
        f"--tasks {giver}: document {number + 1} of {name} ({str(document)[:60]}): {fault}",
        "documents that the task can ask and judge",
        "correct or leave out that row of the data, or correct the task file",
    )


def unusable_tasks(tasks: Sequence[Task], error: Exception) -> LingraftError:
    """Say in one line which tasks cannot be used, and the first line of why.

    Args:
        tasks: What was asked for.
        error: What came of it.

    Returns:
        The error to raise.
    """
    names = ", ".join(map(task_name, tasks))
    return ConfigError(
        f"--tasks {names}: {_said(error)}",
        "tasks that lm-eval knows, or finds in the directory of one's own, with data that can be read",
        "correct the name, the file or the connection (lm-eval ls tasks lists what there is)",
    )


def _said(error: Exception) -> str:
    # A KeyError shows its message in quotes.
    said = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    first = next((line.strip() for line in said.splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first[:200]}"


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

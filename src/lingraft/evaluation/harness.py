"""lm-eval on a loaded model: the only file that imports it (extra `eval`)."""

import contextlib
import copy
import importlib
import io
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lingraft.errors import ConfigError, LingraftError, MissingExtraError
from lingraft.evaluation.harness_calls import Around, Before, SurroundedCalls
from lingraft.evaluation.harness_results import HarnessResult, read_result
from lingraft.models.loading import LoadedModel

Task = str | Mapping[str, Any]
"""A name, the path of a YAML file, or a task's configuration as lm-eval's YAML holds it."""


def harness_lm(
    loaded: LoadedModel,
    *,
    around: Around | None = None,
    before: Before | None = None,
    counts: Counter[str] | None = None,
    batch_size: int = 8,
    max_length: int | None = None,
    add_bos_token: bool | None = None,
    progress: bool = False,
) -> Any:
    """Make an lm-eval model of a loaded one.

    Log-likelihoods are lm-eval's own but for the softmax, which is float32 whatever the model's dtype; generation is
    lm-eval's own.

    Args:
        loaded: A causal LM with its tokenizer, which is not changed.
        around: Gives a context manager to be entered around every call of the model.
        before: Sees the contexts of all requests of a kind before the first call.
        counts: Where to count, for instance `truncated` requests; None for a new counter.
        batch_size: Rows of a call.
        max_length: Most tokens of a row; None for the model's context.
        add_bos_token: Begin contexts with the bos token, or never; None for what the tokenizer does by default.
        progress: Show a bar.

    Returns:
        An `lm_eval.api.model.LM` (a subclass of its HFLM), for `run_harness` and for lm-eval's own functions.

    Raises:
        MissingExtraError: lm-eval is missing.
        ConfigError: The tokenizer has no eos token, or the batch size is below one.
    """
    base = _library("lm_eval.models.huggingface").HFLM
    tokenizer = loaded.tokenizer
    if getattr(tokenizer, "eos_token_id", None) is None:
        raise ConfigError(
            "a tokenizer without an eos token", "one with it, as lm-eval needs", "set its eos_token"
        )
    if batch_size < 1:
        raise ConfigError(f"batch size {batch_size}", "at least 1", "give a larger one")
    if tokenizer.pad_token_id is None:
        # lm-eval would give the user's own tokenizer one.
        tokenizer = copy.deepcopy(tokenizer)
    surrounded = type("HarnessLM", (SurroundedCalls, base), {})
    with _no_warnings():
        lm: Any = surrounded(
            pretrained=loaded.model,
            backend="causal",
            tokenizer=tokenizer,
            batch_size=batch_size,
            max_length=max_length,
            add_bos_token=add_bos_token,
        )
    lm.around, lm.before, lm.progress = around, before, progress
    lm.counts = Counter() if counts is None else counts
    return lm


def evaluate_tasks(
    lm: Any,
    tasks: Sequence[Task],
    *,
    limit: int | None = None,
    num_fewshot: int | None = None,
    include_path: Path | None = None,
    chat_template: bool = False,
    generation: Mapping[str, Any] | None = None,
    bootstrap: int = 1000,
    seed: int = 1234,
) -> HarnessResult:
    """Run lm-eval's tasks.

    The network is used by tasks whose data set is on the hub, and by nothing else.

    Args:
        lm: What `harness_lm` made; its `progress` shows lm-eval's own bars and notes too.
        tasks: Names of tasks or groups, YAML files, or configurations (data on disk: `dataset_path: json` with
            `dataset_kwargs: {data_files: ...}`).
        limit: Documents of a task; None for all.
        num_fewshot: Examples in front, except where a task says 0; None for what the task says.
        include_path: A directory of tasks of one's own.
        chat_template: Put contexts into the tokenizer's chat template.
        generation: Settings of generation that take the place of the tasks'.
        bootstrap: Draws for standard errors that no formula gives; 0 for no standard error at all.
        seed: Of the choice of examples.

    Returns:
        Metrics, and every document's.

    Raises:
        MissingExtraError: lm-eval is missing.
        ConfigError: A task is unknown or cannot be loaded or filled in.
    """
    templates = _library("jinja2").TemplateError
    evaluate = _library("lm_eval.evaluator").evaluate
    with _quiet(lm.progress):
        loaded = _load(tasks, include_path, num_fewshot, generation, seed)
        lm.counts.clear()
        try:
            found = evaluate(
                lm=lm,
                task_dict=loaded,
                limit=limit,
                bootstrap_iters=bootstrap,
                apply_chat_template=chat_template,
                fewshot_as_multiturn=chat_template,
            )
        except templates as error:
            raise _no_task(tasks, error) from error
    return read_result(found, lm.counts)


def run_harness(
    lm: Any,
    tasks: Sequence[Task],
    *,
    limit: int | None = None,
    num_fewshot: int | None = None,
    include_path: Path | None = None,
    chat_template: bool = False,
    **options: Any,
) -> dict[str, dict[str, float]]:
    """Run lm-eval's tasks and return the metrics alone; `evaluate_tasks` says more.

    Args:
        lm: What `harness_lm` made.
        tasks: As in `evaluate_tasks`.
        limit: Documents of a task; None for all.
        num_fewshot: Examples in front.
        include_path: A directory of tasks of one's own.
        chat_template: Put contexts into the tokenizer's chat template.
        **options: As in `evaluate_tasks`.

    Returns:
        Task or group to metric to value, for instance `{"xnli_sw": {"acc": 0.5, "acc_stderr": 0.01}}`.
    """
    result = evaluate_tasks(
        lm,
        tasks,
        limit=limit,
        num_fewshot=num_fewshot,
        include_path=include_path,
        chat_template=chat_template,
        **options,
    )
    return result.metrics


def read_contexts(
    lm: Any,
    task: Task,
    *,
    limit: int | None = None,
    num_fewshot: int | None = None,
    include_path: Path | None = None,
    chat_template: bool = False,
    seed: int = 1234,
) -> dict[tuple[int, int], str]:
    """Read what a task would put before the model, without calling it.

    Args:
        lm: What `harness_lm` made, for its chat template.
        task: One task, no group.
        limit: As in `evaluate_tasks`, as are the others.
        num_fewshot: Examples in front.
        include_path: A directory of tasks of one's own.
        chat_template: Put contexts into the tokenizer's chat template.
        seed: Of the choice of examples.

    Returns:
        From a document's number and its request's number to the context.

    Raises:
        MissingExtraError: lm-eval is missing.
        ConfigError: The task is unknown or cannot be loaded or filled in, or is a group.
    """
    templates = _library("jinja2").TemplateError
    with _quiet(lm.progress):
        found = list(_load([task], include_path, num_fewshot, None, seed)["tasks"].values())
        if len(found) != 1:
            raise ConfigError(f"{_name(task)}, a group of {len(found)} tasks", "one task", "name one of them")
        try:
            found[0].build_all_requests(
                limit=limit,
                rank=0,
                world_size=1,
                apply_chat_template=chat_template,
                fewshot_as_multiturn=chat_template,
                chat_template=lm.apply_chat_template if chat_template else None,
                tokenizer_name=lm.tokenizer_name if chat_template else "",
            )
        except templates as error:
            raise _no_task([task], error) from error
    return {(int(one.doc_id), int(one.idx)): str(one.args[0]) for one in found[0].instances}


def _load(
    tasks: Sequence[Task],
    include_path: Path | None,
    num_fewshot: int | None,
    generation: Mapping[str, Any] | None,
    seed: int,
) -> Any:
    """Load tasks as lm-eval's `simple_evaluate` does, which also seeds all generators of the process."""
    manager = _library("lm_eval.tasks").TaskManager
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
        raise _no_task(tasks, error) from error
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


def _no_task(tasks: Sequence[Task], error: Exception) -> LingraftError:
    names = ", ".join(map(_name, tasks))
    # A KeyError shows its message in quotes.
    said = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    first = next((line.strip() for line in said.splitlines() if line.strip()), "")
    return ConfigError(
        f"--tasks {names}: {type(error).__name__}: {first[:200]}",
        "tasks that lm-eval knows, or finds in the directory of one's own, with data that can be read",
        "correct the name, the file or the connection (lm-eval ls tasks lists what there is)",
    )


def _name(task: Task) -> str:
    return task if isinstance(task, str) else str(task.get("task", "a configuration"))


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        # lm-eval itself, or one of what its extra `hf` brings.
        missing = (error.name or "lm_eval").partition(".")[0]
        raise MissingExtraError(missing, "eval", "evaluation with lm-eval") from error


@contextlib.contextmanager
def _quiet(shown: bool) -> Iterator[None]:
    """Hold back bars, notes and prints, for which lm-eval and its libraries have no switch."""
    if shown:
        yield
        return
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()), _no_warnings():
        yield


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    logger = logging.getLogger("lm_eval")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)

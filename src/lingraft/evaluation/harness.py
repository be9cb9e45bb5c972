"""lm-eval on a loaded model (extra `eval`)."""

import copy
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lingraft.errors import ConfigError, LingraftError
from lingraft.evaluation.harness_calls import Around, Before, SurroundedCalls
from lingraft.evaluation.harness_results import HarnessResult, read_result
from lingraft.evaluation.harness_tasks import (
    Task,
    harness_library,
    load_tasks,
    quiet,
    quiet_log,
    task_name,
    unusable_tasks,
)
from lingraft.models.loading import LoadedModel
from lingraft.tokenizers.open_ended import open_ended

__all__ = ["Task", "evaluate_tasks", "harness_lm", "read_contexts", "run_harness"]


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
    base = harness_library("lm_eval.models.huggingface").HFLM
    # lm-eval takes what closes a context for a part of it: it would score after </s>, and generate after it.
    tokenizer = open_ended(loaded.tokenizer)
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
    with quiet_log():
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
    evaluate = harness_library("lm_eval.evaluator").evaluate
    with quiet(lm.progress):
        loaded = load_tasks(tasks, include_path, num_fewshot, generation, seed)
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
        # Jinja's errors, and whatever lm-eval or the task's own Python raises at a document.
        except Exception as error:
            if isinstance(error, LingraftError) or _from_the_model(error):
                raise
            raise unusable_tasks(tasks, error) from error
    return read_result(found, lm.counts)


def _from_the_model(error: Exception) -> bool:
    """Whether a call of the model raised it, which is not the task's fault."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__") == SurroundedCalls.__module__ for frame, _ in frames)


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
    with quiet(lm.progress):
        found = list(load_tasks([task], include_path, num_fewshot, None, seed)["tasks"].values())
        if len(found) != 1:
            raise ConfigError(
                f"{task_name(task)}, a group of {len(found)} tasks", "one task", "name one of them"
            )
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
        except Exception as error:
            raise unusable_tasks([task], error) from error
    return {(int(one.doc_id), int(one.idx)): str(one.args[0]) for one in found[0].instances}

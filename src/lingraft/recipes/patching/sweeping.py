"""Run a sweep of latent transplants from references: instance by instance, here or on workers, to be continued."""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lingraft.contents import with_contents
from lingraft.corpora.named_datasets import rows_revision
from lingraft.files import find_run, open_run_directory
from lingraft.models.architecture import resolve
from lingraft.models.loading import LoadedModel
from lingraft.patching.instances import Instance
from lingraft.patching.parsing import find_judge
from lingraft.patching.plan import SweepCost, plan_sweep
from lingraft.patching.prompts import Prompt
from lingraft.patching.records import finished_instances, merge_instances, write_instance
from lingraft.patching.sweep import instance_pairs, sweep_instance
from lingraft.recipes.patching.sweep_inputs import encode_pairs, load_for, memory_budget, read_pairs
from lingraft.recipes.patching.sweep_options import Shard, SweepOptions
from lingraft.recipes.patching.sweep_result import write_sweep_result
from lingraft.reports.result import InputRevision, RunResult, read_result
from lingraft.workers import run_tasks


@dataclass(frozen=True, slots=True)
class SweepJob:
    """What a worker needs to make itself ready; all of it picklable.

    Attributes:
        options: The sweep.
        out: Run directory, which all workers see.
        device: Where they compute.
        memory_bytes: Memory that rows may take.
    """

    options: SweepOptions
    out: Path
    device: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class PreparedSweep:
    """A sweep that can be run: everything that could be refused has been checked.

    Attributes:
        loaded: The model.
        instances: The rows.
        prompts: Their tokens.
        cost: What it will take.
        memory_bytes: Memory that rows may take.
    """

    loaded: LoadedModel
    instances: Sequence[Instance]
    prompts: Sequence[Prompt]
    cost: SweepCost
    memory_bytes: int


def prepare_sweep(options: SweepOptions, *, device: str, memory_mib: int | None = None) -> PreparedSweep:
    """Load and check everything, and count what the sweep costs, without running it.

    Args:
        options: The sweep.
        device: Where it would run.
        memory_mib: Memory that rows may take; None chooses.

    Returns:
        The sweep, ready.

    Raises:
        LingraftError: A bad option or input.
    """
    settings = options.settings(0)
    # The rows first: a wrong path should not wait for a model to load.
    instances = read_pairs(options)
    loaded = load_for(options, device)
    budget = memory_budget(loaded.model.device, memory_mib)
    prompts = encode_pairs(loaded, instances, options, settings)
    cost = plan_sweep(
        loaded.model,
        prompts,
        instance_pairs(loaded.model, settings, len(instances[0].donor)),
        score=settings.score,
        new_tokens=settings.new_tokens,
        budget_bytes=budget,
    )
    return PreparedSweep(loaded, instances, prompts, cost, budget)


def run_sweep(
    options: SweepOptions,
    *,
    out: Path,
    device: str = "auto",
    memory_mib: int | None = None,
    shard: Shard | None = None,
    workers: int = 1,
    ray_address: str | None = None,
) -> RunResult | None:
    """Sweep every instance of a shard; where all are done, write the tables, pictures and the report.

    Args:
        options: The sweep.
        out: Run directory; finished instances in it are kept, so a killed run continues, and shards share it.
        device: Where the model is put.
        memory_mib: Memory that rows may take; None chooses.
        shard: Which instances; None for all.
        workers: Processes, or Ray actors.
        ray_address: A Ray cluster instead of processes here; it must see `out`.

    Returns:
        The result; None while other shards have instances left.

    Raises:
        LingraftError: A bad option or input.
    """
    command = with_contents(options.as_command())
    if find_run(out, command) and (out / "result.json").exists():
        return read_result(out)
    ready = prepare_sweep(options, device=device, memory_mib=memory_mib)
    # Only now: bad input must not leave a directory that the corrected command would find taken.
    open_run_directory(out, command)
    total, mine, cost = len(ready.instances), shard or Shard(), ready.cost
    done = set(finished_instances(out, total))
    tasks = [n for n in range(total) if n % mine.of == mine.number - 1 and n not in done]
    about: dict[str, Any] = {
        "instances": ready.instances,
        "tokenizer": ready.loaded.tokenizer,
        "layers": len(resolve(ready.loaded.model).layers),
        "device": str(ready.loaded.model.device),
        "inputs": [
            InputRevision(role="model", reference=options.model, revision=ready.loaded.revision),
            InputRevision(role="pairs", reference=options.pairs, revision=rows_revision(options.pairs)),
        ],
    }
    job = SweepJob(options, out.absolute(), device, ready.memory_bytes)
    start: Callable[[int], Callable[[Any], object]] = partial(start_worker, job)
    if workers == 1 and ray_address is None:
        start = partial(_ready, ready.loaded, ready.instances, ready.prompts, job)
    else:
        # The workers load their own.
        del ready
        gc.collect()
    run_tasks(
        start,
        tasks,
        workers=workers,
        ray_address=ray_address,
        accelerators=float(about["device"].startswith("cuda")),
        description="sweeping",
    )
    if len(finished_instances(out, total)) < total:
        return None
    return write_sweep_result(
        out,
        cost=cost,
        seconds=merge_instances(out, total),
        seed=options.seed,
        control=options.control,
        score=options.score,
        **about,
    )


def start_worker(job: SweepJob, number: int) -> Callable[[int], object]:
    """Load what a worker needs.

    Args:
        job: The sweep.
        number: The worker's; several accelerators are dealt out by it.

    Returns:
        What sweeps the instance of a number.

    Raises:
        LingraftError: A bad input.
    """
    device = job.device
    if device in {"auto", "cuda"} and torch.cuda.is_available():
        device = f"cuda:{number % torch.cuda.device_count()}"
    loaded = load_for(job.options, device)
    instances = read_pairs(job.options)
    prompts = encode_pairs(loaded, instances, job.options, job.options.settings(job.memory_bytes))
    return _ready(loaded, instances, prompts, job, number)


def _ready(
    loaded: LoadedModel, instances: Sequence[Instance], prompts: Sequence[Prompt], job: SweepJob, _number: int
) -> Callable[[int], object]:
    settings = job.options.settings(job.memory_bytes)

    def work(number: int) -> None:
        began = time.perf_counter()
        instance = instances[number]
        judge = find_judge(instance)
        found = sweep_instance(loaded.model, loaded.tokenizer, prompts[number], settings, judge=judge)
        write_instance(job.out, number, found, instance, settings.sites, time.perf_counter() - began)

    return work

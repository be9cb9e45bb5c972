"""Independent tasks on several workers: processes of this machine, or actors of a Ray cluster.

A task's outcome is a file that it writes whole or not at all, so nothing is lost with a worker, and what comes back is
only that it is done.
"""

import contextlib
import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from lingraft.errors import ConfigError, MissingExtraError
from lingraft.progress import progress_task

Start = Callable[[int], Callable[[Any], object]]
"""Given the worker's number, loads what it needs, and returns what does one task. It must be picklable."""

_work: Callable[[Any], object] | None = None
_sharing = False
_room: int | None = None
"""Processors of the Ray cluster that this module started (0: it joined one); None where it is in none."""


def run_tasks(
    start: Start,
    tasks: Sequence[Any],
    *,
    workers: int = 1,
    ray_address: str | None = None,
    accelerators: float = 0,
    description: str = "working",
) -> None:
    """Do every task once.

    Args:
        start: Makes a worker ready, once each.
        tasks: What they are given, picklable.
        workers: How many; 1 without Ray works in this process.
        ray_address: A Ray cluster (`auto`, `local`, or its address) instead of processes here.
        accelerators: Accelerators that each Ray actor reserves.
        description: For the progress bar.

    Raises:
        ConfigError: A worker was killed, or the cluster cannot be reached.
        MissingExtraError: Ray is asked for and not installed.
    """
    if workers < 1:
        raise ConfigError(f"--workers {workers}", "at least 1", "give a larger number")
    if not tasks:
        return
    workers = min(workers, len(tasks))
    with progress_task(description, len(tasks)) as advance:
        if ray_address is not None:
            finished = _on_ray(start, tasks, workers, ray_address, accelerators)
        elif workers > 1:
            finished = _in_processes(start, tasks, workers)
        else:
            finished = map(start(0), tasks)
        for _ in finished:
            advance()


def _in_processes(start: Start, tasks: Sequence[Any], workers: int) -> Iterator[object]:
    context = multiprocessing.get_context("spawn")
    with (
        _threads_shared(workers),
        ProcessPoolExecutor(workers, mp_context=context) as pool,
    ):
        waiting = {pool.submit(_do, start, task) for task in tasks}
        try:
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BrokenProcessPool as error:
            raise ConfigError(
                "a worker was killed",
                "all workers to live: too little memory kills first",
                "run the same command again with fewer --workers; what is finished is kept",
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def _threads_shared(workers: int) -> Iterator[None]:
    """Let the processes share the cores; several that each use all of them slow each other down."""
    name = "OMP_NUM_THREADS"
    before = os.environ.get(name)
    if before is None:
        os.environ[name] = str(max(1, (os.cpu_count() or 1) // workers))
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


def _do(start: Start, task: Any) -> object:
    """Do a task in a worker process; it makes itself ready at its first one, so that its errors are a task's."""
    global _work  # noqa: PLW0603
    if _work is None:
        # SpawnProcess-3 is the third.
        _work = start(int(multiprocessing.current_process().name.rpartition("-")[2]) - 1)
    return _work(task)


def require_cluster(address: str) -> None:
    """Refuse a Ray address where nothing answers, which Ray itself would try for minutes.

    Args:
        address: As for `run_tasks`; only `HOST:PORT` and `ray://HOST:PORT` are tried, for five seconds.

    Raises:
        ConfigError: Nothing answers there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "no answer"
        raise ConfigError(
            f"--ray {address}: {reason}",
            "a running cluster, or local",
            "start one with `ray start --head`, or give its address",
        ) from error


@contextlib.contextmanager
def shared_cluster() -> Iterator[None]:
    """Let all calls of `run_tasks` in the block use the Ray cluster that the first of them starts or joins.

    Starting one takes seconds, and a recipe has many such calls. Without Ray nothing happens.
    """
    global _sharing  # noqa: PLW0603
    outer, _sharing = _sharing, True
    try:
        yield
    finally:
        _sharing = outer
        if not outer:
            _leave_cluster()


def _join_cluster(ray: Any, address: str, workers: int) -> None:
    """Start or join a cluster, unless this process is in one that has room."""
    global _room  # noqa: PLW0603
    # A cluster of our own has room for as many workers as are asked for, as processes have.
    room = max(workers, os.cpu_count() or 1) if address == "local" else None
    if _room is not None and room is not None and room > _room:
        _leave_cluster()
    if ray.is_initialized():
        return
    require_cluster(address)
    try:
        ray.init(address=address, num_cpus=room, log_to_driver=False, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"--ray {address}: {str(error).splitlines()[0]}",
            "a running cluster, or local",
            "start one with `ray start --head`, or give its address",
        ) from error
    _room = room or 0


def _leave_cluster() -> None:
    """Leave the cluster that this module started or joined; one that the caller is in stays."""
    global _room  # noqa: PLW0603
    if _room is not None:
        import ray

        ray.shutdown()
        _room = None


def _on_ray(
    start: Start, tasks: Sequence[Any], workers: int, address: str, accelerators: float
) -> Iterator[object]:
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", "scale", "workers on a Ray cluster") from error
    _join_cluster(ray, address, workers)

    class Worker:
        def __init__(self, number: int) -> None:
            self.number = number
            self.work: Callable[[Any], object] | None = None

        def ready(self) -> None:
            """Answer, once the cluster has had room for this actor."""

        def do(self, task: Any) -> object:
            # At the first task, not before: an error of a constructor would reach nobody.
            if self.work is None:
                self.work = start(self.number)
            return self.work(task)

    actors: list[Any] = []
    try:
        remote: Any = ray.remote(num_cpus=1, num_gpus=accelerators)(Worker)
        actors += [remote.remote(number) for number in range(workers)]
        # A task goes to an actor that lives: one that the cluster has no room for would keep it waiting for ever.
        owners: dict[Any, tuple[Any, bool]] = {actor.ready.remote(): (actor, False) for actor in actors}
        left, unfinished = list(reversed(tasks)), len(tasks)
        while unfinished:
            for answer in ray.wait(list(owners))[0]:
                actor, worked = owners.pop(answer)
                result = ray.get(answer)
                if left:
                    owners[actor.do.remote(left.pop())] = (actor, True)
                if worked:
                    unfinished -= 1
                    yield result
    except ray.exceptions.RayTaskError as error:
        # What the task raised, as it would be raised here.
        raise error.cause from None
    except ray.exceptions.RayActorError as error:
        raise ConfigError(
            "a Ray actor died",
            "all workers to live: too little memory kills first",
            "run the same command again with fewer --workers; what is finished is kept",
        ) from error
    finally:
        if _sharing:
            # Their room is for the next call's.
            for actor in actors:
                ray.kill(actor)
        else:
            _leave_cluster()

"""Tasks on workers: each once, errors as they were raised, and what was written stays when a worker dies."""

import importlib.util
import os
import signal
import time
from functools import partial

import pytest

from lingraft.errors import ConfigError
from lingraft.workers import run_tasks, shared_cluster


def start(folder, number):
    """Make a worker ready; module level, so that other processes can import it."""

    def work(task):
        if task == "wrong":
            raise ConfigError("task größe", "another", "change it")
        if task == "fatal":
            os.kill(os.getpid(), signal.SIGKILL)
        (folder / f"{task}-{number}-{os.getpid()}").touch(exist_ok=False)

    return work


def names(folder):
    return sorted(file.name.split("-")[0] for file in folder.iterdir())


RAY = pytest.param(
    "local", marks=pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="no ray")
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "address"), [(1, None), (2, None), pytest.param(2, "local", marks=RAY.marks)]
)
def test_every_task_once_and_errors_as_raised(tmp_path, workers, address):
    run_tasks(partial(start, tmp_path), list("ñabcd"), workers=workers, ray_address=address)
    assert names(tmp_path) == sorted("ñabcd")
    makers = {file.name.split("-")[2] for file in tmp_path.iterdir()}
    assert (str(os.getpid()) in makers) == (workers == 1) and len(makers) <= workers
    with pytest.raises(ConfigError, match="task größe; expected another; change it"):
        run_tasks(partial(start, tmp_path), ["e", "wrong"], workers=workers, ray_address=address)


def test_a_killed_worker_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match=r"a worker was killed.*fewer --workers; what is finished is kept"):
        run_tasks(partial(start, tmp_path), ["a", "fatal", "b"], workers=2)
    before = os.environ.get("OMP_NUM_THREADS")
    run_tasks(partial(start, tmp_path), ["c", "d"], workers=2)
    assert {"c", "d"} <= set(names(tmp_path))
    assert os.environ.get("OMP_NUM_THREADS") == before


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="no ray")
def test_a_cluster_with_room_for_fewer_workers_does_all_tasks(tmp_path):
    import ray

    ray.init(address="local", num_cpus=1, log_to_driver=False, configure_logging=False)
    try:
        run_tasks(partial(start, tmp_path), list("ñabcd"), workers=3, ray_address="auto")
    finally:
        ray.shutdown()
    assert names(tmp_path) == sorted("ñabcd")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="no ray")
def test_calls_share_a_cluster_until_one_wants_more_room(tmp_path, monkeypatch):
    import ray

    started = []
    init = ray.init
    monkeypatch.setattr(ray, "init", lambda **options: (started.append(options["num_cpus"]), init(**options)))
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    with shared_cluster():
        for workers, tasks in ((1, ["ñ"]), (1, ["a", "b"]), (2, ["c", "d", "e"]), (1, ["f"])):
            run_tasks(partial(start, tmp_path), tasks, workers=workers, ray_address="local")
        with pytest.raises(ConfigError, match="task größe"):
            run_tasks(partial(start, tmp_path), ["wrong"], ray_address="local")
        run_tasks(partial(start, tmp_path), ["g"], ray_address="local")
        assert ray.is_initialized()
    assert not ray.is_initialized()
    assert started == [1, 2], "once, and once more where two workers had no room"
    assert names(tmp_path) == sorted("ñabcdefg")


def test_no_tasks_start_no_worker(tmp_path):
    def never(number):
        raise AssertionError

    began = time.monotonic()
    run_tasks(never, [], workers=64)
    assert time.monotonic() - began < 1
    with pytest.raises(ConfigError, match="--workers 0"):
        run_tasks(never, [1], workers=0)

"""A training stage in several processes: `accelerate launch` runs this very module, which runs the stage."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from lingraft import errors
from lingraft.errors import ConfigError, LingraftError, MissingExtraError, TrainingError
from lingraft.files import write_json
from lingraft.recipes.stages.contract import Scale, StageContext
from lingraft.reports.result import RESULT_FILE, RunResult, read_result, write_result
from lingraft.training.processes import is_main_process

JOB, FAILURE = ".job.json", ".failure.json"
_NOISE = ("Traceback (most recent call last)", "torch.distributed.elastic", "E1", "W1", "[rank")
"""How lines of the launcher begin that say again, at length, what `.failure.json` says."""


def run_in_processes(kind_name: str, settings: Any, context: StageContext) -> RunResult:
    """Run a stage in `context.scale.processes` processes of `accelerate launch`.

    Args:
        kind_name: Its kind.
        settings: Its settings, references resolved.
        context: Its context.

    Returns:
        What came out.

    Raises:
        LingraftError: What a process met.
        TrainingError: A process was killed.
    """
    try:
        import accelerate  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("accelerate", "train", "training in several processes") from error
    scale = context.scale
    failure = context.out / FAILURE
    failure.unlink(missing_ok=True)
    (context.out / RESULT_FILE).unlink(missing_ok=True)
    plain = {name: getattr(context, name) for name in ("name", "language", "seed", "device")}
    trust = {name: getattr(context, name) for name in ("trust_remote_code", "accept_terms")}
    job = {
        "kind": kind_name,
        "settings": settings.model_dump(mode="json"),
        "context": {**plain, **trust},
        "workers": scale.workers,
        "ray": scale.ray,
        "processes": scale.processes,
        "runner": os.getpid(),
    }
    write_json(context.out / JOB, job)
    context.say(f"in {scale.processes} processes")
    status = _launch(_command(context), failure, scale.processes)
    if failure.exists():
        raise _read_failure(failure)
    if status or not (context.out / RESULT_FILE).exists():
        raise TrainingError(
            f"stage {context.name}: the launcher left with status {status}",
            "all processes to finish",
            "run the same command again, which continues; with less memory a process, take more processes",
        )
    return read_result(context.out)


def _command(context: StageContext) -> list[str]:
    """Return the launcher's command line: on processors alone what accelerate launch would run for several devices.

    accelerate launch itself starts a single process there, and says nothing.
    """
    scale = context.scale
    job = ["-m", "lingraft.recipes.running.launching", str(context.out)]
    number = str(scale.processes)
    if scale.accelerate_config is not None and not scale.accelerate_config.is_file():
        raise ConfigError(
            f"scale.accelerate_config: no file {scale.accelerate_config}",
            "a file of `accelerate config`",
            "check the path",
        )
    if scale.accelerate_config is None and (context.device == "cpu" or not _has_accelerator()):
        return [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node",
            number,
            *job,
        ]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", number]
    if scale.accelerate_config is not None:
        return [*command, "--config_file", str(scale.accelerate_config), *job]
    one_machine = ["--multi_gpu", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    # Another free port each time: a fixed one may still be held by a run that was killed.
    return [*command, *one_machine, "--main_process_port", "0", *job]


def _has_accelerator() -> bool:
    import torch

    return bool(torch.cuda.is_available() or torch.backends.mps.is_available())


def _launch(command: list[str], failure: Path, processes: int) -> int:
    """Run the launcher; what it prints goes to stderr, but not its tracebacks about a failure that is known."""
    # As many threads a process as its share of the cores, unless the user says otherwise: torchrun would take one.
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    environment = {"OMP_NUM_THREADS": threads, **os.environ}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=sys.stderr.fileno(), env=environment
    ) as process:
        assert process.stderr is not None
        _forward(process.stderr, failure)
        return process.wait()


def _forward(stream: IO[bytes], failure: Path) -> None:
    quiet = False
    for line in iter(stream.readline, b""):
        quiet = quiet or failure.exists() or line.decode("utf-8", "replace").startswith(_NOISE)
        if not quiet:
            sys.stderr.buffer.write(line)
            sys.stderr.flush()


def _read_failure(path: Path) -> LingraftError:
    failure = json.loads(path.read_text(encoding="utf-8"))
    kind = getattr(errors, failure["class"], TrainingError)
    if kind is MissingExtraError:
        return MissingExtraError(failure["library"], failure["extra"], failure["purpose"])
    error: LingraftError = kind(failure["found"], failure["expected"], failure["remedy"])
    return error


def _die_with(runner: int) -> None:
    """End this process when the runner is gone: what it leaves must not write on beside the next run."""

    def watch() -> None:
        while True:
            try:
                os.kill(runner, 0)
            except ProcessLookupError:
                os._exit(1)
            except OSError:
                pass
            time.sleep(1)

    threading.Thread(target=watch, daemon=True).start()


def main(out: Path) -> int:
    """Run the stage whose job lies in a directory; the first process writes its result.

    Args:
        out: The stage's directory.

    Returns:
        The exit status.
    """
    from lingraft.recipes.stages.kinds import STAGES

    job = json.loads((out / JOB).read_text(encoding="utf-8"))
    _die_with(job["runner"])
    kind = STAGES[job["kind"]]
    context = StageContext(
        out=out,
        scale=Scale(processes=job["processes"], workers=job["workers"], ray=job["ray"]),
        **job["context"],
    )
    if is_main_process():
        context = replace(context, say=lambda line: print(f"  {line}", file=sys.stderr, flush=True))
    try:
        result = kind.run(kind.settings.model_validate(job["settings"]), context)
    except LingraftError as error:
        write_json(out / FAILURE, {"class": type(error).__name__, **vars(error)})
        return 2
    if is_main_process():
        write_result(out, result)
    with contextlib.suppress(Exception):
        import torch.distributed as dist

        if dist.is_initialized():
            dist.barrier()
            dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

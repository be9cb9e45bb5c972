"""What every command does alike: one-line errors, results on stdout, everything else on stderr."""

import contextlib
import errno
import json
import os
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

import typer

from lingraft.errors import LingraftError

DEBUG_VARIABLE = "LINGRAFT_DEBUG"
USER_ERROR, INTERNAL_ERROR, INTERRUPTED = 2, 70, 130

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result alone, as JSON, on stdout.")]
"""The `--json` of every command that has a result."""

_OPERATING_SYSTEM = {
    errno.ENOSPC: "free some space or give another output path, then run the same command again",
    errno.EDQUOT: "free some space or give another output path, then run the same command again",
    errno.EACCES: "give a path that you may read and write",
    errno.EPERM: "give a path that you may read and write",
    errno.EROFS: "give an output path on a writable disk",
    errno.ENOENT: "give the path of a file that is there",
    errno.EISDIR: "give a file",
    errno.ENOTDIR: "give a directory",
}
"""Errors of the operating system that a user can mend, with the remedy."""


def quiet_libraries() -> None:
    """Keep the bars, advice and log lines of other libraries away, unless the user has asked for them.

    It sets environment variables, so it works before those libraries are imported and in child processes.
    """
    for name, value in {
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
        "DATASETS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
        # Threads that spin while they wait slow each other down several times on a machine with other work.
        "OMP_WAIT_POLICY": "passive",
    }.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def prints_to_stderr() -> Iterator[None]:
    """Send what any library prints inside the block to stderr, so that stdout holds results alone.

    Warnings go there too, a line each, without the place in the code that they came from.
    """
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.showwarning = _print_warning
        yield


def _print_warning(message: Warning | str, *place: Any, **more: Any) -> None:
    """Print one line on stderr: `warning: ...`."""
    print("warning:", " ".join(str(message).split()), file=sys.stderr)


def print_result(result: Mapping[str, Any], lines: Iterable[str], *, as_json: bool) -> None:
    """Print a command's result on stdout.

    Args:
        result: What `--json` prints, JSON-able.
        lines: What a person reads instead.
        as_json: Print `result` and not `lines`.
    """
    if as_json:
        plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
        print(json.dumps(result, ensure_ascii=plain, indent=2, allow_nan=False))
    else:
        for line in lines:
            print(line)


def print_error(message: str) -> None:
    """Print one line on stderr: `error: ...`, whatever line breaks the message has."""
    print("error:", " ".join(message.split()), file=sys.stderr)


def report_exception(error: BaseException) -> int:
    """Say in one line what went wrong; return the exit status.

    With the environment variable LINGRAFT_DEBUG=1 the traceback comes first.

    Args:
        error: What was raised out of a command.

    Returns:
        2 for what the user can mend, 130 for an interruption, 70 for a mistake of ours.
    """
    if os.environ.get(DEBUG_VARIABLE, "") not in {"", "0"}:
        traceback.print_exception(error)
    if isinstance(error, LingraftError):
        # A recipe tells all its faults at once, a line each.
        for line in getattr(error, "lines", None) or [str(error)]:
            print_error(line)
        return USER_ERROR
    if isinstance(error, KeyboardInterrupt):
        print_error(
            "interrupted; the same command continues where it stopped, if it writes to a run directory"
        )
        return INTERRUPTED
    if isinstance(error, OSError) and error.errno in _OPERATING_SYSTEM:
        place = f"{error.filename}: " if error.filename else ""
        print_error(f"{place}{error.strerror}; {_OPERATING_SYSTEM[error.errno]}")
        return USER_ERROR
    # torch has its own class for accelerators, which must not be imported only to be compared with.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        detail = str(error).split(". ")[0]
        print_error(f"out of memory {detail}; take a smaller batch, a smaller type or another --device")
        return USER_ERROR
    detail = f"{type(error).__name__}: {error}"
    if len(detail) > 400:
        detail = detail[:400] + " ..."
    print_error(
        f"{detail} (a mistake in lingraft: run again with {DEBUG_VARIABLE}=1 to see where, and report it)"
    )
    return INTERNAL_ERROR

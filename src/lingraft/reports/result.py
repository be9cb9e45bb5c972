"""What a run leaves behind for programs: result.json and the resolved recipe.yaml."""

import json
import math
import platform
import shlex
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lingraft import __version__
from lingraft.errors import ConfigError
from lingraft.files import write_json, write_text

Document = TypeVar("Document", bound=BaseModel)
RESULT_FILE, RECIPE_FILE = "result.json", "recipe.yaml"

_LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "pyarrow")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputRevision(_Frozen):
    """One thing that a run read.

    Attributes:
        role: What it was for: `model`, `tokenizer`, `donor`, `corpus`.
        reference: What the user typed.
        revision: What pins it: a commit, or a sha256 over its files.
    """

    role: str
    reference: str
    revision: str


class Provenance(_Frozen):
    """Where a result comes from.

    Attributes:
        command: The command to repeat, quoted for a POSIX shell.
        lingraft: Version of this library.
        python: Version of the interpreter.
        libraries: Versions of the libraries that results can depend on.
        platform: Operating system and processor.
        device: What it was computed on, as torch names it.
        finished: UTC time, ISO 8601.
    """

    command: str
    lingraft: str
    python: str
    libraries: dict[str, str]
    platform: str
    device: str
    finished: str


class RunResult(_Frozen):
    """The result of one run, as `result.json` holds it and `--json` prints it.

    Attributes:
        kind: Which verb made it: `vocab transfer`, for instance.
        metrics: Name to number, string or nested mapping of these. A number that is not finite is null.
        counts: What was counted, to reason, to how many: `{"tokens": {"copied": 4203, "regressed": 5034}}`.
        inputs: Everything that the run read.
        seeds: Name to seed.
        files: Name to path in the run directory, of what else it left.
        provenance: Where it comes from.
    """

    kind: str
    metrics: dict[str, Any]
    counts: dict[str, dict[str, int]] = Field(default_factory=dict)
    inputs: tuple[InputRevision, ...] = ()
    seeds: dict[str, int] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)
    provenance: Provenance

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain JSON-able values."""
        plain: dict[str, Any] = _finite(self.model_dump(mode="json"))
        return plain


def current_command() -> str:
    """Return the command line that started this process, quoted for a POSIX shell."""
    program = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
    if program in {"app.py", "__main__.py"}:
        program = "lingraft"
    return shlex.join([program, *sys.argv[1:]])


def collect_provenance(*, command: str | None = None, device: object = "cpu") -> Provenance:
    """Return what this process runs on.

    Args:
        command: The command to repeat; by default the one that started this process.
        device: What the work was computed on (a torch.device or its name).

    Returns:
        Versions, platform, device, command and the time now.
    """
    versions: dict[str, str] = {}
    for library in _LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            versions[library] = "not installed"
    return Provenance(
        command=current_command() if command is None else command,
        lingraft=__version__,
        python=platform.python_version(),
        libraries=versions,
        platform=f"{platform.system()} {platform.machine()}",
        device=str(device),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def write_result(directory: Path, result: RunResult) -> Path:
    """Write `result.json` atomically.

    Args:
        directory: The run directory.
        result: What to write.

    Returns:
        The path written.

    Raises:
        OutputError: The disk is full, or the directory cannot be written.
    """
    path = directory / RESULT_FILE
    write_json(path, result.as_json())
    return path


def read_result(directory: Path) -> RunResult:
    """Read the `result.json` of a run directory.

    Args:
        directory: The run directory.

    Returns:
        The result.

    Raises:
        ConfigError: There is none, or it is no result of this version.
    """
    remedy = "give the directory of a finished run, or run it again"
    return read_document(directory / RESULT_FILE, RunResult, "result of a run", remedy)


def read_document(path: Path, kind: type[Document], what: str, remedy: str) -> Document:
    """Read a JSON file that a run left; every fault of it is one line.

    Args:
        path: The file.
        kind: What it holds.
        what: That, in words: `result of a run`.
        remedy: What to do where it cannot be read.

    Returns:
        What it holds.

    Raises:
        ConfigError: There is none, it cannot be read, or it is of another version.
    """
    try:
        return kind.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ConfigError(f"no {path}", f"the {what}", remedy) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: {place}: {first['msg']}", "one of this version", remedy) from error
    except (ValueError, OSError) as error:
        raise ConfigError(f"{path} cannot be read ({error})", "a JSON object in UTF-8", remedy) from error


def write_recipe(
    directory: Path,
    recipe: Mapping[str, Any],
    *,
    provenance: Provenance,
    inputs: Iterable[InputRevision] = (),
    seeds: Mapping[str, int] | None = None,
) -> Path:
    """Write the resolved `recipe.yaml`: every option with its final value, and what pins the run.

    Args:
        directory: The run directory.
        recipe: Option name to value, defaults filled in; paths become strings.
        provenance: Of this run; its time is left out, so that the same run writes the same recipe.
        inputs: Everything that the run reads.
        seeds: Name to seed.

    Returns:
        The path written.

    Raises:
        OutputError: The disk is full, or the directory cannot be written.
    """
    pinned = {
        "lingraft": provenance.lingraft,
        "python": provenance.python,
        "libraries": dict(provenance.libraries),
        "platform": provenance.platform,
        "device": provenance.device,
        "inputs": [item.model_dump() for item in inputs],
        "seeds": dict(seeds or {}),
    }
    document = {"command": provenance.command, "recipe": _plain(recipe), "resolved": pinned}
    path = directory / RECIPE_FILE
    write_text(path, yaml.safe_dump(document, allow_unicode=True, sort_keys=False, width=100))
    return path


def _plain(value: Any) -> Any:
    """Turn paths, tuples, models and torch types into what YAML has."""
    if isinstance(value, BaseModel):
        return _plain(value.model_dump())
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(str(item) for item in value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _finite(value: Any) -> Any:
    """Replace what JSON has no word for, NaN and the infinities, by null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

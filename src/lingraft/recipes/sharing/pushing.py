"""Upload a checkpoint to the hub: what a model needs, nothing else, and only when asked in so many words."""

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lingraft.errors import ConfigError, LingraftError, ModelError, OutputError

CARD = "README.md"
MODEL_FILES = (
    "*.safetensors",
    "model.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "*.model",
    "*.spm",
    "vocab.*",
    "merges.txt",
    "tekken.json",
    "*.jinja",
    "additional_chat_templates/*.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
    CARD,
    *("LICEN[CS]E*", "[Ll]icen[cs]e*", "NOTICE*", "*TERMS*", "USE_POLICY*"),
)
"""What transformers loads, the model card, and the licences that come with a model."""
REPORT_FILES = ("recipe.yaml", "result.json", "report.html")
"""What made it: these name paths of this machine, so they go only where they are asked for."""
_ABOVE = re.compile(
    r"(?<=[`'])~?/[^`'\n]+/(?=[^`'/\n]+/?[`'])"
    r"|(?<![^\s`'\"=(:])(?<!\]\()(?<!src=.)(?<!href=.)"
    r"~?/(?:[^\s/`'\"|,;<>()\[\]{}]+/)+(?=[^\s/`'\"|,;<>()\[\]{}])"
)
"""The directories of an absolute path, or of one below the home directory; those with spaces in quotes alone.

Not those of an address, of a link within the hub, or of a picture that stands in the card as base64."""


@dataclass(frozen=True, slots=True)
class PushResult:
    """What was uploaded, or would be.

    Attributes:
        model: The directory.
        to: Name of the repository on the hub.
        private: Whether a new repository is private; one that is there stays as it is.
        files: Name to size in bytes.
        uploaded: False where it was only shown.
        commit: Commit on the hub, or "".
        url: Where the commit is to be seen, or "".
    """

    model: str
    to: str
    private: bool
    files: dict[str, int]
    uploaded: bool
    commit: str = ""
    url: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


def push_model(
    *,
    model: Path,
    to: str,
    private: bool = False,
    with_report: bool = False,
    message: str = "Upload with lingraft",
    yes: bool = False,
    dry_run: bool = False,
) -> PushResult:
    """Upload a checkpoint directory to a repository of the hub, in one commit.

    Args:
        model: A checkpoint directory that plain transformers loads.
        to: `owner/name`; made where it is not there.
        private: Make a new repository private.
        with_report: Upload the recipe, the result and the report as well.
        message: Of the commit.
        yes: The user has asked for the upload; without it nothing leaves the machine.
        dry_run: Say what would be uploaded, open no connection.

    Returns:
        What was uploaded, or would be.

    Raises:
        ModelError: The directory is no whole checkpoint.
        ConfigError: A name that the hub does not take, no `yes`, or no token.
        OutputError: The hub refuses, or is out of reach.
    """
    files = push_files(model, with_report=with_report)
    _check_name(to)
    if dry_run:
        return PushResult(str(model), to, private, files, uploaded=False)
    size = sum(files.values()) / 2**20
    if not yes:
        raise ConfigError(
            f"lingraft push without --yes ({len(files)} files, {size:.1f} MiB, to {to})",
            "your word before anything leaves this machine",
            "look at it with --dry-run, then give --yes",
        )
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    if get_token() is None:
        raise ConfigError("no token of the hub", "one that may write", "run: hf auth login, or set HF_TOKEN")
    try:
        api = HfApi(library_name="lingraft")
        api.create_repo(to, private=private, exist_ok=True)
        added = [CommitOperationAdd(name, _content(model / name)) for name in files]
        commit = api.create_commit(to, added, commit_message=message)
    except Exception as error:  # the client and what it is built on raise many kinds
        raise _refused(to, error) from error
    return PushResult(
        str(model), to, private, files, uploaded=True, commit=str(commit.oid), url=str(commit.commit_url)
    )


def push_files(model: Path, *, with_report: bool) -> dict[str, int]:
    """Return the files of a checkpoint that are uploaded, with their sizes.

    Args:
        model: The directory.
        with_report: Whether the recipe, the result and the report belong to them.

    Returns:
        Name to bytes, by name.

    Raises:
        ModelError: No directory, no config, no weights, or pickled ones alone; or no tokenizer.
    """
    from lingraft.models.checkpoints import read_config, tensor_entries

    if not model.is_dir():
        raise ModelError(f"no directory {model}", "a checkpoint on this machine", "check the path")
    config = read_config(model)
    tensor_entries(model)
    patterns = (*MODEL_FILES, *(REPORT_FILES if with_report else ()))
    files = {file for pattern in patterns for file in model.glob(pattern) if file.is_file()}
    files |= _code_files(model, config)
    found = {file.relative_to(model).as_posix(): file.stat().st_size for file in files}
    if not any(name.startswith(("tokenizer.", "vocab.")) for name in found):
        raise ModelError(
            f"{model} holds no tokenizer",
            "a checkpoint that can be used",
            "copy the tokenizer's files into it",
        )
    return dict(sorted(found.items()))


def _code_files(model: Path, config: Mapping[str, Any]) -> set[Path]:
    """Return the model's own Python files: those that its configs name, with what these import from beside them."""
    named = _modules(config)
    with contextlib.suppress(OSError, ValueError):
        named |= _modules(json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8")))
    files = {file for name in named if (file := model / f"{name}.py").is_file()}
    if not files:
        return set()
    from transformers.dynamic_module_utils import get_relative_import_files

    try:
        return files.union(*(map(Path, get_relative_import_files(file)) for file in files))
    except FileNotFoundError as error:
        raise ModelError(
            f"no {error.filename}, which the model's code imports",
            "all of its code",
            "copy it into the model",
        ) from error


def _modules(config: Any) -> set[str]:
    """Return the modules beside a config that it names; those of another repository are `owner/name--module.Class`."""
    named = config.get("auto_map") if isinstance(config, Mapping) else None
    classes = named.values() if isinstance(named, Mapping) else ()
    each = [one for value in classes for one in (value if isinstance(value, list) else [value])]
    return {one.partition(".")[0] for one in each if isinstance(one, str) and not {"/", "-"} & set(one)}


def _content(file: Path) -> bytes | Path:
    """Return what is uploaded of a file: of paths that the card names, which are this machine's, the last part."""
    if file.name != CARD:
        return file
    text = file.read_bytes().decode(errors="surrogateescape")
    return _ABOVE.sub("", text).encode(errors="surrogateescape")


def push_lines(result: PushResult) -> list[str]:
    """Lines for a person.

    Args:
        result: What was uploaded, or would be.

    Returns:
        The lines.
    """
    width = max(len(name) for name in result.files)
    lines = [f"  {name:<{width}}  {size / 2**20:10.2f} MiB" for name, size in result.files.items()]
    total = f"{len(result.files)} files, {sum(result.files.values()) / 2**20:.1f} MiB"
    kind = ", private if new" if result.private else ""
    if result.uploaded:
        return [*lines, f"uploaded {total} to {result.to}: {result.url}"]
    return [*lines, f"would upload {total} to {result.to}{kind}; nothing was sent"]


def _check_name(to: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(to)
        valid = to.count("/") == 1
    except HFValidationError:
        valid = False
    if not valid:
        raise ConfigError(f"--to {to!r}", "owner/name, of letters, digits, -, _ and .", "give another name")


def _refused(to: str, error: Exception) -> LingraftError:
    """Say in one line why the hub has not taken it."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, OfflineModeIsEnabled):
        return OutputError("HF_HUB_OFFLINE is set", "a connection to the hub", "unset it, and push again")
    lines = str(error).strip().splitlines() or [""]
    said = " ".join(line.strip() for line in (lines[0], lines[-1] if len(lines) > 1 else "") if line)[:200]
    if isinstance(error, HfHubHTTPError) and status in {401, 403, 404}:
        return OutputError(
            f"the hub does not let you write {to} ({status})",
            "a token with the right to write there",
            "check the owner's name; make such a token and run: hf auth login",
        )
    return OutputError(
        f"the upload to {to} failed ({type(error).__name__}: {said})",
        "a hub that takes it",
        "run the same command again: files that have arrived are not sent twice",
    )

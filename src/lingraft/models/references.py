"""From what the user typed (hub id, directory, .gguf file, asset name) to a checkpoint directory on disk."""

import re
from pathlib import Path

from lingraft.assets.cache import cache_root, locked
from lingraft.errors import ModelError
from lingraft.files import sha256_of
from lingraft.models.checkpoints import refuse_pickle
from lingraft.progress import progress_task

_HUB_ID = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?")
_TOKENIZER_FILES = ["*.json", "*.jinja", "*.model", "*.spm", "*.txt", "README.md"]
_WEIGHT_INDEX = "*.safetensors.index.json"


def looks_like_hub_id(reference: str) -> bool:
    """Say whether a text has the form `owner/name[@revision]`, without asking the hub.

    Args:
        reference: The text.

    Returns:
        False for what is written like a path, and for bare names, which are more often a slip.
    """
    match = _HUB_ID.fullmatch(reference)
    return match is not None and "/" in match["name"] and not _looks_like_path(reference)


def _looks_like_path(reference: str) -> bool:
    suffixes = {".gguf", ".json", ".safetensors"}
    return reference.startswith((".", "~", "/")) or Path(reference).suffix in suffixes


def resolve_reference(
    reference: str, *, accept_terms: bool = False, tokenizer_only: bool = False, with_code: bool = False
) -> Path:
    """Return a local checkpoint directory (or tokenizer.json file) for a reference, fetching it where needed.

    A path that exists wins over an asset's name, and that over a hub id. A hub id may carry `@revision`.

    Args:
        reference: Hub id, local directory, .gguf file, tokenizer.json file, or a catalogued asset's name.
        accept_terms: Passed to the asset catalogue, for models under terms of use.
        tokenizer_only: Fetch no weights from the hub.
        with_code: Fetch the repository's Python files too (only ever run with trust_remote_code).

    Returns:
        An existing directory, or a tokenizer.json file.

    Raises:
        ModelError: Nothing is there, it is a pickle checkpoint, or the hub cannot give it.
        AssetError: The catalogue cannot fetch the asset.
    """
    path = Path(reference).expanduser()
    if reference and path.is_dir():
        return path.resolve()
    if reference and path.is_file():
        return _from_file(path.resolve(), tokenizer_only)
    if path.suffix.lower() != ".gguf":
        refuse_pickle(path)
    from lingraft.assets.catalog import fetch_asset, find_asset, is_asset_name

    if is_asset_name(reference):
        found = find_asset(reference)
        if found is None:
            with progress_task(f"fetching {reference}") as advance:
                found = fetch_asset(
                    reference, accept_terms=accept_terms, report=lambda line: advance(0, line)
                ).path
        return found
    match = _HUB_ID.fullmatch(reference)
    if match is None or _looks_like_path(reference):
        raise ModelError(
            f"no file or directory {reference!r}",
            "a checkpoint directory, a .gguf file, a hub id (owner/name) or an asset's name",
            "check the spelling; `lingraft assets list` shows the assets",
        )
    return _from_hub(match["name"], match["revision"], tokenizer_only, with_code)


def _from_file(path: Path, tokenizer_only: bool) -> Path:
    """Return the directory for a single file: a GGUF file rebuilt once, a tokenizer.json as it is."""
    refuse_pickle(path)
    if path.suffix.lower() == ".gguf":
        return _rebuilt_gguf(path)
    if path.name.endswith(".json") and tokenizer_only:
        return path
    if path.suffix == ".safetensors":
        raise ModelError(
            f"{path} is a single weight file",
            "the directory that holds it with its config.json",
            f"give {path.parent}",
        )
    raise ModelError(
        f"{path} is a {path.suffix or 'suffixless'} file",
        "a checkpoint directory, a .gguf file, a hub id or an asset's name",
        "give one of these",
    )


def _rebuilt_gguf(path: Path) -> Path:
    """Return the float checkpoint rebuilt from a GGUF file, kept in the cache under the file's sha256."""
    with path.open("rb") as opened:
        magic = opened.read(4)
    if magic != b"GGUF":
        raise ModelError(
            f"{path} starts with {magic!r}", "b'GGUF', as a GGUF file does", "fetch the file again"
        )
    from lingraft.assets.gguf import rebuild_gguf

    digest = sha256_of(path)
    out = cache_root() / "gguf" / digest
    with locked(cache_root(), f"gguf-{digest}"):
        if (out / "config.json").is_file():
            return out
        out.parent.mkdir(parents=True, exist_ok=True)
        return rebuild_gguf(path, out)


def _from_hub(name: str, revision: str | None, tokenizer_only: bool, with_code: bool) -> Path:
    """Fetch a snapshot from the hub, or take it from the hub's own cache, and return its directory."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    wanted = _TOKENIZER_FILES if tokenizer_only else [*_TOKENIZER_FILES, "*.safetensors"]
    try:
        directory = snapshot_download(
            name,
            revision=revision,
            allow_patterns=[*wanted, "*.py"] if with_code else wanted,
            # Subdirectories hold other formats (onnx, original), consolidated files a second copy.
            ignore_patterns=["*/*", "consolidated*", *([_WEIGHT_INDEX] if tokenizer_only else [])],
        )
    except GatedRepoError as error:
        raise ModelError(
            f"the hub asks for your agreement before it gives {name}",
            "access to it",
            f"accept its terms at https://huggingface.co/{name} and run: hf auth login",
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        what = (
            f"revision {revision!r} of {name!r}" if isinstance(error, RevisionNotFoundError) else repr(name)
        )
        raise ModelError(
            f"neither a local path nor an asset nor the hub has {what}",
            "an existing hub id (owner/name), a directory, a .gguf file or an asset's name",
            "check the spelling; `lingraft assets list` shows the assets; private models need: hf auth login",
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"{name!r} is no local path and no asset, and the hub is out of reach",
            "a network connection, or the model already in the hub's cache",
            "check the spelling, connect, or give a directory or an asset's name (lingraft assets list)",
        ) from error
    except RuntimeError as error:
        # Without a network the hub's client also raises bare RuntimeError.
        raise ModelError(
            f"fetching {name!r} from the hub failed ({type(error).__name__}: {str(error)[:120]})",
            "a working connection to the hub",
            "try again, or give a local directory",
        ) from error
    return Path(directory)

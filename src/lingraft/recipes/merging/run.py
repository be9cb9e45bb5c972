"""Run a merge: names become checkpoints, adapters are merged first, and the result is written whole or not at all."""

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from lingraft.contents import with_contents
from lingraft.errors import ConfigError
from lingraft.files import (
    CONTENT_OF,
    find_run,
    mark_run,
    replacing_directory,
    require_free_space,
    require_replaceable,
    sha256_of,
    write_json,
)
from lingraft.models.checkpoints import fingerprint_weights, snapshot_commit, tensor_entries
from lingraft.models.loading import parse_dtype
from lingraft.models.opening import open_tokenizer
from lingraft.models.references import resolve_reference
from lingraft.models.saving import save_checkpoint
from lingraft.preference.merging import MergePlan, write_merge
from lingraft.preference.merging_fit import vocabulary_difference
from lingraft.preference.merging_inputs import Checkpoint, Tokens, read_checkpoint
from lingraft.preference.tensor_stream import NAMES
from lingraft.recipes.merging.report import Merge, merge_result, write_merge_pages
from lingraft.reports.result import InputRevision, RunResult, read_result
from lingraft.training.lora import is_adapter, load_adapter_merged

Planner = Callable[[Mapping[str, Checkpoint], str | None], MergePlan]
"""From the inputs by role, and the dtype of the result, to a plan."""

ROOM_FOR_THE_REST = 2**25
"""Bytes kept free for tokenizer, result and report."""

CARRIED = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "tekken.json",
    "chat_template.*",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "LICENSE*",
    "NOTICE*",
    "*TERMS*",
    "USE_POLICY*",
)
"""Files that go with a tokenizer: taken together from one input."""

_SPECIAL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
_ADAPTERS = "merged-adapters"


def run_merge(
    kind: str,
    references: Mapping[str, str],
    planner: Planner,
    options: Mapping[str, Any],
    *,
    out: Path,
    dtype: str | None = None,
    tokenizer_from: str | None = None,
    accept_terms: bool = False,
) -> RunResult:
    """Merge checkpoints; a finished run of the same command is read back instead of repeated.

    Inputs are hub ids, directories, asset names, or LoRA adapters, which are merged into their base first, beside
    `out` and one at a time. Weights are read and written a stretch at a time.

    Args:
        kind: The verb.
        references: What the user typed, by role.
        planner: Makes the plan.
        options: All options of the command, resolved, for recipe.yaml.
        out: Output directory: missing, empty, or a finished run of the same command.
        dtype: Of the result; None keeps that of the input whose files are taken.
        tokenizer_from: Role of the input that gives tokenizer, chat template, generation config and special ids; None
            for the one that gives the config, or, where its vocabulary is the same, that of a role `chat`.
        accept_terms: Accept the terms of use of a catalogued model.

    Returns:
        The run's result.

    Raises:
        LingraftError: A bad option or input, or an output directory that holds something else or cannot be written.
    """
    chosen = parse_dtype(dtype)
    if chosen is not None and chosen not in NAMES:
        raise ConfigError(f"dtype {dtype!r}", "float64, float32, bfloat16 or float16", "give another --dtype")
    command = _command(kind, references, options)
    if find_run(out, command):
        return read_result(out)
    require_replaceable(out)
    started = time.monotonic()
    directories = {
        reference: resolve_reference(reference, accept_terms=accept_terms)
        for reference in references.values()
    }
    with contextlib.ExitStack() as stack:
        temporary = None
        revisions = {}
        if any(is_adapter(directory) for directory in directories.values()):
            temporary = stack.enter_context(replacing_directory(out))
            revisions = _merge_adapters(directories, temporary / _ADAPTERS, chosen, accept_terms)
        inputs = _read_inputs(references, directories)
        plan = planner(inputs, None if chosen is None else NAMES[chosen])
        files_from = _tokenizer_role(inputs, plan.first, tokenizer_from)
        require_free_space(out, plan.bytes + ROOM_FOR_THE_REST)
        if temporary is None:
            temporary = stack.enter_context(replacing_directory(out))
        write_merge(temporary, plan.tensors)
        carried = _carry_files(temporary, inputs[plan.first], inputs[files_from], dtype)
        shutil.rmtree(temporary / _ADAPTERS, ignore_errors=True)
        tensor_entries(temporary)
        merge = Merge(
            kind=kind,
            plan=plan,
            options=options,
            inputs=tuple(
                InputRevision(
                    role=role,
                    reference=reference,
                    revision=revisions.get(reference) or _revision(directories[reference]),
                )
                for role, reference in references.items()
            ),
            carried=carried,
            files_from=files_from,
            seconds=time.monotonic() - started,
        )
        result = merge_result(merge)
        write_merge_pages(temporary, merge, result)
        mark_run(temporary, command)
    return result


def _command(kind: str, references: Mapping[str, str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run is known again by: its options, and what the directories among its inputs hold."""
    contents = {
        f"{CONTENT_OF}{role}": value
        for role, reference in references.items()
        if (value := with_contents({"model": reference}).get(f"{CONTENT_OF}model")) is not None
    }
    return {"merge": kind, **options, **contents}


def _revision(directory: Path) -> str:
    return snapshot_commit(directory) or fingerprint_weights(directory)


def _merge_adapters(
    directories: dict[str, Path], into: Path, dtype: torch.dtype | None, accept_terms: bool
) -> dict[str, str]:
    """Put a merged checkpoint in the place of every adapter; return their revisions by reference."""
    revisions = {}
    # A result that is wider than the base must not be rounded to it on the way.
    wide = dtype if dtype in {torch.float32, torch.float64} else None
    for number, (reference, directory) in enumerate(directories.items()):
        if not is_adapter(directory):
            continue
        loaded = load_adapter_merged(directory, dtype=wide, accept_terms=accept_terms)
        into.mkdir(exist_ok=True)
        save_checkpoint(into / str(number), loaded.model, loaded.tokenizer, recipe={"adapter": reference})
        directories[reference] = into / str(number)
        revisions[reference] = loaded.revision
    return revisions


def _read_inputs(references: Mapping[str, str], directories: Mapping[str, Path]) -> dict[str, Checkpoint]:
    """Read headers, configs and vocabularies of all inputs.

    Equal tokenizer files are not opened: a large tokenizer takes more memory than the merging.
    """
    files = [directory / "tokenizer.json" for directory in directories.values()]
    tokens: dict[str, Tokens | None]
    if all(file.is_file() for file in files) and len({sha256_of(file) for file in files}) == 1:
        tokens = dict.fromkeys(references.values(), Tokens({}, {}))
    else:
        tokens = {
            reference: _read_tokens(directory, reference) for reference, directory in directories.items()
        }
    return {
        role: read_checkpoint(role, reference, directories[reference], tokens[reference])
        for role, reference in references.items()
    }


def _read_tokens(directory: Path, reference: str) -> Tokens | None:
    """Return the vocabulary of a checkpoint; None where it has no tokenizer, as one saved within training."""
    if not any(directory.glob("tokenizer*")) and not any(directory.glob("vocab.*")):
        return None
    tokenizer = open_tokenizer(directory, reference, trust_remote_code=False)
    added = {i: str(token) for i, token in tokenizer.added_tokens_decoder.items()}
    ordinary = {i: token for token, i in tokenizer.get_vocab().items() if i not in added}
    return Tokens(ordinary, added)


def _tokenizer_role(inputs: Mapping[str, Checkpoint], first: str, wanted: str | None) -> str:
    """Return whose tokenizer the result takes; refuse one whose ids have other rows."""
    chat = inputs.get("chat")
    if wanted is None:
        same = chat is not None and not vocabulary_difference(inputs[first], chat)
        return "chat" if chat is not None and chat.tokens is not None and same else first
    difference = vocabulary_difference(inputs[first], inputs[wanted])
    if difference:
        raise ConfigError(
            f"--tokenizer-from {wanted}, but {difference}",
            f"a tokenizer for the embeddings of {first}",
            f"give --tokenizer-from {first}",
        )
    return wanted


def _carry_files(out: Path, first: Checkpoint, tokenizer: Checkpoint, dtype: str | None) -> tuple[str, ...]:
    """Write config.json, and copy the files that go with the tokenizer; return the copied files' names."""
    config = dict(first.raw_config)
    if dtype is not None:
        config.pop("torch_dtype", None)
        config["dtype"] = dtype
    if tokenizer is not first:
        config |= {name: tokenizer.raw_config[name] for name in _SPECIAL_IDS if name in tokenizer.raw_config}
    write_json(out / "config.json", json.loads(json.dumps(config)))
    names = sorted(
        {file.name for pattern in CARRIED for file in tokenizer.directory.glob(pattern) if file.is_file()}
    )
    for name in names:
        shutil.copyfile(tokenizer.directory / name, out / name)
    return tuple(names)

"""From a sweep's options to the model, the prompts and the memory that it works with."""

from collections.abc import Sequence
from pathlib import Path

import torch

from lingraft.errors import ConfigError
from lingraft.models.loading import LoadedModel, load_model
from lingraft.patching.instances import Instance, read_instances, shuffle_donors
from lingraft.patching.plan import MEBIBYTE, own_tokens
from lingraft.patching.prefill import check_length
from lingraft.patching.prompts import Prompt, encode_prompt, require_first_tokens_differ
from lingraft.patching.sweep import SweepSettings, instance_pairs
from lingraft.recipes.patching.sweep_options import SHUFFLED, SweepOptions


def read_pairs(options: SweepOptions) -> list[Instance]:
    """The instances of a sweep, with the donors that its control gives them.

    Args:
        options: The sweep.

    Returns:
        The instances in the file's order.

    Raises:
        ConfigError: The file is not what it should be, or too short to shuffle.
    """
    instances = read_instances(Path(options.pairs))
    if options.limit is not None:
        instances = first_of_each_language(instances, options.limit)
    return shuffle_donors(instances, options.seed) if options.control == SHUFFLED else instances


def first_of_each_language(instances: Sequence[Instance], limit: int) -> list[Instance]:
    """Keep the first rows of every language.

    Args:
        instances: All rows.
        limit: How many to keep.

    Returns:
        These rows in their order.

    Raises:
        ConfigError: Fewer than one.
    """
    if limit < 1:
        raise ConfigError(f"--limit {limit}", "at least 1", "give a larger number")
    taken: dict[str, int] = {}
    kept = []
    for instance in instances:
        taken[instance.language] = taken.get(instance.language, 0) + 1
        if taken[instance.language] <= limit:
            kept.append(instance)
    return kept


def encode_pairs(
    loaded: LoadedModel, instances: Sequence[Instance], options: SweepOptions, settings: SweepSettings
) -> list[Prompt]:
    """Tokenise all prompts and refuse what could not be run, before anything is.

    Args:
        loaded: The model.
        instances: The rows.
        options: The sweep.
        settings: The same, checked.

    Returns:
        The prompts.

    Raises:
        ConfigError: A prompt is longer than the context, options are missing or share a first token, or a layer does
            not exist.
    """
    prompts = [
        encode_prompt(loaded.tokenizer, instance, chat_template=options.chat_template)
        for instance in instances
    ]
    if settings.score == "options":
        bare = next((item for item in instances if not item.options), None)
        if bare is not None:
            raise ConfigError(
                f"{bare.id}: no options", "options in every row for --score options", "use another --score"
            )
    if settings.score == "first-token":
        require_first_tokens_differ(prompts, loaded.tokenizer)
    later = own_tokens(prompts, settings.score, settings.new_tokens) - 1
    for prompt in prompts:
        for ids in (*prompt.donors, prompt.receiver):
            try:
                check_length(loaded.model, len(ids), later)
            except ConfigError as error:
                raise ConfigError(
                    f"{prompt.instance.id}: {error.found}", error.expected, error.remedy
                ) from error
    instance_pairs(loaded.model, settings, len(instances[0].donor))
    return prompts


def memory_budget(device: torch.device, memory_mib: int | None) -> int:
    """Memory that rows may take: what is asked for, or on an accelerator half of what is free, else 2 GiB.

    Args:
        device: Where the rows are.
        memory_mib: What is asked for.

    Returns:
        Bytes.

    Raises:
        ConfigError: Less than 1 MiB.
    """
    if memory_mib is not None:
        if memory_mib < 1:
            raise ConfigError(f"--memory-mib {memory_mib}", "at least 1", "give a larger number")
        return memory_mib * MEBIBYTE
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] // 2)
    return 2 * 1024 * MEBIBYTE


def load_for(options: SweepOptions, device: str) -> LoadedModel:
    """Load the model of a sweep.

    Args:
        options: The sweep.
        device: Where to.

    Returns:
        The model with its tokenizer.

    Raises:
        LingraftError: A bad reference, type or device.
    """
    return load_model(
        options.model,
        dtype=options.dtype,
        device=device,
        trust_remote_code=options.trust_remote_code,
        accept_terms=options.accept_terms,
    )

"""The ids that a model's own configuration keeps: which of them follow its tokens into the new vocabulary."""

from collections.abc import Collection
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from lingraft.models.loading import LoadedModel
from lingraft.tokenizers.adapting import adapt_tokenizer
from lingraft.vocabulary.problem import TransferProblem

ONE_ID = ("decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id")
LISTS_OF_IDS = (
    "suppress_tokens",
    "begin_suppress_tokens",
    "bad_words_ids",
    "sequence_bias",
    "forced_decoder_ids",
)


def carry_special_ids(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, problem: TransferProblem
) -> None:
    """Point config, generation config and the padding row at the special tokens of the new vocabulary.

    Several tokens that end generation (chat models have them) are each followed to their new id. Lists of forbidden
    or biased ids speak of the old vocabulary and are dropped. A padding row that stayed at its old id would be an
    ordinary token's, which torch then never trains.

    Args:
        model: Changed in place; it has its new rows already.
        tokenizer: The new tokenizer.
        problem: The transfer that was made.
    """
    if problem.keeps_source_ids:
        return
    moved = new_special_ids(problem, generation_ends(model))
    config, generation = model.config, model.generation_config
    ends = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    for earlier in generation_ends(model):
        if earlier in moved and moved[earlier] not in ends:
            ends.append(moved[earlier])
    end = ends[0] if len(ends) == 1 else ends or None
    levels = {
        id(level): level for level in (config, config.get_text_config(), generation) if level is not None
    }
    for level in levels.values():
        level.bos_token_id, level.eos_token_id = tokenizer.bos_token_id, end
        if getattr(level, "pad_token_id", None) is not None:
            level.pad_token_id = tokenizer.pad_token_id
        for name in ONE_ID:
            if getattr(level, name, None) is not None:
                setattr(level, name, moved.get(getattr(level, name)))
        for name in LISTS_OF_IDS:
            if getattr(level, name, None) is not None:
                setattr(level, name, None)
    embedding: Any = model.get_input_embeddings()
    if getattr(embedding, "padding_idx", None) is not None:
        embedding.padding_idx = tokenizer.pad_token_id


def adapted_to(target_tokenizer: PreTrainedTokenizerBase, model: LoadedModel) -> PreTrainedTokenizerFast:
    """Give a target vocabulary what a model needs of its own: see `adapt_tokenizer`, with what ends generation.

    Args:
        target_tokenizer: Whose vocabulary is used; not changed.
        model: The model with its tokenizer.

    Returns:
        A tokenizer that saves and reloads in plain transformers.

    Raises:
        TokenizerError: The model's tokenizer has no eos.
    """
    return adapt_tokenizer(target_tokenizer, model.tokenizer, needed_ids=generation_ends(model.model))


def generation_ends(model: PreTrainedModel) -> list[int]:
    """Return the ids that end generation, by the model's own generation config.

    Args:
        model: A causal LM.

    Returns:
        The ids, none without such a config.
    """
    return _as_list(getattr(model.generation_config, "eos_token_id", None))


def new_special_ids(problem: TransferProblem, added: Collection[int] = ()) -> dict[int, int]:
    """New id of each special source token that the target has, and of further ones: by equal text, else by role."""
    match = problem.match
    texts = {piece.surface: piece.token_id for piece in problem.target_pieces if piece is not None}
    # What is added to a tokenizer and not called special can end generation all the same: it has its own text.
    moved = {
        token_id: texts[piece.surface]
        for token_id in added
        if token_id < len(problem.source_pieces)
        and (piece := problem.source_pieces[token_id]) is not None
        and piece.surface in texts
    }
    for target_id, source_id in zip(
        match.target_ids[match.by_role].tolist(), match.source_ids[match.by_role].tolist(), strict=True
    ):
        ours, theirs = problem.target_pieces[target_id], problem.source_pieces[source_id]
        equal = ours is not None and theirs is not None and ours.surface == theirs.surface
        if equal or source_id not in moved:
            moved[source_id] = target_id
    return moved


def _as_list(value: int | list[int] | None) -> list[int]:
    return [] if value is None else [value] if isinstance(value, int) else list(value)

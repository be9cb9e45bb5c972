"""Stage `vocabulary`: give the model the language's vocabulary."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from lingraft.errors import ConfigError
from lingraft.recipes.stages.adopting import adopt, one_or_several, opening, seed_of
from lingraft.recipes.stages.contract import (
    NEWEST_MODEL,
    Reference,
    StageContext,
    StageKind,
    StageSettings,
    accepted_by,
)
from lingraft.recipes.stages.named_files import behind, source_file
from lingraft.reports.page import Paragraph, Section, Table
from lingraft.reports.result import RunResult

MODEL = "model"
"""Directory of the checkpoint, with its provenance and its own report."""


def _check_method(name: str) -> None:
    if name != "auto":
        from lingraft.vocabulary.initializers import find_initializer

        find_initializer(name)


def _check_auxiliary(name: str) -> None:
    file = name.removeprefix("words:")
    if name not in {"donor", "fasttext"} and not (name != file and Path(file).is_file()):
        raise ConfigError(
            name,
            "donor, fasttext, or words: and a file of word vectors",
            "name one of them, or check the path",
        )


class VocabularySettings(StageSettings):
    """What `vocab transfer` takes."""

    required = ("model",)

    model: Annotated[str | None, Reference("model", NEWEST_MODEL)] = Field(
        None, description="Model whose vocabulary is changed; by default the newest one."
    )
    tokenizer: Annotated[str | None, Reference("tokenizer")] = Field(
        None,
        description="Target tokenizer: a hub id, directory or asset; `trim:REF` for the pieces of it that the corpus"
        " uses (trim:multilingual-e5-small fits most languages); `train:unigram` or `train:bpe` to train one. Needed"
        " with `mode: replace`; left out with `extend`, the model's own is extended.",
    )
    donor: Annotated[str | None, Reference("model", "donor")] = Field(
        None,
        description="Pre-trained model of the target language (encoder, T5 or decoder) whose embeddings say what new"
        " tokens mean. Without one only subword-mean, lexicon, multivariate and the controls can run.",
    )
    corpus: Annotated[tuple[str, ...], Reference("text", "corpus")] = Field(
        (),
        description="Text in the target language: to make the tokenizer from, and to measure fertility on.",
    )
    method: Annotated[str, accepted_by(_check_method), source_file()] = Field(
        "auto",
        description="How new rows are made: auto (the smallest error on held-out shared tokens, with the reason"
        " told), salt, salt-safe, focus, wechsel, clp, sava, omp, subword-mean, multivariate, lexicon, fused,"
        " fused-plain, random, mean, or module:function.",
    )
    mode: Literal["replace", "extend"] = Field(
        "replace",
        description="replace: the target tokenizer instead of the model's (shorter sequences, English suffers most)."
        " extend: add tokens and keep every old one (a larger model, English stays).",
    )
    new_tokens: int = Field(8000, ge=1, description="Tokens that `mode: extend` adds.")
    vocabulary_size: int | None = Field(
        None,
        ge=1,
        description="Tokens of a trimmed or trained tokenizer (trimmed: all used; trained: 16000).",
    )
    auxiliary: Annotated[str, accepted_by(_check_auxiliary), behind("words")] = Field(
        "donor",
        description="Where neighbours are sought: donor, fasttext (trained on the corpus), or words:FILE.",
    )
    lexicon: Annotated[str | None, Reference("lexicon")] = Field(
        None,
        description="TSV of target-language word, tab, source-language word, for the methods lexicon and wechsel.",
    )
    source_words: Annotated[str | None, Reference("file")] = Field(
        None, description="Word vectors of the source language, for wechsel."
    )
    normalise: Literal["exact", "focus", "focus-symbols", "focus-fuzzy"] = Field(
        "exact", description="How tokens of the two vocabularies are compared; exact compares bytes."
    )
    fasttext_dimension: int = Field(300, ge=1, description="Width of trained fastText vectors.")
    fasttext_epochs: int = Field(5, ge=1, description="Passes of fastText over the corpus.")
    fasttext_minimum_count: int = Field(10, ge=1, description="Rarer tokens get no fastText vector.")
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        None, description="Type of the checkpoint; by default the model's."
    )

    @model_validator(mode="after")
    def _has_tokenizer(self) -> Self:
        if self.mode == "replace" and self.tokenizer is None:
            raise ValueError(
                "mode replace needs a tokenizer, for instance `tokenizer: trim:multilingual-e5-small`;"
                " `mode: extend` needs none"
            )
        return self


def run(settings: VocabularySettings, context: StageContext) -> RunResult:
    """Transfer the vocabulary; see `StageKind.run`."""
    from lingraft.recipes.vocabulary.transferring import run_transfer
    from lingraft.vocabulary.writing import PROVENANCE

    given = settings.model_dump(exclude={"use"})
    options = {
        **given,
        "corpus": one_or_several(settings.corpus),
        "seed": seed_of(settings, context),
        "trust_remote_code": context.trust_remote_code,
        "accept_terms": context.accept_terms,
    }
    context.say(f"vocabulary transfer by {settings.method}, {settings.mode}")
    found = run_transfer(options, out=context.out / MODEL, device=context.device, inspect=True)
    return adopt(
        "vocabulary",
        found,
        files={"model": MODEL, "provenance": f"{MODEL}/{PROVENANCE}", "report": f"{MODEL}/report.html"},
    )


def sections(settings: VocabularySettings, directory: Path, result: RunResult) -> Sequence[Section]:
    """Say what the new vocabulary is and where its rows come from; see `StageKind.sections`."""
    from lingraft.vocabulary.writing import kept_transfer_sections

    inspection = result.metrics["inspection"]
    return [
        opening(summary(settings, result), warnings=inspection["warnings"]),
        _before_and_after(inspection),
        *kept_transfer_sections(directory / MODEL),
    ]


def summary(settings: VocabularySettings, result: RunResult) -> str:
    """Say in a sentence what came out."""
    sizes, overlap = result.metrics["inspection"]["vocabulary"], result.metrics["inspection"]["overlap"]
    text = (
        f"The vocabulary went from {sizes['source']:,} to {sizes['target']:,} tokens ({settings.mode}):"
        f" {overlap['shared']:,} keep their rows, {overlap['new']:,} are new, made by {result.metrics['method']}"
    )
    fertility = result.metrics["inspection"]["fertility"]
    if fertility is None:
        return f"{text}."
    before, after = fertility["before"], fertility["after"]
    return (
        f"{text}; a word of the language takes {after['tokens_per_word']:.2f} tokens instead of"
        f" {before['tokens_per_word']:.2f}."
    )


def _before_and_after(inspection: Mapping[str, Any]) -> Section:
    fertility = inspection["fertility"]
    if fertility is None:
        return Section("The tokenizer", [Paragraph("No text was given to measure the tokenizers on.")])
    rows = [
        (
            name,
            row["tokens_per_word"],
            row["bytes_per_token"],
            100 * row["whole_words"],
            100 * row["round_trip"],
            row["digits"],
        )
        for name, row in (("the model's", fertility["before"]), ("the new one", fertility["after"]))
    ]
    columns = ("tokenizer", "tokens a word", "bytes a token", "% words whole", "% texts exact", "digits")
    note = (
        "On text of the language. Fewer tokens a word make training and answering cheaper by as much. Texts are exact"
        " if the tokenizer gives them back byte by byte."
    )
    table = Table("Both tokenizers on the same text", columns, rows, digits=2)
    return Section("The tokenizer", [Paragraph(note), table])


KIND = StageKind(
    about="give the model the language's vocabulary",
    settings=VocabularySettings,
    run=run,
    sections=sections,
    outputs={"model": "model"},
)

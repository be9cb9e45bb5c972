"""The options of a vocabulary transfer: the same at the recipe, the command line and in Python."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Mode = Literal["replace", "extend"]


class TransferConfig(BaseModel):
    """Keywords of `transfer_vocabulary`, with what each means.

    A test asserts that its fields are the function's keyword-only arguments.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = Field("salt", description="An initialiser's name, auto, or module:function.")
    mode: Mode = Field(
        "replace", description="replace the vocabulary, or extend it and keep every source id."
    )
    auxiliary: str = Field(
        "donor", description="Where neighbours are sought: fasttext, words:FILE, or donor (its own space)."
    )
    lexicon: Path | None = Field(None, description="TSV of target-language word, tab, source-language word.")
    source_words: Path | None = Field(None, description="Word vectors of the source language, for wechsel.")
    normalise: Literal["exact", "focus", "focus-symbols", "focus-fuzzy"] = Field(
        "exact", description="How tokens of the two vocabularies are compared."
    )
    fasttext_dimension: int = Field(300, ge=1, description="Width of token-level fastText vectors.")
    fasttext_epochs: int = Field(5, ge=1, description="Passes of fastText over the corpus.")
    fasttext_minimum_count: int = Field(10, ge=1, description="Rarer tokens get no fastText vector.")
    seed: int = Field(0, ge=0, description="Seeds every draw.")

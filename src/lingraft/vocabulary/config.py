"""The options of a vocabulary transfer: the same at the recipe, the command line and in Python."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lingraft.errors import ConfigError

Mode = Literal["replace", "extend"]


class TransferConfig(BaseModel):
    """Parameters of `transfer_vocabulary`, with references in place of loaded objects.

    A test asserts that its fields are the function's parameters.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="Source model: hub id, directory, .gguf file or asset name.")
    tokenizer: str | None = Field(None, description="Target tokenizer; None extends the model's own.")
    donor: str | None = Field(None, description="Target-language pre-trained model.")
    corpus: Path | tuple[Path, ...] | None = Field(
        None, description="Target-language text, one file or several."
    )
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

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> "TransferConfig":
        """Validate options, all of them, and say in one line what is wrong with the first bad one.

        Args:
            options: Values by the names of the fields.

        Returns:
            The validated options.

        Raises:
            ConfigError: An unknown option, or a value that does not fit.
        """
        try:
            return cls(**options)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            raise ConfigError(
                f"{name} = {first.get('input')!r}", first["msg"], f"correct the option {name}"
            ) from error

"""What a grafting recipe may say: one YAML file, validated whole before anything runs."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lingraft.errors import ConfigError

Mode = Literal["replace", "extend"]


class GraftRecipe(BaseModel):
    """Give a model a language's vocabulary in one or both modes, train on, and measure beside the unchanged model.

    `asset:NAME/FILE` in a text field names a file of a catalogued corpus, fetched when it is missing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = Field(description="What the report is called.")
    model: str = Field(description="Source model: hub id, directory, .gguf file or asset name.")
    donor: str = Field(description="Target-language pre-trained model.")
    tokenizer: str = Field(description="Target tokenizer for replace: a reference, trim:REF or train:KIND.")
    corpus: str = Field(description="Target-language text to train on.")
    held_out: str = Field(description="Target-language text to score; must not resemble the corpus.")
    english: str = Field(description="English text to score.")
    method: str = Field("salt", description="How new rows are made.")
    modes: tuple[Mode, ...] = Field(("replace", "extend"), min_length=1, description="Modes to run.")
    new_tokens: int = Field(8000, ge=1, description="Tokens that extend adds.")
    steps: int = Field(100, ge=1, description="Training steps of each adapted model.")
    batch_size: int = Field(4, ge=1, description="Blocks a step.")
    block_length: int = Field(128, ge=8, description="Tokens a block.")
    learning_rate: float = Field(3e-4, gt=0, description="Peak rate of the body.")
    embedding_learning_rate: float | None = Field(None, gt=0, description="Peak rate of the embeddings.")
    warmup_steps: int = Field(10, ge=0, description="Steps of linear warm-up.")
    schedule: Literal["constant", "cosine", "linear"] = Field("cosine", description="After the warm-up.")
    body_after: int = Field(0, ge=0, description="First steps that train the embeddings alone.")
    precision: Literal["float32", "bf16-autocast", "bfloat16"] = Field("bfloat16", description="Of training.")
    save_every: int = Field(
        25, ge=1, description="Steps between checkpoints: what a killed run loses at most."
    )
    held_out_bytes: int = Field(16_000, ge=1, description="UTF-8 bytes of held-out text to score.")
    seed: int = Field(0, ge=0, description="Of draws and data order.")


def read_recipe(path: Path, changes: dict[str, Any] | None = None) -> GraftRecipe:
    """Read a recipe file, with some fields changed.

    Args:
        path: A YAML file.
        changes: Field to value, in place of the file's.

    Returns:
        The validated recipe.

    Raises:
        ConfigError: The file is missing or no YAML mapping, or fields are unknown, missing or wrong; all are named.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        detail = " ".join(str(error).split())
        raise ConfigError(f"recipe {path}: {detail}", "a YAML file", "check the path and the file") from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"recipe {path} holds a {type(content).__name__}", "a mapping", "see the built-in recipe"
        )
    try:
        return GraftRecipe.model_validate({**content, **(changes or {})})
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ConfigError(
            f"recipe {path}: {faults}", "valid fields", "correct them and run it again"
        ) from error

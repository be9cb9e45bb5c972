"""What a recipe may say beside its stages: one YAML file, from a model and a language to an adapted model."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from lingraft.recipes.stages.contract import Role, Scale


class RecipeData(BaseModel):
    """What the stages read; a stage that leaves a field out takes it from here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    corpus: str | tuple[str, ...] | None = Field(None, description="Text in the target language to train on.")
    held_out: str | None = Field(
        None, description="Text in the target language to measure on; it must not resemble the corpus."
    )
    english: str | None = Field(None, description="English text that training mixes in, to keep English.")
    english_held_out: str | None = Field(None, description="English text to measure on.")
    donor: str | None = Field(None, description="Pre-trained model of the target language.")
    lexicon: str | None = Field(
        None, description="Bilingual lexicon: a file of word pairs or `freedict-PAIR`."
    )
    aligned: str | None = Field(
        None, description="Documents in English and the language: `libreoffice-help-LANG` or a pairs.tsv."
    )
    pairs: str | None = Field(None, description="Paired items to tune on (JSON lines of `clo pairs`).")
    held_out_pairs: str | None = Field(None, description="Paired items to measure answers on.")
    words: str | None = Field(None, description="Word task (of `pivots words`) to measure translation on.")
    patch_pairs: str | None = Field(None, description="Paired prompts to transplant between.")


DATA_ROLES: dict[str, Role] = {
    "corpus": "text",
    "held_out": "text",
    "english": "text",
    "english_held_out": "text",
    "donor": "model",
    "lexicon": "lexicon",
    "aligned": "file",
    "pairs": "pairs",
    "held_out_pairs": "pairs",
    "words": "file",
    "patch_pairs": "file",
}
"""What each field of `data` names."""


class ScaleSettings(BaseModel):
    """How wide the stages spread; changes time, not results."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    processes: int = Field(
        1, ge=1, description="Processes of training stages, under `accelerate launch`; 1 is this one."
    )
    accelerate_config: Path | None = Field(
        None, description="Config of `accelerate launch`, for FSDP, on one machine."
    )
    workers: int = Field(1, ge=1, description="Workers of corpus and sweep stages.")
    ray: str | None = Field(
        None, description="Ray cluster of these workers: `auto`, `local` or an address; else processes here."
    )

    def scale(self) -> Scale:
        """Return what stages are told."""
        return Scale(
            processes=self.processes,
            workers=self.workers,
            ray=self.ray,
            accelerate_config=self.accelerate_config,
        )


class Recipe(BaseModel):
    """A recipe. References may be `recipe:FIELD`, `asset:NAME/FILE` and `stage:NAME[/OUTPUT]` too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = Field("", description="What the report is called.")
    language: str = Field(
        description="Target language, ISO 639-1: `eu`, `sw`, `'no'` (quoted).", min_length=2
    )
    model: str = Field(description="Model to adapt: hub id, directory, .gguf file or asset's name.")
    data: RecipeData = Field(default_factory=RecipeData, description="What the stages read.")
    seed: int = Field(0, ge=0, description="Seeds every draw of every stage that has none of its own.")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps; changes time, not the recipe.")
    trust_remote_code: bool = Field(False, description="Run Python code that models carry.")
    accept_terms: bool = Field(False, description="Accept the terms of use of catalogued models.")
    scale: ScaleSettings = Field(default_factory=ScaleSettings, description="How wide the stages spread.")
    stages: dict[str, dict[str, Any]] = Field(description="Stages in their order, by name.", min_length=1)
    resolved: dict[str, Any] | None = Field(
        None, description="Written by a run into its own recipe.yaml: versions, inputs, stages; not read."
    )

"""What a kind of stage is: settings, a function that runs them, outputs by name, and a part of the report."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from lingraft.errors import LingraftError
from lingraft.reports.page import Section
from lingraft.reports.result import RunResult

Role = Literal["model", "text", "pairs", "lexicon", "tokenizer", "file"]
"""What a reference names: a model, plain text, paired items, a bilingual lexicon, a tokenizer, another file."""
NEWEST_MODEL = "newest model"
"""Default of a model field: what the last stage before this one made, else the recipe's `model`."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Marks a field of settings that names something to read: `Annotated[str | None, Reference("text", "corpus")]`.

    The value may be a path, a hub id or an asset's name as on the command line, `asset:NAME/FILE`, `recipe:FIELD` for
    a field of the recipe's `data` (or its `model`), or `stage:NAME[/OUTPUT]` for what an earlier stage made. A stage
    is run with all of them replaced by what the command line takes.

    Attributes:
        role: What it names.
        default: Field of the recipe's `data` (or `NEWEST_MODEL`) that stands for it where it is left out.
    """

    role: Role
    default: str | None = None


@dataclass(frozen=True, slots=True)
class NamesFiles:
    """Marks a field of settings, no `Reference`, whose value may name files: what they hold is in the stage's key.

    `stages/named_files.py` has those of the usual shapes: `Annotated[str, behind("words")]`.

    Attributes:
        find: Returns what a value names: files, directories, glob patterns, data sets. What of it is not on this
            machine counts by its name alone.
    """

    find: Callable[[Any], Sequence[str]]


class SettingRefusedError(ValueError):
    """What a verb would say of a setting, for the fault of the recipe.

    Args:
        error: The verb's.
    """

    def __init__(self, error: LingraftError) -> None:
        self.error = error
        super().__init__(f"{error.found}; expected {error.expected}; {error.remedy}")


def accepted_by(check: Callable[[Any], object]) -> AfterValidator:
    """Check a setting as its verb does, so that a recipe is refused before anything runs.

    Args:
        check: Called with the setting, where it is not None; raises a LingraftError.

    Returns:
        What marks the field: `Annotated[str, accepted_by(find_operator)]`.
    """

    def validate(value: Any) -> Any:
        try:
            if value is not None:
                check(value)
        except LingraftError as error:
            raise SettingRefusedError(error) from error
        return value

    return AfterValidator(validate)


class StageSettings(BaseModel):
    """What every stage may say.

    Subclasses add the fields of their verb, under the verb's names.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    required: ClassVar[tuple[str, ...]] = ()
    """References that must name something, by themselves or by their default."""

    one_of: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Groups of fields of which one must be there, by itself or by its default."""

    goes_with: ClassVar[Mapping[str, str]] = {}
    """Fields that mean something only with a reference, named by itself or by its default; 0 and None do not."""

    use: str = Field("", description="Kind of the stage; left out, the stage's name is its kind.")
    seed: int | None = Field(None, ge=0, description="Seeds every draw; by default the recipe's seed.")

    @model_validator(mode="before")
    @classmethod
    def _single_values(cls, given: Any) -> Any:
        """Take one text where a list of them is meant: `corpus: text.txt`."""
        if not isinstance(given, dict):
            return given
        fields = cls.model_fields
        return {
            name: (value,)
            if isinstance(value, str) and name in fields and "tuple[" in str(fields[name].annotation)
            else value
            for name, value in given.items()
        }


@dataclass(frozen=True, slots=True)
class Scale:
    """How wide a stage may spread; changes time, not results.

    Attributes:
        processes: Processes of a training stage, under `accelerate launch`; 1 trains in this process.
        workers: Workers of a corpus or sweep stage.
        ray: Ray cluster for these workers (`auto`, `local`, an address), or None for processes here.
        accelerate_config: Config file for `accelerate launch` (FSDP, say), or None.
    """

    processes: int = 1
    workers: int = 1
    ray: str | None = None
    accelerate_config: Path | None = None


@dataclass(frozen=True, slots=True)
class StageContext:
    """What a stage is told beside its settings.

    Attributes:
        name: Its name in the recipe.
        out: Its directory. What a killed stage left there is found again: each verb opens a directory below it.
        language: Code of the target language, ISO 639-1.
        seed: Seeds every draw.
        device: Where models are put.
        scale: How wide it may spread.
        trust_remote_code: Run Python code that a model carries.
        accept_terms: Accept the terms of catalogued models.
        say: Called with one line at each step of the work.
    """

    name: str
    out: Path
    language: str
    seed: int = 0
    device: str = "auto"
    scale: Scale = field(default_factory=Scale)
    trust_remote_code: bool = False
    accept_terms: bool = False
    say: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class StageKind:
    """A kind of stage; `STAGES` names them all.

    Attributes:
        about: What it does, in a sentence.
        settings: Its settings.
        run: Runs it: settings with references resolved, and the context. Started again after a kill, it continues
            and ends with the same result. Returns what came out; `files` of it names the outputs below `context.out`.
        sections: What the report says of it: settings, its directory, and its result.
        outputs: Name to role of what later stages may read as `stage:NAME/OUTPUT`; the first is `stage:NAME`.
            Each is a key of the result's `files`. A model is a directory that plain transformers loads.
        offers: Which of the outputs a stage of these settings makes; None where it is always all of them.
        trains: It trains a model, so `scale.processes` is meant for it.
    """

    about: str
    settings: type[StageSettings]
    run: Callable[[Any, StageContext], RunResult]
    sections: Callable[[Any, Path, RunResult], Sequence[Section]]
    outputs: Mapping[str, Role] = field(default_factory=dict)
    offers: Callable[[Any], Collection[str]] | None = None
    trains: bool = False

    def made_by(self, settings: StageSettings) -> dict[str, Role]:
        """Return what a stage of these settings makes: name to what it is."""
        offered = self.outputs if self.offers is None else self.offers(settings)
        return {name: role for name, role in self.outputs.items() if name in offered}

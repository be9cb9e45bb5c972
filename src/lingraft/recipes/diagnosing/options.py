"""What a first look is told: its parts, its options, and every refusal before anything is read."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lingraft.contents import with_contents
from lingraft.errors import ConfigError
from lingraft.files import CONTENT_OF, sha256_of
from lingraft.pivots.languages import find_language

FERTILITY, LIKELIHOOD, WORDS, TRACE, FIDELITY, PATCHING = PARTS = (
    "fertility",
    "likelihood",
    "words",
    "trace",
    "fidelity",
    "patching",
)
"""What a first look measures; each can be left out."""


@dataclass(frozen=True, slots=True)
class DiagnoseOptions:
    """Everything that changes what a first look finds.

    Attributes:
        model: Reference of the model.
        language: Code of the target language.
        held_out: Text of the language; None takes the catalogued help pages'.
        english_held_out: English text of the same kind; None takes theirs where `held_out` is theirs too.
        lexicon: English to the language; at most one of this, `aligned` and `words`.
        aligned: Parallel text to find words in.
        words: Word task of `pivots words`.
        prompts: JSON lines with prompts in the language; None takes headings of the help pages.
        help_pages: Take what is not given from the asset `libreoffice-help-LANG`, where there is one.
        skip: Names of parts to leave out.
        word_count: Test words.
        draws: Draws of example pairs.
        grids: Words drawn layer by token.
        answers: Prompts answered.
        answer_tokens: Most tokens of an answer.
        instances: Words asked for in both languages, for transplants.
        text_bytes: UTF-8 bytes of each text that are scored.
        seed: Of every draw.
        dtype: Type to compute in; None keeps the checkpoint's.
    """

    model: str
    language: str
    held_out: str | None = None
    english_held_out: str | None = None
    lexicon: str | None = None
    aligned: str | None = None
    words: Path | None = None
    prompts: Path | None = None
    help_pages: bool = True
    skip: tuple[str, ...] = ()
    word_count: int = 32
    draws: int = 2
    grids: int = 4
    answers: int = 8
    answer_tokens: int = 48
    instances: int = 12
    text_bytes: int = 12_000
    seed: int = 0
    dtype: str | None = None

    def as_command(self) -> dict[str, Any]:
        """Return what a run is known again by: the options, and what their files hold."""
        given = with_contents({"verb": "diagnose", **asdict(self)})
        for name in ("english_held_out", "aligned", "words", "prompts"):
            value = getattr(self, name)
            if value is not None and Path(value).is_file():
                given |= {name: str(value), f"{CONTENT_OF}{name}": sha256_of(Path(value))}
        return given

    def wants(self, *parts: str) -> bool:
        """Whether any of these parts is asked for."""
        return not set(parts) <= set(self.skip)


def check_options(options: DiagnoseOptions) -> None:
    """Refuse options that do not go together, before anything is read.

    Args:
        options: The options.

    Raises:
        ConfigError: An unknown part or all parts left out, several sources of words, a number below 1, or English.
    """
    strange = next((name for name in options.skip if name not in PARTS), None)
    if strange is not None:
        raise ConfigError(f"--skip {strange}", f"parts among {', '.join(PARTS)}", "correct the name")
    if set(options.skip) == set(PARTS):
        raise ConfigError("--skip with every part", "a part to run", "leave one out of --skip")
    sources = {"--lexicon": options.lexicon, "--aligned": options.aligned, "--words": options.words}
    named = [name for name, value in sources.items() if value is not None]
    if len(named) > 1:
        raise ConfigError(" and ".join(named), "one of them", "leave the others out")
    for name in ("word_count", "draws", "answers", "answer_tokens", "text_bytes"):
        if getattr(options, name) < 1:
            raise ConfigError(
                f"--{name.replace('_', '-')} {getattr(options, name)}", "at least 1", "give a larger number"
            )
    if options.instances < 2:
        raise ConfigError(
            f"--instances {options.instances}", "at least 2, to exchange their donors", "give a larger number"
        )
    if find_language(options.language).name == "English":
        raise ConfigError(
            f"--language {options.language}", "another language than English", "name the target language"
        )

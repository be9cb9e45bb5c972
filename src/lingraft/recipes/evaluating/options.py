"""What a comparison of models is told, and what of it can be refused before anything is read."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lingraft.contents import with_contents
from lingraft.corpora.named_datasets import is_dataset
from lingraft.errors import ConfigError
from lingraft.files import CONTENT_OF, sha256_of
from lingraft.recipes.evaluating.task_inputs import TaskOptions, check_options, task_command
from lingraft.recipes.pretraining.inputs import text_contents

AUTO = "auto"
_NAME = re.compile(r"\w[\w.+ -]*")


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """Everything that changes what is measured.

    Attributes:
        models: Name to reference, in the order of the columns; the others are compared with the first.
        held_out: Target-language text, or None.
        english_held_out: English text, or None.
        held_out_bytes: UTF-8 bytes of each that are scored.
        prompts: JSON lines of paired items or prompts, or None.
        language: ISO 639-1 code of what the answers should be in; needed where they are judged.
        fidelity_prompts: How many prompts are answered and judged; 0 judges none.
        english_prompts: How many English prompts of paired items are.
        samples: How many answers to prompts in each language are kept side by side.
        max_new_tokens: Most tokens of an answer.
        template: `chat`, `plain`, a Jinja file, or `auto`: chat where every model's tokenizer has a template.
        batch_size: Prompts at once, and rows of a call for words and tasks.
        words: A word task, or None.
        word_limit: Only its first so many words.
        word_draws: Only its first so many draws of examples.
        tasks: lm-eval's tasks, or YAML files.
        task_limit: Documents of each task; None for all.
        text_field: Field of held-out text in JSON lines and tables.
        dtype: Type to compute in; None keeps each checkpoint's.
        seed: Of which held-out documents are scored, and of the bootstrap.
    """

    models: Mapping[str, str]
    held_out: str | None = None
    english_held_out: str | None = None
    held_out_bytes: int = 64_000
    prompts: Path | None = None
    language: str | None = None
    fidelity_prompts: int = 32
    english_prompts: int = 8
    samples: int = 8
    max_new_tokens: int = 64
    template: str = AUTO
    batch_size: int = 8
    words: Path | None = None
    word_limit: int | None = None
    word_draws: int | None = None
    tasks: tuple[str, ...] = ()
    task_limit: int | None = None
    text_field: str = "text"
    dtype: str | None = None
    seed: int = 0

    def task_options(self, model: str) -> TaskOptions:
        """Return what lm-eval is asked of a model."""
        return TaskOptions(
            model=model,
            tasks=self.tasks,
            limit=self.task_limit,
            batch_size=self.batch_size,
            dtype=self.dtype,
        )

    def check(self) -> None:
        """Refuse options that no run can have.

        Raises:
            ConfigError: What does not fit, with its value.
            MissingExtraError: lm-eval is missing for `tasks`.
        """
        for name in self.models:
            if _NAME.fullmatch(name) is None or name != name.strip():
                raise ConfigError(
                    f"the model's name {name!r}",
                    "letters, digits, spaces and . _ + -, a letter or digit first",
                    "give another name before the `=`",
                )
        if not self.models:
            raise ConfigError("no --model", "at least one NAME=REFERENCE", "give --model before=REFERENCE")
        if not any((self.held_out, self.english_held_out, self.prompts, self.words, self.tasks)):
            raise ConfigError(
                "nothing to measure on",
                "--held-out, --english-held-out, --prompts, --words or --tasks",
                "give one of them",
            )
        for name, least in (
            *(("held_out_bytes", 1), ("max_new_tokens", 1), ("batch_size", 1)),
            *(("fidelity_prompts", 0), ("english_prompts", 0), ("samples", 0)),
        ):
            if getattr(self, name) < least:
                option = name.replace("_", "-")
                raise ConfigError(
                    f"--{option} {getattr(self, name)}", f"{least} or more", "give a larger number"
                )
        if self.prompts is not None and self.language is None:
            raise ConfigError(
                "--prompts without --language", "the code of the prompts' language", "give --language eu, say"
            )
        if self.tasks:
            check_options(self.task_options(""))

    def command(self) -> dict[str, Any]:
        """Return what a run is known again by."""
        given: dict[str, Any] = {"verb": "eval compare", **asdict(self), "models": dict(self.models)}
        for name in ("held_out", "english_held_out"):
            value = getattr(self, name)
            content = None if value is None else text_contents((value,))
            if content is not None:
                given[f"{CONTENT_OF}{name}"] = content
        for name in ("prompts", "words", "template"):
            value = getattr(self, name)
            if value is not None and Path(value).is_file():
                given |= {name: str(value), f"{CONTENT_OF}{name}": sha256_of(Path(value))}
            elif value is not None and is_dataset(value):
                given |= {name: str(value), f"{CONTENT_OF}{name}": text_contents((str(value),))}
        for name, reference in self.models.items():
            found = with_contents({"model": reference}).get(f"{CONTENT_OF}model")
            if found is not None:
                given[f"{CONTENT_OF}model {name}"] = found
        if self.tasks:
            given["task_files"] = task_command(self.task_options(""))["task_files"]
        return given


def parse_models(given: Iterable[str]) -> dict[str, str]:
    """Read `NAME=REFERENCE` of each `--model`.

    Args:
        given: What was typed.

    Returns:
        Name to reference, in order.

    Raises:
        ConfigError: One is no such pair, or a name comes twice.
    """
    models: dict[str, str] = {}
    for text in given:
        name, equals, reference = text.partition("=")
        if not equals or not name.strip() or not reference.strip():
            raise ConfigError(
                f"--model {text}", "NAME=REFERENCE, such as before=smollm2-135m-instruct", "name the model"
            )
        if name in models:
            raise ConfigError(f"two models named {name!r}", "a name for each", "rename one of them")
        models[name] = reference
    return models

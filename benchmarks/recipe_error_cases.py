"""Bad recipes: their form, what stands above the stages, the stages, and what these read."""

import contextlib
import difflib
import unittest.mock
from collections.abc import Callable
from pathlib import Path
from typing import Any

from error_case import Case
from tiny_world import write_lines

RECIPE = """\
language: eu
model: model
data:
  corpus: corpus.txt
stages:
  vocabulary:
    tokenizer: target
    donor: donor
  pretrain:
    steps: 2
    block_length: 64
  evaluate:
    held_out: corpus.txt
"""
"""The recipe that is spoilt; as it stands, it is valid."""
RUN = "run recipe.yaml --out out"
VALIDATE = "recipes validate recipe.yaml"


def changed_lines(text: str, base: str = RECIPE) -> str:
    """Return the lines of a recipe that the good one lacks, with their numbers."""
    matcher = difflib.SequenceMatcher(None, base.splitlines(), text.splitlines(), autojunk=False)
    lines = text.splitlines()
    new = [n for tag, *_, low, high in matcher.get_opcodes() if tag != "equal" for n in range(low, high)]
    return "\n".join(f"{number + 1:>2}  {lines[number]}" for number in new)


def written(
    what: str, text: str | bytes, *, command: str = RUN, shows: str | None = None, **more: Any
) -> Case:
    """Return the case of a recipe with this text."""
    raw = text.encode() if isinstance(text, str) else text
    told = changed_lines(raw.decode("utf-8", "backslashreplace")) if shows is None else shows
    return Case(what, command, lambda world: (world / "recipe.yaml").write_bytes(raw), shows=told, **more)


def changed(what: str, old: str, new: str, *, command: str = RUN, **more: Any) -> Case:
    """Return the case of the good recipe with one piece of text changed."""
    if old not in RECIPE:
        raise ValueError(f"{what}: {old!r} is not in the recipe")
    return written(what, RECIPE.replace(old, new, 1), command=command, **more)


def added(what: str, lines: str, **more: Any) -> Case:
    """Return the case of the good recipe with stages added."""
    return written(what, RECIPE + lines, **more)


def good(what: str, command: str, spoil: Callable[[Path], object] = lambda world: None, **more: Any) -> Case:
    """Return the case of the good recipe and something else that is bad."""

    def write(world: Path) -> None:
        (world / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
        spoil(world)

    return Case(what, command, write, **more)


BOMB = "a: &a [eu, eu, eu, eu, eu, eu, eu, eu]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 8)}]\n"
    for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)
"""Ten lines that would unfold to a thousand million words."""


def cached() -> contextlib.AbstractContextManager[Any]:
    """Let any asset be fetched already: a directory with two files."""
    Path("cache").mkdir()
    for name in ("train.txt", "heldout.txt"):
        write_lines(Path("cache") / name, ["Egun on"])
    return unittest.mock.patch("lingraft.recipes.checking.references.find_asset", return_value=Path("cache"))


def with_config(what: str, config: str) -> Case:
    """Return the case of the good recipe with a config of accelerate."""
    text = RECIPE.replace("data:", "scale: {processes: 2, accelerate_config: two.yaml}\ndata:", 1)

    def write(world: Path) -> None:
        (world / "recipe.yaml").write_text(text, encoding="utf-8")
        (world / "two.yaml").write_text(config, encoding="utf-8")

    return Case(what, RUN, write, shows=changed_lines(text))


FORM_CASES = {
    "recipe-syntax": changed("A bracket that is not closed", "tokenizer: target", "tokenizer: [target"),
    "recipe-tab": changed("A tab", "    steps: 2", "\tsteps: 2"),
    "recipe-encoding": written(
        "Another encoding than UTF-8", f"# Größe\n{RECIPE}".encode("latin-1"), shows=" 1  # Gr\\xf6\\xdfe"
    ),
    "recipe-control": changed("A control character", "language: eu", "language: e\x07u", shows="   "),
    "recipe-empty": written("An empty file", ""),
    "recipe-list": written("A list", "- language: eu\n- model: model\n"),
    "recipe-words": written("Something else", "<html>Not Found</html>\n"),
    "recipe-object": changed("A Python object", "steps: 2", "steps: !!python/object/apply:os.getpid []"),
    "recipe-bomb": written("Aliases that unfold without end", BOMB + RECIPE, shows=BOMB.splitlines()[1]),
    "recipe-itself": changed("An alias of what it stands in", "  corpus: corpus.txt", "  corpus: &x [*x]"),
    "recipe-large": written("A file of 2 MiB", "#" * 2**21 + "\n" + RECIPE, shows=""),
    "recipe-several": written("Two documents", RECIPE + "---\n" + RECIPE, shows="14  ---"),
}

TOP_CASES = {
    "recipe-top-key": changed("A misspelt key", "model: model", "modle: model"),
    "recipe-data-key": changed("A misspelt key of the data", "corpus:", "copus:"),
    "recipe-no-model": changed("No model", "model: model\n", ""),
    "recipe-no-language": changed("No language", "language: eu\n", ""),
    "recipe-english": changed("English as the language", "language: eu", "language: en"),
    "recipe-language-name": changed(
        "A language's name instead of its code", "language: eu", "language: Basque"
    ),
    "recipe-norwegian": changed(
        "Norwegian without quotes, which YAML reads as false", "language: eu", "language: no"
    ),
    "recipe-missing-model": changed("A model that is not there", "model: model", "model: ./modle"),
    "recipe-model-stage": changed("The model is a stage's", "model: model", "model: stage:pretrain"),
    "recipe-no-file": changed("A text that is not there", "corpus.txt", "copus.txt"),
    "recipe-empty-text": good(
        "A text that is empty", RUN, lambda world: write_lines(world / "corpus.txt", [])
    ),
    "recipe-asset": changed(
        "An asset that does not exist", "corpus.txt", "asset:libreoffice-hlep-eu/train.txt"
    ),
    "recipe-asset-file": changed("An asset without a file of it", "corpus.txt", "asset:libreoffice-help-eu"),
    "recipe-asset-other-file": changed(
        "A file that an asset does not have",
        "corpus.txt",
        "asset:libreoffice-help-eu/dev.txt",
        patch=cached,
    ),
    "recipe-seed": changed("A negative seed", "data:", "seed: -1\ndata:"),
    "recipe-device": changed("A device that is not there", "data:", "device: cuda:9\ndata:", varies=True),
    "recipe-processes": changed("No processes", "data:", "scale: {processes: 0}\ndata:"),
    "recipe-accelerate": changed(
        "A config of accelerate that is not there",
        "data:",
        "scale: {processes: 2, accelerate_config: fsdp.yaml}\ndata:",
    ),
    "recipe-machines": with_config(
        "A config of accelerate for several machines", "num_machines: 2\nnum_processes: 4\n"
    ),
    "recipe-no-config": with_config("A config of accelerate that is none", "- FSDP\n"),
    "recipe-ray": changed("A Ray cluster that has no address", "data:", "scale: {ray: cluster}\ndata:"),
    "recipe-ray-gone": changed(
        "A Ray cluster that does not answer", "data:", "scale: {ray: 127.0.0.1:9}\ndata:"
    ),
    "recipe-no-stages": written("No stages", RECIPE.partition("stages:")[0]),
    "recipe-empty-stages": written(
        "No stages under `stages`", RECIPE.partition("  vocabulary:")[0], shows="5  stages:"
    ),
    "recipe-stage-list": written(
        "Stages as a list", RECIPE.partition("  vocabulary:")[0] + "  - vocabulary\n  - pretrain\n"
    ),
}

STAGE_CASES = {
    "stage-key": changed("A misspelt key of a stage", "steps: 2", "stpes: 2"),
    "stage-kind": changed("A misspelt stage", "  pretrain:", "  pretrian:"),
    "stage-use": added("A stage whose kind is not known", "  last:\n    steps: 2\n"),
    "stage-type": changed("Text for a number", "steps: 2", "steps: many"),
    "stage-fraction": changed("A fraction for a whole number", "steps: 2", "steps: 2.5"),
    "stage-yes": changed("A yes for a number", "steps: 2", "steps: yes"),
    "stage-range": changed("A number out of range", "steps: 2", "steps: 0"),
    "stage-positions": changed(
        "Blocks longer than the model's positions", "block_length: 64", "block_length: 512"
    ),
    "stage-nan": changed("A number that is none", "steps: 2", "learning_rate: .nan"),
    "stage-infinite": changed("A number without end", "steps: 2", "learning_rate: .inf"),
    "stage-choice": changed("A choice that does not exist", "steps: 2", "schedule: cosin"),
    "stage-text": changed(
        "Text instead of settings", "  evaluate:\n    held_out: corpus.txt", "  evaluate: yes please"
    ),
    "stage-twice": added("A stage that stands twice", "  pretrain:\n    steps: 3\n"),
    "stage-key-twice": changed("A key that stands twice", "    steps: 2", "    steps: 2\n    steps: 3"),
    "stage-named-data": added("A stage named like a key of the recipe", "  data:\n    use: pretrain\n"),
    "stage-named-blank": added("A stage with a blank in its name", "  second look:\n    use: evaluate\n"),
    "stage-method": changed("A method that does not exist", "donor: donor", "method: slat", varies=True),
    "stage-auxiliary": changed("An auxiliary that does not exist", "donor: donor", "auxiliary: word2vec"),
    "stage-train": changed(
        "A kind of tokenizer that does not exist", "tokenizer: target", "tokenizer: train:wordpiece"
    ),
    "stage-objective": added("An unknown objective", "  preference: {pairs: corpus.txt, objective: orca}\n"),
    "stage-parameters": added("Unknown parameters", "  preference: {pairs: corpus.txt, parameters: mlp}\n"),
    "stage-template": added(
        "A template that is not there", "  preference: {pairs: corpus.txt, template: chta}\n"
    ),
    "stage-operator": added(
        "An operator that does not exist", "  patching: {pairs: corpus.txt, operator: swap}\n"
    ),
    "stage-format": added(
        "A format that does not exist",
        "  pairs: {instructions: corpus.txt, translations: corpus.txt, format: alpacca}\n",
    ),
    "stage-engine": added(
        "An unknown engine", "  translate: {instructions: corpus.txt, engine: 'babel:fish'}\n", varies=True
    ),
    "stage-batch": changed(
        "A batch that cannot be divided", "steps: 2", "batch_size: 3\n    gradient_accumulation: 2"
    ),
    "stage-share": changed("A share of English without English", "steps: 2", "english_share: 0.2"),
    "stage-select-words": added("select without anything to take words from", "  select:\n    tokens: 100\n"),
    "stage-select-budget": added("select without a budget", "  select:\n    pivots: corpus.txt\n"),
    "stage-quotas": added(
        "Quotas that are no shares of a whole",
        "  select: {tokens: 10, pivots: corpus.txt, quotas: {eu: 0.5, en: 0.2}}\n",
    ),
    "stage-patching-prompts": added("patching without prompts", "  patching:\n"),
    "stage-patching-site": added(
        "A site that does not exist", "  patching: {pairs: corpus.txt, site: fnn}\n"
    ),
    "stage-no-tokenizer": changed("replace without a tokenizer", "    tokenizer: target\n", ""),
    "stage-no-pairs": added("preference without pairs", "  preference:\n"),
    "stage-merge": added("merge without its models", "  merge: {base: model}\n"),
    "stage-merge-other": added(
        "A field of another method", "  merge: {base: model, tuned: stage:pretrain, bottom: 1}\n"
    ),
    "stage-both-sources": added(
        "Instructions without their translations", "  pairs: {instructions: corpus.txt}\n"
    ),
}

REFERENCE_CASES = {
    "reference-later": changed("A stage that comes later", "donor: donor", "corpus: stage:evaluate"),
    "reference-itself": changed("The stage itself", "steps: 2", "model: stage:pretrain"),
    "reference-unknown": changed("A stage that does not exist", "steps: 2", "model: stage:vocab"),
    "reference-first": changed("A stage before the first", "donor: donor", "model: stage:vocab"),
    "reference-output": changed("An output that does not exist", "steps: 2", "model: stage:vocabulary/modle"),
    "reference-unasked": written(
        "An output that was not asked for",
        RECIPE.replace(
            "  pretrain:\n    steps: 2",
            "  select: {tokens: 10, pivots: corpus.txt, controls: []}\n  pretrain:\n    corpus: stage:select/random",
        ),
    ),
    "reference-kind": added(
        "An output of another kind", "  again:\n    use: pretrain\n    corpus: stage:vocabulary\n"
    ),
    "reference-words": added(
        "A file where text is due", "  diagnose:\n  again:\n    use: pretrain\n    corpus: stage:diagnose\n"
    ),
    "reference-recipe": changed(
        "A field of the recipe that does not exist", "steps: 2", "corpus: recipe:corups"
    ),
    "reference-unset": changed(
        "A field of the recipe that is not set", "steps: 2", "english: recipe:english"
    ),
}

MANY = """\
language: english
modle: model
seed: -1
data:
  corpus: copus.txt
  herd: out.txt
stages:
  evaluate:
    models: {before: recipe:model, after: stage:pretrain}
  pretrain:
    stpes: 100
    steps: many
    learning_rate: .inf
  select:
    tokens: 0
  select:
    tokens: 10
  second:
    use: pretrian
"""

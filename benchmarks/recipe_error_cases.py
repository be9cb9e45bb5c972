"""Bad recipes, and bad inputs of the verbs around them: run, recipes, report, diagnose, pretrain, export, push."""

import contextlib
import difflib
import fcntl
import json
import unittest.mock
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from error_case import Case
from spoiling import little_space
from tiny_world import byte_bpe_tokenizer, write_lines

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
    return unittest.mock.patch("lingraft.recipes.references.find_asset", return_value=Path("cache"))


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
    "recipe-several": written("Two documents", RECIPE + "---\n" + RECIPE, shows="13  ---"),
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
    "recipe-ray": changed("A Ray cluster that has no address", "data:", "scale: {ray: cluster}\ndata:"),
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


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Hold the lock of `out`, as a run in it does."""
    with Path("out/.lock").open("r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def running(world: Path) -> None:
    """Make the directory of a run that goes on."""
    from lingraft.files import mark_run
    from lingraft.recipes.store import RUN_COMMAND

    (world / "out").mkdir()
    mark_run(world / "out", RUN_COMMAND)
    (world / "out" / ".lock").write_text("4711", encoding="utf-8")


def foreign(world: Path) -> None:
    """Put somebody's work where the run should be."""
    (world / "out").mkdir()
    (world / "out" / "chapter1.tex").write_text("mine")


def other_verb(world: Path) -> None:
    """Make `out` the run of another verb."""
    from lingraft.files import mark_run

    (world / "out").mkdir()
    mark_run(world / "out", {"verb": "pretrain", "seed": 1})


RUN_CASES = {
    "run-many-faults": written("Many faults at once", MANY, shows=MANY.rstrip("\n")),
    "run-unknown-recipe": Case("A recipe that does not exist", "run dmeo --out out", varies=True),
    "run-directory": Case("The recipe is a directory", "run model --out out", varies=True),
    "run-set-stage": good("--set of a stage that does not exist", f"{RUN} --set pretain.steps=3"),
    "run-set-key": good("--set of a key that does not exist", f"{RUN} --set pretrain.stpes=3"),
    "run-set-value": good("--set to something bad", f"{RUN} --set pretrain.steps=many"),
    "run-set-equals": good("--set without =", f"{RUN} --set pretrain.steps"),
    "run-set-yaml": good("--set to half a list", f"{RUN} --set 'pretrain.corpus=[corpus.txt'"),
    "run-set-stages": good("--set of all stages", f"{RUN} --set stages=none"),
    "run-from": good("--from a stage that does not exist", f"{RUN} --from pretain"),
    "run-device": good("--device that is not there", f"{RUN} --device cuda:9", varies=True),
    "run-out-file": good("--out is a file", "run recipe.yaml --out corpus.txt"),
    "run-out-under-file": good("--out lies under a file", "run recipe.yaml --out corpus.txt/out"),
    "run-out-foreign": good("--out holds something else", RUN, foreign),
    "run-out-verb": good("--out holds the run of another verb", RUN, other_verb),
    "run-in-use": good("--out is in use by another run", RUN, running, patch=held),
    "run-little-space": good(
        "Too little space on the disk", f"{RUN} --dry-run", patch=little_space, varies=True
    ),
    "run-block": changed(
        "Met on the way: blocks longer than the model's positions", "steps: 2", "block_length: 100000"
    ),
    "run-blank-text": good(
        "Met on the way: a text of blank lines",
        RUN,
        lambda world: write_lines(world / "corpus.txt", ["", " "]),
    ),
    "run-no-out": good("No --out", "run recipe.yaml"),
    "recipes-copy-there": good("A copy onto a file that is there", "recipes copy demo recipe.yaml"),
    "recipes-copy-nowhere": Case(
        "A copy into a directory that is not there", "recipes copy demo corpus.txt/new.yaml"
    ),
    "recipes-show": Case("A recipe to show that does not exist", "recipes show dmeo", varies=True),
    "recipes-show-encoding": written(
        "A recipe to show that is no text",
        b"# Gr\xf6\xdfe\n",
        command="recipes show recipe.yaml",
        shows=" 1  # Gr\\xf6\\xdfe",
    ),
    "recipes-kinds": Case("A kind of stage that does not exist", "recipes kinds pretrian"),
}

RUN_JSON: dict[str, Any] = {"title": "a", "language": "eu", "model": "model", "stages": []}


def finished(name: str, **fields: Any) -> Callable[[Path], object]:
    """Write a directory with a run.json of these fields."""

    def write(world: Path) -> None:
        (world / name).mkdir()
        (world / name / "run.json").write_text(json.dumps({**RUN_JSON, **fields}), encoding="utf-8")
        (world / name / "recipe.yaml").write_text(RECIPE, encoding="utf-8")

    return write


def both(*spoils: Callable[[Path], object]) -> Callable[[Path], object]:
    """Spoil in several ways."""
    return lambda world: [spoil(world) for spoil in spoils]


def damaged(world: Path) -> None:
    """Two runs, of which one was cut off."""
    finished("a")(world)
    (world / "b").mkdir()
    (world / "b" / "run.json").write_text('{"title": "b", "sta', encoding="utf-8")


STAGE_OF_RUN = {"name": "pretrain", "kind": "pretrain", "directory": "stages/pretrain-1"}
REPORT_CASES = {
    "report-one": Case("A comparison of one run", "report compare a", finished("a")),
    "report-twice": Case("A run compared with itself", "report compare a a", finished("a")),
    "report-missing": Case("A run that is not there", "report compare b a", finished("a")),
    "report-unfinished": Case("A run that is not finished", "report show out", running),
    "report-damaged": Case("A run.json that is cut off", "report compare b a", damaged),
    "report-types": Case("A run.json of something else", "report show a", finished("a", stages=3)),
    "report-empty": Case("A run without stages", "report show a", finished("a")),
    "report-result": Case("A run whose stage is gone", "report show a", finished("a", stages=[STAGE_OF_RUN])),
}

DIAGNOSE = "diagnose --model model --out out --device cpu"
PRETRAIN = "pretrain --model model --corpus corpus.txt --out out --device cpu"
COMPARE = "eval compare --out out --device cpu --held-out corpus.txt"
NO_TOKEN: Mapping[str, str] = {"HF_HUB_OFFLINE": "1"}


def bare_ctrl(world: Path) -> None:
    """An architecture that llama.cpp has no name for."""
    from transformers import CTRLConfig, CTRLLMHeadModel

    tokenizer = byte_bpe_tokenizer()
    config = CTRLConfig(vocab_size=len(tokenizer), n_embd=16, dff=32, n_layer=1, n_head=2, n_positions=64)
    CTRLLMHeadModel(config).save_pretrained(world / "ctrl")
    tokenizer.save_pretrained(world / "ctrl")


def no_token() -> contextlib.AbstractContextManager[Any]:
    """Let there be no token of the hub on this machine."""
    return unittest.mock.patch("huggingface_hub.get_token", return_value=None)


VERB_CASES = {
    "diagnose-unknown": Case(
        "diagnose of a language without a name", f"{DIAGNOSE} --language xx", varies=True
    ),
    "diagnose-language": Case("diagnose of English", f"{DIAGNOSE} --language en"),
    "diagnose-skip": Case(
        "diagnose without a part that does not exist",
        f"{DIAGNOSE} --language eu --held-out corpus.txt --skip traec",
    ),
    "diagnose-text": Case(
        "diagnose of a text that is not there", f"{DIAGNOSE} --language eu --held-out held.txt"
    ),
    "pretrain-empty": Case(
        "pretrain on an empty text",
        f"{PRETRAIN} --block-length 16",
        lambda world: write_lines(world / "corpus.txt", []),
    ),
    "pretrain-share": Case("A share of English without English", f"{PRETRAIN} --english-share 0.2"),
    "pretrain-batch": Case(
        "A batch that cannot be divided", f"{PRETRAIN} --batch-size 3 --gradient-accumulation 2"
    ),
    "pretrain-held-out": Case(
        "Nothing to train on beside the held-out text", f"{PRETRAIN} --held-out corpus.txt --block-length 16"
    ),
    "pretrain-length": Case("Blocks longer than the model's positions", f"{PRETRAIN} --block-length 100000"),
    "compare-twice": Case("Two models of one name", f"{COMPARE} --model a=model --model a=untied"),
    "compare-no-name": Case("A model without a name", f"{COMPARE} --model model"),
    "compare-nothing": Case(
        "Nothing to measure on", "eval compare --out out --device cpu --model a=model --model b=untied"
    ),
    "compare-name": Case("A name that is a path", f"{COMPARE} --model ../a=model"),
    "export-architecture": Case(
        "An architecture that llama.cpp does not have",
        "export gguf --model ctrl --out out.gguf",
        bare_ctrl,
        varies=True,
    ),
    "export-there": Case("An export onto a file that is there", "export gguf --model model --out corpus.txt"),
    "export-dtype": Case(
        "A type that does not exist", "export gguf --model model --out out.gguf --dtype q4_k"
    ),
    "push-no-token": Case("push without a token", "push --model model --to me/mine --yes", patch=no_token),
    "push-no-yes": Case("push without --yes", "push --model model --to me/mine"),
    "push-name": Case("push to a name that cannot be", "push --model model --to mine --yes"),
    "push-no-tokenizer": Case(
        "push of a model without tokenizer",
        "push --model model --to me/mine --yes",
        lambda world: [file.unlink() for file in (world / "model").glob("tokenizer*")],
    ),
}

RECIPE_GROUPS = {
    "Recipes: the file": FORM_CASES,
    "Recipes: what stands above the stages": TOP_CASES,
    "Recipes: stages": STAGE_CASES,
    "Recipes: what stages read": REFERENCE_CASES,
    "Running recipes": RUN_CASES,
    "Reports": REPORT_CASES,
    "Diagnosing, training, measuring, exporting": VERB_CASES,
}
RECIPE_CASES: dict[str, Case] = {
    name: case for group in RECIPE_GROUPS.values() for name, case in group.items()
}

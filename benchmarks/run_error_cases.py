"""Bad inputs of the verbs around recipes: run, recipes, report, diagnose, pretrain, eval compare, export, push."""

import contextlib
import fcntl
import json
import unittest.mock
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from error_case import Case
from recipe_error_cases import (
    FORM_CASES,
    MANY,
    RECIPE,
    REFERENCE_CASES,
    RUN,
    STAGE_CASES,
    TOP_CASES,
    good,
    written,
)
from spoiling import little_space
from tiny_world import byte_bpe_tokenizer, write_lines


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Hold the lock of `out`, as a run in it does."""
    with Path("out/.lock").open("r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def running(world: Path) -> None:
    """Make the directory of a run that goes on."""
    from lingraft.files import mark_run
    from lingraft.recipes.running.store import RUN_COMMAND

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
    "run-from-dry": good("--dry-run --from a stage that does not exist", f"{RUN} --dry-run --from pretain"),
    "run-device": good("--device that is not there", f"{RUN} --device cuda:9", varies=True),
    "run-out-file": good("--out is a file", "run recipe.yaml --out corpus.txt"),
    "run-out-under-file": good("--out lies under a file", "run recipe.yaml --out corpus.txt/out"),
    "run-out-foreign": good("--out holds something else", RUN, foreign),
    "run-out-verb": good("--out holds the run of another verb", RUN, other_verb),
    "run-in-use": good("--out is in use by another run", RUN, running, patch=held),
    "run-little-space": good(
        "Too little space on the disk", f"{RUN} --dry-run", patch=little_space, varies=True
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
    "diagnose-nothing": Case(
        "diagnose with nothing to measure on", f"{DIAGNOSE} --language eu --no-help-pages"
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

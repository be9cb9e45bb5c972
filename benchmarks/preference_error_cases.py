"""Bad inputs of `lingraft clo`, `lingraft merge` and `lingraft eval`: items, engines, templates, checkpoints."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from error_case import Case
from tiny_world import write_lines

TRAIN = "clo train --model model --pairs pairs.jsonl --out out --device cpu --batch-size 2"
COMPARE = "clo compare --model model --pairs pairs.jsonl --held-out held.jsonl --out out --device cpu"
TRANSLATE = "clo translate --instructions ask.jsonl --target-language es --out out"
FIDELITY = "eval fidelity --model model --prompts pairs.jsonl --language de --out out --device cpu"
ITEM = {
    "english_prompt": "Size of the paper?",
    "english_response": "Choose a format.",
    "target_prompt": "Größe des Papiers?",
    "target_response": "Wählen Sie ein Format.",
    "target_language": "de",
}


def items(*changes: Mapping[str, Any], name: str = "pairs.jsonl") -> Callable[[Path], object]:
    """Write paired items: the one above, each time with these fields otherwise."""

    def write(world: Path) -> None:
        rows = [{**ITEM, "id": f"{number}", **change} for number, change in enumerate(changes)]
        write_lines(world / name, [json.dumps(row, ensure_ascii=False) for row in rows])

    return write


def instructions(world: Path) -> None:
    """English instruction data, and a translation that lacks a line."""
    rows = [
        {"prompt": "How large is the paper?", "response": "It is as large as the page that you chose."},
        {"prompt": "Where is the table of contents?", "response": "It is at the beginning of the document."},
    ]
    write_lines(world / "ask.jsonl", [json.dumps(row) for row in rows])
    write_lines(world / "ask-short.jsonl", [json.dumps(rows[0])])


def no_template(world: Path) -> None:
    """A tokenizer without a chat template."""
    items({}, {})(world)
    for file in (world / "model").glob("chat_template*"):
        file.unlink()
    config = world / "model" / "tokenizer_config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    settings.pop("chat_template", None)
    config.write_text(json.dumps(settings), encoding="utf-8")


def deeper(world: Path) -> None:
    """A second model that is no relative of the first."""
    shutil.copytree(world / "model", world / "deeper")
    config = world / "deeper" / "config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    settings["num_hidden_layers"] += 1
    config.write_text(json.dumps(settings), encoding="utf-8")


SAME = {"english_response": "Größe 99", "target_response": "Größe 99 "}
HELD_OUT = {"english_prompt": "Another?", "target_prompt": "Noch eines?"}

PREFERENCE_CASES = {
    "clo-empty-side": Case("Items with an empty side, and no other", TRAIN, items({"english_response": " "})),
    "clo-identical": Case("Items with identical answers, and no other", TRAIN, items(SAME)),
    "clo-untranslated": Case(
        "Items without a translation, and no other", TRAIN, items({"target_response": None})
    ),
    "clo-two-languages": Case("Items of two languages", TRAIN, items({}, {"target_language": "sw"})),
    "clo-no-template": Case("A tokenizer without a chat template", TRAIN, no_template),
    "clo-long": Case("Prompts longer than the limit", f"{TRAIN} --max-length 6", items({}, {})),
    "clo-longer-than-context": Case(
        "A limit beyond the model's positions", f"{TRAIN} --max-length 100000", items({}, {})
    ),
    "clo-batch": Case("Fewer items than a batch", f"{TRAIN} --batch-size 8", items({}, {})),
    "clo-objective": Case("An unknown objective", f"{TRAIN} --objective orca", items({}, {})),
    "clo-parameters": Case("Unknown parameters", f"{TRAIN} --parameters mlp", items({}, {})),
    "clo-share": Case("A share that is none", f"{TRAIN} --share 2", items({}, {})),
    "clo-leak": Case(
        "Held-out items among those to train on",
        COMPARE,
        lambda world: (items({}, {})(world), items({}, name="held.jsonl")(world)),
    ),
    "clo-arm": Case(
        "An unknown arm",
        f"{COMPARE} --arms clo,sfd",
        lambda world: (items({}, {})(world), items(HELD_OUT, name="held.jsonl")(world)),
    ),
    "clo-few": Case(
        "More items wanted than there are",
        f"{COMPARE} --sizes 40 --batch-size 2 --fidelity-prompts 0",
        lambda world: (items({}, {})(world), items(HELD_OUT, name="held.jsonl")(world)),
    ),
    "translate-engine": Case(
        "An unknown engine", f"{TRANSLATE} --engine babel:fish", instructions, varies=True
    ),
    "translate-no-file": Case("No translations", f"{TRANSLATE} --engine parallel:none.tsv", instructions),
    "translate-endpoint": Case(
        "An endpoint that does not answer",
        f"{TRANSLATE} --engine endpoint:http://127.0.0.1:9/v1#any --attempts 1",
        instructions,
    ),
    "pairs-unequal": Case(
        "A translation with fewer lines",
        "clo pairs --instructions ask.jsonl --translations ask-short.jsonl --target-language es --out out",
        instructions,
    ),
    "pairs-nothing": Case("No source of items", "clo pairs --target-language es --out out"),
    "fidelity-no-template": Case("Answers without a chat template", FIDELITY, no_template),
    "fidelity-language": Case(
        "A language that is not identified", FIDELITY.replace(" de ", " xx "), items({}), varies=True
    ),
    "fidelity-no-prompt": Case("No prompt", FIDELITY, lambda world: write_lines(world / "pairs.jsonl", [])),
    "tasks-broken": Case(
        "A task file that does not parse",
        "eval tasks --model model --tasks broken.yaml --out out --device cpu",
        lambda world: write_lines(world / "broken.yaml", ["task: [broken"]),
    ),
    "merge-unlike": Case(
        "A config that says more layers than the weights have",
        "merge interpolate --base model --tuned deeper --weight 0.5 --out out",
        deeper,
    ),
    "merge-share": Case(
        "A point beyond the line", "merge interpolate --base model --tuned untied --weight 1.5 --out out"
    ),
    "merge-missing": Case(
        "A model that is not there", "merge chat-vector --target model --base model --chat none --out out"
    ),
}

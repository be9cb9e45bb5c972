"""A tiny model with everything that a first look measures on."""

import importlib
import json
import random
import sys
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
tiny_world = importlib.import_module("tiny_world")

LETTERS, CYRILLIC = "etaoinshrdlucm", "еитонасрвлкмдп"
PROMPTS = ["Как дела?", "Größe — naïve café: 안녕하세요?", "Откройте документ и выберите формат."]
RUSSIAN = [
    "Съешь ещё этих мягких французских булок, да выпей чаю.",
    "Откройте документ и выберите размер страницы.",
    "Таблица содержит 12345 строк — naïve 안녕.",
]


def word(number, letters=LETTERS):
    """A word for a number, its length varying."""
    text, number = "", number + 220
    while number:
        text += letters[number % len(letters)]
        number //= len(letters)
    return text * (1 + len(text) % 2)


LEXICON = [(word(n), word(3 * n + 1, CYRILLIC)) for n in range(90)]


def make_world(directory):
    """Fill a directory with a model of three layers, texts, a lexicon, parallel text, prompts; return it."""
    world = tiny_world.make_world(directory)
    torch.manual_seed(5)
    config = AutoConfig.from_pretrained(world / "model")
    config.num_hidden_layers, config.max_position_embeddings = 3, 512
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(world / "model")
    write(world / "ru.txt", RUSSIAN * 3)
    write(world / "en.txt", [*tiny_world.SOURCE_TEXTS, *(first for first, _ in LEXICON[:40])])
    write(world / "lexicon.tsv", [f"{first}\t{second}" for first, second in LEXICON])
    write(world / "prompts.jsonl", [json.dumps({"prompt": text}, ensure_ascii=False) for text in PROMPTS])
    chance = random.Random(0)
    drawn = [chance.sample(LEXICON, 3) for _ in range(1200)]
    write(
        world / "aligned.tsv",
        ["\t".join(" ".join(pair[side] for pair in pairs) for side in (0, 1)) for pairs in drawn],
    )
    return world


def write(path, lines):
    """Write lines in UTF-8."""
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


GIVEN = {
    "model": "model",
    "language": "ru",
    "held-out": "ru.txt",
    "english-held-out": "en.txt",
    "lexicon": "lexicon.tsv",
    "prompts": "prompts.jsonl",
}
SMALL = {"word-count": 6, "grids": 2, "answers": 3, "answer-tokens": 6, "instances": 3}


def arguments(*more, out="out", **changes):
    """What is typed; a change of None leaves an option out."""
    options = {
        **GIVEN,
        **SMALL,
        "out": out,
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    typed = [
        part for name, value in options.items() if value is not None for part in (f"--{name}", str(value))
    ]
    return ["diagnose", *typed, "--no-help-pages", *more]

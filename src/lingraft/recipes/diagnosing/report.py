"""The page of a first look: the recipe and why, every measurement, words layer by token, and the map of transplants.

All of it is made from what lies in the run directory, so that a report made later says the same.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lingraft.assets.catalog import is_asset_name
from lingraft.patching.map_files import map_keys, read_answers, read_maps
from lingraft.patching.map_report import map_sections
from lingraft.patching.records import DONORS_FILE, MAP_FILE, VANILLA_FILE
from lingraft.pivots.partials import in_parts, join_scores
from lingraft.pivots.task_file import read_word_task
from lingraft.recipes.diagnosing.inputs import TASK_FILE
from lingraft.recipes.diagnosing.options import FERTILITY, FIDELITY, LIKELIHOOD, PARTS, PATCHING, TRACE, WORDS
from lingraft.recipes.diagnosing.parts import GRIDS_FILE, TEXTS_FILE, no_part
from lingraft.recipes.evaluating.fidelity_report import fidelity_sentence
from lingraft.recipes.pivots.aligned_words import HELP
from lingraft.recipes.pivots.word_score_report import score_sections
from lingraft.recipes.pivots.word_scoring import PART_WORDS
from lingraft.reports.intervals import Estimate
from lingraft.reports.page import Block, Cell, Command, Figure, Paragraph, Section, Table
from lingraft.reports.result import RunResult
from lingraft.reports.tokengrid import TokenCell, TokenGrid

ANSWER_CHARACTERS = 300
"""How much of an answer the page shows."""
NEEDS_CORPUS = "Add --set data.corpus=FILE, text to train on: there are no help pages in this language."
_NO_CONTROL = "compares it with no control"
_TRAINS = frozenset({"low-resource", "high-resource", "pretrain-only"})
_GRIDS = (
    "Unfold a word: each cell is the token that a layer (the last one on top) would say after the token over its"
    " column, darker where it is surer. Point at a cell for its next choices."
)


def diagnosis_sentence(result: RunResult) -> str:
    """Say in a sentence what came out.

    Args:
        result: Of a diagnosis.

    Returns:
        The sentence.
    """
    metrics = result.metrics
    tokens, text = metrics.get(FERTILITY, {}), metrics.get(LIKELIHOOD, {})
    said = []
    if tokens:
        said.append(_beside(tokens, "bytes_per_token", "bytes a token"))
    if text:
        said.append(_beside(text, "bits_per_byte", "bits per byte"))
    if WORDS in metrics:
        said.append(f"word-translation score {metrics[WORDS]['score']['value']:.3f}")
    rate = metrics.get(FIDELITY, {}).get("line_pass_rate")
    if rate is not None:
        said.append(f"{100 * rate['value']:.0f} % of answers in the language")
    if PATCHING in metrics:
        said.append(
            f"transplants {100 * metrics[PATCHING]['headroom']['value']:+.0f} points over shuffled ones"
        )
    told = "; ".join(said) or "nothing was measured"
    return f"{metrics['model']} in {metrics['language']}: {told}."


def diagnosis_sections(directory: Path, result: RunResult) -> list[Section]:
    """Say what a first look found.

    Args:
        directory: The run directory.
        result: Its result.

    Returns:
        Sections for a page.
    """
    metrics = result.metrics
    sections = [Section("Recommended recipe", recommendation_blocks(result)), _measured(result)]
    if FERTILITY in metrics or LIKELIHOOD in metrics:
        sections.append(_text(metrics))
    if WORDS in metrics:
        task = read_word_task(directory / TASK_FILE)
        task = replace(task, items=task.items[: metrics[WORDS]["words"]])
        parts = in_parts(directory / WORDS, len(task.items), PART_WORDS, no_part)
        found = score_sections(task, join_scores(task.items, parts), seed=result.seeds["seed"])
        sections += [replace(one, title=f"Word translation: {one.title.lower()}") for one in found]
    if TRACE in metrics:
        sections += _trace(directory, metrics[TRACE])
    if FIDELITY in metrics:
        sections.append(_answers(directory, metrics[FIDELITY]))
    if PATCHING in metrics:
        sections += _headroom(directory, metrics[PATCHING])
    return sections


def recommendation_blocks(result: RunResult) -> list[Block]:
    """Return the recipe, its reasons and the command that starts it.

    Args:
        result: Of a diagnosis.

    Returns:
        Blocks for a section.
    """
    advice = result.metrics["recommendation"]
    rows: list[tuple[Cell, ...]] = [tuple(_parted(reason)) for reason in advice["reasons"]]
    blocks: list[Block] = [
        Paragraph(f"The built-in recipe that this look speaks for: {advice['recipe']}."),
        Table("Why; thresholds are our choice", ("measured", "what it says"), rows),
        Paragraph("This starts it:"),
        Command(advice["command"]),
    ]
    if needs_corpus(result):
        blocks.append(Paragraph(NEEDS_CORPUS))
    return blocks


def needs_corpus(result: RunResult) -> bool:
    """Whether the recommended recipe trains on text, and the help pages that it reads by default do not exist."""
    pages = is_asset_name(f"{HELP}{result.metrics['language'].lower()}")
    return result.metrics["recommendation"]["recipe"] in _TRAINS and not pages


def read_grids(path: Path) -> list[TokenGrid]:
    """Read words drawn layer by token.

    Args:
        path: What a diagnosis left.

    Returns:
        The blocks, as they were written.
    """
    grids = []
    for grid in json.loads(path.read_text(encoding="utf-8")):
        cells = [
            [TokenCell([(text, chance) for text, chance in cell["choices"]], cell["kind"]) for cell in row]
            for row in grid["cells"]
        ]
        grids.append(TokenGrid(**{**grid, "cells": cells}))
    return grids


def _measured(result: RunResult) -> Section:
    metrics = result.metrics
    rows: list[tuple[Cell, ...]] = [(part, metrics["skipped"].get(part, "measured")) for part in PARTS]
    blocks: list[Block] = [Table("Parts of this look", ("part", "result"), rows)]
    if metrics["help_pages"]:
        blocks.append(
            Paragraph(
                f"What was not given was taken from the asset {metrics['help_pages']}: held-out help pages, the word"
                " pairs of its aligned paragraphs (most are right, not all), and headings as prompts. They are manuals"
                " of a program: other text gives other numbers.",
                warning=True,
            )
        )
    return Section("What was measured", blocks)


def _text(metrics: Mapping[str, Any]) -> Section:
    tokens, text = metrics.get(FERTILITY, {}), metrics.get(LIKELIHOOD, {})
    names = {"target": metrics["language"], "english": "English"}
    shown = [name for name in names if name in tokens or name in text]
    rows: list[tuple[Cell, ...]] = []
    for key, label in {
        "tokens_per_word": "tokens a word",
        "bytes_per_token": "bytes a token",
        "whole_words": "share of words that are one token",
        "round_trip": "share of texts that come back exactly",
        "utf8_bytes": "bytes counted",
    }.items():
        if tokens:
            rows.append((label, *(tokens.get(name, {}).get(key) for name in shown)))
    if text:
        bits = [text.get(name, {}).get("bits_per_byte") for name in shown]
        rows.append(
            ("bits per byte (95 % over documents)", *(None if b is None else Estimate(**b) for b in bits))
        )
        rows.append(("bytes scored", *(text.get(name, {}).get("bytes") for name in shown)))
    note = (
        "Fewer tokens a word make training and answering cheaper. Bits per byte say how well the model foresees text;"
        " they can be compared between tokenizers, and between languages of one script roughly."
    )
    columns = ("", *(names[name] for name in shown))
    return Section("Tokens and text", [Paragraph(note), Table("On held-out text", columns, rows)])


def _trace(directory: Path, found: Mapping[str, Any]) -> list[Section]:
    rows: list[tuple[Cell, ...]] = []
    labels = list(next(iter(found["behaviours"].values())))
    threshold = f"{found['threshold']:g}"
    for name, shares in found["behaviours"].items():
        pivot = found["pivot_by_threshold"][name][threshold]
        rows.append((name, *(Estimate(**shares[label]) for label in labels), Estimate(**pivot)))
    columns = ("tokens that count", *labels, f"pivot at {threshold} or more")
    blocks: list[Block] = [
        Paragraph(
            f"{found['words']:,} words through {found['layers']} layers, each read through the final norm and head"
            " (logit lens) where the translation's first token is due."
        ),
        Table("Shares of words, by the layer whose likeliest token is surest; 95 %", columns, rows),
    ]
    pictures = {
        "mass_by_layer": "Mean probability of all tokens of the source word and of the target word, by layer.",
        "pivots_by_threshold": "Share of words with a pivot, by the probability that it must reach.",
    }
    for name, caption in pictures.items():
        path = directory / TRACE / f"{name}.png"
        if path.exists():
            blocks.append(Figure(caption, f"{caption} The table above has the numbers.", path.read_bytes()))
    sections = [Section("Words through the layers", blocks)]
    grids = read_grids(directory / GRIDS_FILE)
    if grids:
        grids[0] = replace(grids[0], unfolded=True)
        sections.append(Section("Words layer by token", [Paragraph(_GRIDS), *grids]))
    return sections


def _answers(directory: Path, found: Mapping[str, Any]) -> Section:
    blocks: list[Block] = [Paragraph(fidelity_sentence(dict(found)))]
    picture = directory / FIDELITY / "fidelity.png"
    if picture.exists():
        caption = "How many answers are in the language, 95 %."
        blocks.append(Figure(caption, fidelity_sentence(dict(found)), picture.read_bytes()))
    lines = (directory / FIDELITY / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    rows: list[tuple[Cell, ...]] = []
    for row in map(json.loads, lines):
        verdict = "passed" if row["line_pass"] else f"lines: {', '.join(row['lines'])}"
        if row["skipped"]:
            verdict = f"skipped: {row['skipped']}"
        answer = row["answer"]
        cut = answer if len(answer) <= ANSWER_CHARACTERS else f"{answer[:ANSWER_CHARACTERS]}..."
        rows.append((row["prompt"], cut, verdict))
    note = f"Answers of at most {found['max_new_tokens']} tokens, in the {found['template']} format."
    return Section(
        "Answers",
        [*blocks, Paragraph(note), Table("What it answered", ("prompt", "answer", "verdict"), rows)],
    )


def _headroom(directory: Path, found: Mapping[str, Any]) -> list[Section]:
    rows: list[tuple[Cell, ...]] = [
        ("any pair, English donor of the same word", _percent(found["upper_bound"])),
        ("any pair, shuffled donors", _percent(found["shuffled"])),
        ("headroom: the difference, paired", _percent(found["headroom"])),
    ]
    if "vanilla" in found["accuracy"]:
        rows.insert(0, ("unpatched", _percent(found["accuracy"]["vanilla"])))
    note = (
        f"{found['task']}: {found['instances']:,} words, {found['pairs']:,} layer pairs at {found['site']}. A word"
        " counts as right if any pair makes its first token right, which chance alone does often: what the English"
        " prompt of another word reaches as often says nothing. Headroom is what is left."
    )
    first = Section(
        "Transplant headroom",
        [Paragraph(note), Table("Percent of words; 95 %", ("", "share"), rows, digits=1)],
    )
    run = directory / PATCHING
    keyed = {
        (site, donor): read_maps(run / MAP_FILE, site=site, donor=donor)
        for site, donor in map_keys(run / MAP_FILE)
    }
    texts = {
        instance: {int(label): text for label, text in said.items()}
        for instance, said in json.loads((directory / TEXTS_FILE).read_text(encoding="utf-8")).items()
    }
    vanilla, donors = read_answers(run / VANILLA_FILE), read_answers(run / DONORS_FILE, donor=0)
    maps = [_without(one, _NO_CONTROL) for one in map_sections(keyed, vanilla, donors, texts=texts)]
    return [
        first,
        *(replace(one, title=f"Transplants: {one.title[:1].lower()}{one.title[1:]}") for one in maps),
    ]


def _without(section: Section, text: str) -> Section:
    """Leave out what says that there is no control: it stands above."""
    kept = [block for block in section.blocks if not (isinstance(block, Paragraph) and text in block.text)]
    return replace(section, blocks=kept)


def _beside(found: Mapping[str, Any], key: str, unit: str) -> str:
    values = {name: found[name][key] for name in ("target", "english") if name in found}
    numbers = {name: one["value"] if isinstance(one, dict) else one for name, one in values.items()}
    english = f" ({numbers['english']:.2f} in English)" if "english" in numbers else ""
    return f"{numbers['target']:.2f} {unit}{english}"


def _percent(estimate: Mapping[str, Any]) -> Estimate:
    ends = {
        name: None if estimate[name] is None else 100 * estimate[name] for name in ("value", "low", "high")
    }
    return Estimate(float(ends["value"] or 0), ends["low"], ends["high"], estimate["observations"])


def _parted(reason: str) -> tuple[str, str]:
    """Part a reason into what was measured and what it says."""
    name, colon, rest = reason.partition(": ")
    return (name, rest[:1].upper() + rest[1:]) if colon and " " not in name else ("choice", reason)

"""The closed loop: choose documents rich in pivots, train on them and on every control, and score words again.

    python benchmarks/pivots_loop.py --out runs/loop --news DIRECTORY [--model smollm2-135m-instruct] [--tokens 60000]
        [--seeds 2] [--page docs/results/pivots_loop.md]

English to Swahili. DIRECTORY holds train.en and train.sw, parallel news lines, which this
project does not carry. Blocks of eight lines become a document in English, in Swahili, or in both, so that every
control has something to choose from. Finished trainings are kept in --out: the same command continues a killed run.
"""

import argparse
import json
import os
import platform
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np

from lingraft.assets.catalog import fetch_asset, find_asset
from lingraft.cli.app import main as lingraft
from lingraft.corpora.reading import read_texts
from lingraft.evaluation.likelihood import bits_per_byte
from lingraft.files import write_json
from lingraft.models.loading import load_model
from lingraft.pivots.scoring import score_words
from lingraft.pivots.task_file import read_word_task
from lingraft.pivots.words import read_lexicon
from lingraft.reports.intervals import Estimate, mean_interval
from lingraft.training.causal import pack_blocks, train_causal

NAMES = {"smollm2-135m-instruct": "SmolLM2-135M-Instruct", "gemma-3-270m": "Gemma-3-270M"}
CONTROLS = ("random", "matched", "parallel", "frequency")
LINES, SHARES = 8, {"en": 0.4, "sw": 0.4, "both": 0.2}
BLOCK, BATCH = 128, 4
HELD_OUT = 200
"""Lines of each language that bits per byte are measured on; they are in no document."""


def command(*arguments: object) -> None:
    """Run the command line here; stop where it fails."""
    status = lingraft(list(map(str, arguments)))
    if status:
        raise SystemExit(status)


def write_corpus(news: Path, out: Path) -> dict[str, list[str]]:
    """Write the mixture as documents; return the held-out lines by language."""
    sides = [(news / f"train.{code}").read_text(encoding="utf-8").split("\n") for code in ("en", "sw")]
    pairs = [pair for pair in zip(*sides, strict=True) if all(map(str.strip, pair))]
    kept, pairs = pairs[-HELD_OUT:], pairs[:-HELD_OUT]
    draw = random.Random(0)
    rows = []
    for number, begin in enumerate(range(0, len(pairs), LINES)):
        block = pairs[begin : begin + LINES]
        kind = draw.choices(list(SHARES), list(SHARES.values()))[0]
        columns = {"en": (0,), "sw": (1,), "both": (0, 1)}[kind]
        text = " ".join(pair[column] for pair in block for column in columns)
        row: dict[str, Any] = {
            "id": f"{number:05}",
            "text": text,
            "language": "sw" if kind == "both" else kind,
        }
        if kind == "both":
            row |= {"en": " ".join(pair[0] for pair in block), "sw": " ".join(pair[1] for pair in block)}
        rows.append(row)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (out / "corpus.jsonl").write_text("".join(lines), encoding="utf-8")
    both = [line for line, row in zip(lines, rows, strict=True) if "en" in row]
    (out / "parallel.jsonl").write_text("".join(both), encoding="utf-8")
    (out / "english.txt").write_text("\n".join(text for text, _ in pairs), encoding="utf-8")
    return {"en": [text for text, _ in kept], "sw": [text for _, text in kept]}


def prepare(news: Path, out: Path, model: str, tokens: int, words: int) -> dict[str, list[str]]:
    """The test of words, the pivots of other words, the selection and its controls; return the held-out lines."""
    out.mkdir(parents=True, exist_ok=True)
    held_out = write_corpus(news, out)
    if not (out / "words.jsonl").exists():
        command(
            *("pivots", "words", "--lexicon", "freedict-swh-eng", "--source", "en", "--target", "sw"),
            *("--corpus", out / "english.txt", "--most-frequent", 1000, "--limit", words),
            *("--out", out / "words.jsonl"),
        )
    test = {item.source_word.casefold() for item in read_word_task(out / "words.jsonl").items}
    directory = find_asset("freedict-swh-eng") or fetch_asset("freedict-swh-eng").path
    lexicon = read_lexicon(directory / "pairs.tsv", "en", "sw", swap=True)
    others = [(word, found[0]) for word, found in lexicon.translations.items() if word.casefold() not in test]
    (out / "pairs.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in others), encoding="utf-8")
    command(
        *("pivots", "discover", "--corpus", out / "corpus.jsonl", "--pairs", out / "pairs.tsv"),
        *("--out", out / "discovered"),
    )
    command(
        *("pivots", "select", "--corpus", out / "corpus.jsonl", "--out", out / "selected"),
        *("--pivots", out / "discovered" / "hubs.parquet", "--tokens", tokens, "--tokenizer", model),
        *(part for name in CONTROLS for part in ("--control", name)),
        *("--parallel-corpus", out / "parallel.jsonl", "--parallel-fields", "en,sw"),
        *("--test-words", out / "words.jsonl", "--shrink-to-fit"),
    )
    return held_out


def trained(
    model_name: str,
    name: str,
    texts: Sequence[str] | None,
    seed: int,
    steps: int,
    rate: float,
    held_out: Mapping[str, Sequence[str]],
    out: Path,
) -> dict[str, Any]:
    """Train on the texts (None: not at all), score the words and the held-out lines."""
    kept = out / "trained" / f"{name}-{seed}.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    loaded = load_model(model_name, dtype="float32", device="cpu", accept_terms=True)
    if texts is not None:
        order = np.random.default_rng(seed).permutation(len(texts))
        blocks = pack_blocks([texts[i] for i in order], loaded.tokenizer, BLOCK)
        train_causal(
            loaded.model,
            blocks,
            steps=steps,
            batch_size=BATCH,
            learning_rate=rate,
            warmup_steps=10,
            precision="bfloat16",
            seed=seed,
        )
    model = loaded.model.bfloat16()
    scores = score_words(model, loaded.tokenizer, read_word_task(out / "words.jsonl"), draws=2)
    model.float()
    bits = {code: bits_per_byte(model, loaded.tokenizer, list(lines)) for code, lines in held_out.items()}
    found = {
        "name": name,
        "seed": seed,
        "score": scores.score.tolist(),
        "above": (scores.beaten_by == 0).mean(axis=1).tolist(),
        "correct": None if scores.correct is None else scores.correct.mean(axis=1).tolist(),
        "bits": {code: value.bits_per_byte for code, value in bits.items()},
    }
    kept.parent.mkdir(exist_ok=True)
    write_json(kept, found)
    return found


def percent(estimate: Estimate, *, signed: bool = False) -> str:
    """A share with its interval."""
    form = "+.2f" if signed else ".2f"
    text = format(100 * estimate.value, form)
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({format(100 * estimate.low, form)} to {format(100 * estimate.high, form)})"


def page_lines(
    model: str,
    runs: Mapping[str, Sequence[Mapping[str, Any]]],
    out: Path,
    tokens: int,
    words_asked: int,
    rate: float,
) -> Iterator[str]:
    """The results page."""
    yield from ("# Training on documents rich in pivots, and on controls", "", "```sh")
    yield from (
        f"python benchmarks/pivots_loop.py --out runs/loop --news DIRECTORY --model {model} --tokens {tokens}"
        f" \\\n    --words {words_asked} --seeds {max(map(len, runs.values()))} --rate {rate:g}",
        "```",
        "",
    )
    seeds = max(map(len, runs.values()))
    words = len(runs["unchanged"][0]["score"])
    chosen = json.loads((out / "selected" / "result.json").read_text(encoding="utf-8"))["metrics"]
    yield (
        f"{NAMES.get(model, model)}, English to Swahili, {words} test words, {seeds} seed(s), about {tokens:,} tokens"
        f" of its own tokenizer a set\n({BATCH} x {BLOCK} a step, rate {rate:g}). A small model and a small budget."
    )
    yield from (
        "Documents are blocks of eight lines of parallel news, at random in English, in Swahili or in both. Pivots are",
        "those of other words than the test's, and no test word is a pivot; but documents may hold test words;",
        "those in both languages often hold one with its translation, which helps every set that they are in.",
        "Differences are over the same words, mean over seeds, with 95% bootstrap intervals over words: they do not",
        "hold the chance of another training.",
        "",
        "| trained on | score | gain | selected less this | above all distractors, % | bits per byte sw | en |",
        "|---|---|---|---|---|---|---|",
    )
    base = np.mean([run["score"] for run in runs["unchanged"]], axis=0)
    best = np.mean([run["score"] for run in runs["selected"]], axis=0)
    for name, found in runs.items():
        score = np.mean([run["score"] for run in found], axis=0)
        above = np.mean([run["above"] for run in found], axis=0)
        cells = [
            name,
            percent(mean_interval(score)),
            "–" if name == "unchanged" else percent(mean_interval(score - base), signed=True),
            "–" if name == "selected" else percent(mean_interval(best - score), signed=True),
            percent(mean_interval(above)),
            *(f"{np.mean([run['bits'][code] for run in found]):.3f}" for code in ("sw", "en")),
        ]
        yield f"| {' | '.join(cells)} |"
    yield from ("", "Scores are differences of probabilities, in points of a hundred.", "")
    if max(np.mean([run["score"] for run in found]) for found in runs.values()) < 0.01:
        yield "All scores are within a point of zero: the model hardly translates a word, before or after, so that this"
        yield from ("run cannot tell the sets apart for practice, whatever the intervals say.", "")
    trained_sets = [found for name, found in runs.items() if name != "unchanged"]
    gains = [np.mean([run["score"] for run in found], axis=0) - base for found in trained_sets]
    if all(mean_interval(gain).high < 0 for gain in gains):
        yield "Every training made words worse, by how much the table says, while the language's bits per byte fell for"
        yield from ("most: a little news does not teach to translate words in a list.", "")
    yield "| set | documents | tokens | pivots, % of tokens | also selected, % | tokens by language |"
    yield "|" + "---|" * 6
    for row in chosen["sets"]:
        overlap = "–" if row["overlap"] is None else f"{100 * row['overlap']:.1f}"
        languages = ", ".join(f"{code} {count:,}" for code, count in row["languages"].items())
        share = f"{100 * row['pivot_share']['value']:.1f}"
        cells = [row["name"], str(row["documents"]), f"{row['tokens']:,}", share, overlap, languages]
        yield f"| {' | '.join(cells)} |"
    yield from (
        "",
        "A document in both languages counts as Swahili here. The control `frequency` ignores languages; no quotas",
    )
    yield from (
        "were given, and it came out English: its Swahili bits per byte show that, not the pivots.",
        "",
    )
    yield from (f"Written on {platform.machine()}.", "")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--news", type=Path, default=Path("../shared/data/swahili"))
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--tokens", type=int, default=60_000)
    parser.add_argument("--words", type=int, default=200)
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--page", type=Path)
    arguments = parser.parse_args()
    out = arguments.out
    held_out = prepare(arguments.news, out, arguments.model, arguments.tokens, arguments.words)
    sets = {"selected": out / "selected" / "selected"}
    sets |= {name: out / "selected" / "controls" / name for name in CONTROLS}
    model = arguments.model
    unchanged = trained(model, "unchanged", None, 0, 0, 0.0, held_out, out)
    runs: dict[str, list[dict[str, Any]]] = {"unchanged": [unchanged]}
    for seed in range(arguments.seeds):
        for name, directory in sets.items():
            texts = read_texts(directory)
            steps = arguments.tokens // (BATCH * BLOCK)
            runs.setdefault(name, []).append(
                trained(model, name, texts, seed, steps, arguments.rate, held_out, out)
            )
            print(
                json.dumps({"set": name, "seed": seed, "score": float(np.mean(runs[name][-1]["score"]))}),
                flush=True,
            )
    if arguments.page is not None:
        lines = page_lines(model, runs, out, arguments.tokens, arguments.words, arguments.rate)
        arguments.page.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()

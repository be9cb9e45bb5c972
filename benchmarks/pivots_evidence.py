"""The evidence for semantic pivots: how two small models translate words, and whether co-occurrence explains it.

    python benchmarks/pivots_evidence.py --out runs/pivots [--models smollm2-135m-instruct,gemma-3-270m]
        [--swahili DIRECTORY] [--words 500] [--page docs/results/pivots_evidence.md]

English to German, Spanish, Hindi (FreeDict, and LibreOffice Help as the corpus) and Swahili (FreeDict turned round, and
parallel news as the corpus: a directory with train.en and train.sw, which this project does not carry). Finished
models and languages are kept in --out, so the same command continues a killed run.
"""

import argparse
import json
import os
import platform
import re
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np

from lingraft.assets.catalog import fetch_asset, find_asset
from lingraft.files import write_json
from lingraft.models.loading import load_model
from lingraft.pivots.attribution import auc_interval, correlation_interval, spearman
from lingraft.pivots.behaviour import (
    BEHAVIOURS,
    COOCCURRENCE,
    PIVOT,
    THRESHOLDS,
    behaviour_shares,
    behaviours,
    mass_by_layer,
    pivot_strength,
    threshold_sweep,
    without_common_tokens,
    write_traces,
)
from lingraft.pivots.cooccurrence import count_pairs
from lingraft.pivots.scoring import score_words
from lingraft.pivots.trace_figures import mass_figure, threshold_figure
from lingraft.pivots.tracing import trace_words
from lingraft.pivots.words import read_lexicon
from lingraft.pivots.wordtask import WordTask, build_word_task
from lingraft.reports.intervals import Estimate

THRESHOLD = 0.1


@dataclass(frozen=True, slots=True)
class Language:
    """A target language with its lexicon and corpus.

    Attributes:
        code: Of the language.
        lexicon: FreeDict asset.
        swap: The lexicon's source language is not English.
        help_asset: LibreOffice Help asset; None for the parallel news.
    """

    code: str
    lexicon: str
    swap: bool = False
    help_asset: str | None = None


LANGUAGES = (
    Language("de", "freedict-eng-deu", help_asset="libreoffice-help-de"),
    Language("es", "freedict-eng-spa", help_asset="libreoffice-help-es"),
    Language("hi", "freedict-eng-hin", help_asset="libreoffice-help-hi"),
    Language("sw", "freedict-swh-eng", swap=True),
)


def asset(name: str) -> Path:
    """An asset's directory, fetched where it is missing."""
    return find_asset(name) or fetch_asset(name).path


def documents(language: Language, swahili: Path) -> list[tuple[str, str]]:
    """English and target text of each document: a line of news, or what is translated of a help page."""
    if language.help_asset is None:
        sides = [(swahili / f"train.{code}").read_text(encoding="utf-8").split("\n") for code in ("en", "sw")]
        return [pair for pair in zip(*sides, strict=True) if all(map(str.strip, pair))]
    pages: dict[str, tuple[list[str], list[str]]] = {}
    for line in (asset(language.help_asset) / "pairs.tsv").read_text(encoding="utf-8").split("\n"):
        if line:
            page, _, english, other = line.split("\t")
            sides = pages.setdefault(page, ([], []))
            sides[0].append(english)
            sides[1].append(other)
    return [(" ".join(english), " ".join(other)) for english, other in pages.values()]


def write_corpora(texts: Sequence[tuple[str, str]], directory: Path) -> dict[str, Path]:
    """The same text twice: each document with its translation in one line, and in two."""
    directory.mkdir(parents=True, exist_ok=True)
    together, apart = directory / "together.txt", directory / "apart.txt"
    together.write_text("".join(f"{left} {right}\n" for left, right in texts), encoding="utf-8")
    apart.write_text("".join(f"{left}\n{right}\n" for left, right in texts), encoding="utf-8")
    return {"together": together, "apart": apart}


def english_frequencies(texts: Sequence[tuple[str, str]]) -> dict[str, float]:
    """How often English words are in the corpora."""
    counts: Counter[str] = Counter()
    for text, _ in texts:
        counts.update(re.findall(r"\w+", unicodedata.normalize("NFC", text).casefold()))
    return {word: float(count) for word, count in counts.items()}


def word_task(language: Language, texts: Sequence[tuple[str, str]], words: int) -> WordTask:
    """Test words: among the 2,000 most frequent of the corpus's English words that the lexicon has."""
    path = asset(language.lexicon) / "pairs.tsv"
    lexicon = read_lexicon(path, "en", language.code, swap=language.swap)
    return build_word_task(lexicon, limit=words, frequencies=english_frequencies(texts), most_frequent=2000)


def measured(reference: str, language: Language, swahili: Path, words: int, out: Path) -> dict[str, Any]:
    """Scores, behaviours, masses and what co-occurrence says of them, for one model and language."""
    kept = out / f"{reference}-{language.code}"
    if (kept / "done.json").exists():
        found: dict[str, Any] = json.loads((kept / "done.json").read_text(encoding="utf-8"))
        return found
    kept.mkdir(parents=True, exist_ok=True)
    texts = documents(language, swahili)
    task = word_task(language, texts, words)
    began = time.perf_counter()
    loaded = load_model(reference, dtype="bfloat16", device="cpu", accept_terms=True)
    scores = score_words(loaded.model, loaded.tokenizer, task)
    scores.write(kept / "scores.parquet")
    scored_in = time.perf_counter() - began
    began = time.perf_counter()
    traces = trace_words(loaded.model, loaded.tokenizer, task)
    write_traces(kept, traces, loaded.tokenizer)
    traced_in = time.perf_counter() - began
    for name, picture in (("mass", mass_figure(traces)), ("thresholds", threshold_figure(traces))):
        (kept / f"{name}.png").write_bytes(picture.light)
    quiet = without_common_tokens(traces)
    variants = {"plain": (traces, False), "words only": (traces, True), "no common tokens": (quiet, True)}
    counted = {
        name: count_pairs(
            [path],
            [(item.source_word, item.target_word) for item in traces.items],
            out=out / f"{language.code}-{name}-{reference}",
            progress=False,
        )
        for name, path in write_corpora(texts, out / f"{language.code}-corpora").items()
    }
    first = traces.position == 0
    by_word = {
        (item.source_word, item.target_word): value
        for item, value in zip(task.items, scores.score, strict=True)
    }
    translated = np.array([by_word[item.source_word, item.target_word] for item in traces.items])
    found = {
        "model": reference,
        "language": language.code,
        "words": len(task.items),
        "traced": len(traces.items),
        "skipped": len(traces.skipped),
        "documents": {name: counts.documents for name, counts in counted.items()},
        "scores": {name: value.as_json() for name, value in scores.summary().items()},
        "shares": {
            name: {key: value.as_json() for key, value in behaviour_shares(t, words_only=only).items()}
            for name, (t, only) in variants.items()
        },
        "thresholds": {
            name: [(at, value.as_json()) for at, value in threshold_sweep(t, words_only=only)]
            for name, (t, only) in variants.items()
        },
        "mass": {name: [e.as_json() for e in column] for name, column in mass_by_layer(traces).items()},
        "auc": {
            corpus: {
                name: label_auc(counts.both, labels[first]) for name, labels in labelled(variants).items()
            }
            for corpus, counts in counted.items()
        },
        "correlation": {
            corpus: as_json(correlation_interval(spearman, np.log1p(counts.both), translated))
            for corpus, counts in counted.items()
        },
        "pairs_met": {corpus: int((counts.both > 0).sum()) for corpus, counts in counted.items()},
        "seconds": {"score": scored_in, "trace": traced_in},
    }
    write_json(kept / "done.json", found)
    return found


def labelled(variants: dict[str, tuple[Any, bool]]) -> dict[str, Any]:
    """Behaviours by every variant of the label; the threshold variant calls direct what has no pivot."""
    found = {}
    for name, (traces, only) in variants.items():
        found[name] = np.array(behaviours(traces, words_only=only))
        strength = pivot_strength(traces, words_only=only)[0]
        found[f"{name}, threshold {THRESHOLD}"] = np.where(
            (strength >= np.float32(THRESHOLD)) & (strength > 0), PIVOT, COOCCURRENCE
        )
    return found


def as_json(estimate: Estimate | None) -> dict[str, Any] | None:
    """Plain values of what may be missing."""
    return None if estimate is None else estimate.as_json()


def label_auc(both: Any, labels: Any) -> dict[str, Any] | None:
    """AUC of log co-occurrence for direct against pivot; None where one of them is missing."""
    used = np.isin(labels, (COOCCURRENCE, PIVOT))
    direct = labels[used] == COOCCURRENCE
    if direct.all() or not direct.any():
        return None
    found = auc_interval(direct, np.log1p(both[used]))
    assert found is not None
    return {**found.as_json(), "direct": int(direct.sum()), "pivot": int((~direct).sum())}


NOTE = """\
Small models, in bfloat16; the tables hold the models and languages that were run. Test words are drawn among the 2,000
most frequent English words of the corpus that the lexicon has; pairs whose words share a token are scored but not
traced. Score: probability of the translation after the word less the same after nine distractors, mean over five draws
of examples.
Intervals: 95%, bootstrap over words. The corpora are LibreOffice Help (de, es, hi: a document is a help page) and
Swahili-English news (a document is a line); none of them is what the models were trained on, and whether a word pair
meets in them can only stand for how often it meets elsewhere. `together`: a page and its translation are one document;
`apart`: they are two, and words meet where a text quotes the other language."""

LABELS = """\
`plain` is the published rule: the layer whose likeliest token is surest says whether the model went the direct way
(that token is the final layer's) or by a pivot (it is no token of the source word). On these models a middle layer
that is sure of a blank, or of one and the same token whatever the word, makes nearly every word a "pivot". So the rule
stands beside two of our own, found while looking at SmolLM2 and therefore exploratory: `words only` passes over
tokens without a letter, `no common tokens` also over those that lead a layer for a tenth of all words."""


def number(value: Mapping[str, Any] | None, *, percent: bool = False, signed: bool = False) -> str:
    """A value with its interval."""
    if value is None:
        return "–"
    scale, form = (100, "+.1f" if signed else ".1f") if percent else (1, "+.3f" if signed else ".3f")
    text = format(scale * value["value"], form)
    if value["low"] is None:
        return text
    return f"{text} ({format(scale * value['low'], form)} to {format(scale * value['high'], form)})"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Markdown."""
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def page_lines(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The results page."""
    yield from ("# How small models translate words", "", "```sh")
    models, languages = (",".join(dict.fromkeys(one[key] for one in found)) for key in ("model", "language"))
    yield "python benchmarks/pivots_evidence.py --out runs/pivots --swahili DIRECTORY \\"
    yield from (f"    --models {models} --languages {languages}", "```", "")
    yield from (*NOTE.splitlines(), "", f"Written on {platform.machine()}.", "", "## Scores", "")
    names = [(f"{one['model']}", one["language"]) for one in found]
    scored = [
        [
            *name,
            str(one["words"]),
            number(one["scores"]["score"]),
            number(one["scores"]["probability"]),
            number(one["scores"]["accuracy"], percent=True),
            number(one["scores"]["above_all_distractors"], percent=True),
        ]
        for name, one in zip(names, found, strict=True)
    ]
    heads = [
        "model",
        "into",
        "words",
        "score",
        "probability",
        "greedy answer right, %",
        "above all distractors, %",
    ]
    yield from table(heads, scored)
    yield from ("## Behaviours", "", *LABELS.splitlines(), "")
    heads = ["model", "into", "traced", "label", *(f"{name}, %" for name in BEHAVIOURS)]
    rows = [
        [*name, str(one["traced"]), label, *(number(shares[each], percent=True) for each in BEHAVIOURS)]
        for name, one in zip(names, found, strict=True)
        for label, shares in one["shares"].items()
    ]
    yield from table(heads, rows)
    yield "Share of words with a pivot by the threshold variant (any layer's likeliest token at that probability or"
    yield from ("more, outside source and target tokens), %:", "")
    heads = ["model", "into", "label", *(f"{at:g}" for at in THRESHOLDS)]
    rows = [
        [*name, label, *(f"{100 * value['value']:.0f}" for _, value in sweep)]
        for name, one in zip(names, found, strict=True)
        for label, sweep in one["thresholds"].items()
    ]
    yield from table(heads, rows)
    yield from ("## Co-occurrence", "")
    yield from (
        "AUC of log (1 + documents with both words) for direct against pivot words; 0.5 is chance:",
        "",
    )
    heads = ["model", "into", "corpus", "documents", "pairs met", "label", "direct", "pivot", "AUC"]
    rows = [
        [
            *name,
            corpus,
            f"{one['documents'][corpus]:,}",
            str(one["pairs_met"][corpus]),
            label,
            *((str(auc["direct"]), str(auc["pivot"]), number(auc)) if auc else ("–", "–", "–")),
        ]
        for name, one in zip(names, found, strict=True)
        for corpus, by_label in one["auc"].items()
        for label, auc in by_label.items()
    ]
    yield from table(heads, rows)
    yield from ("Spearman correlation of log (1 + documents with both) with the translation score:", "")
    rows = [
        [*name, corpus, number(value, signed=True)]
        for name, one in zip(names, found, strict=True)
        for corpus, value in one["correlation"].items()
    ]
    yield from table(["model", "into", "corpus", "correlation"], rows)
    yield from (
        "## Where the target appears",
        "",
        "Pictures, and the mass of pivots: [pivots_mass.md](pivots_mass.md).",
        "",
    )
    yield from ("Mean probability mass (logit lens) of the target word's tokens, by layer:", "")
    for name, one in zip(names, found, strict=True):
        masses = " ".join(f"{value['value']:.2f}" for value in one["mass"]["target"])
        yield f"- {' '.join(name)}: {masses}"
    yield ""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", default="smollm2-135m-instruct,gemma-3-270m")
    parser.add_argument("--languages", default=",".join(language.code for language in LANGUAGES))
    parser.add_argument("--swahili", type=Path, default=Path("../shared/data/swahili"))
    parser.add_argument("--words", type=int, default=500)
    parser.add_argument("--page", type=Path)
    arguments = parser.parse_args()
    chosen = [language for language in LANGUAGES if language.code in arguments.languages.split(",")]
    found = []
    for reference in arguments.models.split(","):
        for language in chosen:
            found.append(measured(reference, language, arguments.swahili, arguments.words, arguments.out))
            print(json.dumps({k: found[-1][k] for k in ("model", "language", "seconds")}), flush=True)
            if arguments.page is not None:
                arguments.page.write_text("\n".join(page_lines(found)), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Where pivots appear inside two small models, and which pivots a corpus gives for named words.

    python benchmarks/pivots_mass.py --out runs/mass --swahili DIRECTORY [--words 500]
        [--page docs/results/pivots_mass.md]

The words, corpora and models of `pivots_evidence.py`. Pivots come from each corpus by `lingraft pivots discover`, and
`lingraft pivots trace --pivots` follows the probability mass of their first tokens by layer. Finished runs are kept in
--out, so the same command continues a killed run. Beside the page stands a picture of the same name.
"""

import argparse
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import pyarrow.parquet as pq
from pivots_evidence import LANGUAGES, Language, documents, table, word_task, write_corpora

from lingraft.cli.app import main as lingraft
from lingraft.pivots.cooccurrence import count_pairs
from lingraft.pivots.task_file import write_word_task
from lingraft.reports.drawing import draw_light

MODELS = ("smollm2-135m-instruct", "gemma-3-270m")
KINDS = ("source", "pivot", "target")
FILTER = "multilingual-e5-small"
SHOWN, FOLLOWED = 10, 10
"""Named pairs a language, and pivots a pair that are followed."""
HEAD = """\
Small models, in bfloat16. Test words, corpora and models are those of [pivots_evidence.md](pivots_evidence.md);
a document is a page or line with its translation. Pivots of a pair: tokens that come with both words more than
with documents at large (smaller of the two excesses), and that are nearer to one of the words in
multilingual-E5-small's input embeddings than 90 % of the corpus's tokens; the ten best. Mass: what the logit lens
gives to the first tokens of the word, of its translation and of its pivots, at the place that predicts the
translation's first token; mean over words."""

LOOK = """\
Ten pairs, as we read them when this page was made. Of the matter, and what one would name: `table` (data,
tabellen, column, field), `paragraphs` (paragraph, absatz, styles), `settings` (optionen), `field` (campos, cuadro),
`background` (color, page, formato), `width` (column and height in Hindi, row), `address` (book and recipient in Hindi,
name). Half of it: `January` (mwezi, "month", among function words). Nothing of the matter: `party` (function words of
either language), `automatically` (the program's name). Forms of the word itself are frequent, and frequent words get
function words, which the semantic filter does not keep away."""


def command(*arguments: object) -> None:
    """Run the command line here; stop where it fails."""
    if status := lingraft(list(map(str, arguments))):
        raise SystemExit(status)


def discovered(language: Language, swahili: Path, words: int, out: Path) -> tuple[Path, Path]:
    """The word task and its pivots."""
    place = out / language.code
    task, pivots = place / "words.jsonl", place / "discovered"
    texts = documents(language, swahili)
    if not task.exists():
        place.mkdir(parents=True, exist_ok=True)
        write_word_task(task, word_task(language, texts, words), about={})
    corpus = write_corpora(texts, place / "corpora")["together"]
    command(
        *("pivots", "discover", "--corpus", corpus, "--pairs", task, "--top", FOLLOWED, "--out", pivots),
        *("--filter-with", FILTER),
    )
    return task, pivots / "pivots.parquet"


def traced(model: str, task: Path, pivots: Path, out: Path) -> dict[str, list[float]]:
    """Mean mass by layer of words that have pivots."""
    command(
        *("pivots", "trace", "--model", model, "--words", task, "--pivots", pivots, "--out", out),
        *("--dtype", "bfloat16", "--device", "cpu", "--grids", 0, "--accept-terms"),
    )
    rows = pq.read_table(out / "trace_layers.parquet").to_pylist()
    by_layer: dict[int, list[list[float]]] = defaultdict(list)
    for row in rows:
        if row["position"] == 0 and row["pivot_mass"] is not None:
            by_layer[row["layer"]].append([row[f"{kind}_mass"] for kind in KINDS])
    means = np.array([np.nanmean(by_layer[layer], axis=0) for layer in sorted(by_layer)])
    found = {kind: [float(value) for value in means[:, column]] for column, kind in enumerate(KINDS)}
    return found | {"words": [float(len(by_layer[0]))]}


def picture(masses: dict[tuple[str, str], dict[str, list[float]]]) -> bytes:
    """A panel a model and language."""
    models = list(dict.fromkeys(model for model, _ in masses))
    codes = list(dict.fromkeys(code for _, code in masses))

    def paint(figure: Any, _dark: bool) -> None:
        panels = figure.subplots(len(models), len(codes), squeeze=False)
        for (model, code), mass in masses.items():
            axes = panels[models.index(model)][codes.index(code)]
            for kind, colour, line in zip(
                KINDS, ("#3b6fb6", "#c4631f", "#2f8f5b"), ("--", "-", ":"), strict=True
            ):
                axes.plot(mass[kind], color=colour, linestyle=line, label=kind)
            axes.set(
                title=f"{model.split('-')[0]}, {code}",
                xlabel="layer",
                ylabel="mass",
                yscale="log",
                ylim=(1e-5, 1),
            )
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.grid(axis="y")
        figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=len(KINDS))

    return draw_light(paint, (3.0 * len(codes), 2.7 * len(models)))


def named(pivots: Path, corpus: Path) -> Iterator[list[str]]:
    """The pairs that most documents have both words of, short words left out; a row each."""
    by_pair: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in pq.read_table(pivots).to_pylist():
        if row["kept"] and len(row["source_word"]) > 4:
            by_pair[row["source_word"], row["target_word"]].append(row)
    both = count_pairs([corpus], list(by_pair), out=pivots.parents[1] / "counted", progress=False).both
    ranked = sorted(zip(by_pair.items(), both.tolist(), strict=True), key=lambda pair: -pair[1])
    for ((source, target), rows), met in ranked[:SHOWN]:
        best = sorted(rows, key=lambda row: row["rank"])[:8]
        yield [f"{source} – {target}", str(met), ", ".join(row["token"] for row in best)]


def page_lines(
    masses: dict[tuple[str, str], dict[str, list[float]]],
    pivots: dict[str, Path],
    image: str,
    models: Sequence[str],
) -> Iterator[str]:
    """The results page."""
    yield from ("# Where pivots appear, and which they are", "", "```sh")
    yield "python benchmarks/pivots_mass.py --out runs/mass --swahili DIRECTORY \\"
    yield from (f"    --models {','.join(models)} --languages {','.join(pivots)}", "```", "")
    yield from (*HEAD.splitlines(), "", f"![Mass of source, pivot and target tokens by layer]({image})", "")
    yield from ("The layer with the largest mean mass, and that mass:", "")
    rows = []
    for (model, code), mass in masses.items():
        tops = [f"{np.argmax(mass[kind])}: {max(mass[kind]):.3f}" for kind in KINDS]
        last = f"{mass['pivot'][-1]:.4f}"
        rows.append([model, code, f"{mass['words'][0]:.0f}", *tops, last])
    yield from table(["model", "into", "words with pivots", *KINDS, "pivots in the last layer"], rows)
    yield from ("## A look at ten pairs", "", *LOOK.splitlines(), "")
    for code, path in pivots.items():
        yield from (f"## Pivots of named pairs: {code}", "")
        corpus = path.parents[1] / "corpora" / "together.txt"
        yield from table(["pair", "documents", "pivots, best first"], list(named(path, corpus)))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--languages", default=",".join(language.code for language in LANGUAGES))
    parser.add_argument("--swahili", type=Path, default=Path("../shared/data/swahili"))
    parser.add_argument("--words", type=int, default=500)
    parser.add_argument("--page", type=Path)
    arguments = parser.parse_args()
    models = arguments.models.split(",")
    masses: dict[tuple[str, str], dict[str, list[float]]] = {}
    pivots: dict[str, Path] = {}
    for language in LANGUAGES:
        if language.code not in arguments.languages.split(","):
            continue
        task, pivots[language.code] = discovered(language, arguments.swahili, arguments.words, arguments.out)
        for model in models:
            place = arguments.out / language.code / model
            masses[model, language.code] = traced(model, task, pivots[language.code], place)
    if arguments.page is not None:
        image = arguments.page.with_suffix(".png")
        image.write_bytes(picture(masses))
        lines = page_lines(masses, pivots, image.name, models)
        arguments.page.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()

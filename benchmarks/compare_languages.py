"""The evidence for vocabulary transfer: every method on SmolLM2-135M for Basque, German and Swahili.

    python benchmarks/compare_languages.py --out runs/evidence [--languages basque,german,swahili]
        [--swahili DIRECTORY] [--probe-steps 50,500] [--seeds 2] [--page docs/results/vocabulary_comparison.md]
        [--kept docs/results/vocabulary_probes]

Basque and German are LibreOffice Help, fetched through the asset catalogue (so is any other of its languages, by its
code: settings are chosen on one that the page does not report); Swahili is a directory of parallel news
with train.sw, test.sw and test.en, which this project does not carry. Every finished probe is kept, so the same command
continues a killed run, and more methods or seeds add to it; --page is written anew after each language. --kept names a
directory with the finished probes of each language in one file, to go on from and to write (see kept_results.py).
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Before torch starts its threads: spinning ones slow each other down on a machine with other work.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
from kept_results import pack, unpack

from lingraft.assets.catalog import fetch_asset, find_asset
from lingraft.recipes.vocabulary.comparing import run_comparison
from lingraft.reports.intervals import Estimate, ratio_interval
from lingraft.vocabulary.probe import ProbeSettings

METHODS = (
    "fused",
    "fused-plain",
    "subword-mean",
    "subword-mean+unigram",
    "focus",
    "focus+unigram",
    "salt",
    "salt-safe",
    "wechsel",
    "clp",
    "sava",
    "omp",
    "multivariate",
    "lexicon",
    "random",
    "mean",
)
PUBLISHED = frozenset(METHODS) - {
    "fused",
    "fused-plain",
    "subword-mean+unigram",
    "focus+unigram",
    "random",
    "mean",
}
FREEDICT = {"german": "freedict-eng-deu", "swahili": "freedict-swh-eng"}


def help_text(language: str) -> dict[str, Path]:
    """Files of a LibreOffice Help asset."""
    name = f"libreoffice-help-{language}"
    directory = find_asset(name) or fetch_asset(name).path
    return {
        "corpus": directory / "train.txt",
        "held_out": directory / "heldout.txt",
        "english": directory / "en.heldout.txt",
    }


NOTE = """\
SmolLM2-135M-Instruct, a small English model. multilingual-E5-small is the donor and gives the auxiliary space and,
trimmed, the tokenizer of `replace`; `extend` adds 8,000 tokens. Scores are bits per UTF-8 byte of held-out text, lower
is better, after steps of {tokens} tokens; the unchanged model trains for as many floating-point operations.
{weights}
Best published: of the methods above. Brackets after scores: 95% over seeds by Student's t, so very wide for two; after
differences: 95% over documents, paired bootstrap."""
ABLATION = """\
`subword-mean+unigram` is not published: `subword-mean` with `fused`'s shift of new rows to the corpus's unigram
frequencies, to show what that shift does alone."""


def texts_of(language: str, swahili: Path) -> dict[str, Path]:
    """Corpus, held-out target text and held-out English of a language."""
    if language != "swahili":
        return help_text({"basque": "eu", "german": "de"}.get(language, language))
    # A suffix is what says how a file is read.
    copies = {}
    for name, file in (("corpus", "train.sw"), ("held_out", "test.sw"), ("english", "test.en")):
        copies[name] = (swahili / file).resolve()
    return copies


def as_txt(paths: dict[str, Path], directory: Path) -> dict[str, Path]:
    """The same files under names that end in .txt."""
    directory.mkdir(parents=True, exist_ok=True)
    linked = {}
    for name, path in paths.items():
        linked[name] = directory / f"{name}.txt"
        linked[name].write_bytes(path.read_bytes())
    return linked


def lexicon_of(language: str, directory: Path) -> Path | None:
    """Target word, tab, English word; None where no dictionary exists (Basque)."""
    if language not in FREEDICT:
        return None
    name = FREEDICT[language]
    source = (find_asset(name) or fetch_asset(name).path) / "pairs.tsv"
    file = directory / "lexicon.tsv"
    pairs = [line.split("\t") for line in source.read_text(encoding="utf-8").splitlines() if "\t" in line]
    turned = pairs if name.startswith("freedict-swh") else [(right, left) for left, right in pairs]
    file.write_text("".join(f"{word}\t{english}\n" for word, english in turned), encoding="utf-8")
    return file


def summary(language: str, directory: Path, metrics: Mapping[str, Any], step: int) -> list[str]:
    """Lines of the overview: in each mode `fused`, the best published method, and the unchanged model."""
    lines = []
    for mode in dict.fromkeys(name.split("/")[0] for name in metrics):
        scores = {
            name.split("/", 1)[1]: value["target"][str(step)]["bits_per_byte"]["value"]
            for name, value in metrics.items()
            if name.startswith(mode + "/")
        }
        best = min(PUBLISHED & set(scores), key=lambda name: scores[name])
        ours, lead = "–", "–"
        if "fused" in scores:
            ours = f"{scores['fused']:.3f}"
            difference = paired(directory, mode, ("fused", best), step)
            lead = f"{difference.value:.3f} ({difference.low:.3f} to {difference.high:.3f})"
        cells = (language, mode, ours, f"{scores[best]:.3f} ({best})", lead, f"{scores['unchanged']:.3f}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def paired(directory: Path, mode: str, methods: tuple[str, str], step: int) -> Estimate:
    """Bits per byte of the first method less those of the second: seeds averaged, documents resampled in pairs."""
    bits, sizes = [], np.zeros(0)
    for method in methods:
        files = sorted(directory.glob(f"probes/{mode}-{method}-*.json"))
        runs = [
            json.loads(file.read_text(encoding="utf-8"))["run"]["bits"][str(step)]["target"] for file in files
        ]
        bits.append(np.mean([np.array(run)[:, 0] for run in runs], axis=0))
        sizes = np.array(runs[0])[:, 1]
    return ratio_interval(bits[0] - bits[1], sizes)


def heading(arguments: argparse.Namespace) -> list[str]:
    """Title, command, and what the numbers are."""
    shown = {
        name: value
        for name, value in vars(arguments).items()
        if name not in {"out", "page", "swahili", "languages", "kept"} and value is not None
    }
    flags = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in shown.items())
    tokens = arguments.batch_size * arguments.block_length
    weights = "Scored are the weights after the last step."
    if arguments.averaged_share:
        weights = (
            f"Scored is the mean of the weights over the last {arguments.averaged_share:.0%} of the steps."
        )
    return [
        "# Vocabulary methods compared",
        "",
        "```sh",
        f"python benchmarks/compare_languages.py --out runs/evidence --languages {arguments.languages} \\",
        f"  --swahili DIRECTORY {flags}",
        "```",
        "",
        *NOTE.format(tokens=tokens, weights=weights).splitlines(),
        *(ABLATION.splitlines() if "subword-mean+unigram" in arguments.methods else ()),
        "",
        f"Written on {platform.machine()}; the seconds of each probe are in its file.",
        "",
    ]


def compare(
    language: str, arguments: argparse.Namespace, settings: ProbeSettings
) -> tuple[list[str], list[str]]:
    """Run one language; return its lines of the overview, and its tables."""
    directory = arguments.out / language
    texts = as_txt(texts_of(language, arguments.swahili), arguments.out / f"{language}-texts")
    lexicon = lexicon_of(language, arguments.out / f"{language}-texts")
    methods = [name for name in arguments.methods.split(",") if name != "lexicon" or lexicon is not None]
    options = {
        "model": "smollm2-135m-instruct",
        "donor": "multilingual-e5-small",
        "tokenizer": "trim:multilingual-e5-small",
        **{name: str(path) for name, path in texts.items()},
        "methods": methods,
        "modes": arguments.modes.split(","),
        "seeds": arguments.seeds,
        "held_out_bytes": arguments.held_out_bytes,
        "new_tokens": 8000,
        "vocabulary_size": None,
        "auxiliary": "donor",
        "lexicon": None if lexicon is None else str(lexicon),
        "source_words": None,
        "dtype": "float32",
        "trust_remote_code": False,
        "accept_terms": False,
    }
    kept = None if arguments.kept is None else arguments.kept / f"{language}.jsonl"
    if kept is not None and kept.exists():
        unpack(kept, directory)
    result, tables = run_comparison(options, out=directory, device=arguments.device, settings=settings)
    if kept is not None:
        pack(directory, kept)
    print(json.dumps({"language": language, "finished": result.provenance.finished}), flush=True)
    return summary(language, directory, result.metrics, settings.steps[-1]), tables


def main() -> None:
    """Run the languages and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--languages", default="basque,german,swahili")
    parser.add_argument("--swahili", type=Path, default=Path("../shared/data/swahili"))
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--modes", default="replace,extend")
    parser.add_argument("--probe-steps", default="50,500")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--block-length", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--embedding-learning-rate", type=float, default=None)
    parser.add_argument("--averaged-share", type=float, default=0.2)
    parser.add_argument("--held-out-bytes", type=int, default=12_000)
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--kept", type=Path)
    arguments = parser.parse_args()
    settings = ProbeSettings(
        steps=tuple(int(step) for step in arguments.probe_steps.split(",")),
        batch_size=arguments.batch_size,
        block_length=arguments.block_length,
        learning_rate=arguments.learning_rate,
        embedding_learning_rate=arguments.embedding_learning_rate,
        averaged_share=arguments.averaged_share,
        precision=arguments.precision,
    )
    started = time.monotonic()
    overview = [
        f"Target text after {settings.steps[-1]} steps:",
        "",
        "| language | mode | fused (ours) | best published | fused less it | unchanged, equal compute |",
        "|---|---|---|---|---|---|",
    ]
    rest: list[str] = []
    for language in arguments.languages.split(","):
        lines, tables = compare(language, arguments, settings)
        overview += lines
        rest += ["", f"## {language.capitalize()}", "", *tables]
        if arguments.page is not None:
            page = "\n".join([*heading(arguments), *overview, *rest]).rstrip()
            arguments.page.write_text(page + "\n", encoding="utf-8")
    print(f"{(time.monotonic() - started) / 60:.0f} minutes")


if __name__ == "__main__":
    main()

"""Blocks that begin where documents do, beside blocks cut from the joined documents, after the same training.

    python benchmarks/packing.py [--language eu] [--methods fused,subword-mean] [--steps 250]
        [--page docs/results/packing.md]

SmolLM2-135M gets the tokens of multilingual-E5-small that LibreOffice Help in the language uses, and trains on that
help twice a method: packed as the library packs, and as many trainers do, one document after another, cut wherever a
block is full. Scored are whole documents, and their first words alone: what stands at the first position, after the
document-start token.
"""

import argparse
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
from compare_languages import help_text
from numpy.typing import NDArray

from lingraft.assets.catalog import fetch_asset, find_asset
from lingraft.corpora.encoding import encode_documents
from lingraft.corpora.reading import read_texts
from lingraft.models.loading import load_donor, load_model
from lingraft.tokenizers.document_start import document_start
from lingraft.tokenizers.trimming import trim_tokenizer
from lingraft.training.packing import pack_with_counts
from lingraft.vocabulary import transfer_vocabulary
from lingraft.vocabulary.probe import ProbeSettings, run_probe

MODEL, DONOR = "smollm2-135m-instruct", "multilingual-e5-small"
BLOCK, HELD_OUT_BYTES = 128, 12_000
JOINED, OURS = "joined, then cut", "begin where documents do"


def place_of(asset: str) -> str:
    """The directory of an asset, fetched where it is not there."""
    return str(find_asset(asset) or fetch_asset(asset).path)


def joined_blocks(texts: Sequence[str], tokenizer: object) -> NDArray[np.int32]:
    """Every document after a document-start token, one after another, cut into blocks."""
    start = np.array([document_start(tokenizer)], dtype=np.int32)
    parts = [part for item in encode_documents(tokenizer, texts) for part in (start, item.ids)]
    stream = np.concatenate(parts)
    return stream[: len(stream) // BLOCK * BLOCK].reshape(-1, BLOCK)


def beginning(texts: Sequence[str]) -> list[str]:
    """The first documents up to some bytes."""
    kept, size = [], 0
    for text in texts:
        if size >= HELD_OUT_BYTES:
            break
        kept.append(text)
        size += len(text.encode())
    return kept


def rows_of(options: argparse.Namespace) -> Iterator[str]:
    """A table line for each method and packing."""
    paths = help_text(options.language)
    corpus, held_out = (read_texts(str(paths[name])) for name in ("corpus", "held_out"))
    documents = beginning(held_out)
    held = {"whole": documents, "first": [text.split()[0] for text in documents]}
    shuffled = [corpus[number] for number in np.random.default_rng(0).permutation(len(corpus))]
    model, donor = load_model(place_of(MODEL)), load_donor(place_of(DONOR))
    settings = ProbeSettings(
        steps=(options.steps,), batch_size=1, block_length=BLOCK, learning_rate=2e-4, precision="bfloat16"
    )
    for method in options.methods.split(","):
        made = transfer_vocabulary(
            model,
            trim_tokenizer(donor.tokenizer, corpus),
            donor=donor,
            corpus=corpus,
            method=method,
            mode="replace",
        )
        adapted, tokenizer = made.model, made.tokenizer
        packed, counts = pack_with_counts(shuffled, tokenizer, BLOCK)
        for name, blocks in ((JOINED, joined_blocks(shuffled, tokenizer)), (OURS, packed)):
            run = run_probe(
                adapted,
                tokenizer,
                blocks[: options.steps],
                held,
                settings,
                steps=(options.steps,),
                seed=0,
                progress=True,
            )
            whole, first = (np.array(run["bits"][options.steps][part]) for part in ("whole", "first"))
            rest, size = (whole[:, part].sum() - first[:, part].sum() for part in (0, 1))
            repeated = counts.repeated_tokens / counts.tokens if name == OURS else 0.0
            yield (
                f"| `{method}` | {name} | {100 * repeated:.1f} % | {run['scores'][options.steps]['whole']:.3f} |"
                f" {first[:, 0].mean():.1f} | {rest / size:.3f} |"
            )


def page_lines(options: argparse.Namespace) -> Iterator[str]:
    """The results page."""
    yield from ("# Where blocks of training text begin", "", "```sh")
    yield (
        f"python benchmarks/packing.py --language {options.language} --methods {options.methods}"
        f" --steps {options.steps}"
    )
    yield from ("```", "")
    yield (
        "SmolLM2-135M-Instruct with the tokens of multilingual-E5-small that LibreOffice Help"
        f" ({options.language}) uses, `replace`,"
    )
    yield (
        f"after {options.steps} steps of {BLOCK} tokens, one seed, weights averaged over the last fifth. Held-out"
        " documents are each"
    )
    yield "scored alone from the document-start token, as always; lower is better."
    yield from ("", f"Written on {platform.machine()}.", "")
    yield "| rows by | blocks | repeated | bits per byte | first words, bits each | the rest, bits per byte |"
    yield "|---" * 6 + "|"
    yield from rows_of(options)


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--language", default="eu", help="code of a LibreOffice Help language")
    parser.add_argument("--methods", default="fused,subword-mean")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    lines = []
    for line in page_lines(options):
        print(line, flush=True)
        lines.append(line)
    if options.page is not None:
        options.page.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

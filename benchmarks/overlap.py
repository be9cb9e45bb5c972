"""Overlap of real vocabularies, by bytes and by decoded strings.

    python benchmarks/overlap.py [--accept-terms] [--page docs/results/overlap.md]

"Strings" is the common shortcut: tokens meet where the vocabularies spell them alike once `Ġ` and `▁` are made one.
A byte-level vocabulary spells every non-ASCII character in a byte alphabet of its own, so that way finds none of them.
"""

import argparse
from pathlib import Path

import numpy as np

from lingraft.models.loading import load_tokenizer
from lingraft.tokenizers.overlap import match_vocabularies
from lingraft.tokenizers.pieces import read_pieces

PAIRS = (
    ("smollm2-135m-instruct", "multilingual-e5-small"),
    ("smollm2-135m-instruct", "gemma-3-270m"),
    ("gemma-3-270m", "multilingual-e5-small"),
)


def spelled_alike(target: object, source: object) -> tuple[int, int]:
    """Tokens whose spellings are equal once the word-start marks are, all and non-ASCII."""
    spellings = [
        {text.replace("Ġ", "▁") for text in tokenizer.get_vocab()}  # type: ignore[attr-defined]
        for tokenizer in (target, source)
    ]
    shared = spellings[0] & spellings[1]
    return len(shared), sum(not text.replace("▁", "").isascii() for text in shared)


def row(source_name: str, target_name: str, accept_terms: bool) -> str:
    """One line of the table."""
    source = load_tokenizer(source_name, accept_terms=accept_terms)
    target = load_tokenizer(target_name, accept_terms=accept_terms)
    pieces = read_pieces(target)
    match = match_vocabularies(pieces, read_pieces(source))
    ordinary = match.target_ids[~match.by_role]
    non_ascii = sum(not piece.content.isascii() for i in ordinary if (piece := pieces[i]) is not None)
    alike, alike_non_ascii = spelled_alike(target, source)
    roles = int(np.sum(match.by_role))
    return (
        f"| {source_name} ({len(source):,}) | {target_name} ({len(target):,}) | {len(ordinary):,} | {non_ascii:,} |"
        f" {roles} | {alike:,} | {alike_non_ascii:,} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--accept-terms", action="store_true", help="Accept Gemma's terms of use.")
    parser.add_argument("--page", type=Path)
    arguments = parser.parse_args()
    lines = [
        "# Overlap of real vocabularies",
        "",
        "Made by `python benchmarks/overlap.py --accept-terms --page docs/results/overlap.md`.",
        "",
        "| source | target | shared by bytes | of these non-ASCII | special, by role | spelled alike | non-ASCII |",
        "|---|---|---|---|---|---|---|",
        *(row(*pair, arguments.accept_terms) for pair in PAIRS),
        "",
        "Spelled alike: equal strings once `Ġ` and `▁` are made one, the shortcut that comparing token strings takes.",
    ]
    print("\n".join(lines))
    if arguments.page is not None:
        arguments.page.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Bad inputs of `lingraft pivots`: lexicons, word tasks, pairs, corpora and pivots."""

import gzip
import itertools
from collections.abc import Callable
from pathlib import Path

from error_case import Case
from tiny_world import write_lines

WORDS = "pivots words --lexicon ru.tsv --source en --target ru --out words.jsonl"
COUNT = "pivots count --corpus text.txt --pairs pairs.tsv --out out"
DISCOVER = "pivots discover --corpus text.txt --pairs pairs.tsv --out out"
SELECT = "pivots select --corpus text.txt --pivots pivots.txt --least-pairs 1 --least-length 2 --tokens 8 --out out"
PAIRS = ["roof\tteilatu", "house\tetxe"]
TEXT = ["The roof of the house is red", "Etxe honen teilatu gorria da", "A boat on the lake"] * 4


def lexicon(*rows: str, known: int = 40) -> Callable[[Path], object]:
    """Write ru.tsv: made-up English and Russian words, then these rows."""

    def write(world: Path) -> None:
        names = ["".join(letters) for letters in itertools.product("bdkl", "aeo", "mnr", "aei")]
        other = [name.translate(str.maketrans("abdeiklmnor", "абдеиклмнор")) for name in names]
        pairs = [f"{one}\t{two}" for one, two in zip(names[:known], other[1:], strict=False)]
        write_lines(world / "ru.tsv", [*pairs, *rows])

    return write


def corpus(**files: list[str]) -> Callable[[Path], object]:
    """Write pairs, text and pivots, some of them otherwise."""

    def write(world: Path) -> None:
        for name, lines in {"pairs.tsv": PAIRS, "text.txt": TEXT, "pivots.txt": ["roof", "lake"]}.items():
            write_lines(world / name, files.get(name.partition(".")[0], lines))

    return write


def half_packed(world: Path) -> None:
    """A compressed corpus that was cut short."""
    corpus()(world)
    packed = gzip.compress("\n".join(TEXT * 50).encode())
    (world / "text.txt.gz").write_bytes(packed[: len(packed) // 2])


PIVOT_CASES = {
    "words-missing": Case("The lexicon's path is wrong", WORDS),
    "words-direction": Case(
        "A lexicon in the wrong direction",
        "pivots words --lexicon ru.tsv --source ru --target en --out words.jsonl",
        lexicon(),
    ),
    "words-language": Case(
        "An unknown language",
        "pivots words --lexicon ru.tsv --source en --target xx --out words.jsonl",
        lexicon(),
    ),
    "words-few": Case("Too few words", WORDS, lexicon(known=20)),
    "words-unusable": Case("No usable word", WORDS, lexicon("same\tsame", "\tслово", known=0)),
    "score-no-task": Case(
        "A lexicon where a word task is due",
        "pivots score --model model --words ru.tsv --out out",
        lexicon(),
    ),
    "count-empty-word": Case("A word that is empty", COUNT, corpus(pairs=["roof\t"])),
    "count-vanishing-word": Case("A word that nothing is left of", COUNT, corpus(pairs=["roof\t\u200b"])),
    "count-no-tab": Case("A pair without a tab", COUNT, corpus(pairs=["roof teilatu"])),
    "count-no-text": Case("An empty corpus", COUNT, corpus(text=[])),
    "count-half-packed": Case(
        "A compressed file that was cut short", COUNT.replace("text.txt", "text.txt.gz"), half_packed
    ),
    "discover-nowhere": Case("Pairs that are in no document", DISCOVER, corpus(pairs=["moon\tilargi"])),
    "discover-few": Case("A score that needs more documents", f"{DISCOVER} --sample 0", corpus()),
    "select-no-pivots": Case("No pivots", SELECT, corpus(pivots=[])),
    "select-tested": Case(
        "Pivots that are all test words",
        f"{SELECT} --test-words tested.txt",
        lambda world: (corpus()(world), write_lines(world / "tested.txt", ["roof", "lake"])),
    ),
    "select-budget": Case(
        "A budget larger than the corpus", SELECT.replace("--tokens 8", "--tokens 8000"), corpus()
    ),
    "select-quota": Case("Quotas that are no shares of a whole", f"{SELECT} --quota en=0.5", corpus()),
}

"""What `cooccurrence.py` measures on: a corpus made of real text, and pairs of words from real lexicons.

A document is a line of one to sixteen paragraphs of LibreOffice Help (`lingraft assets fetch libreoffice-help-de`) or
of Swahili-English news, a third of them from two languages. The paragraphs are drawn with a seed, so they repeat: a
gigabyte is made of some ten megabytes of distinct text, which no contender makes use of.
"""

import random
import re
from dataclasses import dataclass
from pathlib import Path

from lingraft.assets.catalog import find_asset

SCRIPTS = {
    "latin": {"help": ("de", "es"), "lexicons": ("german", "spanish", "swahili")},
    "mixed": {"help": ("ja", "hi", "ko"), "lexicons": ("japanese", "hindi", "korean", "swahili")},
}
"""Languages of the texts, beside English and Swahili, and of the words, beside English."""
FOLDER_LINES = 4096


@dataclass(frozen=True)
class Problem:
    """Files to search, and what for."""

    corpus: Path
    pairs: list[tuple[str, str]]
    pairs_file: Path
    words: list[str]
    words_file: Path


def make_problem(folder, *, data, script="latin", size=2**30, pairs=12_000, words=8_000, seed=0):
    """Make, or find, the corpus and the words; the name of every file says what it was made with."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{script}-{size}-{seed}"
    corpus = folder / f"{name}.txt"
    texts = paragraphs(script, data)
    if not corpus.exists():
        make_corpus(corpus, texts, size, seed)
    seen = {word for those in texts.values() for word in re.findall(r"\w+", " ".join(those).lower())}
    chosen = choose_pairs(script, data / "lexicons", seen, pairs, words, seed)
    distinct = sorted({word for pair in chosen for word in pair})
    pairs_file, words_file = folder / f"{name}-pairs.tsv", folder / f"{name}-words.txt"
    pairs_file.write_text("".join(f"{a}\t{b}\n" for a, b in chosen), encoding="utf-8")
    words_file.write_text("".join(f"{word}\n" for word in distinct), encoding="utf-8")
    return Problem(corpus, chosen, pairs_file, distinct, words_file)


def paragraphs(script, data):
    """Return the distinct paragraphs of each language."""
    found = {"sw": lines(data / "swahili" / "train.sw"), "en": lines(data / "swahili" / "train.en")}
    for language in SCRIPTS[script]["help"]:
        folder = find_asset(f"libreoffice-help-{language}")
        if folder is None:
            raise SystemExit(f"run: lingraft assets fetch libreoffice-help-{language}")
        found[language] = lines(folder / "train.txt")
        found["en"] = found["en"] + lines(folder / "en.train.txt")
    return {language: sorted(set(texts)) for language, texts in found.items()}


def lines(file):
    return [line for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]


def make_corpus(file, texts, size, seed):
    """Write documents until the size is reached."""
    chance = random.Random(seed)
    part = file.with_suffix(".part")
    languages = sorted(texts)
    written = 0
    with part.open("wb") as out:
        while written < size:
            documents = []
            for _ in range(FOLDER_LINES):
                mine = chance.sample(languages, 2 if chance.random() < 1 / 3 else 1)
                count = 2 ** chance.randrange(5)
                documents.append(" ".join(chance.choice(texts[chance.choice(mine)]) for _ in range(count)))
            written += out.write("".join(f"{line}\n" for line in documents).encode())
    part.replace(file)


def choose_pairs(script, lexicons, seen, pairs, words, seed):
    """Draw pairs of single words, at least one of which the texts have, with so many distinct words in all.

    Two pairs of three are entries of a lexicon; the others join words of different entries.
    """
    chance = random.Random(seed)
    entries = []
    for language in SCRIPTS[script]["lexicons"]:
        for line in lines(lexicons / f"{language}.txt"):
            english, _, other = line.lower().partition("\t")
            if english.isascii() and english.isalpha() and other and " " not in other and english != other:
                entries.append((english, other))
    entries = sorted({entry for entry in entries if not seen.isdisjoint(entry)})
    chance.shuffle(entries)
    chosen, known = {}, set()
    for entry in entries:
        if len(known.union(entry)) <= words and len(chosen) < pairs * 2 // 3:
            chosen[entry] = None
            known.update(entry)
    if len(known) < words:
        raise SystemExit(f"the lexicons have only {len(known)} words for {script}")
    left, right = (sorted({entry[side] for entry in chosen}) for side in (0, 1))
    while len(chosen) < pairs:
        chosen[chance.choice(left), chance.choice(right)] = None
    return list(chosen)

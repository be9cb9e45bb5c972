"""The LibreOffice Help asset: plain text of two languages, pairs and documents, split by help page."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from lingraft.assets.libreoffice import AlignedParagraph, PageParagraphs, align, is_broken, read_help
from lingraft.assets.splitting import held_out, remove_near_duplicates


def convert_help(target: Path, english: Path, directory: Path) -> dict[str, int]:
    """Write the corpus of one language from two libreoffice-help packages.

    Files in `directory`: `train.txt`, `heldout.txt` (target language, one paragraph a line), `en.train.txt`,
    `en.heldout.txt`, `pairs.tsv`, `pairs.heldout.tsv` (page, paragraph id, English, target) and
    `documents.jsonl`, `documents.heldout.jsonl` (one help page a line). Pages are held out by a hash of their
    name; what a training paragraph nearly repeats is removed from the held-out text.

    Args:
        target: The target language's package.
        english: The English package.
        directory: An existing directory to write into.

    Returns:
        Counts with reasons.

    Raises:
        AssetError: A package is damaged or holds no help pages.
    """
    language, pages = read_help(target)
    _, originals = read_help(english)
    counts: Counter[str] = Counter()
    aligned = list(align(originals, pages, counts))
    counts["kept: translated paragraphs"] = len(aligned)
    counts["pages"], counts["held-out pages"] = len(pages), sum(map(held_out, pages))
    training = [pair for pair in aligned if not held_out(pair.page)]
    testing = [pair for pair in aligned if held_out(pair.page)]
    texts = ([pair.target for pair in training], [pair.target for pair in testing])
    kept = _write_texts(directory, "", texts, counts)
    _write_english(directory, originals, counts)
    _write_pairs(directory / "pairs.tsv", training, counts, "pairs")
    _write_pairs(
        directory / "pairs.heldout.tsv",
        [pair for pair in testing if pair.target in kept],
        counts,
        "held-out pairs",
    )
    code = language.lower()
    _write_documents(directory / "documents.jsonl", training, code)
    _write_documents(directory / "documents.heldout.jsonl", testing, code)
    return dict(counts)


def _write_english(directory: Path, pages: PageParagraphs, counts: Counter[str]) -> None:
    """Write the English text, split by the same pages and cleaned in the same way."""
    texts: tuple[list[str], list[str]] = ([], [])
    for page, paragraphs in pages.items():
        texts[held_out(page)].extend(text for text in paragraphs.values() if not is_broken(text))
    _write_texts(directory, "en.", texts, counts)


def _write_texts(
    directory: Path, prefix: str, texts: tuple[list[str], list[str]], counts: Counter[str]
) -> set[str]:
    """Write a training and a held-out text file; return the held-out texts."""
    training, testing = texts
    label = "English " if prefix else ""
    train = list(dict.fromkeys(text for text in training if any(map(str.isalpha, text))))
    known = set(train)
    fresh = list(dict.fromkeys(text for text in testing if any(map(str.isalpha, text)) and text not in known))
    kept, removed = remove_near_duplicates(fresh, train)
    counts[f"{label}training lines"] = len(train)
    counts[f"{label}held-out lines"] = len(kept)
    counts[f"dropped: {label}held-out near-duplicates of training lines"] = removed
    counts[f"{label}training words (between spaces)"] = sum(len(text.split()) for text in train)
    counts[f"{label}training bytes"] = sum(len(text.encode()) + 1 for text in train)
    counts[f"{label}held-out bytes"] = sum(len(text.encode()) + 1 for text in kept)
    (directory / f"{prefix}train.txt").write_text("".join(f"{text}\n" for text in train), encoding="utf-8")
    (directory / f"{prefix}heldout.txt").write_text("".join(f"{text}\n" for text in kept), encoding="utf-8")
    return set(kept)


def _write_pairs(path: Path, pairs: Iterable[AlignedParagraph], counts: Counter[str], label: str) -> None:
    seen: set[tuple[str, str]] = set()
    with path.open("w", encoding="utf-8") as file:
        for pair in pairs:
            if (pair.english, pair.target) in seen:
                counts[f"dropped: repeated {label}"] += 1
                continue
            seen.add((pair.english, pair.target))
            file.write(f"{pair.page}\t{pair.id}\t{pair.english}\t{pair.target}\n")
    counts[label] = len(seen)


def _write_documents(path: Path, pairs: Iterable[AlignedParagraph], language: str) -> None:
    pages: dict[str, list[str]] = {}
    for pair in pairs:
        pages.setdefault(pair.page, []).append(pair.target)
    with path.open("w", encoding="utf-8") as file:
        for page, paragraphs in pages.items():
            document = {"id": page, "text": "\n".join(paragraphs), "language": language}
            file.write(json.dumps(document, ensure_ascii=False) + "\n")

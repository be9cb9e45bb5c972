"""What continued pre-training reads: texts packed once into blocks on the disk, English mixed in, equal compute."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from lingraft.contents import with_contents
from lingraft.corpora.named_datasets import dataset_files, is_dataset
from lingraft.corpora.reading import MAXIMUM_BAD_LINES, ReadingCounts, find_files, read_documents
from lingraft.errors import CorpusError
from lingraft.files import CONTENT_OF, fingerprint, mark_run, replacing_directory, write_json
from lingraft.progress import progress_task
from lingraft.recipes.inputs import take_bytes
from lingraft.reports.result import InputRevision
from lingraft.training.packing import BLOCKS_AT_ONCE, block_order, pack_with_counts
from lingraft.training.processes import is_main_process

BLOCKS, REJECTS = "blocks", "rejects.jsonl"
"""Directory of a run with the packed texts, and the end of the names of files with lines that hold no text."""
WAIT = 0.2
"""Seconds between two looks of a process that waits for the main one's blocks."""


@dataclass(frozen=True, slots=True)
class TextReading:
    """How texts are read.

    Attributes:
        text_field: Field of the text.
        maximum_bad_lines: How many bad lines of each text to go on after.
    """

    text_field: str = "text"
    maximum_bad_lines: int = MAXIMUM_BAD_LINES


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Text to measure on, of one language.

    Attributes:
        scored: Documents that are scored.
        known: All documents of the files: none of them is trained on.
    """

    scored: list[str]
    known: frozenset[str]


@dataclass(frozen=True, slots=True)
class PackedTexts:
    """The blocks of a run.

    Attributes:
        blocks: int32 [blocks, block_length], those of the corpus before those of the English text; a mapped file.
        english_blocks: How many of them are English.
        counts: Documents, tokens, bytes and so on by text (`corpus`, `english`), JSON-able.
    """

    blocks: NDArray[np.int32]
    english_blocks: int
    counts: Mapping[str, Mapping[str, int]]

    def order(self, needed: int, share: float, seed: int) -> NDArray[np.int64]:
        """Return the block that each sequence of a training is.

        English blocks are spread evenly: after every sequence their number is the share of those so far, rounded down
        (our choice). Each text goes through its own permutations, from the seed alone.

        Args:
            needed: Sequences of the whole training.
            share: Share of them that is English, from 0 to below 1.
            seed: Of the permutations.

        Returns:
            int64 [needed].
        """
        english = round(share * needed) if self.english_blocks else 0
        places = np.arange(needed + 1) * english // needed
        is_english = np.diff(places) > 0
        target_blocks = len(self.blocks) - self.english_blocks
        order = np.empty(needed, dtype=np.int64)
        if needed > english:
            order[~is_english] = block_order(target_blocks, needed - english, seed)
        if english:
            order[is_english] = target_blocks + block_order(self.english_blocks, english, seed)
        return order


def read_held_out(reference: str | None, most: int, reading: TextReading, seed: int) -> HeldOut | None:
    """Read held-out text, and draw what of it is scored.

    Args:
        reference: What `read_documents` reads, or None.
        most: UTF-8 bytes to score: whole documents in seeded order until there are as many.
        reading: How it is read.
        seed: Of the drawing.

    Returns:
        The documents; None without a reference.

    Raises:
        CorpusError: There is no text in it.
    """
    if reference is None:
        return None
    texts = [document.text for document in read_documents(reference, **asdict(reading))]
    return HeldOut(take_bytes(texts, most, seed), frozenset(text.strip() for text in texts))


def text_contents(references: Sequence[str]) -> str | None:
    """Return a hash of what the files of text references hold; None where all are data sets of the hub.

    Args:
        references: Files, directories, glob patterns, or data sets, which have files here if they are in directories.

    Returns:
        What a run is known again by.

    Raises:
        CorpusError: A file is missing.
    """
    files = [
        str(file)
        for one in references
        for file in (dataset_files(one) if is_dataset(one) else find_files(one))
    ]
    marks = {file: with_contents({"corpus": file})[f"{CONTENT_OF}corpus"] for file in files}
    return fingerprint(marks) if marks else None


def packed_texts(
    out: Path,
    command: Mapping[str, Any],
    tokenizer: Any,
    *,
    corpus: Sequence[str],
    english: Sequence[str],
    held_out: Iterable[str],
    block_length: int,
    reading: TextReading,
) -> PackedTexts:
    """Pack the texts into the run directory, or find them there; the main process packs, the others wait for it.

    A new run directory appears together with its blocks, so that text which fills none leaves nothing behind.

    Args:
        out: The run directory, which `find_run` has looked at.
        command: What the run is known again by.
        tokenizer: The model's tokenizer.
        corpus: References of the text to train on.
        english: References of the English text mixed in; empty for none.
        held_out: Documents that are left out.
        block_length: Tokens in a block.
        reading: How they are read.

    Returns:
        The blocks.

    Raises:
        CorpusError: A text fills no block, or cannot be read.
        OutputError: The disk is full.
    """
    done = out / BLOCKS / "counts.json"
    if is_main_process() and not done.exists():
        again = out.exists() and any(out.iterdir())
        with nullcontext(out) if again else replacing_directory(out) as directory:
            with replacing_directory(directory / BLOCKS) as place:
                _pack(
                    place,
                    directory,
                    tokenizer,
                    {"corpus": corpus, "english": english},
                    frozenset(text.strip() for text in held_out),
                    block_length,
                    reading,
                )
            if not again:
                mark_run(directory, command)
    while not done.exists():
        time.sleep(WAIT)
    counts = json.loads(done.read_text(encoding="utf-8"))
    blocks: NDArray[np.int32] = np.load(out / BLOCKS / "blocks.npy", mmap_mode="r")
    return PackedTexts(blocks, counts.get("english", {}).get("blocks", 0), counts)


def _pack(
    place: Path,
    out: Path,
    tokenizer: Any,
    texts: Mapping[str, Sequence[str]],
    held_out: frozenset[str],
    block_length: int,
    how: TextReading,
) -> None:
    """Write `blocks.npy`, the rejected lines into `out`, and, last, the counts."""
    counts: dict[str, dict[str, int]] = {}
    parts = []
    for name, references in texts.items():
        if not references:
            continue
        reading, left = ReadingCounts(), {"held out": 0}
        with progress_task(f"tokenizing {name}") as advance:
            documents = read_documents(
                references, **asdict(how), rejects=out / f"{name}.{REJECTS}", counts=reading
            )
            wanted = _not_held_out((document.text for document in documents), held_out, left, advance)
            file = place / f"{name}.npy"
            try:
                packed, found = pack_with_counts(wanted, tokenizer, block_length, file=file)
            except CorpusError as error:
                raise CorpusError(f"--{name}: {error.found}", error.expected, error.remedy) from error
        parts.append(packed)
        counts[name] = {part.replace("_", " "): n for part, n in asdict(found).items()}
        counts[name] |= {f"left out: {why}": n for why, n in left.items()}
        counts[name] |= {f"bad line: {why}": n for why, n in reading.bad.items()}
    _join(parts, place / "blocks.npy", block_length)
    for name in counts:
        (place / f"{name}.npy").unlink()
    write_json(place / "counts.json", counts)


def _not_held_out(
    texts: Iterable[str], held_out: frozenset[str], left: dict[str, int], advance: Callable[..., None]
) -> Iterator[str]:
    for text in texts:
        advance(1)
        if text.strip() in held_out:
            left["held out"] += 1
        else:
            yield text


def _join(parts: Sequence[NDArray[np.int32]], file: Path, block_length: int) -> None:
    joined = open_memmap(file, mode="w+", dtype=np.int32, shape=(sum(map(len, parts)), block_length))
    begin = 0
    for part in parts:
        for start in range(0, len(part), BLOCKS_AT_ONCE):
            piece = part[start : start + BLOCKS_AT_ONCE]
            joined[begin : begin + len(piece)] = piece
            begin += len(piece)
    joined.flush()


def text_revisions(texts: Mapping[str, Sequence[str | None]]) -> list[InputRevision]:
    """Return what pins each text that a run read.

    Args:
        texts: From a role to its references; None stands for none.

    Returns:
        One a reference.
    """
    return [
        InputRevision(role=role, reference=one, revision=text_contents((one,)) or "as the data set stands")
        for role, references in texts.items()
        for one in references
        if one is not None
    ]

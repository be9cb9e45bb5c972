"""Translating texts by the sentence with any engine: protected passages come back exactly, nothing is paid twice."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lingraft.errors import LingraftError, TranslationError
from lingraft.preference.protection import (
    NUMBERS,
    code_blocks,
    mask_passages,
    numbers_kept,
    protected_spans,
)
from lingraft.preference.segmentation import Segment, split_segments
from lingraft.preference.translation_cache import TranslationCache
from lingraft.progress import progress_task

KEPT, HIDDEN = "passages and numbers kept", "kept once numbers were hidden too"
LOST_PASSAGE, LOST_NUMBER = "in pieces: the engine lost a passage", "in pieces: the engine changed a number"
EMPTY = "the engine gave nothing"


class Engine(Protocol):
    """What translates sentences."""

    @property
    def name(self) -> str:
        """What the user typed to get it."""

    @property
    def version(self) -> str:
        """What pins its translations: version or revision, with the settings that change what it says."""

    @property
    def licence(self) -> str:
        """The licence of the engine and its model, as far as it is known."""

    @property
    def source_language(self) -> str:
        """ISO 639-1 code."""

    @property
    def target_language(self) -> str:
        """ISO 639-1 code."""

    def translate(self, sentences: Sequence[str]) -> list[str]:
        """Return the translation of each sentence, empty where there is none.

        An engine that dies raises `TranslationError`; `PartialTranslationError` carries what it had done by then.
        """


class PartialTranslationError(TranslationError):
    """An engine that died at its work, with what it had translated.

    Args:
        error: What went wrong.
        done: Text to translation.
    """

    def __init__(self, error: LingraftError, done: dict[str, str]) -> None:
        self.done = done
        super().__init__(error.found, error.expected, error.remedy)

    def __reduce__(self) -> tuple[type[LingraftError], tuple[str, str, str]]:
        """Survive the way between processes, as a plain `TranslationError`."""
        return TranslationError, (self.found, self.expected, self.remedy)


@dataclass(frozen=True, slots=True)
class TranslationPlan:
    """How texts are put to an engine.

    Attributes:
        segment: One sentence at a time; else whole texts, for engines that are made for these.
        protect: Hide and check what must come back exactly; else texts go to the engine as they are.
        mask: What stands for a hidden passage, `{}` for its number: something the engine copies.
        batch_size: Sentences that the engine is given together, and that the cache keeps together.
    """

    segment: bool = True
    protect: bool = True
    mask: str = "⟦{}⟧"
    batch_size: int = 64


class CachedEngine:
    """An engine behind a cache; each batch is in the cache before the next one begins.

    Args:
        engine: The engine.
        cache: Its cache.
        batch_size: Sentences in a batch.
    """

    def __init__(self, engine: Engine, cache: TranslationCache, batch_size: int) -> None:
        self._engine, self._cache, self._batch_size = engine, cache, batch_size
        self.counts: Counter[str] = Counter({"translated now": 0, "from the cache": 0})
        """Sentences, whole or with passages hidden or in pieces, by where their translation came from."""
        self.words, self.seconds = 0, 0.0
        """Words between blanks that the engine was given now, and how long it took."""

    def translate(self, texts: Iterable[str], description: str) -> dict[str, str]:
        """Translate texts.

        Args:
            texts: The texts; repeated ones are translated once.
            description: What the progress bar says.

        Returns:
            Text to translation.

        Raises:
            TranslationError: The engine died; what it has done is in the cache.
            OutputError: The cache cannot be written.
        """
        wanted = list(dict.fromkeys(texts))
        found = self._cache.find(wanted)
        self.counts["from the cache"] += len(found)
        missing = [text for text in wanted if text not in found]
        with progress_task(description, len(missing)) as advance:
            for start in range(0, len(missing), self._batch_size):
                batch = missing[start : start + self._batch_size]
                found.update(self._translate_batch(batch, len(missing) - start))
                advance(len(batch))
        return found

    def _translate_batch(self, batch: Sequence[str], left: int) -> dict[str, str]:
        started = time.monotonic()
        try:
            answers = self._engine.translate(batch)
        except PartialTranslationError as error:
            self._keep(error.done)
            raise self._stopped(error, left - len(error.done)) from error
        except TranslationError as error:
            raise self._stopped(error, left) from error
        if len(answers) != len(batch):
            raise TranslationError(
                f"{self._engine.name} gave {len(answers)} translations of {len(batch)} sentences",
                "one each",
                "check the engine",
            )
        self.seconds += time.monotonic() - started
        self.words += sum(len(text.split()) for text in batch)
        done = dict(zip(batch, answers, strict=True))
        self._keep(done)
        return done

    def _keep(self, done: dict[str, str]) -> None:
        # What an engine gave nothing for is asked again by the next run.
        self._cache.add({text: answer for text, answer in done.items() if answer.strip()})
        self.counts["translated now"] += len(done)

    def _stopped(self, error: TranslationError, left: int) -> TranslationError:
        """Say with an engine's error what is kept of its work."""
        kept = f"{self.counts['translated now']} new translations are kept, at least {left} are to do"
        return TranslationError(
            f"{error.found} ({kept})", error.expected, f"{error.remedy}; then run the same command again"
        )


def translate_texts(
    texts: Sequence[str], engine: CachedEngine, plan: TranslationPlan, *, language: str = "en"
) -> tuple[list[str | None], Counter[str]]:
    """Translate texts; code, addresses, placeholders and numbers come back exactly, lines and lists as they were.

    A sentence whose protected passages do not all come back is tried again with its numbers hidden, and then in
    pieces: what stands between the passages is translated by itself.

    Args:
        texts: The texts.
        engine: The engine behind its cache.
        plan: How they are put to it.
        language: Code of their language, for finding sentences.

    Returns:
        For each text its translation, or None where the engine gave nothing for one of its sentences; and how many
        distinct sentences went which way.

    Raises:
        TranslationError: The engine died; what it has done is in the cache.
        OutputError: The cache cannot be written.
    """
    parts = [_segments(text, plan, language) for text in texts]
    sentences = dict.fromkeys(part.text for row in parts for part in row if part.is_sentence)
    translations, counts = _translate_sentences(list(sentences), engine, plan)
    joined: list[str | None] = []
    for row in parts:
        pieces = [translations.get(part.text) if part.is_sentence else part.text for part in row]
        joined.append(None if None in pieces else "".join(piece or "" for piece in pieces))
    return joined, counts


def _segments(text: str, plan: TranslationPlan, language: str) -> list[Segment]:
    """Cut a text as the plan says; code blocks are never for translating where passages are protected."""
    if not plan.segment:
        core = text.strip()
        start = text.index(core)
        whole = Segment(core, any(map(str.isalpha, core)))
        return [Segment(text[:start], False), whole, Segment(text[start + len(core) :], False)]
    segments: list[Segment] = []
    last = 0
    for start, end in [*(code_blocks(text) if plan.protect else []), (len(text), len(text))]:
        between = text[last:start]
        segments += split_segments(between, language=language, whole=protected_spans(between))
        segments.append(Segment(text[start:end], False))
        last = end
    return segments


def _translate_sentences(
    sentences: Sequence[str], engine: CachedEngine, plan: TranslationPlan
) -> tuple[dict[str, str | None], Counter[str]]:
    """Translate distinct sentences by the first way that keeps what is protected; None is the engine's nothing."""
    counts: Counter[str] = Counter()
    done: dict[str, str | None] = {}
    if not plan.protect:
        found = engine.translate(sentences, "translating")
        done = {sentence: _one_line(sentence, found[sentence]) or None for sentence in sentences}
        counts[EMPTY] = sum(translation is None for translation in done.values())
        return done, counts
    left, reasons = list(sentences), dict.fromkeys(sentences, LOST_PASSAGE)
    for numbers, label in ((False, KEPT), (True, HIDDEN)):
        masked = {sentence: mask_passages(sentence, plan.mask, numbers=numbers) for sentence in left}
        wordy = [hidden.text for hidden in masked.values() if has_words(hidden.text)]
        found = engine.translate(wordy, "translating" if not numbers else "again with numbers hidden")
        for sentence, hidden in masked.items():
            answer = _one_line(sentence, found.get(hidden.text, hidden.text))
            restored = hidden.restore(answer)
            if not answer:
                done[sentence] = None
                counts[EMPTY] += 1
            elif restored is not None and numbers_kept(sentence, restored):
                done[sentence] = restored
                counts[label] += 1
            elif restored is not None:
                reasons[sentence] = LOST_NUMBER
        # Where there is no number, hiding numbers changes nothing.
        left = [sentence for sentence in left if sentence not in done and NUMBERS.search(sentence)]
    failed = [sentence for sentence in sentences if sentence not in done]
    done |= _in_pieces(failed, engine)
    counts.update(reasons[sentence] for sentence in failed)
    return done, counts


def _in_pieces(sentences: Sequence[str], engine: CachedEngine) -> dict[str, str | None]:
    """Translate what stands between the protected passages of each sentence; the passages stay where they are."""
    pieces = {sentence: _between(sentence) for sentence in sentences}
    cores = [core for row in pieces.values() for core, wordy in row if wordy]
    found = engine.translate(cores, "again in pieces")
    done: dict[str, str | None] = {}
    for sentence, row in pieces.items():
        answers = [_one_line(core, found[core]) if wordy else core for core, wordy in row]
        nothing = any(wordy and not answer for answer, (_, wordy) in zip(answers, row, strict=True))
        done[sentence] = None if nothing else "".join(answers)
    return done


def _between(sentence: str) -> list[tuple[str, bool]]:
    """Return the parts of a sentence in order, and of each whether it is words for translating."""
    parts: list[tuple[str, bool]] = []
    last = 0
    for start, end in [*protected_spans(sentence, numbers=True), (len(sentence), len(sentence))]:
        text = sentence[last:start]
        core = text.strip()
        if has_words(core):
            at = text.index(core)
            parts += [(text[:at], False), (core, True), (text[at + len(core) :], False)]
        else:
            parts.append((text, False))
        parts.append((sentence[start:end], False))
        last = end
    return parts


def has_words(text: str) -> bool:
    """Whether a text has any letter."""
    return any(map(str.isalpha, text))


def _one_line(sentence: str, answer: str) -> str:
    """Return an engine's answer without white space around it, on one line if the sentence was on one."""
    return answer.strip() if "\n" in sentence else " ".join(answer.split("\n")).strip()

"""From what a user types to the objects that the vocabulary verbs take."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lingraft.errors import ConfigError, CorpusError


@dataclass(frozen=True, slots=True)
class VocabularyInputs:
    """Loaded inputs of a vocabulary verb, and the record of what was loaded.

    Attributes:
        model: LoadedModel.
        donor: LoadedDonor or None.
        tokenizer: The target tokenizer, before it is adapted to the model.
        corpus: Target-language documents, or None.
        revisions: InputRevision of each.
        bad_lines: Lines of the corpus that hold no text, by reason: passed over.
    """

    model: Any
    donor: Any
    tokenizer: Any
    corpus: list[str] | None
    revisions: list[Any]
    bad_lines: Mapping[str, int] = field(default_factory=dict)


def load_inputs(
    *,
    model: str,
    tokenizer: str | None,
    donor: str | None,
    corpus: Path | Sequence[Path] | None,
    mode: str,
    new_tokens: int,
    vocabulary_size: int | None,
    device: str = "auto",
    dtype: str | None = None,
    trust_remote_code: bool = False,
    accept_terms: bool = False,
) -> VocabularyInputs:
    """Load everything that `vocab inspect`, `transfer` and `compare` share.

    Text is read first: a wrong path should not wait for a model to load.

    Args:
        model: Reference of the source model.
        tokenizer: What `--tokenizer` takes, or None to extend the model's own.
        donor: Reference of the donor, or None.
        corpus: Target-language text, one file or several, or None.
        mode: `replace` or `extend`.
        new_tokens: Tokens that `extend` adds.
        vocabulary_size: Tokens of a trimmed or trained tokenizer.
        device: Where the model is put.
        dtype: Type to compute in; None keeps the checkpoint's.
        trust_remote_code: Run Python code that a model carries.
        accept_terms: Accept the terms of use of a catalogued model.

    Returns:
        What was loaded, with its revisions.

    Raises:
        LingraftError: An input is missing or unreadable, or the tokenizer needs a corpus that is not given.
    """
    from lingraft.models.loading import load_donor, load_model
    from lingraft.reports.result import InputRevision

    bad_lines: dict[str, int] = {}
    texts = None if corpus is None else read_corpus(corpus, bad_lines=bad_lines)
    _check_tokenizer(tokenizer, mode, texts)
    options = {"trust_remote_code": trust_remote_code, "accept_terms": accept_terms}
    loaded_donor = None if donor is None else load_donor(donor, **options)
    loaded = load_model(model, device=device, dtype=dtype, **options)
    chosen = target_tokenizer(
        tokenizer,
        loaded,
        texts,
        mode=mode,
        new_tokens=new_tokens,
        vocabulary_size=vocabulary_size,
        options=options,
    )
    revisions = [InputRevision(role="model", reference=model, revision=loaded.revision)]
    revisions.append(
        InputRevision(
            role="tokenizer", reference=tokenizer or "extended", revision=tokenizer_revision(chosen)
        )
    )
    if loaded_donor is not None and donor is not None:
        revisions.append(InputRevision(role="donor", reference=donor, revision=loaded_donor.revision))
    if corpus is not None and texts is not None:
        named = str(corpus) if isinstance(corpus, Path) else " ".join(map(str, corpus))
        revisions.append(InputRevision(role="corpus", reference=named, revision=text_revision(texts)))
    return VocabularyInputs(loaded, loaded_donor, chosen, texts, revisions, bad_lines)


def read_corpus(path: Path | Sequence[Path], *, bad_lines: dict[str, int] | None = None) -> list[str]:
    """Documents of a text file, as a list.

    Args:
        path: What `read_documents` reads, or several of these.
        bad_lines: Filled in: how many lines hold no text, by reason (invalid UTF-8 among them). They are passed over.

    Returns:
        The documents that have text.

    Raises:
        CorpusError: The file is missing, not text, or holds no document.
    """
    from lingraft.corpora.reading import ReadingCounts, read_documents

    counts = ReadingCounts()
    texts = [document.text for document in read_documents(path, counts=counts) if document.text.strip()]
    if bad_lines is not None:
        bad_lines.update(counts.bad)
    if not texts:
        named = path if isinstance(path, Path) else " ".join(map(str, path))
        raise CorpusError(f"{named} holds no text", "at least one document", "give another file")
    return texts


def take_bytes(texts: Iterable[str], most: int, seed: int = 0) -> list[str]:
    """Whole documents in seeded order until `most` UTF-8 bytes are reached; at least one."""
    import numpy as np

    pool = list(texts)
    taken: list[str] = []
    size = 0
    for place in np.random.default_rng(seed).permutation(len(pool)):
        if size >= most:
            break
        taken.append(pool[place])
        size += len(pool[place].encode())
    return taken


def read_lexicon(path: Path | None) -> dict[str, list[str]]:
    """Target word to source translations, from a TSV of target word, tab, source word."""
    from lingraft.vocabulary.auxiliary import read_dictionary

    lexicon: dict[str, list[str]] = {}
    for word, translation in [] if path is None else read_dictionary(path):
        lexicon.setdefault(word, []).append(translation)
    return lexicon


def auxiliary_space(auxiliary: str) -> Any:
    """`donor`, `fasttext`, or the word vectors of `words:FILE`.

    Args:
        auxiliary: What `--auxiliary` takes.

    Returns:
        The name, or the vectors read.

    Raises:
        ConfigError: None of these.
    """
    from lingraft.vocabulary.fasttext import read_word_vectors

    if auxiliary.startswith("words:"):
        return read_word_vectors(Path(auxiliary.removeprefix("words:")))
    if auxiliary not in {"donor", "fasttext"}:
        raise ConfigError(f"--auxiliary {auxiliary!r}", "fasttext, words:FILE or donor", "name one of them")
    return auxiliary


def target_tokenizer(
    reference: str | None,
    loaded: Any,
    texts: list[str] | None,
    *,
    mode: str,
    new_tokens: int,
    vocabulary_size: int | None,
    options: Mapping[str, bool],
) -> Any:
    """The tokenizer that `--tokenizer` and `--mode` ask for."""
    from lingraft.models.loading import load_tokenizer
    from lingraft.tokenizers.digits import digit_scheme
    from lingraft.tokenizers.extending import extend_tokenizer
    from lingraft.tokenizers.training import train_tokenizer
    from lingraft.tokenizers.trimming import trim_tokenizer

    if reference is None:
        return extend_tokenizer(loaded.tokenizer, texts or [], new_tokens=new_tokens)
    if reference.startswith("train:"):
        return train_tokenizer(
            texts or [],
            vocabulary_size=vocabulary_size or 16_000,
            kind="bpe" if reference == "train:bpe" else "unigram",
            source_tokenizer=loaded.tokenizer,
        )
    if reference.startswith("trim:"):
        whole = load_tokenizer(reference.removeprefix("trim:"), **options)
        return trim_tokenizer(
            whole, texts or [], vocabulary_size=vocabulary_size, digits=digit_scheme(loaded.tokenizer)
        )
    return load_tokenizer(reference, **options)


def tokenizer_revision(tokenizer: Any) -> str:
    """A hash of the tokenizer's whole definition."""
    import hashlib

    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()[:16]


def text_revision(texts: Iterable[str]) -> str:
    """A hash of the documents, in order."""
    import hashlib

    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\n")
    return digest.hexdigest()[:16]


def _check_tokenizer(reference: str | None, mode: str, texts: list[str] | None) -> None:
    """Refuse before anything large is loaded."""
    if mode not in {"replace", "extend"}:
        raise ConfigError(f"--mode {mode!r}", "replace or extend", "name one of them")
    if reference is None and mode == "replace":
        raise ConfigError(
            "no --tokenizer", "the tokenizer to give the model", "give one, or use --mode extend"
        )
    made_here = reference is None or reference.startswith(("trim:", "train:"))
    if (
        reference is not None
        and reference.startswith("train:")
        and reference not in {"train:unigram", "train:bpe"}
    ):
        raise ConfigError(f"--tokenizer {reference!r}", "train:unigram or train:bpe", "name one of them")
    if made_here and texts is None:
        raise ConfigError(
            f"--tokenizer {reference or '(extend)'} without --corpus",
            "text to make it from",
            "give --corpus FILE",
        )

"""A model converted for CTranslate2 as an engine (the one file that needs ctranslate2)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lingraft.errors import MissingExtraError, ModelError, TranslationError
from lingraft.models.opening import first_line
from lingraft.preference.engine_inputs import LanguageMarks, translated_whole
from lingraft.preference.engine_seq2seq import longest_input


def open_translator(directory: Path, *, device: str = "cpu", threads: int = 0) -> Any:
    """Open a model that `ct2-transformers-converter` made.

    Args:
        directory: Its directory, with model.bin.
        device: `cpu` or `cuda`.
        threads: Threads of the CPU; 0 leaves it to OMP_NUM_THREADS.

    Returns:
        A `ctranslate2.Translator`.

    Raises:
        MissingExtraError: ctranslate2 is not installed.
        ModelError: There is no such model, or it cannot be opened.
    """
    try:
        import ctranslate2  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("ctranslate2", "translate", "translating with CTranslate2") from error
    if not (directory / "model.bin").is_file():
        raise ModelError(
            f"{directory} holds no model.bin",
            "a directory that ct2-transformers-converter made",
            "convert the model first: ct2-transformers-converter --model MODEL --output_dir DIR --copy_files ...",
        )
    try:
        return ctranslate2.Translator(str(directory), device=device, intra_threads=threads)
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"{directory} cannot be opened by CTranslate2 ({first_line(error)})",
            "an encoder-decoder model that this version of ctranslate2 reads",
            "convert the model again with the ctranslate2 that is installed",
        ) from error


class CTranslate2Engine:
    """Translates with a CTranslate2 model.

    Args:
        translator: A `ctranslate2.Translator`.
        tokenizer: The tokenizer of the model that was converted.
        marks: How the model is told the languages.
        name: What the user typed.
        revision: What pins the converted weights.
        licence: The model's licence, as far as it is known.
        source_language: ISO 639-1 code.
        target_language: ISO 639-1 code.
        beams: Width of the beam search.
        max_new_tokens: Most tokens of a translation.
    """

    def __init__(
        self,
        translator: Any,
        tokenizer: Any,
        marks: LanguageMarks,
        *,
        name: str,
        revision: str,
        licence: str,
        source_language: str,
        target_language: str,
        beams: int = 4,
        max_new_tokens: int = 256,
    ) -> None:
        self.name, self.licence = name, licence
        self.source_language, self.target_language = source_language, target_language
        self.version = (
            f"{revision}; {translator.compute_type}; beams={beams}; max_new_tokens={max_new_tokens}, whole; "
            f"{marks.source_code or ''}>{marks.target_token or marks.prefix.strip()}"
        )
        self._translator, self._tokenizer, self._marks = translator, tokenizer, marks
        self._beams, self._max_new_tokens = beams, max_new_tokens
        if marks.source_code is not None:
            tokenizer.src_lang = marks.source_code
        self._limit = longest_input(tokenizer, None)

    def translate(self, sentences: Sequence[str]) -> list[str]:
        """Translate sentences; what is too long for the model is cut into clauses.

        Args:
            sentences: The sentences.

        Returns:
            The translations.

        Raises:
            TranslationError: The model cannot process them.
        """
        return translated_whole(sentences, self._translate_parts, self._size, self._limit)

    def _translate_parts(self, parts: list[str]) -> list[str | None]:
        """Translate; None is a translation that was cut off before its end."""
        tokens = [self._tokens(part) for part in parts]
        mark = self._marks.target_token
        try:
            results = self._translator.translate_batch(
                tokens,
                target_prefix=None if mark is None else [[mark]] * len(tokens),
                beam_size=self._beams,
                max_decoding_length=self._max_new_tokens,
                max_input_length=0,
                max_batch_size=32,
            )
        except (RuntimeError, ValueError) as error:
            raise TranslationError(
                f"{self.name} failed on {len(tokens)} sentences ({first_line(error)})",
                "a CTranslate2 model and the tokenizer of the model that it was made from",
                "check the model, or convert it again",
            ) from error
        found = [result.hypotheses[0] for result in results]
        return [self._text(row) if len(row) < self._max_new_tokens else None for row in found]

    def _tokens(self, text: str) -> list[str]:
        ids = self._tokenizer(self._marks.prefix + text)["input_ids"]
        tokens: list[str] = self._tokenizer.convert_ids_to_tokens(ids)
        return tokens

    def _size(self, text: str) -> int:
        return len(self._tokens(text))

    def _text(self, tokens: Sequence[str]) -> str:
        kept = [token for token in tokens if token != self._marks.target_token]
        text: str = self._tokenizer.decode(
            self._tokenizer.convert_tokens_to_ids(kept), skip_special_tokens=True
        )
        return text

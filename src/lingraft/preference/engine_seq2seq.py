"""A sequence-to-sequence model of transformers as an engine: Marian, M2M100, NLLB, mBART, MADLAD, T5."""

from collections.abc import Sequence
from typing import Any

import torch

from lingraft.errors import TranslationError
from lingraft.models.opening import first_line
from lingraft.preference.engine_inputs import LanguageMarks, translated_whole

LONGEST = 512
"""Most tokens of a sentence where neither the model nor its tokenizer says how many it reads."""


class Seq2SeqEngine:
    """Translates with a transformers model, by beam search or greedily; nothing is drawn at random.

    Args:
        model: A sequence-to-sequence model in evaluation mode, on its device.
        tokenizer: Its tokenizer.
        marks: How it is told the languages.
        name: What the user typed.
        revision: What pins the weights.
        licence: The model's licence, as far as it is known.
        source_language: ISO 639-1 code.
        target_language: ISO 639-1 code.
        beams: Width of the beam search; None leaves what the model's generation config says.
        max_new_tokens: Most tokens of a translation.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        marks: LanguageMarks,
        *,
        name: str,
        revision: str,
        licence: str,
        source_language: str,
        target_language: str,
        beams: int | None = None,
        max_new_tokens: int = 256,
    ) -> None:
        self.name, self.licence = name, licence
        self.source_language, self.target_language = source_language, target_language
        self.version = (
            f"{revision}; {str(model.dtype).removeprefix('torch.')}; beams={beams or 'own'}; "
            f"max_new_tokens={max_new_tokens}, whole; "
            f"{marks.source_code or ''}>{marks.target_token or marks.prefix.strip()}"
        )
        self._model, self._tokenizer, self._marks = model, tokenizer, marks
        self._options: dict[str, Any] = {"max_new_tokens": max_new_tokens, "do_sample": False}
        if beams is not None:
            self._options["num_beams"] = beams
        if marks.source_code is not None:
            tokenizer.src_lang = marks.source_code
        if marks.target_token is not None:
            self._options["forced_bos_token_id"] = tokenizer.convert_tokens_to_ids(marks.target_token)
        self._limit = longest_input(tokenizer, model.config)
        ends = model.generation_config.eos_token_id
        self._end_ids = set(ends if isinstance(ends, list) else [] if ends is None else [ends])

    def translate(self, sentences: Sequence[str]) -> list[str]:
        """Translate sentences as one batch; what is too long for the model is cut into clauses.

        Args:
            sentences: The sentences.

        Returns:
            The translations.

        Raises:
            TranslationError: The model cannot process them.
        """
        return translated_whole(sentences, self._translate_parts, self._size, self._limit)

    def _translate_parts(self, parts: list[str]) -> list[str | None]:
        """Translate as one batch; None is a translation that was cut off before its end."""
        try:
            prefixed = [self._marks.prefix + part for part in parts]
            encoded = self._tokenizer(prefixed, padding=True, return_tensors="pt").to(self._model.device)
            encoded.pop("token_type_ids", None)
            with torch.inference_mode():
                produced = self._model.generate(**encoded, **self._options)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, IndexError, ValueError) as error:
            raise TranslationError(
                f"{self.name} failed on {len(parts)} sentences ({type(error).__name__}: {first_line(error)})",
                "a sequence-to-sequence model and the tokenizer it was trained with",
                "check the model",
            ) from error
        # Not every tokenizer counts its language tokens among the special ones.
        forced = self._options.get("forced_bos_token_id")
        kept = [[token for token in row if token != forced] for row in produced.tolist()]
        answers = self._tokenizer.batch_decode(kept, skip_special_tokens=True)
        ended = [self._ends(row) for row in produced[:, 1:].tolist()]
        return [answer if whole else None for answer, whole in zip(answers, ended, strict=True)]

    def _ends(self, produced: list[int]) -> bool:
        """Whether a row, without what the decoder started with, has an end; at the last place some are made to end."""
        most: int = self._options["max_new_tokens"]
        return len(produced) < most or not self._end_ids or not self._end_ids.isdisjoint(produced[: most - 1])

    def _size(self, text: str) -> int:
        return len(self._tokenizer(self._marks.prefix + text)["input_ids"])


def longest_input(tokenizer: Any, config: Any) -> int:
    """Return how many tokens a model reads, by its config and its tokenizer.

    Args:
        tokenizer: Its tokenizer.
        config: Its config, or None.

    Returns:
        The smaller of both numbers, 512 where neither states one.
    """
    stated = [getattr(config, "max_position_embeddings", None), getattr(tokenizer, "model_max_length", None)]
    numbers = [number for number in stated if isinstance(number, int) and 0 < number < 10**6]
    return min(numbers, default=LONGEST)

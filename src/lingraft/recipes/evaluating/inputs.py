"""What a comparison of models puts to each of them: texts, prompts, and every refusal before a model is loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lingraft.corpora.language_id import COMMON_LANGUAGES, LanguageIdentifier
from lingraft.errors import ConfigError
from lingraft.evaluation.answers import AnswerFormat, check_prompts
from lingraft.models.loading import load_tokenizer
from lingraft.recipes.evaluating.fidelity_inputs import find_identifier, read_prompts
from lingraft.recipes.evaluating.options import AUTO, EvaluationOptions
from lingraft.recipes.pivots.word_inputs import read_words
from lingraft.recipes.pretraining.compute import model_shape
from lingraft.recipes.pretraining.inputs import TextReading, read_held_out
from lingraft.tokenizers.chat import CHAT, PLAIN, prompt_format, read_template
from lingraft.tokenizers.document_start import document_start

SIDES = ("target", "english")
TARGET, ENGLISH = SIDES
CONTINUATION = {TARGET: "continuation", ENGLISH: "English continuation"}
"""Kinds of samples where no prompts are given: a held-out document's beginning is carried on."""
OPENING = 80
"""Characters of such a beginning, at most; half of the document where it is shorter."""
SHORTEST = 16
"""Characters of a beginning that is taken while there are others."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Prompts of one kind.

    Attributes:
        kind: `target` and `english` for prompts, or one of `CONTINUATION`.
        prompts: The prompts.
        ids: Their ids.
        language: Code of what the answers should be in, or "".
        judged: How many, the first ones, count for fidelity.
    """

    kind: str
    prompts: list[str]
    ids: list[str]
    language: str
    judged: int = 0


@dataclass(frozen=True, slots=True)
class EvaluationInputs:
    """What is put to every model.

    Attributes:
        texts: From `target` and `english` to the documents to score.
        asked: Prompts by kind.
        left_out: Lines of the prompts' file that were not taken, by reason.
        template: As `read_template` gives it; None for no prompts.
        template_name: What the user gave, `auto` resolved.
        identifier: Tells languages; None where nothing is judged.
    """

    texts: Mapping[str, list[str]]
    asked: Sequence[Asked]
    left_out: Mapping[str, int] = field(default_factory=dict)
    template: Any = None
    template_name: str = ""
    identifier: LanguageIdentifier | None = None

    def format(self, kind: str, tokenizer: Any) -> AnswerFormat:
        """Return how prompts of a kind are put to a model."""
        if kind in CONTINUATION.values():
            return OpeningFormat(tokenizer)
        return prompt_format(tokenizer, self.template)


class OpeningFormat:
    """A document's beginning as training and scoring see it, to be carried on.

    Args:
        tokenizer: A transformers tokenizer.

    Raises:
        TokenizerError: It has no document-start token.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer, self._start = tokenizer, document_start(tokenizer)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer."""
        return self._tokenizer

    @property
    def end_ids(self) -> tuple[int, ...]:
        """Ids that end a document: eos, and what begins the next one."""
        eos = self._tokenizer.eos_token_id
        return tuple(dict.fromkeys([self._start, *([] if eos is None else [int(eos)])]))

    def opening_ids(self, prompt: str) -> list[int]:
        """Return the document-start token and the ids of a beginning."""
        ids = self._tokenizer(prompt, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [self._start, *map(int, ids)]


def read_inputs(
    options: EvaluationOptions, *, trust_remote_code: bool = False, accept_terms: bool = False
) -> EvaluationInputs:
    """Read texts, prompts and tokenizers, and refuse what could not be measured.

    Args:
        options: What to measure.
        trust_remote_code: Run Python code that a model carries.
        accept_terms: Accept the terms of catalogued models.

    Returns:
        What is put to every model.

    Raises:
        LingraftError: A missing or unreadable input, a prompt that does not fit into a model's context, an unknown
            language, or no chat template where one is wanted.
    """
    options.check()
    texts: dict[str, list[str]] = {}
    for side, reference in ((TARGET, options.held_out), (ENGLISH, options.english_held_out)):
        found = read_held_out(
            reference, options.held_out_bytes, TextReading(options.text_field), options.seed
        )
        if found is not None:
            texts[side] = found.scored
    if options.words is not None:
        draws = len(read_words(options.words, options.word_limit).draws)
        if options.word_draws is not None and options.word_draws > draws:
            raise ConfigError(
                f"--word-draws {options.word_draws}",
                f"at most {draws}, what {options.words} holds",
                "give a smaller number",
            )
    asked, left_out = _prompts(options) if options.prompts is not None else (_openings(options, texts), {})
    identifier = None
    if any(one.judged for one in asked):
        identifier = find_identifier(str(options.language).lower(), COMMON_LANGUAGES)
    codes = {"trust_remote_code": trust_remote_code, "accept_terms": accept_terms}
    tokenizers = {name: load_tokenizer(reference, **codes) for name, reference in options.models.items()}
    template, named = None, options.template
    if options.prompts is not None:
        if named == AUTO:
            own = all(getattr(one, "chat_template", None) for one in tokenizers.values())
            named = CHAT if own else PLAIN
        template = read_template(named)
    inputs = EvaluationInputs(texts, asked, left_out, template, named, identifier)
    for name, reference in options.models.items():
        shape = model_shape(reference, **codes)
        for one in asked:
            form = inputs.format(one.kind, tokenizers[name])
            check_prompts(shape, form, one.prompts, options.max_new_tokens)
    return inputs


def _prompts(options: EvaluationOptions) -> tuple[list[Asked], dict[str, int]]:
    assert options.prompts is not None
    language = str(options.language).lower()
    most = max(options.fidelity_prompts, options.samples, 1)
    found = read_prompts(options.prompts, language=language, limit=most)
    asked = [Asked(TARGET, found.texts, found.ids, language, min(options.fidelity_prompts, len(found.texts)))]
    if found.field == "target_prompt" and options.english_prompts:
        other = read_prompts(
            options.prompts, language="en", field="english_prompt", limit=options.english_prompts
        )
        judged = len(other.texts) if options.fidelity_prompts else 0
        asked.append(Asked(ENGLISH, other.texts, other.ids, "en", judged))
    return asked, found.left_out


def _openings(options: EvaluationOptions, texts: Mapping[str, list[str]]) -> list[Asked]:
    """Take the beginnings of held-out documents, the first ones that are long enough."""
    asked = []
    for side, documents in texts.items():
        wanted = options.samples if side == TARGET else (options.samples + 1) // 2
        every = [opening for text in documents if (opening := _opening(text))]
        some = ([one for one in every if len(one) >= SHORTEST] or every)[:wanted]
        language = "en" if side == ENGLISH else (options.language or "").lower()
        if some:
            asked.append(Asked(CONTINUATION[side], some, [str(n + 1) for n in range(len(some))], language))
    return asked


def _opening(text: str) -> str:
    """Return the first half of a document, `OPENING` characters at most, up to the end of a word."""
    whole = " ".join(text.split())
    half = whole[: min(OPENING, len(whole) // 2)]
    if len(half) < len(whole) and whole[len(half)] != " " and " " in half:
        half = half.rpartition(" ")[0]
    return half.strip()

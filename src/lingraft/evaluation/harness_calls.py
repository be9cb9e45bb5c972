"""How a model is called under lm-eval, with something done around every call: what `harness.py` adds to its HFLM.

No lm-eval in here: the overrides are a mixin, so that they can be read and checked without the library.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from lingraft.errors import ConfigError
from lingraft.progress import progress_task


@dataclass(frozen=True, slots=True)
class ModelCall:
    """What one forward call, or one generation, is about.

    Attributes:
        contexts: The text before what is scored or generated, one a row of the batch, as the task made it; "" where it
            has none, None for a rolling likelihood's window.
        positions: int64 `[rows]`: where the context's last token is in the (first) forward call.
        encode: How a context becomes tokens in this kind of call.
    """

    contexts: tuple[str | None, ...]
    positions: torch.Tensor
    encode: Callable[[str], list[int]]


Around = Callable[[ModelCall], AbstractContextManager[object]]
"""Entered around every forward call of a likelihood, and around every generation as a whole."""

Before = Callable[[Sequence[str | None]], None]
"""Sees all contexts of a kind before the first call, to refuse early."""

Key = tuple[str | None, int, tuple[int, ...]]
"""A context, how many tokens it has, and the tokens that the model reads."""


class SurroundedCalls:
    """Overrides of lm-eval's HFLM; stands before it in the order of bases."""

    model: Any
    tokenizer: Any
    cache_hook: Any
    max_length: int
    batch_size: int
    around: Around | None
    before: Before | None
    counts: Counter[str]
    progress: bool
    _rows: tuple[str, ...] = ()
    _advance: Callable[..., None] = staticmethod(lambda amount: None)

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Score continuations; lm-eval's own tokens, `_loglikelihood_tokens` below."""
        parent: Any = super()
        self._see([request.args[0] for request in requests])
        with self._bar("scoring", len(requests)):
            scored: list[tuple[float, bool]] = parent.loglikelihood(requests, disable_tqdm=True)
        return scored

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Score whole texts, whose windows have no context."""
        parent: Any = super()
        self._see([None] * len(requests))
        scored: list[float] = parent.loglikelihood_rolling(requests, disable_tqdm=True)
        return scored

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Continue contexts; lm-eval's own batches, padded on the left."""
        parent: Any = super()
        self._see([request.args[0] for request in requests])
        try:
            with self._bar("generating", len(requests)):
                texts: list[str] = parent.generate_until(requests, disable_tqdm=True)
        except AssertionError as error:
            # lm-eval's word for more new tokens than the model's context holds.
            raise ConfigError(
                str(error).partition("\n")[0] or "settings that lm-eval refuses",
                "settings of generation that fit the model",
                "give the task a smaller max_gen_toks",
            ) from error
        return texts

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Refuse lm-eval's cache of responses, which knows the texts but not what is done around a call."""
        if self.around is not None and getattr(cache_hook, "dbdict", None) is not None:
            raise ConfigError(
                "a response cache (use_cache), which tells requests apart by their text alone",
                "none, where something is done around the model's calls",
                "leave use_cache out",
            )
        parent: Any = super()
        parent.set_cache_hook(cache_hook)

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval notes of a model; its own asks the hub for a revision."""
        return {"model_num_parameters": self.model.num_parameters(), "model_dtype": str(self.model.dtype)}

    def tok_batch_encode(self, strings: Sequence[str], *args: Any, **kwargs: Any) -> Any:
        """Note which contexts the next generation continues, in the order of its rows."""
        parent: Any = super()
        self._rows = tuple(strings)
        most = kwargs.get("left_truncate_len")
        self.counts["truncated"] += sum(len(self._encode(text)) > most for text in strings) if most else 0
        return parent.tok_batch_encode(list(strings), *args, **kwargs)

    def _model_generate(self, context: torch.Tensor, **options: Any) -> torch.Tensor:
        mask = options["attention_mask"]
        columns = torch.arange(mask.shape[1], device=mask.device)
        last = torch.where(mask.bool(), columns, -1).max(dim=1).values
        if len(self._rows) != len(context) or bool((last < 0).any()):
            raise ConfigError("an empty context to generate after", "at least one token", "correct the task")
        # Beams of a row are rows of their own from the first call on.
        default = getattr(self.model.generation_config, "num_beams", None)
        beams = int(options.get("num_beams") or default or 1)
        rows = [text for text in self._rows for _ in range(beams)]
        parent: Any = super()
        with self._surrounded(rows, last.repeat_interleave(beams), self._encode):
            output: torch.Tensor = parent._model_generate(context=context, **options)
        self._advance(len(self._rows))
        return output

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], *_: Any, **__: Any
    ) -> list[tuple[float, bool]]:
        """Score continuations `(texts, context ids, continuation ids)`.

        As lm-eval does it, but for two things. Requests share a forward call only where the context is the same text
        with as many tokens: lm-eval's own sharing goes by tokens, and would take ("a", " b c") and ("a b", " c") for
        one. And only the logits that are needed are made, their softmax in float32.
        """
        keyed: dict[Key, list[int]] = {}
        for number, (texts, context, continuation) in enumerate(requests):
            self._check(texts, context, continuation)
            key = (None if texts is None else texts[0], len(context), (*context, *continuation[:-1]))
            keyed.setdefault(key, []).append(number)
        order = sorted(keyed, key=lambda key: (-len(key[2]), key[2]))
        answers: dict[int, tuple[float, bool]] = {}
        for begin in range(0, len(order), self.batch_size):
            batch = order[begin : begin + self.batch_size]
            for key, scores in zip(batch, self._score(batch), strict=True):
                for number in keyed[key]:
                    texts, _context, continuation = requests[number]
                    answers[number] = _answer(scores, continuation)
                    if texts is not None:
                        self.cache_hook.add_partial("loglikelihood", texts, answers[number])
                self.counts["truncated"] += len(keyed[key]) * (len(key[2]) > self.max_length)
                self._advance(len(keyed[key]))
        return [answers[number] for number in range(len(requests))]

    @torch.no_grad()
    def _score(self, batch: Sequence[Key]) -> list[torch.Tensor]:
        """Log-probabilities of what follows each context, nats, float32 `[continuation tokens, V]` a row."""
        # Too long ones lose their beginning, as in lm-eval.
        rows = [tokens[-self.max_length :] for _text, _length, tokens in batch]
        last = [
            len(row) - 1 - (len(tokens) - length)
            for row, (_text, length, tokens) in zip(rows, batch, strict=True)
        ]
        width = max(map(len, rows))
        ids = torch.zeros((len(rows), width), dtype=torch.int64)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
        ids = ids.to(self.model.device)
        positions = torch.tensor(last, device=ids.device)
        kept = width - min(last)
        contexts = [text for text, _length, _tokens in batch]
        with self._surrounded(contexts, positions, self._encode_scored):
            logits = self.model(input_ids=ids, use_cache=False, logits_to_keep=kept).logits
        first = width - kept
        return [
            torch.log_softmax(logits[number, at - first : len(row) - first].float(), dim=-1)
            for number, (row, at) in enumerate(zip(rows, last, strict=True))
        ]

    def _check(self, texts: Any, context: list[int], continuation: list[int]) -> None:
        if context and continuation and len(continuation) <= self.max_length:
            return
        shown = "a window" if texts is None else f"{texts[1][:40]!r} after {texts[0][-40:]!r}"
        raise ConfigError(
            f"{shown}: {len(context)} tokens of context and {len(continuation)} to score",
            f"at least one of each, and at most {self.max_length} to score",
            "correct the task, or that row of its data",
        )

    def _encode(self, text: str) -> list[int]:
        lm: Any = self
        return list(lm.tok_encode(text))

    def _encode_scored(self, text: str) -> list[int]:
        """As lm-eval cuts a context off: blanks at its end belong to the continuation."""
        lm: Any = self
        return list(lm.tok_encode(text.rstrip())) if text else [lm.prefix_token_id]

    def _see(self, contexts: Sequence[str | None]) -> None:
        if self.before is not None:
            self.before(contexts)

    def _surrounded(
        self, contexts: Sequence[str | None], positions: torch.Tensor, encode: Callable[[str], list[int]]
    ) -> AbstractContextManager[object]:
        if self.around is None:
            return nullcontext()
        return self.around(ModelCall(tuple(contexts), positions, encode))

    @contextmanager
    def _bar(self, description: str, total: int) -> Iterator[None]:
        if not self.progress:
            yield
            return
        with progress_task(description, total) as advance:
            self._advance = advance
            try:
                yield
            finally:
                del self._advance


def _answer(scores: torch.Tensor, continuation: Sequence[int]) -> tuple[float, bool]:
    """The continuation's log-likelihood, and whether greedy decoding would give it."""
    # Requests that share a call differ in their last token alone, so all have as many.
    tokens = torch.tensor(list(continuation), device=scores.device)
    total = scores.gather(1, tokens[:, None]).sum()
    return float(total), bool((scores.argmax(dim=-1) == tokens).all())

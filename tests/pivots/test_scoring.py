"""Contrastive scores equal one ordinary forward a string."""

import math
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from lingraft.errors import ConfigError
from lingraft.pivots.greedy import judge_lines
from lingraft.pivots.scoring import score_words
from lingraft.pivots.wordtask import WordItem, WordTask

from .word_helpers import MODELS, small_task


def plain_probability(model: Any, tokenizer: Any, prompt: str, target: str) -> tuple[float, int]:
    """One forward over the whole string; transformers' own logits."""
    before, whole = tokenizer(prompt)["input_ids"], tokenizer(f"{prompt} {target}")["input_ids"]
    closing = 1 if whole[-1] in tokenizer.all_special_ids else 0
    before, whole = before[: len(before) - closing], whole[: len(whole) - closing]
    begin = next(
        (place for place, (a, b) in enumerate(zip(before, whole, strict=False)) if a != b), len(before)
    )
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([whole]), use_cache=False).logits[0].double()
    said = torch.log_softmax(logits, dim=-1)
    nll = [-float(said[place - 1, whole[place]]) for place in range(begin, len(whole))]
    rank = int((logits[begin - 1] > logits[begin - 1, whole[begin]]).sum()) + 1
    return math.exp(-sum(nll) / len(nll)), rank


def check(model: Any, tokenizer: Any, task: WordTask, batch_size: int) -> None:
    scores = score_words(model, tokenizer, task, batch_size=batch_size, generate=False)
    for number, item in enumerate(task.items):
        contrasts = []
        for draw in range(len(task.draws)):
            own, rank = plain_probability(
                model, tokenizer, task.prompt(item.source_word, draw), item.target_word
            )
            others = [
                plain_probability(model, tokenizer, task.prompt(word, draw), item.target_word)[0]
                for word in item.distractors
            ]
            assert scores.probability[number, draw] == pytest.approx(own, rel=1e-3, abs=1e-9)
            assert scores.distractor[number, draw] == pytest.approx(np.mean(others), rel=1e-3, abs=1e-9)
            assert scores.first_rank[number, draw] == rank
            assert scores.beaten_by[number, draw] == sum(other >= own for other in others)
            contrasts.append(own - np.mean(others))
        assert scores.score[number] == pytest.approx(np.mean(contrasts), abs=1e-5)


@pytest.mark.parametrize("name", MODELS.ARCHITECTURES)
def test_equals_one_forward_a_string(name: str, byte_bpe_tokenizer: Any) -> None:
    # bloom has no limit; the others' prompts must be longer than the windows of four tokens.
    check(MODELS.build(name), byte_bpe_tokenizer, small_task(1), batch_size=7)


def test_other_tokenizers_and_draws(unigram_tokenizer: Any, make_tiny_llama: Any) -> None:
    """Tokenizers that put tokens around every text: `<s>` stays, `</s>` does not stand before the target."""
    check(make_tiny_llama(600, tied=False, max_position_embeddings=512), unigram_tokenizer, small_task(2), 4)


def test_batches_do_not_matter(byte_bpe_tokenizer: Any) -> None:
    model, task = MODELS.build("gemma3_text"), small_task()
    one, many = (score_words(model, byte_bpe_tokenizer, task, batch_size=size) for size in (1, 64))
    np.testing.assert_allclose(one.probability, many.probability, rtol=1e-4)
    assert one.said == many.said


@pytest.mark.parametrize("name", ["mistral", "bloom", "gemma2", "gpt2"])
def test_greedy_lines_equal_generate(name: str, byte_bpe_tokenizer: Any) -> None:
    model, task = MODELS.build(name), small_task()
    said = score_words(model, byte_bpe_tokenizer, task).said
    assert said is not None
    special = set(byte_bpe_tokenizer.all_special_ids)
    for number, item in enumerate(task.items):
        limit = max(
            len(byte_bpe_tokenizer(f" {word}", add_special_tokens=False)["input_ids"])
            for word in item.accepted
        )
        for draw in range(2):
            ids = list(byte_bpe_tokenizer(task.prompt(item.source_word, draw))["input_ids"])
            new: list[int] = []
            for _ in range(limit + 2):
                with torch.no_grad():
                    token = int(
                        model(input_ids=torch.tensor([ids + new]), use_cache=False).logits[0, -1].argmax()
                    )
                if token in special:
                    break
                new.append(token)
            expected = byte_bpe_tokenizer.decode(new, skip_special_tokens=True).split("\n")[0].strip()
            assert said[number][draw] == expected


def test_judging_lines() -> None:
    item = WordItem("dog", "Größe", ("Größe", "hund"), ())
    # Decomposed letters and another case are the same word; a longer word is not.
    assert judge_lines([item], [["größe", "GRO\u0308ßE", "Hund", "Hunde", ""]]).tolist() == [
        [True, True, True, False, False]
    ]


def test_table_and_summary(byte_bpe_tokenizer: Any, tmp_path: Any, make_tiny_llama: Any) -> None:
    task = small_task()
    scores = score_words(make_tiny_llama(600, max_position_embeddings=512), byte_bpe_tokenizer, task)
    scores.write(tmp_path / "scores.parquet")
    table = pq.read_table(tmp_path / "scores.parquet").to_pydict()
    assert table["source_word"] == [item.source_word for item in task.items]
    np.testing.assert_allclose(table["score"], scores.score)
    assert [len(draws) for draws in table["probability_by_draw"]] == [2] * 5
    summary = scores.summary()
    assert summary["score"].value == pytest.approx(scores.score.mean())
    assert summary["score"].low is not None and summary["score"].low <= summary["score"].value
    assert 0 <= summary["accuracy"].value <= 1


def test_a_copied_word_shares_tokens_and_a_trained_pair_scores(byte_bpe_tokenizer: Any) -> None:
    task = small_task()
    copied = WordItem("page", "page", ("page",), ("dog",))
    task = WordTask(task.source_language, task.target_language, (*task.items, copied), task.draws, {})
    scores = score_words(MODELS.build("llama"), byte_bpe_tokenizer, task, generate=False)
    assert scores.shares_tokens[-1] and scores.correct is None
    assert scores.target_tokens[0] > 1


def test_wrong_draws_and_too_long_prompts_are_refused(byte_bpe_tokenizer: Any, make_tiny_llama: Any) -> None:
    model = make_tiny_llama(600, max_position_embeddings=16)
    with pytest.raises(ConfigError, match="context"):
        score_words(model, byte_bpe_tokenizer, small_task())
    with pytest.raises(ConfigError, match="draws"):
        score_words(model, byte_bpe_tokenizer, small_task(), draws=3)

"""Layer-by-token pictures: the last layer is the model's, the predicting column is the trace's; pages hold them."""

from typing import Any

import numpy as np
import pytest
import torch

from lingraft.errors import ConfigError
from lingraft.models.hooks import capture
from lingraft.pivots import trace_grid
from lingraft.pivots.prompt_tokens import encode_rows
from lingraft.pivots.trace_grid import choose_words, visible, word_grid
from lingraft.pivots.trace_grid_report import grid_block, grid_picture
from lingraft.pivots.tracing import trace_words
from lingraft.reports.page import Section, render_page
from lingraft.reports.tokengrid import TokenCell, TokenGrid

from .word_helpers import MODELS, small_task


@pytest.mark.parametrize("name", MODELS.ARCHITECTURES)
def test_the_last_layer_is_the_model(
    name: str, byte_bpe_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_grid, "LOGITS_AT_ONCE", 1300)
    model, task = MODELS.build(name), small_task()
    traces = trace_words(model, byte_bpe_tokenizer, task, every_token=True)
    for number, item in enumerate(traces.items):
        grid = word_grid(model, byte_bpe_tokenizer, task, item, top=3)
        (row,) = encode_rows(byte_bpe_tokenizer, [task.prompt(item.source_word, 0)], [item.target_word])
        with torch.no_grad():
            said = model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0].softmax(-1)
        columns = len(grid.tokens)
        read = [byte_bpe_tokenizer.decode([token]) for token in row.ids[-columns - 1 : -1]]
        assert list(grid.tokens) == read
        best = said[-columns - 1 : -1].topk(3, dim=-1)
        np.testing.assert_allclose(grid.top_probabilities[-1], best.values, rtol=2e-3, atol=1e-6)
        # Every column from the predicting one on is a place of the trace.
        own = traces.top_probabilities[traces.item == number].transpose(1, 0, 2)
        np.testing.assert_allclose(
            grid.top_probabilities[:, grid.begin :], own[..., :3], rtol=2e-3, atol=1e-6
        )
        assert grid.tokens[0].strip() and grid.tokens[0].strip() in "English:"


def test_padding_on_the_left_says_the_same(byte_bpe_tokenizer: Any) -> None:
    """Words of unequal lengths in one batch of transformers', padded on the left, against our rows."""
    for name in ("llama", "gpt2", "bloom", "gemma3_text", "gpt_neox"):
        model, task = MODELS.build(name), small_task()
        found = trace_words(model, byte_bpe_tokenizer, task, batch_size=8)
        prompts = [task.prompt(item.source_word, 0) for item in found.items]
        byte_bpe_tokenizer.padding_side = "left"
        batch = byte_bpe_tokenizer(prompts, return_tensors="pt", padding=True)
        assert int(batch["attention_mask"].sum(1).min()) < batch["input_ids"].shape[1]
        places = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
        options = {} if name == "bloom" else {"position_ids": places}
        keys = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        with torch.no_grad(), capture(model, ["resid"]) as captured:
            logits = model(**keys, **options, use_cache=False).logits[:, -1]
            resolved = trace_grid.resolve(model)
            lens = resolved.logits_of(resolved.final_norm(captured["resid"])).softmax(-1)
        torch.testing.assert_close(lens[-1], logits.softmax(-1), rtol=1e-3, atol=1e-5)
        best = lens.transpose(0, 1).topk(5, dim=-1).values
        np.testing.assert_allclose(found.top_probabilities, best, rtol=5e-3, atol=1e-5)


def test_words_are_chosen_in_turn(byte_bpe_tokenizer: Any) -> None:
    traces = trace_words(MODELS.build("llama"), byte_bpe_tokenizer, small_task())
    assert len(choose_words(traces, 2)) == 2
    assert set(choose_words(traces, 99)) == set(traces.items) and not choose_words(traces, 0)
    assert [item.source_word for item in choose_words(traces, 0, ["dog"])] == ["dog"]
    with pytest.raises(ConfigError, match="'cow' was not traced"):
        choose_words(traces, 1, ["cow"])


def test_tokens_are_seen() -> None:
    assert [visible(text, 7) for text in (" dog", " ", "\n\n", "", "\ufffd", "\u200b", "文書", " 的")] == [
        "dog",
        "␣",
        "⏎⏎",
        "#7",
        "#7",
        "#7",
        "文書",
        "的",
    ]
    assert visible("") == "∅"


def test_pictures_and_blocks(byte_bpe_tokenizer: Any) -> None:
    model, task = MODELS.build("llama"), small_task()
    item = task.items[2]  # 文書 -> book
    grid = word_grid(model, byte_bpe_tokenizer, task, item)
    pivot = int(grid.top_ids[0, 0, 0])
    picture = grid_picture(grid, pivots=[pivot])
    assert picture.startswith(b"\x89PNG") and grid_picture(grid, pivots=[pivot]) == picture
    block = grid_block(grid, pivots=[pivot], unfolded=True)
    assert block.rows[0] == str(grid.top_ids.shape[0] - 1) and block.cells[-1][0].kind >= 0
    page = render_page([Section("x", [block])])
    assert (
        "文書" in page
        and "<details" in page
        and page.count("<td") == grid.top_ids.shape[0] * len(grid.tokens)
    )


def test_no_token_can_break_the_page() -> None:
    evil = "</td><script>alert('x')</script>\ud800"
    cells = [[TokenCell([(evil, 0.5)], 0)]]
    page = render_page([Section("x", [TokenGrid(evil, evil, [evil], [evil], cells, [evil], [0], evil)])])
    # One script, the page's own, which its policy names by digest.
    assert page.count("<script") == 1 and "<script>alert" not in page and "&lt;script" in page
    page.encode("utf-8")
    # Pages without such a block do not carry its looks.
    assert "tokengrid" not in render_page([Section("x", [])])

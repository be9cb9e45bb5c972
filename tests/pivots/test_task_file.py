"""A word task written and read again is the same; files that are none are refused by line; work in parts is whole."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lingraft.errors import ConfigError
from lingraft.pivots.partials import in_parts, join_scores, join_traces, scores_to_part, traces_to_part
from lingraft.pivots.pivot_sets import read_pivots
from lingraft.pivots.prompt_tokens import word_token_ids
from lingraft.pivots.scoring import score_words
from lingraft.pivots.task_file import is_word_task, read_word_task, write_word_task
from lingraft.pivots.trace_filters import split_shared
from lingraft.pivots.tracing import trace_words
from lingraft.pivots.words import count_words
from lingraft.pivots.wordtask import WordItem

from .word_helpers import MODELS, small_task


def test_a_task_survives_the_disk(tmp_path: Path) -> None:
    task = small_task()
    item = replace(task.items[0], frequency=3.5, part_of_speech="noun")
    task = replace(task, items=(item, *task.items[1:]), left_out={"used as examples": 4})
    file = tmp_path / "words.jsonl"
    write_word_task(file, task, about={"lexicon": "größe.tsv"})
    assert read_word_task(file) == task
    assert is_word_task(file) and not is_word_task(tmp_path / "gone")
    assert "überprüft" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("line", "change", "message"),
    [
        (1, {"word_task": 9}, "no header of a word task in line 1"),
        (1, {"draws": None}, "line 1: no draws"),
        (3, {"target_word": "  "}, "line 3: an empty target_word"),
        (4, {"source_word": ""}, "line 4: an empty source_word"),
        (4, {"source_word": None}, "line 4: no source_word"),
        (2, {"distractors": ["a", ""]}, "line 2: an empty distractor"),
        (2, None, "line 2: no JSON"),
    ],
)
def test_bad_files_are_refused_by_line(tmp_path: Path, line: int, change: Any, message: str) -> None:
    file = tmp_path / "words.jsonl"
    write_word_task(file, small_task(), about={})
    lines = file.read_text(encoding="utf-8").split("\n")
    lines[line - 1] = "{" if change is None else json.dumps({**json.loads(lines[line - 1]), **change})
    file.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        read_word_task(file)


def test_what_is_no_task_at_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_word_task(tmp_path / "gone")
    (tmp_path / "x").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_word_task(tmp_path / "x")
    write_word_task(tmp_path / "none", replace(small_task(), items=()), about={})
    with pytest.raises(ConfigError, match="0 words"):
        read_word_task(tmp_path / "none")


def test_parts_are_the_whole_and_are_kept(byte_bpe_tokenizer: Any, tmp_path: Path) -> None:
    model, task = MODELS.build("llama"), small_task()
    calls: list[int] = []

    def scored(begin: int, end: int) -> Any:
        calls.append(begin)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return scores_to_part(
            score_words(model, byte_bpe_tokenizer, replace(task, items=task.items[begin:end]))
        )

    with pytest.raises(KeyboardInterrupt):
        in_parts(tmp_path, 5, 2, scored)
    joined = join_scores(task.items, in_parts(tmp_path, 5, 2, scored))
    assert calls == [0, 2, 2, 4]
    whole = score_words(model, byte_bpe_tokenizer, task)
    np.testing.assert_allclose(joined.probability, whole.probability, rtol=1e-4)
    np.testing.assert_array_equal(joined.first_rank, whole.first_rank)
    assert joined.said == whole.said and joined.items == whole.items
    assert joined.correct is not None and joined.correct.dtype == np.bool_
    silent = scores_to_part(score_words(model, byte_bpe_tokenizer, task, generate=False))
    assert join_scores(task.items, [silent]).said is None


def test_parts_of_traces_are_the_whole(byte_bpe_tokenizer: Any, tmp_path: Path) -> None:
    model, task = MODELS.build("gemma2"), small_task()
    copied = WordItem("page", "page", ("page",), ())
    task = replace(task, items=(copied, *task.items))
    given = {("dog", "überprüft"): {77, 301}}
    kept, skipped = split_shared(byte_bpe_tokenizer, task.items)

    def traced(begin: int, end: int) -> Any:
        some = replace(task, items=tuple(kept[begin:end]))
        return traces_to_part(trace_words(model, byte_bpe_tokenizer, some, pivots=given, every_token=True))

    joined = join_traces(kept, skipped, in_parts(tmp_path, len(kept), 2, traced))
    whole = trace_words(model, byte_bpe_tokenizer, task, pivots=given, every_token=True)
    assert joined.items == whole.items and joined.skipped == whole.skipped == (copied,)
    for name in ("item", "position", "next_id"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    for name in ("top_probabilities", "source_mass", "target_mass", "pivot_mass", "next_probability"):
        np.testing.assert_allclose(getattr(joined, name), getattr(whole, name), rtol=1e-3, atol=1e-6)
    assert joined.source_ids == whole.source_ids and joined.pivot_ids == whole.pivot_ids


def test_pivots_come_as_texts(byte_bpe_tokenizer: Any, tmp_path: Path) -> None:
    items = small_task().items
    lines = tmp_path / "pivots.tsv"
    lines.write_text(
        "Dog\tu\u0308berpru\u0308ft\tbook\ndog\tüberprüft\tSeite\nelse\twhere\tx\n", encoding="utf-8"
    )
    wanted = word_token_ids(byte_bpe_tokenizer, "book") | word_token_ids(byte_bpe_tokenizer, "Seite")
    assert read_pivots(lines, byte_bpe_tokenizer, items) == {("dog", "überprüft"): wanted}
    table = {
        "source_word": ["dog", "dog"],
        "target_word": ["überprüft"] * 2,
        "token": ["book", "Seite"],
        "kept": [True, False],
    }
    pq.write_table(pa.table(table), tmp_path / "pivots.parquet")
    found = read_pivots(tmp_path / "pivots.parquet", byte_bpe_tokenizer, items)
    assert found == {("dog", "überprüft"): word_token_ids(byte_bpe_tokenizer, "book")}
    for text, message in (("dog\tcat\n", "line 1"), ("a\tb\tc\n", "none of them among"), ("", "0 pairs")):
        lines.write_text(text)
        with pytest.raises(ConfigError, match=message):
            read_pivots(lines, byte_bpe_tokenizer, items)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(ConfigError, match="with the columns a"):
        read_pivots(tmp_path / "other.parquet", byte_bpe_tokenizer, items)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match=r"broken\.parquet"):
        read_pivots(tmp_path / "broken.parquet", byte_bpe_tokenizer, items)


def test_words_of_a_corpus() -> None:
    assert count_words(["Cafe\u0301 café!", "the-cafe"]) == {"café": 2.0, "the": 1.0, "cafe": 1.0}
    # Vowel signs are marks: cut at them, no Hindi word is left.
    assert count_words(["किताब मेज पर है"]) == dict.fromkeys(["किताब", "मेज", "पर", "है"], 1.0)
    with pytest.raises(ConfigError, match="without words"):
        count_words(["...", ""])

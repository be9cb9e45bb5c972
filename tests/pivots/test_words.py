"""Lexicons: bad rows counted by reason, wrong directions refused, tasks drawn as they should be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lingraft.errors import ConfigError, TokenizerError
from lingraft.pivots.languages import find_language
from lingraft.pivots.prompt_tokens import common_length, encode_rows, word_token_ids
from lingraft.pivots.words import read_frequencies, read_lexicon, read_parts_of_speech
from lingraft.pivots.wordtask import build_word_task

GOOD = [("dog", "собака"), ("cat", "кошка"), ("cat", "кот"), ("café", "кафе"), ("ice", "лёд")]


def write(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("".join(f"{first}\t{second}\n" for first, second in rows), encoding="utf-8")
    return path


def letters(number: int) -> str:
    """A word of letters for a number, of varying length."""
    word = "w" if number % 3 else "wo"
    while True:
        word += chr(97 + number % 26)
        number //= 26
        if not number:
            return word


@pytest.fixture
def many(tmp_path: Path) -> Any:
    """A lexicon of 300 words, some with a translation in common."""
    rows = [(letters(n), "д" + "".join(chr(0x430 + int(d)) for d in str(n // 2))) for n in range(300)]
    return read_lexicon(write(tmp_path / "many.tsv", rows), "en", "ru")


def test_bad_rows_are_counted_with_reasons(tmp_path: Path) -> None:
    bad = [
        b"no tab here",
        b"dog\t",
        b"\tdog",
        b"dog\t \xcc\x81",
        b"caf\xe9\t\xd0\xba",
        b"dog\tdogs",
        "собака\tпёс".encode(),
        "hot dog\tсосиска".encode(),
        "un-\tне".encode(),
        "h2o\tвода".encode(),
        "dog\tсобака".encode(),
    ]
    file = tmp_path / "ru.tsv"
    # The repeated pair comes decomposed: NFC makes it one.
    rows = "".join(f"{a}\t{b}\textra\n" for a, b in GOOD).encode() + "ice\tле\u0308д\n\n".encode()
    file.write_bytes(b"\xef\xbb\xbf" + rows + b"\n".join(bad))
    lexicon = read_lexicon(file, "English", "rus")
    assert lexicon.translations == {
        "dog": ("собака",),
        "cat": ("кошка", "кот"),
        "café": ("кафе",),
        "ice": ("лёд",),
    }
    assert lexicon.rejected == {
        "no tab": 1,
        "an empty word": 2,
        "a word without letters": 1,
        "not UTF-8": 1,
        "not in the script of Russian": 1,
        "not in the script of English": 1,
        "several words": 1,
        "an affix": 1,
        "digits or symbols": 1,
        "repeated": 2,
    }
    assert lexicon.examples["no tab"] == "line 8: no tab here"


def test_phrases_swapped_columns_and_ambiguous_words(tmp_path: Path) -> None:
    rows = [("собака", "hot dog"), ("кот", "cat"), *((f"сло{'в' * n}", "much") for n in range(7))]
    lexicon = read_lexicon(write(tmp_path / "x", rows), "en", "ru", swap=True, phrases=True)
    assert lexicon.translations == {"hot dog": ("собака",), "cat": ("кот",)}
    assert lexicon.rejected == {"a word with too many translations": 1}


def test_wrong_directions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"other column's script.*exchange"):
        read_lexicon(write(tmp_path / "ru", GOOD), "ru", "en")
    german = [("size", "Größe"), ("dog", "Hund"), ("cat", "Katze"), ("exam", "Prüfung"), ("street", "Straße")]
    assert read_lexicon(write(tmp_path / "de", german), "en", "de").translations["dog"] == ("Hund",)
    with pytest.raises(ConfigError, match="outside ASCII"):
        read_lexicon(tmp_path / "de", "de", "en")
    # Nothing in the letters tells Swahili from English; a word list does.
    swahili = write(tmp_path / "sw", [("mbwa", "dog"), ("paka", "cat"), ("wiki", "week"), ("simba", "lion")])
    assert len(read_lexicon(swahili, "en", "sw").translations) == 4
    with pytest.raises(ConfigError, match="known English words"):
        read_lexicon(swahili, "en", "sw", known_words=["Dog", "cat", "lion", "house"])


def test_unusable_files_and_languages(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gone"):
        read_lexicon(tmp_path / "gone", "en", "ru")
    (tmp_path / "x").write_text("a b")
    with pytest.raises(ConfigError, match=r"no usable row .1 no tab."):
        read_lexicon(tmp_path / "x", "en", "ru")
    with pytest.raises(ConfigError, match="language 'xx'"):
        find_language("xx")
    assert find_language("Wolof").writes("ку") and find_language("swh").name == "Swahili"


def test_a_task_keeps_its_words_apart(many: Any) -> None:
    task = build_word_task(many, limit=40, seed=3)
    assert len(task.items) == 40 and len(task.draws) == 5 and {len(draw) for draw in task.draws} == {5}
    shown = {text for draw in task.draws for pair in draw for text in pair}
    assert len({pair for draw in task.draws for pair in draw}) == 25
    for item in task.items:
        assert not {item.source_word, *item.accepted} & shown
        assert len(set(item.distractors)) == 9 and item.source_word not in item.distractors
        for word in item.distractors:
            assert not set(many.translations[word]) & set(item.accepted) and word not in shown
    assert build_word_task(many, limit=40, seed=3) == task
    assert build_word_task(many, limit=40, seed=4).items != task.items
    # A larger limit adds words and changes none.
    assert build_word_task(many, limit=80, seed=3).items[:40] == task.items


def test_distractors_follow_frequency_and_part_of_speech(many: Any, tmp_path: Path) -> None:
    words = sorted(many.translations)
    file = tmp_path / "frequencies.tsv"
    file.write_text(
        "".join(f"{word.upper()}\t{10 * (n + 1)}\n" for n, word in enumerate(words)) + "x\tmany\n"
    )
    frequencies = read_frequencies(file)
    tags = tmp_path / "tags.tsv"
    tags.write_text("".join(f"{word}\t{'noun' if n % 2 else 'verb'}\n" for n, word in enumerate(words)))
    parts = read_parts_of_speech(tags)
    task = build_word_task(
        many, limit=50, frequencies=frequencies, parts_of_speech=parts, most_frequent=len(words) - 10
    )
    for item in task.items:
        assert item.part_of_speech == parts[item.source_word] and item.frequency is not None
        assert {parts[word] for word in item.distractors} == {item.part_of_speech}
    kept = sorted(frequencies[item.source_word] for item in task.items)
    assert kept[0] >= 110
    by_length = build_word_task(many, limit=50)
    assert all(
        abs(len(word) - len(item.source_word)) <= 2 for item in by_length.items for word in item.distractors
    )
    with pytest.raises(ConfigError, match="without frequencies"):
        build_word_task(many, most_frequent=3)


def test_too_small_lexicons_are_refused(tmp_path: Path) -> None:
    lexicon = read_lexicon(write(tmp_path / "ru", GOOD), "en", "ru")
    with pytest.raises(ConfigError, match="4 usable words"):
        build_word_task(lexicon)


def test_the_prompt(many: Any) -> None:
    task = build_word_task(many, examples=1, draws=2, limit=1)
    ((word, other),) = task.draws[1]
    assert task.prompt("dog", 1) == (
        f"Translate from English to Russian.\n\nEnglish: {word}\nRussian: {other}\n\nEnglish: dog\nRussian:"
    )


@pytest.mark.parametrize("kind", ["byte_bpe_tokenizer", "unigram_tokenizer"])
def test_rows_are_the_joined_text(kind: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(kind)
    prompts, targets = ["German:", "German:", "a b:"], ["Größe", "문서", "e"]
    for row, prompt, target in zip(encode_rows(tokenizer, prompts, targets), prompts, targets, strict=True):
        assert tokenizer.decode(row.ids[row.begin :], skip_special_tokens=True).strip() == target
        assert tokenizer.decode(row.ids[: row.begin], skip_special_tokens=True).strip() == prompt
        assert row.ids[-1] not in tokenizer.all_special_ids


def test_a_prompt_without_tokens_is_refused(byte_bpe_tokenizer: Any) -> None:
    with pytest.raises(TokenizerError, match="adds no token"):
        encode_rows(byte_bpe_tokenizer, [""], ["dog"])


def test_tokens_of_words(byte_bpe_tokenizer: Any) -> None:
    ids = word_token_ids(byte_bpe_tokenizer, "dog")
    spaced = byte_bpe_tokenizer(" dog", add_special_tokens=False)["input_ids"]
    assert ids >= set(spaced)
    assert all(byte_bpe_tokenizer.decode([token]).strip() for token in ids)
    assert common_length([[1, 2, 3], [1, 2, 4, 5], [1, 2]]) == 2


@pytest.mark.parametrize(
    ("name", "code"),
    [("swahili", "sw"), ("german", "de"), ("hindi", "hi"), ("korean", "ko"), ("chinese", "zh")],
)
def test_the_shared_lexicons(name: str, code: str, shared_data: Callable[[str], Path]) -> None:
    lexicon = read_lexicon(shared_data(f"lexicons/{name}.txt"), "en", code)
    task = build_word_task(lexicon, limit=500)
    assert len(task.items) == 500
    if code != "sw":
        with pytest.raises(ConfigError, match="expected"):
            read_lexicon(shared_data(f"lexicons/{name}.txt"), code, "en")

"""Tasks read from their files: what prompts, options and answers become of them, and what is refused."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from lingraft.errors import ConfigError
from lingraft.patching.instances import Instance, read_instances, write_instances
from lingraft.patching.parsing import RULES, find_judge
from lingraft.patching.task_choices import choice_row
from lingraft.patching.task_words import read_lexicon
from lingraft.patching.tasks import TASKS, build_pairs


def write(path: Path, values: Sequence[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values), encoding="utf-8"
    )


def sentences(rows: int, seed: int = 0) -> list[list[int]]:
    """Lengths of the words of each row: what both made-up languages share."""
    draw = random.Random(seed)
    return [[draw.randint(2, 9) for _ in range(draw.randint(3, 25))] for _ in range(rows)]


def inference(letter: str, rows: int = 60, seed: int = 0) -> list[str]:
    return [
        f"Q-{letter}\n\nP: {' '.join(letter * n for n in lengths)}\nH: {letter * (7 * len(lengths) % 31 + 2)}\n\n"
        f"(1) yes {letter}\n(2) so so {letter}\n(3) no {letter}\n\nA-{letter}:"
        for lengths in sentences(rows, seed)
    ]


@pytest.fixture
def xnli(tmp_path: Path) -> Path:
    for language, letter in (("en", "e"), ("sw", "s"), ("de", "ü")):
        write(tmp_path / "split" / f"{language}.json", inference(letter))
        write(tmp_path / "ans" / f"{language}.json", [str(number % 3 + 1) for number in range(60)])
    return tmp_path


def refused(message: str, *parts: Any, **options: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        build_pairs(*parts, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_task_has_a_parsing_rule() -> None:
    assert set(TASKS) <= set(RULES)


def test_xnli(xnli: Path) -> None:
    found = build_pairs("xnli", xnli, receivers=["sw", "de"], limit=8)
    assert [item.id for item in found[:2]] == ["sw-0000", "sw-0001"]
    assert len(found) == 16 and found[8].id == "de-0000"
    item = found[4]
    assert item.donor == (inference("e")[4],) and item.receiver == inference("s")[4]
    assert item.options == (" (1)", " (2)", " (3)") and item.answers == (1,)
    assert item.language == "sw" and item.task == "xnli"
    judge = find_judge(item)
    assert judge is not None
    assert list(judge(["(2)", "so so s", "(1)"])) == [True, True, False]


def test_several_donors(xnli: Path) -> None:
    (item,) = build_pairs("xnli", xnli, donor=["en", "de"], receivers=["sw"], limit=1)
    assert item.donor == (inference("e")[0], inference("ü")[0])


def test_a_language_may_be_its_own_donor(xnli: Path) -> None:
    (item,) = build_pairs("xnli", xnli, receivers=["en"], limit=1)
    assert item.donor == (item.receiver,)


def test_built_rows_survive_a_file(xnli: Path, tmp_path: Path) -> None:
    found = build_pairs("xnli", xnli, receivers=["sw"], limit=5)
    write_instances(tmp_path / "pairs.jsonl", found)
    assert read_instances(tmp_path / "pairs.jsonl") == found


def shift(xnli: Path, language: str, at: int) -> None:
    path = xnli / "split" / f"{language}.json"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    write(path, rows[:at] + rows[at + 1 :] + rows[:1])


def test_shifted_rows_are_refused_or_left_out_or_kept(xnli: Path) -> None:
    shift(xnli, "sw", 30)
    refused("xnli sw: the donor's rows do not belong to the receiver's", "xnli", xnli, receivers=["de", "sw"])
    before = build_pairs("xnli", xnli, receivers=["sw"], misaligned="before")
    assert 20 <= len(before) <= 30
    assert len(build_pairs("xnli", xnli, receivers=["sw"], misaligned="all")) == 60
    # The rows before the break are as good as any.
    assert len(build_pairs("xnli", xnli, receivers=["sw"], limit=20)) == 20
    refused("misaligned: before", "xnli", xnli, receivers=["sw"], limit=40)
    assert len(build_pairs("xnli", xnli, receivers=["sw"], misaligned="before", limit=40)) == len(before)


def test_one_donor_of_two_may_be_the_wrong_one(xnli: Path) -> None:
    shift(xnli, "de", 30)
    refused("xnli sw:", "xnli", xnli, donor=["en", "de"], receivers=["sw"])
    assert (
        20 <= len(build_pairs("xnli", xnli, donor=["en", "de"], receivers=["sw"], misaligned="before")) <= 30
    )


def test_a_dropped_row_is_refused(xnli: Path) -> None:
    write(xnli / "split" / "sw.json", inference("s")[:30] + inference("s")[31:])
    refused("59 rows and", "xnli", xnli, receivers=["sw"])
    answers = [str(number % 3 + 1) for number in range(60)]
    write(xnli / "ans" / "sw.json", answers[:30] + answers[31:])
    refused("60 and 59 rows", "xnli", xnli, receivers=["sw"])


def test_a_shuffled_file_has_nothing_to_keep(xnli: Path) -> None:
    rows = inference("s")
    random.Random(1).shuffle(rows)
    write(xnli / "split" / "sw.json", rows)
    refused("misaligned: all", "xnli", xnli, receivers=["sw"], misaligned="before")


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("ans/sw.json", '"4"', "'4'; expected one of 1, 2, 3"),
        ("ans/sw.json", '"1', "line 3: no JSON"),
        ("split/sw.json", "{}", "row 3: {}"),
        ("split/sw.json", '" "', "a JSON string that is not empty"),
        ("split/sw.json", '"(1) yes (2) no"', "no option (3)"),
    ],
)
def test_faulty_rows_say_where(xnli: Path, file: str, line: str, message: str) -> None:
    lines = (xnli / file).read_text(encoding="utf-8").splitlines()
    (xnli / file).write_text("\n".join([*lines[:2], line, *lines[3:]]), encoding="utf-8")
    refused(message, "xnli", xnli, receivers=["sw"])


def test_requests_that_make_no_sense(xnli: Path, tmp_path: Path) -> None:
    refused("task 'nli'; expected one of xnli", "nli", xnli, receivers=["sw"])
    refused("is no directory", "xnli", tmp_path / "nowhere", receivers=["sw"])
    refused("language 'xx' has no file xx.json", "xnli", xnli, receivers=["xx"])
    refused("expected one of de, en, sw", "xnli", xnli, receivers=["xx"])
    refused("no file LANG.json", "xnli", tmp_path / "ans", receivers=["sw"])
    refused("no receiver language", "xnli", xnli, receivers=[])
    refused("each language once", "xnli", xnli, receivers=["sw", "sw"])
    refused("limit 0", "xnli", xnli, receivers=["sw"], limit=0)
    refused("misaligned 'maybe'", "xnli", xnli, receivers=["sw"], misaligned="maybe")


def choices(letter: str, rows: int = 30) -> list[dict[str, Any]]:
    return [
        {
            "premise": " ".join(letter * n for n in lengths) + ".",
            "choice1": letter * (lengths[0] * 4) + f" {number}",
            "choice2": letter * (lengths[1] * 4) + ".",
            "question": ("cause", "effect")[number % 2],
            "label": number % 2,
            "idx": number,
        }
        for number, lengths in enumerate(sentences(rows, 1))
    ]


def test_xcopa_in_the_released_wording(tmp_path: Path) -> None:
    write(tmp_path / "it" / "test.it.jsonl", choices("i"))
    write(tmp_path / "copa.jsonl", choices("e"))
    found = build_pairs("xcopa", tmp_path, donor_file=tmp_path / "copa.jsonl", receivers=["it"])
    assert len(found) == 30
    row = choices("i")[0]
    assert found[0].receiver == (
        "Ti viene assegnato il compito di completare un'attività di classificazione in due categorie.\n\n"
        f"Premessa: {row['premise']}\nOpzioni: (1) {row['choice1']}\n(2) {row['choice2']}\n\n"
        "Si prega di determinare quale delle due opzioni è più probabile che sia la causa della premessa data.\n\n"
        "La tua risposta:"
    )
    assert (
        found[0]
        .donor[0]
        .startswith("You are assigned to complete a two-category classification task.\n\nPremise: e")
    )
    assert found[1].donor[0].endswith("more likely to be the result of the given premise.\n\nYour Answer:")
    assert found[1].options == (" (1)", " (2)") and found[1].answers == (1,) and found[1].task == "xcopa"


def test_xcopa_pairs_rows_by_idx_and_asks_what_the_english_row_asks(tmp_path: Path) -> None:
    thai = [row | {"question": "effect"} for row in choices("ก")]
    write(tmp_path / "th" / "val.th.jsonl", thai)
    write(tmp_path / "copa.jsonl", choices("e")[::-1])
    found = build_pairs(
        "xcopa", tmp_path, donor_file=tmp_path / "copa.jsonl", receivers=["th"], split="val", misaligned="all"
    )
    assert choices("e")[0]["premise"] in found[0].donor[0]
    assert "cause of the given premise" in found[0].donor[0] and "สาเหตุ" in found[0].receiver
    assert "result of the given premise" in found[1].donor[0] and "ผลมาจาก" in found[1].receiver


def test_xcopa_without_english_keeps_each_row_its_question(tmp_path: Path) -> None:
    write(tmp_path / "th" / "test.th.jsonl", [row | {"question": "effect"} for row in choices("ก")])
    write(tmp_path / "it" / "test.it.jsonl", choices("i"))
    found = build_pairs("xcopa", tmp_path, donor="it", receivers=["th"])
    assert "ผลมาจาก" in found[0].receiver and "causa" in found[0].donor[0]


def test_xcopa_of_a_language_without_wording_is_asked_in_english() -> None:
    row = choice_row(choices("g")[0], "gn", "cause")
    assert row.prompt.startswith("You are assigned") and "ggg" in row.prompt


def test_xcopa_as_released_prompts(tmp_path: Path) -> None:
    for language, letter in (("en", "e"), ("qu", "q")):
        rows = [choice_row(row, language, row["question"]) for row in choices(letter)]
        write(tmp_path / "split" / f"{language}.json", [row.prompt for row in rows])
        write(tmp_path / "ans" / f"{language}.json", [str(int(row.answers[0]) + 1) for row in rows])
    found = build_pairs("xcopa", tmp_path, receivers=["qu"])
    assert found[0].receiver == choice_row(choices("q")[0], "qu", "cause").prompt
    assert [item.answers for item in found[:2]] == [(0,), (1,)]


def test_xcopa_refuses(tmp_path: Path) -> None:
    write(tmp_path / "it" / "test.it.jsonl", choices("i"))
    refused("XCOPA has no English, so give COPA's file", "xcopa", tmp_path, receivers=["it"])
    write(tmp_path / "copa.jsonl", choices("e")[1:])
    refused(
        "lacks 1 of 30 rows, first idx 0",
        "xcopa",
        tmp_path,
        donor_file=tmp_path / "copa.jsonl",
        receivers=["it"],
    )
    write(tmp_path / "copa.jsonl", [row | {"label": -1} for row in choices("e")])
    refused("label -1", "xcopa", tmp_path, donor_file=tmp_path / "copa.jsonl", receivers=["it"])
    write(tmp_path / "copa.jsonl", [{"premise": "a"}])
    refused("no choice1, choice2", "xcopa", tmp_path, donor_file=tmp_path / "copa.jsonl", receivers=["it"])
    refused(
        "one donor with it",
        "xcopa",
        tmp_path,
        donor=["en", "it"],
        donor_file=tmp_path / "copa.jsonl",
        receivers=["it"],
    )


def answering(letter: str, rows: int = 40) -> tuple[list[str], list[str]]:
    answers = [f"{letter * lengths[0]}{number}" for number, lengths in enumerate(sentences(rows, 2))]
    prompts = [
        f"Read-{letter}\n\nC: {' '.join(letter * n for n in lengths)} {answer.upper()}\n"
        f"Q: {letter * lengths[2] * 3}?\n\nA:"
        for lengths, answer in zip(sentences(rows, 2), answers, strict=True)
    ]
    return prompts, answers


def test_xquad(tmp_path: Path) -> None:
    for language, letter in (("en", "e"), ("ro", "ț")):
        prompts, answers = answering(letter)
        write(tmp_path / "split" / f"xquad.{language}.json", prompts)
        write(tmp_path / "ans" / f"xquad.{language}.json", answers)
    found = build_pairs("xquad", tmp_path, receivers=["ro"])
    assert len(found) == 40 and found[3].options == ()
    assert found[3].answers == (f" {answering('ț')[1][3]}",)
    judge = find_judge(found[3])
    assert judge is not None and list(judge([f"is {answering('ț')[1][3]}!", "no"])) == [True, False]
    refused("expected one of en, ro", "xquad", tmp_path, receivers=["sw"])
    write(tmp_path / "ans" / "xquad.ro.json", [*answering("ț")[1][1:], "țț"])
    refused("answers are not in their prompts, first row 0", "xquad", tmp_path, receivers=["ro"])


def test_an_answer_after_a_full_width_colon_has_no_space_before_it(tmp_path: Path) -> None:
    for language in ("en", "zh"):
        end = "：" if language == "zh" else ":"
        write(tmp_path / "split" / f"xquad.{language}.json", [f"17 {language}\n回答{end}"])
        write(tmp_path / "ans" / f"xquad.{language}.json", ["17"])
    (item,) = build_pairs("xquad", tmp_path, receivers=["zh"])
    assert item.answers == ("17",)


def test_opinions_go_from_the_translation_to_english(tmp_path: Path) -> None:
    english = [
        {
            "input_text": f"Human: someone from Kenya\n{text}\n(A) x\n(B) y\n(C) z\nAssistant:",
            "label": [0.2, 0.4, 0.4],
            "country": "Kenya",
        }
        for text in inference("e", 20)
    ]
    write(tmp_path / "split" / "sw.json", english)
    write(
        tmp_path / "translated" / "sw.json", [f"Binadamu\n{text}\nMsaidizi:" for text in inference("s", 20)]
    )
    found = build_pairs("globalopinionqa", tmp_path, receivers=["sw"])
    assert len(found) == 20
    assert found[2].receiver == english[2]["input_text"] and found[2].donor[0].startswith("Binadamu")
    assert found[2].options == (" (A)", " (B)", " (C)")
    # The first of equally many, as the released code's argmax has it.
    assert found[2].answers == (1,) and found[2].language == "sw"
    write(tmp_path / "split" / "sw.json", [row | {"label": [0.1] * 4} for row in english])
    refused("4 shares, and no option (D)", "globalopinionqa", tmp_path, receivers=["sw"])
    write(tmp_path / "split" / "sw.json", [{"input_text": "a"}])
    refused("no prompt with a distribution", "globalopinionqa", tmp_path, receivers=["sw"])


@pytest.fixture
def lexicons(tmp_path: Path) -> Path:
    words = [
        "".join(pair) + "ing" for pair in zip("abcdefghijklmnopqrstuvwxyz" * 6, "bcdfg" * 40, strict=False)
    ]
    words = sorted(set(words))
    german = [f"{word}\t{word[::-1].capitalize()}ü\n{word}\tDas{word[0]}" for word in words]
    german += [
        "of course\tnatürlich",
        "house\tauf Eis",
        "tic\t-tik",
        "test\ttest",
        "Paris\tParisch",
        "no tab here",
    ]
    german += [f"vowel\tv{letter}w" for letter in "abcdefgh"]
    (tmp_path / "german.txt").write_text("\n".join(german) + "\n", encoding="utf-8")
    rare = [
        f"{word}\t犬{number}".replace(str(number), chr(0x4E00 + number))
        for number, word in enumerate(words[:100])
    ]
    (tmp_path / "ja.tsv").write_text("\n".join(rare) + "\n", encoding="utf-8")
    (tmp_path / "note.txt").write_text("no lexicon\n", encoding="utf-8")
    return tmp_path


def test_lexicon_entries_that_cannot_be_asked_for_are_left_out(lexicons: Path) -> None:
    found = read_lexicon(lexicons / "german.txt")
    assert found["abing"] == ("Gnibaü", "Dasa")
    assert not {"of course", "house", "tic", "test", "Paris", "paris", "vowel"} & set(found)


def test_words(lexicons: Path) -> None:
    found = build_pairs("words", lexicons, receivers=["de", "ja"], limit=12)
    assert [item.id for item in found[11:13]] == ["de-0011", "ja-0000"]
    lexicon = read_lexicon(lexicons / "german.txt")
    asked = {item.receiver.split("\n")[-2].removeprefix("Englisch: ") for item in found[:12]}
    for item in found[:12]:
        lines = item.receiver.split("\n")
        assert lines[0] == "Übersetze aus dem Englischen ins Deutsche." and lines[-1] == "Deutsch:"
        word = lines[-2].removeprefix("Englisch: ")
        assert item.answers == tuple(f" {text}" for text in lexicon[word])
        shown = [line.removeprefix("Englisch: ") for line in lines if line.startswith("Englisch: ")][:-1]
        assert len(set(shown)) == 5 and not set(shown) & asked
        assert f"Deutsch: {lexicon[shown[0]][0]}" in item.receiver
        # No example gives the answer away.
        assert not {text for example in shown for text in lexicon[example]} & set(lexicon[word])
        # The donor asks the same in English, with the same examples.
        english = item.donor[0].split("\n")
        assert english[0] == "Translate from English to German." and english[-2:] == [
            f"English: {word}",
            "German:",
        ]
        assert [line.removeprefix("English: ") for line in english if line.startswith("English: ")][
            :-1
        ] == shown
    assert found[12].receiver.endswith("日本語：") and not found[12].answers[0].startswith(" ")
    judge = find_judge(found[0])
    assert judge is not None and list(judge([f"{found[0].answers[0]}.\n\nEnglisch:", "?"])) == [True, False]


def test_words_are_drawn_by_the_seed(lexicons: Path) -> None:
    first = build_pairs("words", lexicons, receivers=["de"], limit=10)
    assert first == build_pairs("words", lexicons, receivers=["de"], limit=10)
    assert first != build_pairs("words", lexicons, receivers=["de"], limit=10, seed=1)
    assert (
        len(build_pairs("words", lexicons, receivers=["de"]))
        == len(read_lexicon(lexicons / "german.txt")) - 20
    )


def test_words_that_more_lexicons_hold_come_first(lexicons: Path) -> None:
    both = set(read_lexicon(lexicons / "ja.tsv"))
    found = build_pairs("words", lexicons, receivers=["de"], limit=10)
    assert {item.receiver.split("\n")[-2].removeprefix("Englisch: ") for item in found} <= both


def test_words_without_examples(lexicons: Path) -> None:
    (item,) = build_pairs("words", lexicons, receivers=["de"], limit=1, examples=0)
    assert item.donor[0].count("English: ") == 1


def test_words_refuse(lexicons: Path) -> None:
    refused("no lexicon for 'sw'", "words", lexicons, receivers=["sw"])
    refused("no wording for word translation into 'xh'", "words", lexicons, receivers=["xh"])
    refused("donor de for words", "words", lexicons, donor="de", receivers=["ja"])
    refused("usable words; expected more than 200", "words", lexicons, receivers=["de"], examples=50)
    refused("examples -1", "words", lexicons, receivers=["de"], examples=-1)
    (lexicons / "hindi.txt").write_text("a b\n", encoding="utf-8")
    refused("has no line with a tab", "words", lexicons, receivers=["hi"])


def complete(found: Sequence[Instance]) -> bool:
    """Every row has its own right answer by its own rule."""
    for item in found:
        judge = find_judge(item)
        assert judge is not None
        texts = [item.options[one] if isinstance(one, int) else one for one in item.answers]
        if not all(judge(texts)) or judge(["§"])[0]:
            return False
    return len({item.id for item in found}) == len(found)


def test_real_xnli_and_xquad(shared_data: Callable[[str], Path]) -> None:
    languages = ["ar", "bg", "de", "el", "es", "fr", "hi", "ru", "sw", "tr", "ur", "vi", "zh"]
    found = build_pairs("xnli", shared_data("xtransplant/XNLI_sample"), receivers=languages)
    assert len(found) == 650 and complete(found)
    found = build_pairs("xquad", shared_data("xtransplant/XQuAD_sample"), receivers=["ar", "ro", "th", "zh"])
    assert len(found) == 200 and complete(found)


def test_real_opinions(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("xtransplant/GlobalOpinionQA_sample")
    languages = sorted(path.stem for path in (folder / "split").glob("*.json"))
    found = build_pairs("globalopinionqa", folder, receivers=languages)
    assert len(found) == 1000 and complete(found)


def test_real_xcopa_pairs_every_language_with_italian(shared_data: Callable[[str], Path]) -> None:
    languages = ["et", "ht", "id", "qu", "sw", "ta", "th", "tr", "vi", "zh"]
    found = build_pairs("xcopa", shared_data("xcopa"), donor="it", receivers=languages, split="val")
    assert len(found) == 1000 and complete(found)


def test_real_words(shared_data: Callable[[str], Path]) -> None:
    found = build_pairs("words", shared_data("lexicons"), receivers=["de", "zh", "hi", "sw"], limit=40)
    assert len(found) == 160 and complete(found)

"""The check that two languages' rows belong together: synthetic parallel text, and the real samples."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lingraft.patching.alignment import Alignment, check_alignment
from lingraft.patching.alignment_evidence import columns_of, weigh

ROWS = 60


def parallel(rows: int = ROWS, seed: int = 0, *, numbers: bool = True) -> tuple[list[str], list[str]]:
    """Prompts of two made-up languages, of two varying lines, each premise used once or twice."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("bdfgklmnprst", k=draw.randint(2, 9))) for _ in range(300)]
    others = {
        word: "".join(draw.choices("бдѣфгжзик", k=max(1, len(word) + draw.randint(-2, 2)))) for word in words
    }

    def sentence(longest: int) -> tuple[str, str]:
        chosen = draw.choices(words, k=draw.randint(3, longest))
        said, translated = " ".join(chosen), " ".join(others[word] for word in chosen)
        number = f" {draw.randint(2, 3000)}" if numbers and draw.random() < 0.3 else ""
        return said + number, translated + number

    first, second = [], []
    while len(first) < rows:
        premise = sentence(25)
        for _ in range(draw.choice((1, 1, 2))):
            hypothesis = sentence(10)
            first.append(
                f"Human: which?\n\nPremise: {premise[0]}\nHypothesis: {hypothesis[0]}\n\n(1) Yes\n\nSo:"
            )
            second.append(f"Кто?\n\nПрем: {premise[1]}\nГип: {hypothesis[1]}\n\n(1) Да\n\nТак:")
    return first[:rows], second[:rows]


def dropped(rows: list[str], at: int, count: int = 1) -> list[str]:
    """Rows without some, filled up at the end so that the number stays."""
    return rows[:at] + rows[at + count :] + rows[:count]


def inserted(rows: list[str], at: int, count: int = 1) -> list[str]:
    return (rows[:at] + rows[:count] + rows[at:])[: len(rows)]


def shuffled(rows: list[str], seed: int = 0) -> list[str]:
    order = list(rows)
    random.Random(seed).shuffle(order)
    return order


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rows", [20, ROWS, 300])
def test_rows_that_belong_together_raise_no_alarm(rows: int, seed: int) -> None:
    found = check_alignment(*parallel(rows, seed))
    assert found.aligned and found.certain
    assert found.first_row is None and found.shift is None
    assert found.trusted_rows == rows
    assert [segment.shift for segment in found.segments] == [0]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("at", [15, 40])
@pytest.mark.parametrize("shift", [-2, -1, 1, 2])
def test_a_shift_from_some_row_on_is_found(shift: int, at: int, seed: int) -> None:
    first, second = parallel(seed=seed)
    broken = dropped(second, at, -shift) if shift < 0 else inserted(second, at, shift)
    found = check_alignment(first, broken)
    assert not found.aligned and found.certain
    assert found.shift == shift
    assert found.first_row is not None and abs(found.first_row - at) <= 3
    assert found.trusted_rows <= at
    assert f"shifted by {shift:+d}" in found.summary


def test_the_donor_may_be_the_broken_one() -> None:
    first, second = parallel()
    found = check_alignment(dropped(first, 30), second)
    assert not found.aligned and found.shift == 1


def test_a_dropped_row_shows_in_numbers_and_place() -> None:
    first, second = parallel()
    found = check_alignment(first, second[:30] + second[31:])
    assert not found.aligned
    assert found.rows == (60, 59)
    assert found.first_row is not None and abs(found.first_row - 30) <= 3
    assert found.summary.startswith("60 and 59 rows; ")


def test_a_last_row_too_many_is_no_shift() -> None:
    first, second = parallel()
    found = check_alignment(first, second[:-1])
    assert not found.aligned
    assert found.first_row == 59 - 1 and found.trusted_rows >= 50
    assert [segment.shift for segment in found.segments] == [0]


@pytest.mark.parametrize("seed", range(4))
def test_a_shuffled_file_has_no_partners(seed: int) -> None:
    first, second = parallel(seed=seed)
    found = check_alignment(first, shuffled(second, seed))
    assert not found.aligned
    assert found.trusted_rows <= 2


def test_a_shift_beyond_the_largest_reads_as_no_partner() -> None:
    first, second = parallel(200)
    found = check_alignment(first, dropped(second, 100, 20), most_shift=3)
    assert not found.aligned and found.shift is None
    assert found.first_row is not None and abs(found.first_row - 100) <= 3


def test_a_shift_mended_later_is_two_breaks() -> None:
    first, second = parallel(120)
    broken = second[:40] + second[41:80] + [second[3]] + second[80:]
    found = check_alignment(first, broken)
    assert [segment.shift for segment in found.segments] == [0, -1, 0]


def test_two_rows_are_too_few_to_tell() -> None:
    first, second = parallel(2, numbers=False)
    found = check_alignment(first, second)
    assert found.aligned and not found.certain


def test_rows_without_evidence_are_not_taken_for_aligned() -> None:
    # All alike in length, without numbers or repeats: nothing can be known, and so many rows should show something.
    first = [
        f"Word: {number:04d}".translate(str.maketrans("0123456789", "abcdefghij")) for number in range(60)
    ]
    second = [
        f"Слово: {number:04d}".translate(str.maketrans("0123456789", "абвгдежзик")) for number in range(60)
    ]
    found = check_alignment(first, second)
    assert not found.aligned
    assert "nothing" in found.summary
    few = check_alignment(first[:20], second[:20])
    assert few.aligned and not few.certain


def test_a_file_without_rows() -> None:
    found = check_alignment([], ["a"])
    assert not found.aligned and found.first_row == 0


def test_repeated_contexts_shifted_by_one_question() -> None:
    draw = random.Random(1)
    first, second = [], []
    for passage in range(12):
        context = " ".join("w" * draw.randint(2, 9) for _ in range(draw.randint(60, 120)))
        for _ in range(5):
            asked = ["q" * draw.randint(2, 9) for _ in range(draw.randint(3, 14))]
            first.append(f"Context: {passage * 37 + 1000} {context}\nQuestion: {' '.join(asked)}?\n\nAnswer:")
            other = " ".join(word + "ы" * draw.randint(0, 1) for word in asked)
            second.append(f"Текст: {passage * 37 + 1000} {context}ыы\nВопрос: {other}?\n\nОтвет:")
    assert check_alignment(first, second).aligned
    found = check_alignment(first, dropped(second, 22))
    assert not found.aligned and found.shift == -1
    assert found.first_row is not None and abs(found.first_row - 22) <= 5


def test_right_options_that_differ_are_found_where_texts_agree() -> None:
    first, second = parallel()
    draw = random.Random(0)
    answers = [(draw.randrange(3),) for _ in first]
    others = answers[:25] + answers[26:] + answers[:1]
    assert check_alignment(first, second, donor_answers=answers, receiver_answers=answers).aligned
    found = check_alignment(first, second, donor_answers=answers, receiver_answers=others)
    assert not found.aligned and found.shift is None
    assert found.first_row is not None and 25 <= found.first_row <= 30
    assert "right options differ" in found.summary
    # Equal answers do not hide texts that are shifted: answers are often copied from English.
    assert not check_alignment(
        first, dropped(second, 30), donor_answers=answers, receiver_answers=answers
    ).aligned


def test_one_differing_answer_is_no_alarm() -> None:
    first, second = parallel()
    answers: list[tuple[str | int, ...]] = [(number % 3,) for number in range(ROWS)]
    others = [*answers[:20], (5,), *answers[21:]]
    assert check_alignment(first, second, donor_answers=answers, receiver_answers=others).aligned
    words: list[tuple[str | int, ...]] = [(f"answer {number}",) for number in range(ROWS)]
    assert check_alignment(first, second, donor_answers=words, receiver_answers=others).aligned


def test_digits_of_other_scripts_are_the_same_numbers() -> None:
    columns = columns_of([f"In {1900 + n} it was" for n in range(10)], [f"کب {n + 1900}" for n in range(10)])
    arabic = columns_of(
        [f"In {1900 + n} it was" for n in range(10)],
        ["کب " + "".join("٠١٢٣٤٥٦٧٨٩"[int(digit)] for digit in str(n + 1900)) for n in range(10)],
    )
    for first, second in (columns, arabic):
        evidence = weigh(first, second, 1)
        assert (evidence.fixed[1:-1, 1] > 1).all()
        assert (evidence.fixed[1:-1, [0, 2]] < 0).all()
        assert np.array_equal(evidence.fixed[0, :1], [0.0])


def test_lines_that_repeat_the_row_before_count_once() -> None:
    lines = ["a" * 10, "b" * 40, "b" * 40, "c" * 80, "d" * 20, "d" * 20, "e" * 60]
    texts = [f"Say {line} {len(line)}" for line in lines]
    evidence = weigh(*columns_of(texts, texts), 1)
    # A repeated line says nothing by its length or its number, only by being repeated.
    assert (evidence.lengths[:, [2, 5]] == 0).all() and (evidence.lengths[:, [1, 3, 4, 6], 1] > 0).all()
    repeats = evidence.fixed[[2, 5], 1]
    assert (repeats > 0.5).all() and (evidence.fixed[[1, 4], 2] < -1).all()
    # Where one file never repeats a line, repeats tell nothing.
    other = weigh(*columns_of(texts, [f"{text}{'x' * n}" for n, text in enumerate(texts)]), 1)
    assert (other.fixed[[2, 5], 1] == 0).all()


def test_what_is_as_in_the_row_before_is_no_new_evidence() -> None:
    texts = [f"{'ab' * (n + 3)} {'1999' if n in (4, 5) else ''} word" for n in range(60)]
    evidence = weigh(*columns_of(texts, texts), 1)
    assert evidence.fixed[4, 1] > 1 and evidence.fixed[5, 1] == 0
    # A mark that one translator leaves out, row after row, counts against the rows once.
    asking = [text + ("?" if n % 2 or 7 < n < 12 else "") for n, text in enumerate(texts)]
    told = [text + ("?" if n % 2 and not 7 < n < 12 else "") for n, text in enumerate(texts)]
    against = weigh(*columns_of(asking, told), 1).fixed[:, 1] - evidence.fixed[:, 1]
    assert against[8] < -1
    assert (against[9:12] == 0).all()


def test_columns_leave_out_the_wording_and_keep_line_breaks_together() -> None:
    first = [f"Ask:\nContext: {'a' * n} b\nQuestion: {'c' * (20 - n)}\nAnswer:" for n in range(1, 20)]
    first[3] = first[3].replace(" b", "\nb")
    columns, others = columns_of(first, first)
    assert len(columns) == len(others) == 2
    assert columns[1].texts[0] == "c" * 19
    assert columns[0].texts[3].endswith("b")
    uneven = [text + f"\nb{number}" * (number % 3) for number, text in enumerate(first)]
    ragged, _ = columns_of(uneven, first)
    assert len(ragged) == 1


def samples(folder: Path, pattern: str) -> tuple[list[str], dict[str, list[str]]]:
    rows = {
        path.name.removeprefix("xquad.").removesuffix(".json"): [
            json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line
        ]
        for path in sorted(folder.glob(pattern))
    }
    return rows.pop("en"), rows


FILES = [("xtransplant/XNLI_sample/split", "*.json"), ("xtransplant/XQuAD_sample/split", "xquad.*.json")]


@pytest.mark.parametrize(("name", "pattern"), FILES)
def test_real_samples_are_aligned(name: str, pattern: str, shared_data: Callable[[str], Path]) -> None:
    english, others = samples(shared_data(name), pattern)
    assert len(others) >= 11
    found = {language: check_alignment(english, rows) for language, rows in others.items()}
    assert {language: item.summary for language, item in found.items() if not item.aligned} == {}
    assert all(item.certain for item in found.values())


@pytest.mark.parametrize(("name", "pattern"), FILES)
@pytest.mark.parametrize("fault", ["earlier", "later", "two", "dropped", "shuffled"])
def test_faults_in_real_samples_are_found(
    name: str, pattern: str, fault: str, shared_data: Callable[[str], Path]
) -> None:
    english, others = samples(shared_data(name), pattern)
    missed: dict[str, Alignment] = {}
    for number, (language, rows) in enumerate(others.items()):
        at = 12 + 2 * number
        broken = {
            "earlier": dropped(rows, at),
            "later": inserted(rows, at),
            "two": dropped(rows, at, 2),
            "dropped": rows[:at] + rows[at + 1 :],
            "shuffled": shuffled(rows, number),
        }[fault]
        found = check_alignment(english, broken)
        placed = fault == "shuffled" or (found.first_row is not None and abs(found.first_row - at) <= 6)
        if found.aligned or not placed:
            missed[language] = found
    assert missed == {}


def test_real_opinions_are_aligned(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("xtransplant/GlobalOpinionQA_sample")
    for path in sorted((folder / "translated").glob("*.json")):
        read = [
            [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
            for file in (folder / "split" / path.name, path)
        ]
        if path.stem != "en":
            found = check_alignment([row["input_text"] for row in read[0]], read[1])
            assert found.aligned, (path.stem, found.summary)

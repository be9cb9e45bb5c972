"""Parsing rules: what counts as a right output, task by task."""

import pytest

from lingraft.patching.instances import Instance
from lingraft.patching.parsing import RULES, find_judge

XNLI = (
    "人类：关系是什么？\n\n前提：所以。\n假设：我没有。\n\n(1) 蕴涵\n(2) 中立\n(3) 矛盾\n\n助手：我的答案是："
)
MARKS = (" (1)", " (2)", " (3)")


def judged(
    text: str,
    task: str,
    options: tuple[str, ...],
    answers: tuple[str | int, ...],
    receiver: str = "a question",
) -> bool:
    instance = Instance("a-0", ("donor",), receiver, options, answers, "zh", task)
    judge = find_judge(instance)
    assert judge is not None
    (found,) = judge([text])
    return found


def test_no_answer_has_no_judge() -> None:
    assert find_judge(Instance("a", ("d",), "r", (" x", " y"), ())) is None


def test_each_task_has_its_rule() -> None:
    assert set(RULES) >= {"xnli", "xcopa", "xquad", "globalopinionqa", "words", "options", "contains"}


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (" (2)", True),
        ("（2）中立", True),
        (" 2 ", True),
        ("中立", True),
        ("2.", False),
        ("(1) or (2)", False),
        ("(2), not 矛盾", False),
        ("(3)", False),
        ("", False),
        ("蕴涵 中立", False),
    ],
)
def test_xnli_takes_marker_number_or_name_and_no_other(text: str, right: bool) -> None:
    assert judged(text, "xnli", MARKS, (1,), XNLI) is right


def test_xnli_names_are_those_of_the_prompt_with_their_case() -> None:
    french = "Question\n\n(1)\xa0Entraîner\n(2)\xa0Neutre\n(3)\xa0Contraire\n\nRéponse\xa0:"
    assert judged("Neutre.", "xnli", MARKS, (1,), french)
    assert not judged("neutre.", "xnli", MARKS, (1,), french)


@pytest.mark.parametrize(
    ("text", "right"),
    [("(1)", True), ("（1）", True), ("1", True), ("It is very fragile.", False), ("(1) (2)", False)],
)
def test_xcopa_takes_no_names(text: str, right: bool) -> None:
    prompt = "Options: (1) It is very fragile.\n(2) It is very small.\n\nYour Answer:"
    assert judged(text, "xcopa", (" (1)", " (2)"), (0,), prompt) is right


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("(B) Worse off", True),
        ("b", True),
        ("(b)", True),
        ("(A) or (B)", False),
        # A letter that is no option of this question counts against the output all the same.
        ("(B), see (Z)", False),
        ("Worse off", False),
    ],
)
def test_opinions_take_the_right_letter_only(text: str, right: bool) -> None:
    assert judged(text, "globalopinionqa", (" (A)", " (B)"), (1,)) is right


def test_xquad_takes_the_answer_anywhere_in_any_case() -> None:
    assert judged("It was NEW ENGLAND Patriots, 20", "xquad", (), (" New England Patriots",))
    assert not judged("New England", "xquad", (), (" New England Patriots",))
    # As an answer begins in a chat, and behind a bracket or a line break.
    for said in ("New England Patriots", "(New England Patriots)", "\nnew england patriots"):
        assert judged(said, "xquad", (), (" New England Patriots",))


def test_several_accepted_answers() -> None:
    assert judged("ein Rad", "contains", (), ("Fahrrad", "Rad"))


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (" Hund\nEnglisch: cat", True),
        (" »hund«.", True),
        ("\n\nHund", True),
        ("Hund und Katze", True),
        ("Hundehütte", False),
        ("der Hund", False),
        ("Katze\nDeutsch: Hund", False),
        ("", False),
        ("?!", False),
    ],
)
def test_words_take_the_first_line_from_its_beginning(text: str, right: bool) -> None:
    assert judged(text, "words", (), (" Hund", " Rüde")) is right


def test_words_are_compared_in_one_form() -> None:
    assert judged("RU\u0308DE", "words", (), (" Hund", " Rüde"))
    assert judged("कु\u0924्ता।", "words", (), (" कुत्ता",))


def test_words_of_scripts_without_spaces_may_stand_in_the_line() -> None:
    assert judged("「小狗」です", "words", (), ("狗",))
    assert judged("หมาตัวใหญ่", "words", (), ("หมา",))
    assert not judged("猫\n日本語：狗", "words", (), ("狗",))


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("Yes, I know.", True),
        ("YES", True),
        ("yesterday", False),
        ("yes and no", False),
        ("I know", False),
    ],
)
def test_options_of_words_are_whole_words(text: str, right: bool) -> None:
    assert judged(text, "", (" yes", " no"), (0,)) is right


def test_options_of_words_go_on_with_vowel_signs() -> None:
    for text, right in (("हिन्द", True), ("हिन्दी", False), ("यह हिन्द है।", True), ("किताब", False)):
        assert judged(text, "options", ("किताब", "हिन्द"), (1,)) == right
    assert not judged("Madrid", "xquad", (), (" ", "Paris")), "a blank answer is in every text"


def test_an_option_within_another_is_not_said_twice() -> None:
    options = (" New York", " New York City")
    assert judged("New York City!", "unknown task", options, (1,))
    assert not judged("New York City!", "unknown task", options, (0,))
    assert judged("New York", "", options, (0,))


def test_options_of_markers_take_no_other() -> None:
    assert judged("答案（2）", "options", MARKS, (1,))
    assert not judged("(2)(3)", "options", MARKS, (1,))
    # Any of several right options will do.
    assert judged("(2)(3)", "options", MARKS, (1, 2))


def test_options_without_spaces_around() -> None:
    assert judged("我说是的。", "", ("是的", "不"), (0,))


def test_each_distinct_text_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from lingraft.patching import parsing

    parsed: list[str] = []
    plain = parsing._plain

    def counting(text: str) -> str:
        parsed.append(text)
        return plain(text)

    monkeypatch.setattr(parsing, "_plain", counting)
    judge = find_judge(Instance("a", ("d",), "r", (" x", " y"), (0,)))
    assert judge is not None
    parsed.clear()
    assert list(judge(["x", "y", "x", "x"])) == [True, False, True, True]
    assert list(judge(["y", "x"])) == [False, True]
    assert sorted(parsed) == ["x", "y"]

"""Fidelity: rates worked out by hand, words of every script, and real sentences through the real identifier."""

import importlib.util
import math
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from lingraft.corpora.language_id import LanguageGuess, LinguaIdentifier
from lingraft.errors import ConfigError, MissingExtraError
from lingraft.evaluation.fidelity import ask_for_english, pass_rate, score_fidelity
from lingraft.evaluation.word_scripts import SCRIPTS, foreign_words, script_of, script_runs, word_rule

needs_lingua = pytest.mark.skipif(
    importlib.util.find_spec("lingua") is None, reason="lingua is not installed"
)

SWAHILI = "Habari ya asubuhi, watoto wanasoma vitabu vyao shuleni."
ENGLISH = "Open the document and choose the size of the paper."


class Marked:
    """Identifies a line by the code that it begins with, as `sw: `; the others have no language."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def identify(self, texts: Sequence[str]) -> list[LanguageGuess]:
        self.seen += texts
        found = (text.partition(":") for text in texts)
        return [LanguageGuess(code if colon else "", 0.1) for code, colon, _ in found]


@pytest.fixture(scope="module")
def identifier() -> LinguaIdentifier:
    """Among all 75 languages, whose models take seconds to load."""
    return LinguaIdentifier()


def test_answers_in_scripts_without_spaces_are_judged_in_languages_with_them() -> None:
    answers = [
        "sw: watu wote wanaenda nyumbani leo",
        "zh: 打开文件并选择纸张的大小。",
        "th: เปิดเอกสารแล้วเลือกขนาดกระดาษ",
        "ja: カタカナとひらがなで書かれた行",
        "ko: 문서를열고",  # Korean has spaces, and this is one word
        "zh: 你好世界",  # too short to judge
    ]
    found = score_fidelity(answers, "sw", Marked())
    nan = math.nan
    np.testing.assert_array_equal(found.line_pass, [1, 0, 0, 0, nan, nan])
    assert found.skipped["no line long enough"] == 2
    assert found.line_languages == {"sw": 1, "zh": 1, "th": 1, "ja": 1}


def test_rates_by_hand() -> None:
    answers = [
        "sw: watu wote wanaenda nyumbani leo\n\nfupi\nsw: tena watu wote wanaenda nyumbani",  # passes
        "sw: watu wote wanaenda nyumbani leo\nen: all of them go home",  # a wrong line
        "",  # empty
        "1, 2, 3 ... 99 %\n--- 安",  # letters, but no line
        "12 34 56 78 90 !!",  # empty: no letter
        "sw: watu wote wanaenda with nyumbani leo",  # a foreign word
        "watu wote wanaenda nyumbani leo jioni",  # no language
        "en: all of them go home\nen: and then they come back with this",
    ]
    marked = Marked()
    found = score_fidelity(answers, "sw", marked)
    assert len(marked.seen) == 8, "short lines are not identified"
    nan = math.nan
    np.testing.assert_array_equal(found.line_pass, [1, 0, nan, nan, nan, 1, 0, 0])
    np.testing.assert_array_equal(found.line_share, [1, 0.5, nan, nan, nan, 1, 0, 0])
    np.testing.assert_array_equal(found.word_pass, [1, nan, nan, nan, nan, 0, nan, nan])
    assert (found.answers, found.judged) == (8, 5)
    assert found.skipped == {"empty": 2, "no line long enough": 1}
    assert found.line_pass_rate == pytest.approx(2 / 5) and found.word_pass_rate == 0.5
    assert found.line_languages == {"sw": 4, "en": 3, "unknown": 1}
    assert found.verdicts[5].foreign == ("with",) and found.verdicts[7].foreign == ()
    summary = found.summary()
    assert summary["skipped"] == 3 and summary["line_pass_rate"]["observations"] == 5
    assert summary["lines_right"] == pytest.approx(2.5 / 5)


def test_nothing_to_judge_is_no_rate() -> None:
    found = score_fidelity(["", "ndiyo"], "sw", Marked())
    assert math.isnan(found.line_pass_rate) and math.isnan(found.word_pass_rate)
    summary = found.summary()
    assert summary["line_pass_rate"] is None and summary["lines_right"] is None and summary["skipped"] == 2
    assert score_fidelity([], "sw", Marked()).summary()["answers"] == 0


def test_what_can_be_told() -> None:
    """Other accepted codes, allowed words, the prompt's words, other minimum lengths, hidden code."""
    answer = "nn: eg les the book i dag\n```\nen: this is code in five words\n```\nhttps://a.b/c d e f"
    whole = score_fidelity([answer], "nb", Marked())
    assert whole.line_pass_rate == 0 and whole.verdicts[0].languages == ("nn",)
    assert score_fidelity([answer], "nb", Marked(), accepted=["nn"]).line_pass_rate == 1
    swahili = ["sw: tunasoma kitabu cha The Why and why sasa"]
    assert score_fidelity(swahili, "sw", Marked()).verdicts[0].foreign == ("why",)
    assert score_fidelity(swahili, "sw", Marked(), allowed=["WHY"]).word_pass_rate == 1
    assert score_fidelity(swahili, "sw", Marked(), prompts=["Why ni nini?"]).word_pass_rate == 1
    assert score_fidelity(["sw: ndiyo"], "sw", Marked(), minimum_words=2).judged == 1
    with pytest.raises(ConfigError, match="2 prompts and 1 answers"):
        score_fidelity(swahili, "sw", Marked(), prompts=["a", "b"])


def test_a_thought_is_no_part_of_the_answer() -> None:
    swahili, thought = "sw: watu wote wanaenda nyumbani leo", "en: the user wants me to answer"
    answers = [
        f"<think>\n{thought}\n</think>\n\n{swahili}",
        f"{thought}\n</think>\n{swahili}",  # the template opened it
        f" <thinking>{thought}",  # cut off
        f"{swahili}\n<think>{thought} now</think>",  # no thought before the answer
        "<think></think>",
    ]
    found = score_fidelity(answers, "sw", Marked())
    assert [verdict.languages for verdict in found.verdicts] == [("sw",), ("sw",), (), ("sw", "en"), ()]
    assert found.skipped == {"empty": 2, "no line long enough": 0}


def test_echoes_are_counted_and_judged_like_others() -> None:
    prompts = ["Schreibe, bitte: EINE\nGröße von fünf Wörtern!", "Wie geht das?", "a"]
    answers = ["de: hier\ngröße von  fünf wörtern", "Wie geht das denn nun?", "a"]
    found = score_fidelity(answers, "de", Marked(), prompts=prompts, minimum_words=1)
    assert [verdict.echo for verdict in found.verdicts] == [True, False, False]
    assert found.summary()["echoes"] == 1
    assert score_fidelity(answers, "de", Marked()).summary()["echoes"] == 0


def test_unspaced_languages_are_judged_by_letters() -> None:
    answers = ["ja:今日は天気がとても良いですね", "ja:はい", "ja:文書を開いて、ページを選び download します"]
    found = score_fidelity(answers, "ja", Marked())
    assert found.skipped["no line long enough"] == 1 and found.line_pass_rate == 1
    assert found.word_pass_rate == 0.5 and found.verdicts[2].foreign == ("download",)


@pytest.mark.parametrize(
    ("language", "text", "wanted"),
    [
        # Latin words in another script: in lower case, of four letters; names, abbreviations and symbols pass.
        (
            "ru",
            "Откройте документ with Windows и API, e-mail, x86 и the размер pages",
            ["with", "mail", "pages"],
        ),
        ("ru", "Угол α и µ, 5月, 中国", ["月", "中国"]),
        ("hi", "मेरा नाम लिंग्राफ्ट है और मैं languages सीखता हूँ।", ["languages"]),
        ("zh", "打开文档，选择 page 大小，２０１０年 ﾃｽﾄ", ["page", "テスト"]),
        ("ko", "문서를 열고 漢字 페이지를 선택하세요 ok", []),
        ("el", "Ανοίξτε το έγγραφο документ", ["документ"]),
        # English function words in a Latin script; capitals pass, and so do words of the language itself.
        ("de", "Wählen Sie the Größe with care, The Who, was in die Hand", ["the", "with"]),
        ("de", "Das isn't gut, you'll sehen, don Carlos geht’s", ["isn't", "you'll"]),
        ("fr", "J'ai reçu un don; l'other", []),
        ("da", "en kop the with mælk", ["with"]),
        ("sw", "Fungua `the file` na https://the.with.org, 안녕 ya the", ["안녕", "the"]),
        # An English answer has no English words.
        ("en", "the size with Größe и размер", ["размер"]),
        ("yo", "Gbogbo ènìyàn ni a bí ní òmìnira; iyì àti ẹ̀tọ́ kọ̀ọ̀kan sì dọ́gba.", []),
        ("sr", "Отворите dokument и изаберите", []),
    ],
)
def test_foreign_words(language: str, text: str, wanted: list[str]) -> None:
    assert foreign_words(text, language) == wanted


def test_a_word_list_makes_the_papers_rule() -> None:
    text = "Выберите размер paper или zeitung"
    assert foreign_words(text, "ru") == ["paper", "zeitung"]
    assert foreign_words(text, "ru", english_words={"paper", "size"}) == ["paper"]
    assert foreign_words(text, "ru", english_words={"paper"}, allowed=["Paper"]) == []
    assert foreign_words("Das Документ", "de") == ["Документ"]
    assert foreign_words("Das Документ", "de", allowed=["документ"]) == []
    assert "from the list" in word_rule("ru", with_list=True) and "four letters" in word_rule("ru")


def test_words_of_an_unknown_language_are_not_judged() -> None:
    assert foreign_words("the", "qu") is None
    found = score_fidelity(["qu: paqarin punchaw hamunqa the warmi"], "qu", Marked())
    assert found.line_pass_rate == 1 and found.summary()["word_pass_rate"] is None
    assert found.word_rule.startswith("not judged")


@needs_lingua
def test_every_language_of_the_identifier_has_scripts() -> None:
    import lingua

    assert {one.iso_code_639_1.name.lower() for one in lingua.Language.all()} <= SCRIPTS.keys()


def test_scripts_of_letters() -> None:
    shown = {
        "a": "LATIN",
        "ß": "LATIN",
        "ж": "CYRILLIC",
        "中": "CJK",
        "々": "CJK",
        "ー": "KATAKANA",
        "안": "HANGUL",
    }
    assert {letter: script_of(letter) for letter in shown} == shown
    assert [script_of(letter) for letter in "1 .ʼ\u0301"] == [""] * 5
    assert list(script_runs("don't e\u0323\u0300to o\u2018zbek Ｗｅｂ")) == [
        ("don't", "LATIN"),
        ("ẹ̀to", "LATIN"),
        ("o\u2018zbek", "LATIN"),
        ("Web", "LATIN"),
    ]


def test_a_share_has_an_interval_even_at_its_ends() -> None:
    """Wilson's, against its values for 0 of 20, 20 of 20 and 7 of 20 (0.1812 to 0.5671)."""
    none, every, some = (pass_rate(np.repeat([1.0, 0.0, math.nan], [n, 20 - n, 4])) for n in (0, 20, 7))
    assert none is not None and every is not None and some is not None
    assert (none["value"], none["low"], none["observations"]) == (0, 0, 20)
    assert none["high"] == pytest.approx(0.1611, abs=1e-4) == 1 - every["low"]
    assert [some["low"], some["high"]] == pytest.approx([0.1812, 0.5671], abs=1e-4)


def test_the_request_for_english() -> None:
    prompts = ["Wie geht das? \n", "안녕"]
    assert ask_for_english(prompts) == [
        "Wie geht das?\n\nAnswer in English.",
        "안녕\n\nAnswer in English.",
    ]
    assert ask_for_english(prompts, "Antworte auf Englisch.")[1] == "안녕\n\nAntworte auf Englisch."


@needs_lingua
def test_the_default_identifier_knows_swahili_and_yoruba(identifier: LinguaIdentifier) -> None:
    yoruba = "Gbogbo ènìyàn ni a bí ní òmìnira; iyì àti ẹ̀tọ́ kọ̀ọ̀kan sì dọ́gba."
    answers = [SWAHILI, yoruba, ENGLISH, f"{SWAHILI}\n{ENGLISH}"]
    for language, wanted in (("sw", [1, 0, 0, 0]), ("yo", [0, 1, 0, 0]), ("en", [0, 0, 1, 0])):
        np.testing.assert_array_equal(score_fidelity(answers, language, identifier).line_pass, wanted)


@needs_lingua
def test_real_swahili_passes_and_its_translation_does_not(
    identifier: LinguaIdentifier, shared_data: Callable[[str], Path]
) -> None:
    """The identifier's own errors bound what a perfect model could get."""
    folder = shared_data("swahili")
    rates = {}
    for name in ("sw", "en"):
        lines = (folder / f"test.{name}").read_text(encoding="utf-8").splitlines()
        sample = random.Random(0).sample([line for line in lines if len(line.split()) >= 5], 300)
        for language in ("sw", "en"):
            rates[name, language] = score_fidelity(sample, language, identifier)
    assert rates["sw", "sw"].line_pass_rate > 0.94 and rates["en", "en"].line_pass_rate > 0.93
    assert rates["sw", "en"].line_pass_rate < 0.03 and rates["en", "sw"].line_pass_rate < 0.03
    assert rates["sw", "sw"].word_pass_rate > 0.98


def test_without_lingua(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lingua", None)
    with pytest.raises(MissingExtraError, match=r'pip install "lingraft\[corpora\]"'):
        LinguaIdentifier()

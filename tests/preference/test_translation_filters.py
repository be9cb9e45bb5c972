"""What is refused before and after translating, and why."""

import pytest

from lingraft.corpora.language_id import LanguageGuess, LinguaIdentifier
from lingraft.preference.items import PairedItem
from lingraft.preference.translation_filters import (
    FilterLimits,
    asks_for_language,
    reading_length,
    refuse_english,
    refuse_languages,
    refuse_translations,
    repetition,
)

TRANSLATION, OUTPUT = "asks for a translation", "asks for another output language"
LIMITS = FilterLimits()


@pytest.fixture(scope="module")
def identifier():
    pytest.importorskip("lingua")
    return LinguaIdentifier({"en", "es", "fr", "de", "ja", "hi"})


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("Translate the following sentence into French: I like tea.", TRANSLATION),
        ("translate this text to simple german", TRANSLATION),
        ("Translate the sentence below.\n\nGuten Tag", TRANSLATION),
        ("Please translate: 'good night' in Swahili", TRANSLATION),
        ("Convert this paragraph from Spanish to English.", TRANSLATION),
        ("Rewrite the poem in the Korean language.", TRANSLATION),
        ("How do you say 'good evening' in French?", TRANSLATION),
        ("What is the Japanese word for cat?", TRANSLATION),
        ("What is the word for water in Basque?", TRANSLATION),
        ("Give the Spanish translation of 'house'.", TRANSLATION),
        ("Make the article available in a second language by translating it into it.", OUTPUT),
        ("Describe photosynthesis. Answer in Spanish.", OUTPUT),
        ("Write a short poem about rain in Hindi", OUTPUT),
        ("Respond only German, please.", OUTPUT),
        ("Tell me a story in a foreign language.", OUTPUT),
        ("The output must be written in Chinese.", OUTPUT),
        ("Explain gravity to a child, using simple French.", OUTPUT),
        # Words of the same kind that ask for nothing of the sort.
        ("What caused the French Revolution?", None),
        ("Write a recipe for Italian bread.", None),
        ("Describe the history of the Spanish language.", None),
        ("Who was the first English king?", None),
        ("Translate this Python code to Java.", None),
        ("Translate the vector by three units to the left.", None),
        ("Convert 10 miles to kilometres.", None),
        ("Rewrite the sentence in the passive voice.", None),
        ("Give examples of German philosophers and their works.", None),
        ("Say something nice about my Polish shoes.", None),
        ("List three dishes that are popular in Japan.", None),
        ("Summarise the plot.\n\nShe spoke in French to the waiter.", None),
        ("Write a loop in a language like Python.", None),
        ("Why learn a second language?", None),
        ("", None),
    ],
)
def test_prompts_that_ask_for_another_language(prompt, reason):
    assert asks_for_language(prompt) == reason


def item(**change):
    fields = {
        "english_prompt": "How can I open a document and print its first page?",
        "english_response": "Choose the file in the menu, and then press the button with the printer.",
        "target_prompt": "¿Cómo puedo abrir un documento e imprimir su primera página?",
        "target_response": "Elija el archivo en el menú y luego pulse el botón con la impresora.",
        "target_language": "es",
    }
    return PairedItem(**(fields | change))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"target_response": "Choose the file in the menu, then press the button there."}, "target_response not in"),
        ({"target_prompt": "Wie kann ich ein Dokument öffnen und drucken?"}, "target_prompt not in Spanish"),
        ({"target_response": "Elija el archivo."}, "target_response too short for its English"),
        ({"target_prompt": "¿Cómo puedo abrir un documento? " * 6}, "target_prompt too long for its English"),
        ({"target_response": "pulse el botón con " * 8}, "target_response repeats itself"),
        ({"target_response": " "}, "empty target_response"),
        ({"target_response": "Choose the file in the menu, and then press the button with the printer.\n"},
         "identical answers"),
        ({"target_prompt": "How can I open a document and print its first page?"}, "identical prompts"),
    ],
)  # fmt: skip
def test_translations_that_are_refused(change, reason, identifier):
    reasons, _ = refuse_translations([item(), item(**change)], identifier, LIMITS)
    assert reasons[0] is None
    assert reasons[1] is None if reason is None else reasons[1].startswith(reason)


def test_no_identifier_judges_no_language():
    english = item(target_response="Choose the file in that menu, then press this button with a printer.")
    assert refuse_translations([english], None, LIMITS) == ([None], 0)
    assert refuse_translations([], None, LIMITS) == ([], 0)


def test_short_texts_and_code_are_not_judged_and_are_counted(identifier):
    texts = ["Hola", "print(english_words_here)\nreturn another_word\n", "`the whole English text`", "12 345"]
    found, short = refuse_languages(texts, "es", identifier, LIMITS)
    assert found == [None] * 4 and short == 4
    _, short = refuse_translations([item(target_prompt="¿Qué es eso ahora?")], identifier, LIMITS)
    assert short == 1


def test_english_data_that_is_not_english(identifier):
    pairs = [
        ("What did he say to you when he came?", "Il a dit que le train était parti sans nous."),
        ("Was hat er gesagt, als er gestern kam?", "He said that the train had left without us."),
        ("What did he say to you when he came?", "He said that the train had left without us."),
    ]
    assert refuse_english(pairs, identifier, LIMITS) == [
        "response not in English",
        "prompt not in English",
        None,
    ]


def test_an_unsure_identifier_refuses_nothing():
    class Unsure:
        def identify(self, texts):
            return [LanguageGuess("de", 0.59), LanguageGuess("de", 0.61), LanguageGuess("", 1.0)][
                : len(texts)
            ]

    texts = ["Palabras y más palabras aquí mismo"] * 3
    assert refuse_languages(texts, "es", Unsure(), LIMITS)[0] == [None, "de", None]


def test_lengths_are_compared_across_scripts():
    english = "Choose the file in the menu, and then press the button with the printer."
    for other in (
        "メニューでファイルを選び、プリンターのボタンを押してください。",
        "메뉴에서 파일을 선택한 다음 프린터 버튼을 누르십시오.",
        "मेनू में फ़ाइल चुनें और फिर प्रिंटर वाला बटन दबाएँ।",
        "เลือกไฟล์ในเมนู แล้วกดปุ่มเครื่องพิมพ์",
    ):
        assert 0.6 < reading_length(other) / reading_length(english) < 1.6


def test_repetition():
    assert repetition("a b c " * 20) > 0.9 and repetition("la " * 30) > 0.9
    assert repetition("同じ文がまた続く" * 10) > 0.8
    assert repetition(" ".join(f"word{number}" for number in range(50))) == 0
    assert repetition("short and short") == 0 and repetition("") == 0
    # A list whose English repeats too is no loop.
    rows = "\n".join(f"Monday {n}: rest and then run again" for n in range(10))
    dias = "\n".join(f"Lunes {n}: descanse y luego corra otra vez" for n in range(10))
    same = item(english_response=rows, target_response=dias)
    assert refuse_translations([same], None, LIMITS) == ([None], 0)

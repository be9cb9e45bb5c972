"""Paired items from translations, documents and lines: what belongs together stays together, nothing leaks."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from lingraft.assets.help_pages import help_pages
from lingraft.assets.libreoffice import AlignedParagraph
from lingraft.assets.splitting import held_out, remove_near_duplicates
from lingraft.corpora.language_id import LanguageGuess
from lingraft.errors import AssetError, ConfigError, CorpusError
from lingraft.preference.aligned import Candidate, Wording, read_aligned, section_items
from lingraft.preference.continuations import BLOCK_LINES, continuation_items, read_parallel
from lingraft.preference.instructions import read_instructions
from lingraft.preference.items import PairedItem
from lingraft.preference.pairs import filter_candidates, pair_translations, split_candidates

WORDS = ["aber", "bald", "dort", "ewig", "fern", "ganz", "heute", "immer", "jetzt", "kaum", "lange", "morgen"]


class Marked:
    """Takes a text for German where it holds a German word, and for English otherwise."""

    def identify(self, texts):
        return [
            LanguageGuess("de" if set(text.lower().split()) & set(WORDS) else "en", 0.9) for text in texts
        ]


def write_rows(path: Path, rows) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def candidate(number, document="d", **texts):
    # Of letters alone: near-duplicates are told regardless of digits.
    chance = random.Random(number)

    def words():
        return ["".join(chance.choices("abcdefghijklmnop", k=7)) for _ in range(11)]

    item = {
        "english_prompt": f"English question number {number}?",
        "english_response": " ".join(words()),
        "target_prompt": f"Eine Frage heute Nummer {number}?",
        "target_response": "heute " + " ".join(words()),
    }
    return Candidate(document, PairedItem(**(item | texts), target_language="de", id=str(number)))


# Translated instructions.


def test_translations_by_id_and_by_order(tmp_path):
    english = [{"id": f"i{n}", "prompt": f"p{n}", "response": f"r{n}"} for n in range(4)]
    german = [{"id": f"i{n}", "prompt": f"P{n}", "response": f"R{n}"} for n in (3, 0, 1)]
    counts = Counter()
    read = [
        read_instructions(write_rows(tmp_path / f"{n}.jsonl", rows))
        for n, rows in enumerate((english, german))
    ]
    found, missing = pair_translations(*read, "de", counts=counts)
    assert [(one.item.english_response, one.item.target_response) for one in found] == [
        ("r0", "R0"),
        ("r1", "R1"),
        ("r3", "R3"),
    ]
    assert [one.id for one in missing] == ["i2"]
    assert counts == {"instructions": 4, "no item: missing translation": 1}

    # Without ids by the order of rows, whatever rows are bad in either file.
    for rows in (english, german):
        for row in rows:
            del row["id"]
    german = [{"prompt": "P0", "response": "R0"}, {"prompt": "", "response": "R1"}, *german[:2]]
    english[0]["response"] = None
    read = [
        read_instructions(write_rows(tmp_path / f"{n}.jsonl", rows))
        for n, rows in enumerate((english, german))
    ]
    found, missing = pair_translations(*read, "de", counts=Counter())
    assert [(one.item.english_prompt, one.item.target_prompt) for one in found] == [
        ("p2", "P3"),
        ("p3", "P0"),
    ]
    assert [one.prompt for one in missing] == ["p1"]


def test_files_of_unequal_length_are_refused(tmp_path):
    rows = [{"prompt": f"p{n}", "response": f"r{n}"} for n in range(3)]
    read = [read_instructions(write_rows(tmp_path / f"{n}.jsonl", rows[:n])) for n in (3, 2)]
    with pytest.raises(
        CorpusError, match=r"3\.jsonl with 3 rows and .*2\.jsonl with 2; expected as many rows"
    ):
        pair_translations(*read, "de", counts=Counter())
    rows = [[{"id": f"{side}{n}", **row} for n, row in enumerate(rows)] for side in "ab"]
    read = [read_instructions(write_rows(tmp_path / f"{n}.jsonl", some)) for n, some in enumerate(rows)]
    with pytest.raises(CorpusError, match=r"no row of .* expected the same ids in both"):
        pair_translations(*read, "de", counts=Counter())


# Aligned documents.

PAGE = [
    ("hd_1", "Charts", "Diagramme"),
    ("par_1", "A chart shows numbers as a picture.", "Ein Diagramm zeigt Zahlen als Bild."),
    ("par_2", "It follows the numbers.", "Es folgt den Zahlen."),
    ("hd_2", "ABS", "ABS"),
    ("par_3", "Returns the absolute value of a number.", "Gibt den Absolutwert einer Zahl zurück."),
    ("par_code", "ABS(Number)", "ABS(Number)"),
    ("par_4", "Lies under untranslated text, and is left out.", "Liegt unter unübersetztem Text und fehlt."),
    ("hd_3", "Notes", ""),
    ("par_5", "Under a heading without a translation.", "Unter einer Überschrift ohne Übersetzung."),
    ("hd_4", "Nothing", "Nichts"),
    ("hd_5", "Untranslated", "Unübersetzt"),
    ("par_6", "Only in English.", ""),
    ("hd_6", "Long", "Lang"),
    ("par_7", "x" * 99, "Ein langer Absatz, der nicht hineinpasst."),
    ("hd_7", "Short", "Kurz"),
    ("par_8", "Date", "Datum"),
]
ROWS = [AlignedParagraph("p", *cells) for cells in PAGE]


def test_sections_are_heading_and_text_under_it():
    counts = Counter()
    found = list(section_items(ROWS, "de", counts=counts, maximum_characters=80))
    assert [one.item for one in found] == [
        PairedItem(
            "Charts",
            "A chart shows numbers as a picture.\nIt follows the numbers.",
            "Diagramme",
            "Ein Diagramm zeigt Zahlen als Bild.\nEs folgt den Zahlen.",
            "de",
            "p#hd_1",
        ),
        PairedItem(
            "Charts: ABS",
            "Returns the absolute value of a number.",
            "Diagramme: ABS",
            "Gibt den Absolutwert einer Zahl zurück.",
            "de",
            "p#hd_2",
        ),
    ]
    assert {one.document for one in found} == {"p"}
    assert counts == {
        "headings": 7,
        "no item: heading without a translation": 1,
        "no item: no text under it": 1,
        "no item: text under it not translated": 1,
        "no item: too long": 1,
        "no item: too short": 1,
    }


def test_short_in_japanese_is_not_short():
    english, target = ROWS[0], AlignedParagraph("p", "par_1", "Closes the document.", "文書を閉じます。")
    assert list(section_items([english, target], "ja", counts=Counter()))
    assert not list(section_items([english, target], "ja", counts=Counter(), minimum_characters=25))


def test_a_heading_ends_with_its_page():
    rows = [
        *ROWS[:2],
        AlignedParagraph("q", "par_9", "Text before any heading.", "Text vor jeder Überschrift."),
    ]
    found = list(section_items([*rows, AlignedParagraph("q", "hd_1", "End", "Ende")], "de", counts=Counter()))
    assert [one.item.english_response for one in found] == [PAGE[1][1]]


def test_whole_paragraphs_fill_the_answer():
    for most, answer in ((36, PAGE[1][1]), (80, f"{PAGE[1][1]}\n{PAGE[2][1]}")):
        found = list(section_items(ROWS[:3], "de", counts=Counter(), maximum_characters=most))
        assert found[0].item.english_response == answer


def test_wording_in_both_languages():
    wording = Wording("Explain: {prompt}", "Erkläre: {prompt}")
    found = list(section_items(ROWS[:5], "de", counts=Counter(), wording=wording))
    prompts = [(one.item.english_prompt, one.item.target_prompt) for one in found]
    assert prompts == [
        ("Explain: Charts", "Erkläre: Diagramme"),
        ("Explain: Charts: ABS", "Erkläre: Diagramme: ABS"),
    ]
    with pytest.raises(ConfigError, match=r"'Explain'; expected a text with \{prompt\}"):
        Wording("Explain", "{prompt}")


def test_rows_of_a_file_or_a_directory(tmp_path):
    lines = ["\t".join(("p", *cells)) for cells in PAGE]
    (tmp_path / "pairs.tsv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    for path in (tmp_path, tmp_path / "pairs.tsv"):
        assert list(read_aligned(path)) == ROWS
    with pytest.raises(CorpusError, match=r"no file .*none\.tsv"):
        list(read_aligned(tmp_path / "none.tsv"))
    (tmp_path / "pairs.tsv").write_text("p\thd_1\tCharts\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="with 3 columns; expected document, id, English, target"):
        list(read_aligned(tmp_path))


@pytest.mark.real
def test_real_headings_keep_the_text_under_them(real_asset):
    directory = real_asset("libreoffice-help-de")
    rows = list(help_pages("libreoffice-help-de"))
    found = list(section_items(rows, "de", counts=Counter()))
    assert len(found) > 9000
    # What pairs.tsv holds is among the rows; what it leaves out is what tells the headings apart.
    listed = [line.split("\t")[:2] for line in (directory / "pairs.tsv").open(encoding="utf-8")]
    known = {(row.page, row.id) for row in rows}
    assert len(known) > len(listed) and all(tuple(cells) in known for cells in listed[::97])
    by_name = {one.item.id: one.item for one in found}
    item = next(item for item in by_name.values() if item.english_prompt.endswith(": ABS"))
    assert item.english_response.startswith("Returns the absolute value of a number.")
    assert item.target_response.startswith("Liefert den Absolutwert") or "Absolut" in item.target_response
    with pytest.raises(AssetError, match="expected a corpus libreoffice-help-LANG"):
        list(help_pages("freedict-eng-deu"))


# Parallel lines.


def parallel(number, blank=()):
    return [
        ("", "") if n in blank else (f"English line number {n:04d}.", f"Deutsche Zeile Nummer {n:04d}.")
        for n in range(number)
    ]


def test_no_line_is_in_two_items():
    counts = Counter()
    found = list(continuation_items(parallel(7), "de", name="news", counts=counts))
    used = [text for one in found for text in (one.item.english_prompt, one.item.english_response)]
    assert used == [english for english, _ in parallel(6)]
    assert [one.item.id for one in found] == ["news:1", "news:3", "news:5"]
    assert all(one.item.target_prompt.endswith(one.item.english_prompt[-5:]) for one in found)
    assert counts == {"pairs of lines": 3}


def test_blank_lines_end_documents_and_stretches_stand_for_them():
    found = list(continuation_items(parallel(12, blank={0, 5, 6, 11}), "de", name="n", counts=Counter()))
    assert [(one.document, one.item.id) for one in found] == [
        ("n:1", "n:2"),
        ("n:1", "n:4"),
        ("n:2", "n:8"),
        ("n:2", "n:10"),
    ]
    assert [one.item.english_prompt[-5:-1] for one in found] == ["0001", "0003", "0007", "0009"]
    # A blank line at the very end is no division.
    found = list(continuation_items([*parallel(3 * BLOCK_LINES), ("", "")], "de", name="n", counts=Counter()))
    assert Counter(one.document for one in found) == dict.fromkeys(["n:1", "n:2", "n:3"], BLOCK_LINES // 2)


def test_lines_that_give_no_item():
    pairs = parallel(12)
    pairs[1], pairs[3], pairs[4] = (pairs[1][0], ""), ("Yes.", "Ja, das stimmt wirklich."), None
    pairs[6] = ("x" * 601, "y" * 100)
    counts = Counter()
    found = list(continuation_items(pairs, "de", name="n", counts=counts))
    assert [one.item.id for one in found] == ["n:9", "n:11"]
    assert counts == {
        "pairs of lines": 6,
        "no item: a line without its translation": 2,
        "no item: too short": 1,
        "no item: too long": 1,
    }


def test_parallel_files(tmp_path):
    english, target = tmp_path / "a.en", tmp_path / "a.sw"
    english.write_bytes(b"one \r\ntwo\nthree\n")
    target.write_bytes(b"moja\nmbili \xff\ntatu\n")
    pairs, bad = read_parallel(english, target, rejects=tmp_path / "bad.jsonl")
    assert pairs == [("one", "moja"), None, ("three", "tatu")] and bad == {"invalid UTF-8": 1}
    assert json.loads((tmp_path / "bad.jsonl").read_text())["line"] == 2
    target.write_text("moja\nmbili\n")
    with pytest.raises(CorpusError, match=r"a\.en with 3 lines and .*a\.sw with 2; expected as many lines"):
        read_parallel(english, target)
    with pytest.raises(CorpusError, match=r"no file .*a\.xx"):
        read_parallel(english, tmp_path / "a.xx")


# Filters.


def test_what_is_left_out_and_why():
    given = {
        None: candidate(1),
        "identical answers": candidate(2, target_response=candidate(2).item.english_response),
        "empty target_response": candidate(3, target_response=" "),
        "target_response not in German": candidate(
            4, target_response="This answer was never translated at all, sorry."
        ),
        "english response not in English": candidate(
            5, english_response="Das ist heute immer noch ganz und gar deutsch."
        ),
        "asks for a translation": candidate(
            6, english_prompt="Translate this sentence into French: good morning."
        ),
        "target_response too short for its English": candidate(7, target_response="Nein heute."),
        "answer of an earlier item": candidate(8, target_response=candidate(1).item.target_response.upper()),
        "too long": candidate(9, english_prompt="What? " * 60, target_prompt="Was ist heute los " * 18),
    }
    counts = Counter()
    kept, dropped = filter_candidates(
        given.values(), counts=counts, identifier=Marked(), maximum_characters=300, instructions=True
    )
    assert kept == [given[None]]
    assert dict(dropped) == {reason: one for reason, one in given.items() if reason}
    assert counts["items checked"] == len(given)
    assert {name for name in counts if name.startswith("left out")} == {
        f"left out: {name}" for name in given if name
    }


def test_headings_and_lines_may_speak_of_translation():
    asking = candidate(6, english_prompt="Translate this sentence into French: good morning.")
    assert filter_candidates([asking], counts=Counter())[0] == [asking]


# The split.


def test_nothing_of_a_held_out_document_is_trained_on():
    given = [candidate(n, document=f"d{n // 7}") for n in range(700)]
    documents = {one.item.id: one.document for one in given}
    counts = Counter()
    split = split_candidates(given, counts=counts, held_out=50, seed=3)
    assert len(split.held_out) == 50 and 600 < len(split.training) < 650
    trained, apart = ({documents[item.id] for item in items} for items in (split.training, split.held_out))
    assert not trained & apart and len(apart) > 5
    assert sum(number for name, number in counts.items()) == 700
    again = split_candidates(given, counts=Counter(), held_out=50, seed=3)
    assert again == split
    assert split_candidates(given, counts=Counter(), held_out=50, seed=4) != split


def test_a_limit_takes_the_first_of_the_same_order():
    given = [candidate(n, document=f"d{n // 7}") for n in range(300)]
    split = split_candidates(given, counts=Counter(), held_out=10)
    counts = Counter()
    less = split_candidates(given, counts=counts, held_out=10, limit=40)
    assert less.training == split.training[:40] and less.held_out == split.held_out
    assert counts["left out: more than --limit"] == len(split.training) - 40
    # The order is no order of documents.
    assert len({int(item.id) // 7 for item in less.training}) > 20


def test_near_duplicates_of_training_answers_are_not_held_out():
    given = [candidate(n, document=f"d{n}") for n in range(60)]
    copy = given[0].item.target_response + " nochmal"
    given += [candidate(100 + n, document=f"copy{n}", target_response=f"{copy} {n}") for n in range(60)]
    counts = Counter()
    split = split_candidates(given, counts=counts, held_out=8, seed=1)
    answers = [item.target_response for item in split.training]
    assert remove_near_duplicates([item.target_response for item in split.held_out], answers)[1] == 0
    assert counts["left out: held out, but nearly repeats a training answer"] > 0


def test_the_corpus_own_division():
    given = [candidate(n, document=f"page{n // 5}") for n in range(500)]
    split = split_candidates(given, counts=Counter(), held_out=20, is_held_out=held_out)
    assert all(not held_out(f"page{int(item.id) // 5}") for item in split.training)
    assert all(held_out(f"page{int(item.id) // 5}") for item in split.held_out)
    # It is not trained on even where nothing is held out.
    split = split_candidates(given, counts=Counter(), is_held_out=held_out)
    assert not split.held_out and all(not held_out(f"page{int(item.id) // 5}") for item in split.training)


def test_more_to_hold_out_than_there_is():
    given = [candidate(n, document=f"d{n // 7}") for n in range(70)]
    with pytest.raises(CorpusError, match=r"70 items to hold out and 0 to train on; expected 80 held out"):
        split_candidates(given, counts=Counter(), held_out=80)
    with pytest.raises(CorpusError, match="ask for fewer"):
        split_candidates(given[:7], counts=Counter(), held_out=3)

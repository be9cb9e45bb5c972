"""LibreOffice Help pages become clean, split, aligned text."""

import json
from collections import Counter

import pytest

from lingraft.assets.help_corpus import convert_help
from lingraft.assets.libreoffice import (
    align,
    page_paragraphs,
    paragraph_text,
    read_help,
    untranslated,
)
from lingraft.assets.splitting import (
    SHINGLE,
    held_out,
    remove_near_duplicates,
    shingles,
    units,
)
from lingraft.errors import AssetError

PAGE = """<html><body><header><p id="nav_id1">LibreOffice</p></header>
<div id="DisplayArea">{}</div></body></html>"""


def page(paragraphs):
    return PAGE.format("".join(f'<p id="{name}" class="x">{text}</p>' for name, text in paragraphs.items()))


def test_paragraphs_are_read_by_id_without_markup_or_navigation():
    text = page_paragraphs(
        PAGE.format(
            '<h1 id="hd_id1" dir="auto">\n<a name="b"></a>Dokumentuak  irekitzea</h1>'
            '<p id="par_id2" class="p">Sakatu <span class="emph">Ireki</span> &amp; &#8220;itxi&#8221;.</p>'
            '<p id="par_id2">again</p><p dir="auto">no id</p><p id="par_id3"> </p>'
            '<p id="FilterName_x">writer8</p>'
        )
    )
    assert text == {"hd_id1": "Dokumentuak irekitzea", "par_id2": "Sakatu Ireki & “itxi”."}


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        (
            'Joan <span id="s" class="switchinline"><span hidden="true" id="MACx" class="MAC">'
            '<span class="m">Hobespenak</span></span><span hidden="true" id="defaultx">'
            '<span class="m">Tresnak &gt; Aukerak</span></span></span> atalera.',
            "Joan Tresnak > Aukerak atalera.",
        ),
        (
            '<span class="switchinline"><span hidden="true" id="defaultx">B</span>'
            '<span hidden="true" id="WINx">C</span></span>',
            "B",
        ),
        (
            'a <span class="switchinline"><span hidden="true" id="CALCx">Kalk</span>'
            '<span hidden="true" id="WRITERx">Idatz</span></span> b',
            "a Kalk b",
        ),
        ('unclosed <span class="switchinline"><span hidden="true" id="defaultx">end', "unclosed end"),
    ],
)
def test_of_several_wordings_one_is_kept(markup, text):
    assert paragraph_text(markup) == text


@pytest.mark.parametrize(
    ("english", "target", "reason"),
    [
        ("Open the file", "Ireki fitxategia", None),
        (None, "Ireki fitxategia", "no English counterpart"),
        ("Writer", "Writer", "identical to English"),
        ("1 + 1 = 2", "1+1=2", "no words"),
        ("The default setting is used", "The default setting is erabilia", "mostly English words"),
        ("Returns the number", "数値を返します。", None),
        ("x", "[text/scalc/01/func_x.xhp#x not found]. 値", "broken inclusion"),
    ],
)
def test_untranslated_paragraphs_are_recognised(english, target, reason):
    assert untranslated(english, target) == reason


def test_alignment_counts_every_paragraph():
    english = {"a": {"1": "Open", "2": "Writer", "3": "Close it"}, "b": {"1": "Save"}}
    target = {"a": {"1": "Ireki", "2": "Writer", "9": "Bestea"}, "c": {"1": "Gorde"}}
    counts = Counter()
    kept = list(align(english, target, counts))
    assert [(pair.page, pair.id, pair.english, pair.target) for pair in kept] == [("a", "1", "Open", "Ireki")]
    assert counts["paragraphs"] == 4
    assert sum(count for reason, count in counts.items() if reason.startswith("dropped")) == 3


def test_pages_are_held_out_by_name_alone():
    names = [f"shared/guide/page_{number}" for number in range(5000)]
    share = sum(map(held_out, names)) / len(names)
    assert 0.08 < share < 0.12
    # Pinned: another hash would move pages from one part to the other.
    assert [number for number in range(40) if held_out(names[number])] == [1, 4, 10, 34]


def test_units_and_shingles():
    assert units("Der Wert 12.5 (Straße)") == ["der", "wert", "0", "0", "strasse"]
    assert units("数値を返す ok") == ["数", "値", "を", "返", "す", "ok"]
    assert shingles(["a", "b"], SHINGLE) == {("a", "b")}
    assert shingles(list("abcd"), 3) == {("a", "b", "c"), ("b", "c", "d")}


TRAINING = [
    "Sakatu botoia leihoa ixteko eta lanarekin jarraitzeko menu nagusian aurkituko duzun aukera erabiliz",
    "Koloreak aldatzeko hautatu 12 aukera",
    "範囲内の数値の平均を返します。",
]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Koloreak aldatzeko hautatu 99 aukera!", False),  # digits and marks do not matter
        ("KOLOREAK ALDATZEKO HAUTATU 12 AUKERA BERRI", False),
        (
            "Oharra: " + TRAINING[0].replace("lanarekin", "lan berriarekin"),
            False,
        ),  # one word changed in a long one
        ("範囲内の数値の合計を返します。", False),
        ("Koloreak ondo ikusten dira pantailan", True),
        ("Letra-tipoak aldatzeko menua", True),
        ("平均", True),
    ],
)
def test_near_duplicates_of_training_text_are_removed(text, kept):
    assert remove_near_duplicates([text], TRAINING) == (([text], 0) if kept else ([], 1))


def help_deb(make_deb, language, pages):
    root = f"./usr/share/libreoffice/help/{language}"
    files = {f"{root}/text/{name}.html": page(paragraphs).encode() for name, paragraphs in pages.items()}
    files[f"{root}/bookmarks.js"] = b"odd"
    return make_deb(files, name=f"libreoffice-help-{language}_1_all.deb")


@pytest.fixture
def packages(make_deb):
    """A target and an English package: 60 pages of distinct words, and some traps."""
    english, target = {}, {}
    for number in range(60):
        name = f"shared/page{number}"
        word = "".join(chr(97 + int(digit)) for digit in f"{number:03d}")
        english[name] = {
            "par_1": f"Alpha {word} beta gamma",
            "par_2": "Writer",
            "par_3": "Open the document now",
        }
        target[name] = {
            "par_1": f"Bat {word} bi hiru",
            "par_2": "Writer",
            "par_3": "Ireki dokumentua orain ñ",
        }
    return help_deb(make_deb, "eu", target), help_deb(make_deb, "en-US", english)


def test_the_corpus_is_split_by_page_and_clean(packages, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    counts = convert_help(*packages, out)

    def lines(name):
        return (out / name).read_text(encoding="utf-8").splitlines()

    train, heldout = lines("train.txt"), lines("heldout.txt")
    assert "Writer" not in train
    assert train.count("Ireki dokumentua orain ñ") == 1  # and not in the held-out text, where it is a copy
    assert "Ireki dokumentua orain ñ" not in heldout
    assert heldout
    assert not set(train) & set(heldout)
    assert counts["held-out lines"] == len(heldout)
    assert counts["training lines"] == len(train)
    assert counts["dropped: identical to English"] == 60
    assert counts["training bytes"] == (out / "train.txt").stat().st_size
    pages = {True: set(), False: set()}
    for name, is_held_out in (("pairs.tsv", False), ("pairs.heldout.tsv", True)):
        for line in lines(name):
            where, identifier, english, target = line.split("\t")
            assert held_out(where) is is_held_out
            assert identifier.startswith("par_")
            assert english.split()[1:2] == target.split()[1:2] or english == "Open the document now"
            pages[is_held_out].add(where)
    assert not pages[True] & pages[False]
    for name, is_held_out in (("documents.jsonl", False), ("documents.heldout.jsonl", True)):
        for document in map(json.loads, lines(name)):
            assert held_out(document["id"]) is is_held_out
            assert document["language"] == "eu"
            assert "Ireki dokumentua orain ñ" in document["text"].split("\n")
    assert "Open the document now" in lines("en.train.txt")
    assert not set(lines("en.train.txt")) & set(lines("en.heldout.txt"))


def test_the_same_packages_give_the_same_bytes(packages, tmp_path):
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        convert_help(*packages, tmp_path / name)
        contents.append({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()})
    assert contents[0] == contents[1]
    assert len(contents[0]) == 8


def test_a_package_without_help_is_refused(make_deb):
    with pytest.raises(AssetError, match="no help pages"):
        read_help(make_deb({"usr/share/doc/x": b"1"}))


@pytest.mark.real
@pytest.mark.parametrize("language", ["eu", "de"])
def test_real_help_is_split_without_near_duplicates(real_asset, language):
    path = real_asset(f"libreoffice-help-{language}")
    train = (path / "train.txt").read_text(encoding="utf-8").splitlines()
    heldout = (path / "heldout.txt").read_text(encoding="utf-8").splitlines()
    assert len(train) > 25_000
    assert 0.05 < len(heldout) / len(train) < 0.15
    assert not {" ".join(units(text)) for text in train} & {" ".join(units(text)) for text in heldout}
    assert not any("not found]" in text or ("<" in text and "</" in text) for text in train[:5000])
    english = {"the", "of", "and", "to", "is"}
    words = [word.casefold() for text in heldout for word in text.split()]
    assert sum(word in english for word in words) < 0.005 * len(words)

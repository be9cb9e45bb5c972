"""dictd databases become word pairs."""

import gzip
from collections import Counter

import pytest

from lingraft.assets.freedict import convert_freedict, decode_number, entry_pairs, read_dictd
from lingraft.errors import AssetError

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def encode(number):
    digits = ALPHABET[number % 64]
    while number := number // 64:
        digits = ALPHABET[number % 64] + digits
    return digits


def dictionary(entries):
    index, database = "", b""
    for head, text in entries:
        raw = text.encode()
        index += f"{head}\t{encode(len(database))}\t{encode(len(raw))}\n"
        database += raw
    return index, database


def pairs(head, entry, **options):
    return list(entry_pairs(head, entry, Counter(), **options))


@pytest.mark.parametrize("number", [0, 1, 63, 64, 4095, 4096, 123_456_789])
def test_index_numbers(number):
    assert decode_number(encode(number)) == number


def test_numbers_in_an_unknown_digit_are_refused():
    with pytest.raises(ValueError, match="é"):
        decode_number("Aé")


def test_entries_are_cut_by_bytes_not_characters():
    index, database = dictionary([("00-database-info", "about"), ("ñandú", "ñandú\nΡέα"), ("b", "b\nβήτα")])
    assert list(read_dictd(index, database)) == [("ñandú", "ñandú\nΡέα"), ("b", "b\nβήτα")]


def test_pronunciation_grammar_and_examples_are_left_out():
    entry = (
        "cell phone /sˈɛl fˈəʊn/ <n>\n"
        " [Am.] Mobiltelefon <neut>, Handy <neut> [telco.]\n"
        '      "camera cell phone"  - Fotohandy\n'
        "   Synonyms: {mobile phone}, {mobile}\n\n see: {mobile phones}, {mobiles}\n\n"
    )
    assert pairs("cellphone", entry) == [("cell phone", "Mobiltelefon"), ("cell phone", "Handy")]


def test_numbered_senses_and_tildes():
    entry = 'cremate /kɹˈeɪt/ <VT>\n1. शव~जलाना\n      "The body was cremated."\n2. दाह करना; जलाना\n'
    assert pairs("cremate", entry) == [
        ("cremate", "शव जलाना"),
        ("cremate", "दाह करना"),
        ("cremate", "जलाना"),
    ]


def test_glosses_of_wiktionary_are_no_translations():
    entry = "deterrent //dɪˈtɛɹənt// <n>\n1. pelote, pidäke\nsomething that deters\n2. este\nan obstacle\n"
    assert pairs("deterrent", entry, glosses=True) == [
        ("deterrent", "pelote"),
        ("deterrent", "pidäke"),
        ("deterrent", "este"),
    ]


def test_what_is_passed_over_is_counted():
    counts = Counter()
    entry = "taxi\nTaxi\na car that one hires with its driver\nDroschke"
    assert list(entry_pairs("taxi", entry, counts)) == [("taxi", "Droschke")]
    assert counts == {"dropped: translation equals the word": 1, "dropped: more than three words": 1}


def deb_of(make_deb, index, database, pair="eng-jpn"):
    root = f"./usr/share/dictd/freedict-{pair}"
    files = {
        f"{root}.index": index.encode(),
        f"{root}.dict.dz": gzip.compress(database),
        f"./usr/share/doc/dict-freedict-{pair}/copyright": b"GPL-2+",
    }
    return make_deb(files)


def test_a_package_becomes_sorted_pairs_with_its_licence(make_deb, tmp_path):
    index, database = dictionary(
        [
            ("00databaseinfo", "English-Japanese FreeDict"),
            ("water", "water /wˈɔːtə/\n水, お水\nliquid H2O"),
            ("waters", "water /wˈɔːtə/\n水"),
            ("cat", "cat\n猫"),
        ]
    )
    counts = convert_freedict(deb_of(make_deb, index, database), tmp_path)
    assert (tmp_path / "pairs.tsv").read_text(encoding="utf-8") == "cat\t猫\nwater\tお水\nwater\t水\n"
    assert (tmp_path / "COPYRIGHT.txt").read_text() == "GPL-2+"
    assert counts["entries"] == 3
    assert counts["pairs"] == 3
    assert counts["dropped: repeated pairs"] == 1
    assert counts["dropped: not in the language's script"] == 1


@pytest.mark.parametrize("damage", ["index", "offset", "gzip", "absent"])
def test_damaged_dictionaries_are_refused(make_deb, tmp_path, damage):
    index, database = dictionary([("a", "a\nb"), ("c", "c\nd")])
    if damage == "index":
        deb = deb_of(make_deb, index.replace("\t", " ", 1), database)
    elif damage == "offset":
        deb = deb_of(make_deb, index + "e\t////\tC\n", database)
    elif damage == "gzip":
        deb = make_deb(
            {
                "usr/share/dictd/x.index": index.encode(),
                "usr/share/dictd/x.dict.dz": gzip.compress(b"a" * 99)[:-9],
            }
        )
    else:
        deb = make_deb({"usr/share/dictd/x.index": index.encode()})
    with pytest.raises(AssetError, match="not readable"):
        convert_freedict(deb, tmp_path)
    assert not (tmp_path / "pairs.tsv").exists()


@pytest.mark.real
def test_real_dictionaries_hold_common_words(real_asset):
    def lexicon(name):
        lines = (real_asset(name) / "pairs.tsv").read_text(encoding="utf-8").splitlines()
        return {tuple(line.split("\t")) for line in lines}

    german = lexicon("freedict-eng-deu")
    assert {("water", "Wasser"), ("house", "Haus"), ("green", "grün")} <= german
    assert len(german) > 500_000
    assert {("maji", "water"), ("nyumba", "house")} <= lexicon("freedict-swh-eng")

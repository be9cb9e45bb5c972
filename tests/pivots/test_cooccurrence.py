"""Counts of words and pairs against a plain search, one document and one word at a time."""

import gzip
import json
import random
import re
import unicodedata

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lingraft.corpora.shards import Batch
from lingraft.errors import ConfigError, CorpusError, OutputError
from lingraft.pivots.cooccurrence import count_pairs, make_kernel, read_pairs
from lingraft.pivots.counting import _Counter
from lingraft.pivots.matching import Matching

DEFAULT = Matching()
MARKS = "".join(
    c for c in map(chr, range(0x20000)) if unicodedata.category(c) in ("Mn", "Mc") and c not in "\ufe0e\ufe0f"
)
WORD = rf"[\w{MARKS}]"
UNSPACED = ("THAI", "LAO", "KHMER", "MYANMAR", "HIRAGANA", "KATAKANA", "CJK UNIFIED")
LATIN = ["new", "york", "New York", "Straße", "STRASSE", "café", "cafe\u0301", "cafe", "İstanbul", "ñandú", "don't",
         "ﬁn", "fin", "co-op", "op", "x", "naïve", "ΑΣ", "ας", "überwältigungsmaßnahmenkatalog" * 2]  # fmt: skip
CJK = ["中国", "中", "国人", "日本", "にほん", "日本語", "T恤", "ｶﾅ", "𠮷野", "人"]
THAI = ["ไทย", "ประเทศไทย", "ประ", "ລາວ", "ខ្មែរ", "မြန်မာ", "ที่", "ท"]
ARABIC = ["كتاب", "الكتاب", "كِتاب", "لا", "ۀ"]
DEVANAGARI = ["कि", "क", "किताब", "हिन्दी", "क़", "में", "कम", "कमी", "है", "हैं"]
SETS = {
    "latin": LATIN,
    "cjk": CJK + LATIN[:4],
    "thai": THAI,
    "arabic": ARABIC,
    "devanagari": DEVANAGARI + ARABIC,
}
GLUE = [
    "",
    " ",
    " ",
    " ",
    "-",
    ", ",
    "_",
    "\u0301",
    "\u3000",
    "。",
    "1",
    "a",
    "é",
    "’",
    "\u00a0",
    "😀",
    "𝒜",
    "\r",
    "\x0c",
    "\ufe0f",
    "ी",
]


def fold(text, matching):
    if matching.normalise:
        text = unicodedata.normalize("NFC", text)
    return text.casefold() if matching.fold_case else text


def places(word, text, matching=DEFAULT):
    """Where a word begins in a text, by a regular expression."""
    word, text = fold(word.strip(), matching), fold(text, matching)
    pattern = re.escape(word)
    if not any(unicodedata.name(c, "").startswith(UNSPACED) or c == "ｶ" for c in word):
        pattern = f"(?<!{WORD}){pattern}(?!{WORD})"
    return [
        match.start()
        for match in re.finditer(f"(?={pattern})" if not pattern.startswith("(") else pattern, text)
    ]


def brute(documents, pairs, matching=DEFAULT):
    rows = []
    for source, target in pairs:
        left = [bool(places(source, text, matching)) for text in documents]
        right = [bool(places(target, text, matching)) for text in documents]
        rows.append((sum(left), sum(right), sum(a and b for a, b in zip(left, right, strict=True))))
    return rows


def random_documents(words, number, seed):
    chance = random.Random(seed)
    variants = [str, str.upper, str.title, lambda w: unicodedata.normalize("NFD", w)]
    return [
        "a" + "".join(
            chance.choice(variants)(chance.choice(words)) + chance.choice(GLUE)
            for _ in range(chance.randrange(1, 12))
        )
        for _ in range(number)
    ]  # fmt: skip


def rows(counts):
    return list(
        zip(
            counts.source_documents.tolist(),
            counts.target_documents.tolist(),
            counts.both.tolist(),
            strict=True,
        )
    )


def write(path, documents):
    if path.name.endswith(".parquet"):
        pq.write_table(pa.table({"id": range(len(documents)), "text": documents}), path)
        return path
    jsonl = ".jsonl" in path.name
    data = "".join((json.dumps({"text": d}) if jsonl else d) + "\n" for d in documents).encode()
    packed = {".gz": gzip.compress, ".zst": zstandard.compress}.get(path.suffix, bytes)
    path.write_bytes(packed(data))
    return path


@pytest.mark.parametrize("script", SETS)
@pytest.mark.parametrize(
    "matching", [Matching(), Matching(normalise=False), Matching(fold_case=False)], ids=["", "raw", "case"]
)
def test_equal_to_a_plain_search(tmp_path, script, matching):
    words = SETS[script]
    documents = random_documents(words, 400, seed=len(words))
    pairs = [(a, b) for a in words for b in words]
    counts = count_pairs(write(tmp_path / "c.txt", documents), pairs, out=tmp_path / "out", matching=matching)
    assert rows(counts) == brute(documents, pairs, matching)
    assert counts.documents == 400 and counts.both.max() > 3
    table = pq.read_table(tmp_path / "out" / "counts.parquet")
    assert table.column_names == [
        "source_word",
        "target_word",
        "source_documents",
        "target_documents",
        "both",
    ]
    assert list(zip(*table.to_pydict().values(), strict=True)) == [
        (*pair, *row) for pair, row in zip(pairs, rows(counts), strict=True)
    ]


ANY = st.text(st.sampled_from([*"aAßsSİiı中国ไ\u0301 _-.kKK’\u0345Σσςﬁ𠮷𝒜😀\r\u1f80"]), max_size=10)


@settings(max_examples=150, deadline=None)
@given(st.lists(ANY, min_size=1, max_size=5), st.lists(ANY, max_size=12))
def test_any_words_in_any_documents(words, documents):
    words = [
        w.strip()
        for w in words
        if any(unicodedata.category(c)[0] in "LNPS" for c in w) and "\r" not in w.strip()
    ]
    if words:
        kernel = make_kernel([(w, v) for w in words for v in words], Matching(), None)
        found = _Counter(kernel).count(Batch("\n".join(documents), len(documents)))
        expected = brute(documents, [(w, v) for w in words for v in words])
        assert found["both"].tolist() == [row[2] for row in expected]
        assert [found["words"][a].item() for a, _ in kernel.pairs] == [row[0] for row in expected]


@pytest.mark.parametrize(
    ("names", "workers", "shard_bytes"),
    [
        (["c.txt"], 1, 2**30),
        (["c.txt"], 2, 9000),
        (["c.txt"], 1, 997),
        (["c.jsonl"], 1, 4999),
        (["c.txt.gz"], 1, 100),
        (["c.jsonl.zst"], 1, 100),
        (["c.parquet"], 1, 100),
        ([f"{n}.{kind}" for n, kind in enumerate(["txt", "jsonl", "txt.zst", "jsonl.gz", "parquet", "txt", "txt.gz"])],
         8, 1000),
    ],
)  # fmt: skip
def test_the_same_for_any_files_shards_and_workers(tmp_path, names, workers, shard_bytes):
    words = LATIN[:10] + CJK + THAI
    documents = random_documents(words, 300, seed=1)
    chance = random.Random(2)
    pairs = [(chance.choice(words), chance.choice(words)) for _ in range(60)]
    (tmp_path / "corpus").mkdir()
    for number, name in enumerate(names):
        write(tmp_path / "corpus" / name, documents[number :: len(names)])
    counts = count_pairs(
        tmp_path / "corpus", pairs, out=tmp_path / "out", workers=workers, shard_bytes=shard_bytes
    )
    assert rows(counts) == brute(documents, pairs) and counts.documents == 300


@pytest.mark.parametrize("window", [1, 2, 4])
def test_windows_against_a_plain_search(tmp_path, window):
    words = [*LATIN[:9], *CJK, "ไทย", "ที่"]
    documents = random_documents(words, 200, seed=3)
    pairs = [(a, b) for a in words for b in words]

    def position(text, place):
        unspaced = "[\u0e00-\u0eff\u3040-\u30ff\uff66-\uff9f\u4e00-\u9fff\U00020000-\U0003ffff]"
        tokens = re.finditer(rf"{unspaced}|(?:(?!{unspaced}){WORD})+", text)
        return sum(token.start() <= place for token in tokens)

    expected = []
    where = {
        word: [[position(fold(d, Matching()), p) for p in places(word, d)] for d in documents]
        for word in words
    }
    for source, target in pairs:
        expected.append(
            sum(
                any(abs(a - b) < window for a in left for b in right)
                for left, right in zip(where[source], where[target], strict=True)
            )
        )
    counts = count_pairs(
        write(tmp_path / "c.txt", documents), pairs, out=tmp_path / "out", window=window, shard_bytes=3000
    )
    assert counts.near.tolist() == expected and max(expected) > 0
    assert rows(counts) == brute(documents, pairs)
    assert pq.read_table(tmp_path / "out" / "counts.parquet").column_names[-1] == "near"


def test_pairs_are_read_with_line_numbers(tmp_path):
    file = tmp_path / "pairs.tsv"
    file.write_text("\ufeffdog\tHund\r\n\nnew york\tNeu York\ndog\tHund\n", encoding="utf-8")
    assert read_pairs(file) == [("dog", "Hund"), ("new york", "Neu York"), ("dog", "Hund")]
    for text, message in [
        ("dog\tHund\ncat", "line 2 has 0 tabs"),
        ("a\tb\tc", "line 1 has 2 tabs"),
        ("dog\tHund\n\u200b\tx", r"line 2: the word .* has no visible character"),
        ("dog\t \n", "line 1: the word '' is empty"),
        ("\n\n", "no pair in"),
    ]:
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=message):
            read_pairs(file)
    file.write_bytes(b"dog\tHund\n\xff\tx\n")
    with pytest.raises(ConfigError, match="line 2 is not UTF-8"):
        read_pairs(file)


def test_duplicates_and_words_in_several_pairs_keep_their_rows(tmp_path):
    corpus = write(tmp_path / "c.txt", ["Dog Hund", "dog", "HUND cat"])
    counts = count_pairs(corpus, [("dog", "hund"), ("Dog", "HUND"), ("dog", "dog")], out=tmp_path / "out")
    assert rows(counts) == [(2, 2, 1), (2, 2, 1), (2, 2, 2)]


def test_another_command_does_not_mix_with_what_is_there(tmp_path):
    corpus = write(tmp_path / "c.txt", ["dog Hund"])
    count_pairs(corpus, [("dog", "Hund")], out=tmp_path / "out")
    with pytest.raises(OutputError, match="differs in: matching"):
        count_pairs(corpus, [("dog", "hund")], out=tmp_path / "out", matching=Matching(whole_words=False))
    with pytest.raises(ConfigError, match="pair 2"):
        count_pairs(corpus, [("dog", "Hund"), ("\u00ad", "x")], out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_poison_lines_are_counted_and_do_no_harm(tmp_path):
    corpus = tmp_path / "c.txt"
    corpus.write_bytes(b"dog Hund\n" * 30 + b"dog \xff Hund\n" + "dög Hund\n\ndog\n".encode())
    counts = count_pairs(corpus, [("dog", "Hund")], out=tmp_path / "out", shard_bytes=50)
    assert rows(counts) == [(31, 31, 30)] and counts.bad == {"invalid UTF-8": 1} and counts.documents == 32
    entry = json.loads((tmp_path / "out" / "rejects.jsonl").read_text(encoding="utf-8"))
    assert (entry["line"], entry["file"]) == (31, str(corpus))
    with pytest.raises(CorpusError, match=r"1 bad lines \(1 invalid UTF-8\)"):
        count_pairs(corpus, [("dog", "Hund")], out=tmp_path / "out2", maximum_bad_lines=0)

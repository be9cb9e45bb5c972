"""Discovery against a plain loop, its sampling, its scores, and planted pivots through the real command."""

import json
import math
import random
import re

import numpy as np
import pyarrow.parquet as pq
import pytest

from lingraft.cli.app import main
from lingraft.corpora.engine import map_corpus
from lingraft.corpora.shards import Batch
from lingraft.pivots.cooccurrence import count_pairs
from lingraft.pivots.discovery import (
    DocumentFrequencies,
    document_frequencies,
    excess,
    find_pivots,
    likelihood_ratio,
    mutual_information,
)
from lingraft.pivots.discovery_sample import SampleKernel, unpack
from lingraft.pivots.discovery_tokens import ModelTokens, WordFinder, WordTokens, hash_text, mix
from lingraft.pivots.hubs import find_hubs
from lingraft.pivots.languages import find_language
from lingraft.pivots.matching import Matching
from lingraft.pivots.semantic import filter_pivots
from lingraft.pivots.task_file import write_word_task
from lingraft.pivots.wordtask import WordItem, WordTask
from lingraft.recipes.pivots.discovering_inputs import read_word_pairs

FILLER = [
    "und",
    "the",
    "größe",
    "मौसम",
    "天気",
    "kwa",
    "42",
    "run",
    "étude",
    "न",
    "blau",
    "नदी",
    "casa",
    "luz",
]
WORDS = ["Haus", "house", "日本語", "ไทย", "New York", "don't", "हिन्दी", "Straße", "मौसम"]


def corpus(seed=0, documents=400):
    generator = random.Random(seed)
    texts = []
    for number in range(documents):
        words = [*generator.choices(FILLER, k=generator.randint(3, 20)), f"n{number}"]
        words += generator.sample(WORDS, generator.randint(0, 4))
        generator.shuffle(words)
        texts.append(" ".join(words))
    return texts


def write(path, texts):
    path.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    return path


def test_words_are_cut_as_stated():
    assert WordTokens().split(["Größe, STRASSE don't हिन्दी 日本語 x日本 ไทย"]) == [
        ["grösse", "strasse", "don", "t", "हिन्दी", "日本", "本語", "x", "日本", "ไท", "ทย"]
    ]
    assert WordTokens().split(["Ascii Words_2"]) == [["ascii", "words_2"]]


@pytest.mark.parametrize("tokens", range(9))
def test_a_text_is_cut_behind_so_many_words(tokens):
    text = "Größe: eins 日本語 zwei, drei — vier"
    cut = WordTokens().cut(text, tokens)
    assert text.startswith(cut)
    assert len(WordTokens().split([cut])[0]) == min(tokens, 7)


def test_model_tokens_are_the_tokenizers(byte_bpe_tokenizer):
    tokens = ModelTokens(byte_bpe_tokenizer, "tiny")
    text = "Öffnen Sie das Dokument <|endoftext|> 日本語"
    (ids,) = tokens.split([text])
    assert (
        list(map(int, ids))
        == byte_bpe_tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
    )
    assert tokens.count([text]) == [len(ids)]
    cut = tokens.cut(text, 5)
    assert text.startswith(cut)
    assert tokens.split([cut])[0] == ids[: len(tokens.split([cut])[0])]
    assert tokens.cut(text, 10_000) == text


def test_words_occur_where_counting_says_they_do(tmp_path):
    texts = [text.replace("\n", " ") for text in corpus()]
    finder = WordFinder(WORDS, Matching())
    found = np.zeros(finder.count, dtype=int)
    for text in texts:
        for word in finder.find(Matching().apply(text)):
            found[word] += 1
    counts = count_pairs(
        write(tmp_path / "c.txt", texts), [(word, word) for word in WORDS], out=tmp_path / "out"
    )
    assert found[finder.rows].tolist() == counts.source_documents.tolist()
    assert found.min() > 0


def test_words_within_words_are_none_whatever_marks_follow():
    finder = WordFinder(["कम", "कम-से", "दिन", "co-op"], Matching())
    assert finder.find("कमी, दिनों; xco-op co-op\u0301 _co-op") == set()
    assert finder.find("कमी कम दिन? x-co-op") == {0, 2, 3}
    assert finder.find("❤\ufe0fकम-से कम-सेे") == {0, 1}, "a variation selector belongs to the emoji"


def kernel(sample=30, background=50, words=tuple(WORDS), seed=3):
    return SampleKernel(tuple(words), WordTokens(), Matching(), sample, background, seed)


def plain_sample(texts, word, size, seed=3):
    """The texts with the lowest hashes that hold a word; each distinct text once."""
    finder = WordFinder([word], Matching()) if word else None
    holding = {text for text in texts if finder is None or finder.find(Matching().apply(text))}
    return sorted(holding, key=lambda text: hash_text(text, seed))[:size]


def test_samples_are_the_lowest_hashes_whatever_the_shards(tmp_path):
    texts = corpus()
    texts += texts[:50]
    whole = map_corpus([write(tmp_path / "a.txt", texts)], kernel(), out=tmp_path / "one").partial
    for name, tokens in whole.items():
        for out, options in (("two", {"shard_bytes": 1500}), ("three", {"shard_bytes": 700, "workers": 2})):
            if name == "samples":
                map_corpus([tmp_path / "a.txt"], kernel(), out=tmp_path / out, **options)
            parts = map_corpus([tmp_path / "a.txt"], kernel(), out=tmp_path / out, **options).partial
            np.testing.assert_array_equal(tokens, parts[name])
    frequencies = document_frequencies(whole)
    for row, word in enumerate(WORDS):
        drawn = plain_sample(texts, word, 30)
        assert frequencies.word_documents[row] == len(drawn)
        expected = {}
        for text in drawn:
            for token in set(WordTokens().split([text])[0]):
                expected[token] = expected.get(token, 0) + 1
        counted = dict(zip(frequencies.tokens, frequencies.words[row].tolist(), strict=True))
        assert {token: count for token, count in counted.items() if count} == expected
    assert frequencies.background_documents == 50


def test_a_sample_holds_only_sampled_documents():
    batch = Batch("\n".join(corpus(documents=200)), 200)
    work = kernel(sample=2, background=3, words=["Haus"]).open()
    merged = kernel(sample=2, background=3, words=["Haus"]).merge(work(batch), work(batch))
    assert len(unpack(merged)) <= 5


def frequencies(words, sizes, background, size, tokens=None):
    tokens = tokens or [f"wort{number}" for number in range(len(background))]
    return DocumentFrequencies(
        tuple(tokens), np.array(words, float), np.array(sizes, float), np.array(background, float), size,
        np.ones(len(words), dtype=int),
    )  # fmt: skip


def test_scores_are_their_formulas():
    counted = frequencies([[8, 0, 3], [5, 2, 3]], [10, 5], [20, 50, 1], 100)
    np.testing.assert_allclose(excess(counted, 0), [0.6, -0.5, 0.29])
    np.testing.assert_allclose(mutual_information(counted, 0)[0], math.log2((8.5 / 11) / (20.5 / 101)))
    assert mutual_information(counted, 0)[1] == -np.inf
    from scipy.stats import chi2_contingency

    table = [[8, 2], [20, 80]]
    expected = chi2_contingency(table, correction=False, lambda_="log-likelihood").statistic
    np.testing.assert_allclose(likelihood_ratio(counted, 0)[0], expected)
    below = frequencies([[3, 0], [5, 2]], [10, 5], [50, 50], 100)
    assert likelihood_ratio(below, 0)[0] < 0


def test_ties_are_in_the_order_of_tokens_and_own_words_are_left_out():
    counted = frequencies([[5, 5, 5, 5, 5]] * 2, [5, 5], [0] * 5, 9, ["Haus", "b", "a", "7", "house"])
    (found,) = find_pivots(counted, [("haus", "House")], [(0, 1)], tokens=WordTokens())
    # Numbers of tokens ascend as the vocabulary, which a sample sorts.
    assert found.tokens.tolist() == [1, 2]
    (one,) = find_pivots(counted, [("haus", "House")], [(0, 1)], tokens=WordTokens(), top=1)
    assert one.tokens.tolist() == [1]


def test_a_word_in_no_document_is_named():
    counted = frequencies([[5], [5]], [5, 0], [1], 9)
    counted.found[1] = 0
    (found,) = find_pivots(counted, [("haus", "nyumba")], [(0, 1)], tokens=WordTokens())
    assert found.why_none == "nyumba in no document"


def test_hubs_come_with_many_words_of_both_sides():
    # Two source and two target words; "the" comes with the source words alone.
    counted = frequencies(
        [[9, 9, 9, 9], [9, 9, 0, 9], [9, 0, 9, 9], [9, 0, 0, 9]],
        [10] * 4,
        [1] * 4,
        10,
        ["nabe", "the", "b", "42"],
    )
    hubs = find_hubs(counted, [(0, 2), (1, 3)], tokens=WordTokens())
    assert [counted.tokens[number] for number in hubs.tokens] == ["nabe"]
    assert (hubs.source_words.tolist(), hubs.target_words.tolist(), hubs.degrees.tolist()) == ([2], [2], [2])
    assert hubs.strengths[0] == pytest.approx(4 * 0.8)
    assert hubs.edges == 4 + 2 + 2 + 4
    one = find_hubs(counted, [(0, 2), (1, 3)], tokens=WordTokens(), least_degree=1)
    assert [counted.tokens[number] for number in one.tokens] == ["nabe", "b"]


def test_the_semantic_filter_keeps_what_is_near(byte_bpe_tokenizer):
    generator = np.random.default_rng(0)
    embeddings = generator.normal(size=(len(byte_bpe_tokenizer), 32)).astype(np.float32)
    near, far = byte_bpe_tokenizer(" blau").input_ids, byte_bpe_tokenizer(" Q").input_ids
    own = byte_bpe_tokenizer(" haus").input_ids
    embeddings[near] = embeddings[own].mean(axis=0) + 0.05
    embeddings[far] = -embeddings[own].mean(axis=0)
    names = [*(f"x{number}" for number in range(40)), "blau", "q"]
    counted = frequencies([[5] * 42] * 2, [5, 5], [0] * 42, 9, names)
    found = find_pivots(counted, [("haus", "zzz")], [(0, 1)], tokens=WordTokens())
    similar, kept = filter_pivots(found, counted, embeddings, byte_bpe_tokenizer, tokens=WordTokens())
    tokens = [names[number] for number in found[0].tokens]
    assert kept[0][tokens.index("blau")]
    assert similar[0][tokens.index("blau")] == pytest.approx(max(similar[0]))
    assert sum(kept[0]) < len(kept[0]) / 2


def test_a_pair_without_pivots_passes_the_semantic_filter(byte_bpe_tokenizer):
    """The second pair's words come with nothing more than documents at large do."""
    embeddings = np.eye(len(byte_bpe_tokenizer), 24, dtype=np.float32)
    counted = frequencies([[5, 0], [5, 0], [0, 0], [0, 0]], [5] * 4, [1, 1], 9, ["blau", "gelb"])
    pairs = [("haus", "zzz"), ("dach", "yyy")]
    found = find_pivots(counted, pairs, [(0, 1), (2, 3)], tokens=WordTokens())
    assert [len(item.tokens) for item in found] == [1, 0]
    similar, kept = filter_pivots(found, counted, embeddings, byte_bpe_tokenizer, tokens=WordTokens())
    assert (len(similar[0]), similar[1], kept[1]) == (1, [], [])


def test_orders_of_other_salts_are_unrelated():
    values = np.arange(2000, dtype=np.uint64)
    ranks = [np.argsort(np.argsort(mix(values, salt))) for salt in ("a", "b")]
    assert len(np.unique(mix(values, "a"))) == 2000
    assert abs(np.corrcoef(ranks)[0, 1]) < 0.1


def planted(seed=0, documents=900):
    """Haus and nyumba never meet; both come with dach and wohnen, and each has companions of its own."""
    generator = random.Random(seed)
    texts = []
    for number in range(documents):
        words = generator.choices(FILLER, k=generator.randint(10, 20))
        topic = number % 9
        if topic in (0, 1):
            words.append("Haus" if topic == 0 else "nyumba")
            words += [word for word in ("dach", "Wohnen") if generator.random() < 0.8]
            words.append("garten" if topic == 0 else "mlango")
        elif topic == 2:
            words += ["Fluss", "dach"] if generator.random() < 0.1 else ["fluss"]
        generator.shuffle(words)
        texts.append(" ".join(words))
    return texts


@pytest.mark.parametrize("score", ["min-excess", "pmi", "llr"])
def test_planted_pivots_are_recovered_by_the_command(tmp_path, capsys, score):
    rows = [json.dumps({"text": text}, ensure_ascii=False) for text in planted()]
    rows[10:10] = ["{broken", json.dumps({"other": 1})]
    (tmp_path / "c.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "pairs.tsv").write_text("Haus\tnyumba\nHaus\tmto\n", encoding="utf-8")
    out = tmp_path / "out"
    command = ["pivots", "discover", "--corpus", str(tmp_path / "c.jsonl"), "--pairs", str(tmp_path / "pairs.tsv"),
               "--out", str(out), "--score", score, "--sample", "80"]  # fmt: skip
    assert main(command) == 0
    printed = capsys.readouterr().out
    table = pq.read_table(out / "pivots.parquet").to_pylist()
    best = [row["token"] for row in table if row["target_word"] == "nyumba"][:2]
    assert set(best) == {"dach", "wohnen"}
    assert {"garten", "mlango"}.isdisjoint(row["token"] for row in table[:5])
    assert "Haus - mto: mto in no document" in printed
    result = json.loads((out / "result.json").read_text())
    assert result["counts"]["bad lines"] == {"invalid JSON": 1, "no field 'text'": 1}
    assert result["counts"]["pairs"]["a word in no document"] == 1
    page = (out / "report.html").read_text()
    assert "wohnen" in page
    assert "data:image/png" in page
    assert [row["token"] for row in pq.read_table(out / "hubs.parquet").to_pylist()][:2] == [
        "dach",
        "wohnen",
    ] or score
    # The same command again finds everything done and says the same.
    assert main(command) == 0
    assert capsys.readouterr().out == printed
    assert main([*command[:-1], "81"]) == 2
    assert "another command" in capsys.readouterr().err


def test_pairs_can_be_a_word_task(tmp_path):
    item = WordItem("Haus", "nyumba", ("nyumba", "kaya"), ())
    task = WordTask(find_language("de"), find_language("sw"), (item, item), ((("Weg", "njia"),),), {})
    write_word_task(tmp_path / "words.jsonl", task, about={})
    assert read_word_pairs(tmp_path / "words.jsonl", Matching()) == [("Haus", "nyumba")]


def test_a_tokenizers_tokens_can_be_pivots(tmp_path, capsys, byte_bpe_tokenizer):
    byte_bpe_tokenizer.save_pretrained(tmp_path / "tok")
    write(tmp_path / "c.txt", planted())
    (tmp_path / "pairs.tsv").write_text("Haus\tnyumba\n", encoding="utf-8")
    assert main(["pivots", "discover", "--corpus", str(tmp_path / "c.txt"), "--pairs", str(tmp_path / "pairs.tsv"),
                 "--out", str(tmp_path / "out"), "--tokenizer", str(tmp_path / "tok"), "--json"]) == 0  # fmt: skip
    rows = pq.read_table(tmp_path / "out" / "pivots.parquet").to_pylist()
    assert rows
    for row in rows:
        assert byte_bpe_tokenizer.decode([row["token_id"]]).strip() == row["token"]
    assert json.loads(capsys.readouterr().out)["kind"] == "pivots discover"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pairs": "boot\tmashua\n"}, "no pair of .* has both its words in the 900 documents"),
        ({"pairs": ""}, "no pair in"),
        ({"pairs": "Haus nyumba\n"}, "has 0 tabs"),
        ({"pairs": "Haus\t \n"}, "is empty"),
        ({"corpus": "missing.txt"}, "no file"),
        ({"more": ["--sample", "0"]}, "--sample 0"),
        ({"more": ["--similarity-quantile", "1"]}, "--similarity-quantile 1"),
        ({"more": ["--max-bad-lines", "0"], "bytes": b"\xff\xfe\n"}, "1 bad lines"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(tmp_path, capsys, monkeypatch, change, said):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "c.txt", planted())
    with (tmp_path / "c.txt").open("ab") as file:
        file.write(change.get("bytes", b""))
    (tmp_path / "pairs.tsv").write_text(change.get("pairs", "Haus\tnyumba\n"), encoding="utf-8")
    status = main(["pivots", "discover", "--corpus", change.get("corpus", "c.txt"), "--pairs", "pairs.tsv",
                   "--out", "out", *change.get("more", [])])  # fmt: skip
    error = capsys.readouterr().err
    assert status == 2
    assert error.count("\n") == 1
    assert re.search(said, error)
    assert not (tmp_path / "out" / "pivots.parquet").exists()

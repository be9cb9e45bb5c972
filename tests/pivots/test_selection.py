"""Selection against a plain search over the whole corpus; controls, quotas, the guard; any shards, any workers."""

import json
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingraft.corpora import partials
from lingraft.corpora.language_id import LanguageGuess
from lingraft.corpora.reading import read_documents, read_texts
from lingraft.corpora.records import BadRecord
from lingraft.corpora.shards import plan_shards
from lingraft.errors import ConfigError, CorpusError
from lingraft.pivots.controls import frequency_matched, holds_both, length_cell
from lingraft.pivots.discovery import DocumentFrequencies
from lingraft.pivots.discovery_tokens import WordTokens, hash_text, mix
from lingraft.pivots.languages import find_language
from lingraft.pivots.leakage import TestWords, guard, read_test_words
from lingraft.pivots.packed_languages import kept_language, pack_languages, unpack_language
from lingraft.pivots.selection import split_budget
from lingraft.pivots.selection_passes import Reading, shard_records
from lingraft.pivots.selection_ranking import COLUMNS, prune
from lingraft.pivots.task_file import write_word_task
from lingraft.pivots.wordtask import WordItem, WordTask
from lingraft.recipes.pivots.selecting import run_selecting
from lingraft.recipes.pivots.selecting_inputs import SelectOptions, read_pivot_set

PIVOTS = ["dach", "wohnen", "日本"]
FILLER = ["und", "größe", "kwa", "run", "étude", "न", "天気", *(f"w{number}x" for number in range(30))]
LANGUAGES = ["de", "sw", "en"]


def corpus(documents=500, seed=0):
    """Many short documents, so that many scores are equal; some texts come twice."""
    generator = random.Random(seed)
    rows = []
    for number in range(documents):
        words = generator.choices(FILLER, k=generator.randint(2, 30))
        words += generator.choices(PIVOTS, k=generator.choice([0, 0, 0, 1, 2, 6]))
        generator.shuffle(words)
        rows.append({"text": " ".join(words), "id": f"d{number}", "language": LANGUAGES[number % 3]})
    rows[200:200] = [row | {"id": f"again-{row['id']}"} for row in rows[:60]]
    return rows


def write(path, rows):
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    # Blank and bad lines, which are no documents.
    lines[3:3] = ["", "{broken"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def plain_order(rows, score, salt, seed=0, eligible=lambda row: True):
    """Rows by score, equal scores by hash, each text once."""
    first = {}
    for row in rows:
        if eligible(row) and len(WordTokens().split([row["text"]])[0]) >= 4:
            first.setdefault(row["text"], row)

    def rank(row):
        key = mix(np.array([hash_text(row["text"], seed)], dtype=np.uint64), salt)[0]
        return -score(row), int(key)

    return sorted((row for row in first.values() if salt != "selected" or score(row) > 0), key=rank)


def share(row, wanted=frozenset(PIVOTS)):
    tokens = WordTokens().split([row["text"]])[0]
    return sum(token in wanted for token in tokens) / len(tokens)


def taken(ordered, budget):
    """Ids and sizes until the budget is full, the last cut."""
    found, left = [], budget
    for row in ordered:
        if left <= 0:
            break
        size = min(left, len(WordTokens().split([row["text"]])[0]))
        found.append((row["id"], size))
        left -= size
    return found


def options(tmp_path, **changes):
    pivots = tmp_path / "pivots.txt"
    pivots.write_text("\n".join(PIVOTS) + "\n", encoding="utf-8")
    given = {"corpus": (str(tmp_path / "c.jsonl"),), "pivots": str(pivots), "tokens": 600, "least_length": 4}
    return SelectOptions(**(given | changes))


def read_set(directory):
    rows = []
    for path in sorted(directory.glob("*.jsonl")):
        rows += [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    return sorted((row["reason"]["rank"], row["id"], row["reason"]["tokens"]) for row in rows), rows


@pytest.fixture
def rows(tmp_path):
    found = corpus()
    write(tmp_path / "c.jsonl", found)
    return found


def test_the_best_documents_under_the_budget_are_those_of_a_plain_search(tmp_path, rows):
    run_selecting(options(tmp_path, controls=("random",)), out=tmp_path / "out")
    for directory, score, salt in (
        ("selected", share, "selected"),
        ("controls/random", lambda row: 0, "random"),
    ):
        ranked, written = read_set(tmp_path / "out" / directory)
        assert [(name, size) for _, name, size in ranked] == taken(plain_order(rows, score, salt), 600)
        assert sum(size for _, _, size in ranked) == 600
        lengths = [len(WordTokens().split([row["text"]])[0]) for row in written]
        assert [row["reason"]["tokens"] for row in written] == lengths
    # In the order of the corpus, with what was found in each.
    _, written = read_set(tmp_path / "out" / "selected")
    by_id = {row["id"]: row for row in rows}
    assert [row["id"] for row in written] == sorted(
        (r["id"] for r in written), key=[r["id"] for r in rows].index
    )
    for row in written:
        assert row["score"] == pytest.approx(share(by_id[row["id"]]))
        counted = Counter(t for t in WordTokens().split([by_id[row["id"]]["text"]])[0] if t in PIVOTS)
        assert row["reason"]["pivots"] == dict(counted)
        assert row["language"] == by_id[row["id"]]["language"]


def files(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*.jsonl"))
        if "passes" not in path.parts
    }


def test_shards_and_workers_change_nothing(tmp_path, rows):
    chosen = options(tmp_path, controls=("random", "matched"), tokens=400)
    run_selecting(chosen, out=tmp_path / "one")
    expected = files(tmp_path / "one")
    assert len(expected) == 3
    for name, how in (("two", {"shard_bytes": 3000}), ("three", {"shard_bytes": 20000, "workers": 2})):
        run_selecting(chosen, out=tmp_path / name, **how)
        assert files(tmp_path / name) == expected


def test_ids_of_lines_are_the_same_in_any_shards(tmp_path):
    texts = [row["text"] for row in corpus()]
    lines = ["\ufeff" + texts[0], "", *texts[1:50], "   ", *texts[50:]]
    (tmp_path / "c.txt").write_bytes(
        "\n".join(lines).encode() + b"\n\xff\xfe\n" + "ende größe und kwa dach\n".encode()
    )
    chosen = options(tmp_path, corpus=(str(tmp_path / "c.txt"),))
    run_selecting(chosen, out=tmp_path / "one")
    run_selecting(chosen, out=tmp_path / "two", shard_bytes=900)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    known = {document.id: document.text for document in read_documents(tmp_path / "c.txt")}
    for row in read_set(tmp_path / "one" / "selected")[1]:
        assert known[row["id"]].startswith(row["text"])


@pytest.mark.parametrize("shard_bytes", [57, 400, 10**9])
def test_records_of_shards_are_the_documents_of_the_corpus(tmp_path, rows, shard_bytes):
    found = []
    for shard in plan_shards([tmp_path / "c.jsonl"], shard_bytes=shard_bytes):
        found += [
            r for r in shard_records(shard, Reading()) if not isinstance(r, BadRecord) and r.text.strip()
        ]
    assert [record.text for record in found] == read_texts(tmp_path / "c.jsonl")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20), st.integers(1, 9)), max_size=40),
    st.integers(1, 60),
    st.data(),
)
def test_lists_of_parts_merge_into_the_list_of_the_whole(entries, budget, data):
    def columns(part):
        made = {name: np.zeros(len(part), dtype=kind) for name, kind in COLUMNS.items()}
        for row, (place, (score, key, size)) in enumerate(part):
            made["score"][row], made["key"][row], made["place"][row] = score, key, place
            # A text's size goes with its key.
            made["size"][row] = 1 + (key * 7 + size * 0) % 9
        return made

    numbered = [(place, (key % 4, key, size)) for place, (score, key, size) in enumerate(entries)]
    cut = data.draw(st.integers(0, len(entries)))
    left, right = (prune(columns(part), budget) for part in (numbered[:cut], numbered[cut:]))
    merged = prune({name: np.concatenate([left[name], right[name]]) for name in COLUMNS}, budget)
    whole = prune(columns(numbered), budget)
    for name in COLUMNS:
        np.testing.assert_array_equal(merged[name], whole[name])


def test_quotas_hold_for_selection_and_controls(tmp_path, rows):
    run_selecting(
        options(tmp_path, controls=("random", "matched"), tokens=301, quotas=(("de", 0.5), ("sw", 0.5))),
        out=tmp_path / "out",
    )
    for directory in ("selected", "controls/random", "controls/matched"):
        totals = Counter()
        for row in read_set(tmp_path / "out" / directory)[1]:
            totals[row["language"]] += row["reason"]["tokens"]
        assert sorted(totals.items()) == [("de", 151), ("sw", 150)]
    ranked, _ = read_set(tmp_path / "out" / "selected")
    german = plain_order(rows, share, "selected", eligible=lambda row: row["language"] == "de")
    assert {name for name, _ in taken(german, 151)} <= {name for _, name, _ in ranked}


def test_budgets_split_to_the_last_token():
    assert split_budget(10, {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}) == {"a": 4, "b": 3, "c": 3}
    with pytest.raises(ConfigError, match="sum to 1"):
        split_budget(10, {"a": 0.5})


def test_matched_documents_have_the_selections_languages_and_lengths(tmp_path, rows):
    run_selecting(options(tmp_path, controls=("matched",)), out=tmp_path / "out")
    cells = []
    for directory in ("selected", "controls/matched"):
        totals = Counter()
        for row in read_set(tmp_path / "out" / directory)[1]:
            totals[row["language"], length_cell(row["reason"]["length"])] += row["reason"]["tokens"]
        cells.append(totals)
    assert cells[0] == cells[1]


class Fake:
    """Swahili has a k in it."""

    def identify(self, texts):
        return [LanguageGuess("sw" if "k" in text else "en", 0.9) for text in texts]


def test_documents_in_two_languages_are_told():
    english, swahili = (
        "The house has a new roof and a garden. " * 3,
        "kwa kaka kiti kuku kwake kondoo kikombe kule. " * 3,
    )
    assert holds_both(f"{english}\n{swahili}", Fake())
    assert not holds_both(english, Fake())
    assert not holds_both(english * 9 + "\n" + swahili[:50], Fake())
    assert not holds_both("one line", Fake())


def test_parallel_documents_by_the_language_identifier(tmp_path):
    pytest.importorskip("lingua")
    english = "The house has a new roof and the garden behind it is large and quiet in the evening."
    german = "Das Haus hat ein neues Dach und der Garten dahinter ist groß und am Abend sehr still."
    texts = [f"{english} {n}." for n in range(40)] + [f"{german} {n}." for n in range(40)]
    texts += [f"{english} {n}.\n{german} {n}. dach" for n in range(30)]
    write(tmp_path / "c.jsonl", [{"text": text, "id": str(n)} for n, text in enumerate(texts)])
    run_selecting(
        options(tmp_path, controls=("parallel",), languages=("en", "de"), tokens=300), out=tmp_path / "out"
    )
    found = [int(row["id"]) for row in read_set(tmp_path / "out" / "controls" / "parallel")[1]]
    assert len(found) >= 8
    assert min(found) >= 80


def test_parallel_documents_of_a_parallel_corpus(tmp_path, rows):
    lines = [f"the roof is new number {n}\tdach ist neu nummer {n}" for n in range(80)]
    (tmp_path / "pairs.tsv").write_text("en\ttarget\n" + "\n".join(lines) + "\n", encoding="utf-8")
    result = run_selecting(
        options(
            tmp_path,
            controls=("parallel",),
            parallel_corpus=(str(tmp_path / "pairs.tsv"),),
            parallel_fields=("en", "target"),
        ),
        out=tmp_path / "out",
    )
    _, written = read_set(tmp_path / "out" / "controls" / "parallel")
    assert sum(row["reason"]["tokens"] for row in written) == 600
    whole = [row for row in written if not row["reason"]["cut"]]
    assert all(
        row["text"].count("\n") == 1 and "roof" in row["text"] and "dach" in row["text"] for row in whole
    )
    assert result.metrics["sets"][1]["overlap"] is None


def test_tokens_as_frequent_as_the_pivots():
    tokens = tuple(f"t{number}" for number in range(60))
    counts = np.array([number // 3 for number in range(60)], dtype=float)
    frequencies = DocumentFrequencies(
        tokens, np.zeros((0, 60)), np.zeros(0), counts, 100, np.zeros(0, dtype=np.int64)
    )
    pivots = ["t30", "t31", "t59", "absent"]
    drawn = frequency_matched(pivots, frequencies, tokens=WordTokens(), forbidden=["t32"], seed=1)
    assert len(drawn) == 4
    assert drawn.isdisjoint({*pivots, "t32"})
    found = sorted(counts[tokens.index(token)] for token in drawn)
    assert found[3] == 19
    assert abs(found[1] - 10) <= 1
    assert abs(found[2] - 10) <= 1
    assert drawn == frequency_matched(
        reversed(pivots), frequencies, tokens=WordTokens(), forbidden=["t32"], seed=1
    )
    assert drawn != frequency_matched(pivots, frequencies, tokens=WordTokens(), forbidden=["t32"], seed=2)


def test_test_words_never_serve_and_their_documents_stay_out(tmp_path, rows):
    (tmp_path / "words.tsv").write_text("Dach\trun\n日本語\tgröße\nDach\trun\n", encoding="utf-8")
    result = run_selecting(
        options(
            tmp_path,
            test_words=(str(tmp_path / "words.tsv"),),
            keep_out_test_pairs=True,
            controls=("random",),
            tokens=200,
        ),
        out=tmp_path / "out",
    )
    assert result.metrics["pivots_removed"] == ["dach", "日本"]
    kept_out = [row for row in rows if len(WordTokens().split([row["text"]])[0]) >= 4
                and {"dach", "run"} <= set(WordTokens().split([row["text"]])[0])]  # fmt: skip
    assert result.counts["documents"]["both words of a test pair"] == len(kept_out) > 0
    ids = {row["id"] for row in kept_out}
    for directory in ("selected", "controls/random"):
        assert ids.isdisjoint(row["id"] for row in read_set(tmp_path / "out" / directory)[1])
    assert set(read_set(tmp_path / "out" / "selected")[1][0]["reason"]["pivots"]) == {"wohnen"}


def test_overlapping_test_words_are_taken_once(tmp_path):
    (tmp_path / "a.txt").write_text("Haus\nhaus\nDach\n", encoding="utf-8")
    (tmp_path / "b.tsv").write_text("Dach\troof\n", encoding="utf-8")
    found = read_test_words([tmp_path / "a.txt", tmp_path / "b.tsv"])
    assert found.words == {"haus", "dach", "roof"}
    assert found.repeated == 2
    kept, removed = guard(["dach", "x"], found, tokens=WordTokens())
    assert (kept, removed) == ({"x"}, ["dach"])
    assert guard(["a"], TestWords(frozenset(), ()), tokens=WordTokens())[1] == []


def test_a_word_task_holds_test_words(tmp_path):
    item = WordItem("Dach", "roof", ("roof", "top"), ())
    languages = find_language("de"), find_language("en")
    task = WordTask(*languages, (item,), ((("Haus", "house"),),), {})
    write_word_task(tmp_path / "words.jsonl", task, about={})
    found = read_test_words([tmp_path / "words.jsonl"])
    assert found.words == {"dach", "roof", "top"}
    assert found.pairs == (("Dach", "roof"), ("Dach", "top"))


@pytest.mark.parametrize("after", [1, 3])
def test_a_killed_run_goes_on_and_ends_the_same(tmp_path, rows, monkeypatch, after):
    chosen = options(tmp_path, controls=("random", "matched"))
    run_selecting(chosen, out=tmp_path / "whole", shard_bytes=3000)
    replacing, left = partials.replacing, [after]

    def dies(path):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return replacing(path)

    with monkeypatch.context() as patched:
        patched.setattr(partials, "replacing", dies)
        with pytest.raises(KeyboardInterrupt):
            run_selecting(chosen, out=tmp_path / "out", shard_bytes=3000)
    assert not (tmp_path / "out" / "selected").exists()
    run_selecting(chosen, out=tmp_path / "out", shard_bytes=3000)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_file_that_vanishes_is_named(tmp_path, rows, monkeypatch):
    write(tmp_path / "d.jsonl", corpus(seed=1))
    chosen = options(tmp_path, corpus=(str(tmp_path / "c.jsonl"), str(tmp_path / "d.jsonl")))
    plan = partials.plan_shards

    def planned(paths, **how):
        shards = plan(paths, **how)
        (tmp_path / "d.jsonl").unlink(missing_ok=True)
        return shards

    monkeypatch.setattr(partials, "plan_shards", planned)
    with pytest.raises(CorpusError, match=r"d\.jsonl cannot be read: No such file"):
        run_selecting(chosen, out=tmp_path / "out")
    monkeypatch.undo()
    with pytest.raises(CorpusError, match=r"no file .*d\.jsonl"):
        run_selecting(chosen, out=tmp_path / "out")


def test_pivot_sets_are_hubs(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [("a", "b", "dach", 0.5, True), ("a", "c", "dach", 0.4, True), ("a", "b", "einmal", 0.9, True),
            ("a", "b", "weg", 0.9, False), ("a", "c", "weg", 0.9, False), ("a", "b", "zwei", 0.1, True),
            ("d", "c", "zwei", 0.1, True)]  # fmt: skip
    names = ["source_word", "target_word", "token", "score", "kept"]
    table = pa.table(
        {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    )
    pq.write_table(table, tmp_path / "pivots.parquet")
    found = read_pivot_set(tmp_path / "pivots.parquet")
    assert found.tokens == ("dach", "zwei")
    assert found.left_out == {"dropped by the semantic filter": 2, "a pivot of fewer than 2 pairs": 1}
    assert read_pivot_set(tmp_path / "pivots.parquet", least_pairs=1, most=2).tokens == ("dach", "zwei")
    with pytest.raises(ConfigError, match=r"none of the 3 pivots .* serves 3"):
        read_pivot_set(tmp_path / "pivots.parquet", least_pairs=3)


def test_languages_survive_as_bytes():
    languages = ["", "de", "zh-Hant-TW", "größe", "eng_Latn", "日" * 10]
    assert [unpack_language(row) for row in pack_languages(languages).tolist()] == languages
    assert unpack_language(pack_languages(["日" * 11])[0].tolist()) == "日" * 10
    assert pack_languages([]).shape == (0, 32)
    assert unpack_language(pack_languages(["a\ud800"])[0].tolist()) == kept_language("a\ud800") == "a?"


def test_languages_with_their_script_have_matched_controls(tmp_path, rows):
    """`eng_Latn` and `eng_Latf` are two languages, and a code that is too long is one all the way."""
    named = {"de": "eng_Latn", "sw": "eng_Latf", "en": "größe" * 8}
    write(tmp_path / "c.jsonl", [{**row, "language": named[row["language"]]} for row in rows])
    run_selecting(options(tmp_path, controls=("matched",), tokens=400), out=tmp_path / "out")
    tokens = []
    for directory in ("selected", "controls/matched"):
        totals = Counter()
        for row in read_set(tmp_path / "out" / directory)[1]:
            totals[row["language"]] += row["reason"]["tokens"]
        tokens.append(totals)
    assert tokens[0] == tokens[1]
    assert set(tokens[0]) == {"eng_Latn", "eng_Latf", "größe" * 4 + "grö"}

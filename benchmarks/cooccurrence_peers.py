"""Other ways to count, for `cooccurrence.py`; a process each: `cooccurrence_peers.py NAME CORPUS PAIRS NUMBER`."""

import re
import sys
import time
from pathlib import Path


def sequential(corpus, pairs):
    """One pair after another, each through all documents: what the released code does."""
    with corpus.open(encoding="utf-8") as file:
        documents = [line.lower() for line in file]
    for source, target in pairs:
        both = sum(source in document and target in document for document in documents)
        print(source, target, both, sep="\t")


def sequential_words(corpus, pairs):
    """The same with whole words, by regular expressions."""
    with corpus.open(encoding="utf-8") as file:
        documents = [line.lower() for line in file]
    for pair in pairs:
        source, target = (re.compile(rf"(?<!\w){re.escape(word)}(?!\w)").search for word in pair)
        both = sum(source(document) is not None and target(document) is not None for document in documents)
        print(*pair, both, sep="\t")


def polars_query(corpus, pairs):
    """Split into words, keep those of the list, join with themselves over documents."""
    import polars as pl

    table = pl.DataFrame(pairs, schema=["source", "target"], orient="row")
    words = pl.concat([table["source"], table["target"]]).unique().rename("word").to_frame().lazy()
    found = (
        pl.scan_csv(corpus, has_header=False, new_columns=["text"], separator="\x01", quote_char=None)
        .with_row_index("document")
        .select("document", pl.col("text").str.to_lowercase().str.extract_all(r"\w+").alias("word"))
        .explode("word")
        .join(words, on="word", how="semi")
        .unique()
        .collect(engine="streaming")
        .lazy()
    )
    left, right = (found.rename({"word": side}) for side in ("source", "target"))
    counts = (
        table.lazy()
        .join(left, on="source")
        .join(right, on=["target", "document"])
        .group_by("source", "target")
        .len()
        .collect(engine="streaming")
    )
    for row in counts.iter_rows():
        print(*row, sep="\t")


def duckdb_query(corpus, pairs):
    """The same in SQL."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("set threads = 1; set preserve_insertion_order = false")
    connection.execute("create table pairs (source text, target text)")
    connection.executemany("insert into pairs values (?, ?)", pairs)
    connection.execute(
        "create table words as select distinct word from"
        " (select source as word from pairs union all select target from pairs)"
    )
    connection.execute(
        "create table found as select distinct document, word from (select document,"
        r" unnest(regexp_extract_all(lower(text), '[\p{L}\p{N}_]+')) as word from"
        " (select row_number() over () as document, text from"
        " read_csv(?, columns={'text': 'text'}, delim='\x01', quote='', escape='', header=false)))"
        " semi join words using (word)",
        [str(corpus)],
    )
    rows = connection.execute(
        "select p.source, p.target, count(*) from pairs p join found a on a.word = p.source"
        " join found b on b.word = p.target and b.document = a.document group by all"
    ).fetchall()
    for row in rows:
        print(*row, sep="\t")


if __name__ == "__main__":
    name, corpus_file, pairs_file, number = sys.argv[1:]
    lines = Path(pairs_file).read_text(encoding="utf-8").splitlines()
    began = time.process_time()
    globals()[name](Path(corpus_file), [tuple(line.split("\t")) for line in lines[: int(number)]])
    print(f"{time.process_time() - began:.1f} s", file=sys.stderr)

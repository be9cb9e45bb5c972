import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lingraft.errors import ConfigError
from lingraft.patching.map_files import answer_labels, map_keys, read_answers, read_maps

TYPES = {
    "donor": pa.int32(),
    "donor_layer": pa.int32(),
    "receiver_layer": pa.int32(),
    "token_id": pa.int64(),
    "text": pa.string(),
    "choice": pa.int32(),
    "score": pa.float32(),
    "margin": pa.float32(),
    "entropy": pa.float32(),
    "correct": pa.bool_(),
}
SCHEMA = pa.schema([(name, pa.string()) for name in ("instance", "language", "site")] + list(TYPES.items()))


def row(instance="a", donor_layer=0, receiver_layer=0, **values):
    given = {
        "language": "de",
        "site": "ffn",
        "donor": 0,
        "token_id": 7,
        "text": None,
        "choice": -1,
        "score": -1.0,
        "margin": 0.5,
        "entropy": 0.1,
        "correct": True,
    }
    place = {"instance": instance, "donor_layer": donor_layer, "receiver_layer": receiver_layer}
    return given | place | values


def write(path, rows):
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)
    return path


def test_pairs_come_by_receiver_then_donor_layer_whatever_the_order_of_rows(tmp_path):
    """Layers [3, 1] by [2], two instances, shuffled: the score says which row it was (10 instance + donor layer)."""
    rows = [
        row(
            name, donor_layer, 2, score=10 * number + donor_layer, language=language, correct=donor_layer == 3
        )
        for donor_layer in (3, 1)
        for number, (name, language) in enumerate((("b", "eu"), ("a", "de")))
    ]
    maps = read_maps(write(tmp_path / "map.parquet", rows))
    assert maps.instances == ("b", "a") and maps.languages == ("eu", "de")
    assert maps.donor_layers.tolist() == [1, 3] and maps.receiver_layers.tolist() == [2, 2]
    assert maps.score.tolist() == [[1, 3], [11, 13]]
    assert maps.correct.tolist() == [[False, True]] * 2
    assert maps.pair(3, 2) == 1 and maps.pair(2, 2) is None
    assert maps.of(["a"]).score.tolist() == [[11, 13]]
    with pytest.raises(ConfigError, match="'z' is not in the map"):
        maps.of(["z"])


def test_site_and_donor_are_named_where_there_are_several(tmp_path):
    path = write(tmp_path / "m.parquet", [row(), row(site="attn", score=-3.0), row(donor=-1)])
    assert map_keys(path) == [("attn", 0), ("ffn", -1), ("ffn", 0)]
    assert read_maps(path, site="attn").score.item() == -3.0
    for wrong in ({}, {"site": "ffn"}, {"site": "resid"}):
        with pytest.raises(ConfigError, match="ffn with donor -1"):
            read_maps(path, **wrong)


def test_unknown_answers_and_half_known_ones(tmp_path):
    rows = [row("a"), row("a", 1), row("b", correct=None), row("b", 1, correct=None)]
    maps = read_maps(write(tmp_path / "m.parquet", rows))
    assert maps.known.tolist() == [True, False]
    assert maps.correct.tolist() == [[True, True], [False, False]]
    rows[-1]["correct"] = True
    with pytest.raises(ConfigError, match="'b' is judged for some"):
        read_maps(write(tmp_path / "m.parquet", rows))


def test_incomplete_maps_are_told(tmp_path):
    rows = [row("a"), row("a", 1), row("b")]
    with pytest.raises(ConfigError, match="1 of 2 instances are incomplete; 'b' lacks 1 of 2"):
        read_maps(write(tmp_path / "m.parquet", rows))
    with pytest.raises(ConfigError, match="has 1 more than once"):
        read_maps(write(tmp_path / "m.parquet", [*rows, row("b", 1), row("b", 1)]))


def test_files_that_are_no_map(tmp_path):
    with pytest.raises(ConfigError, match="nothing"):
        read_maps(tmp_path / "nothing.parquet")
    (tmp_path / "text").write_text("no parquet")
    with pytest.raises(ConfigError):
        read_maps(tmp_path / "text")
    with pytest.raises(ConfigError, match="no row"):
        read_maps(write(tmp_path / "empty", []))
    pq.write_table(pa.table({"instance": ["a"]}), tmp_path / "less")
    with pytest.raises(ConfigError, match="no column language"):
        read_answers(tmp_path / "less")


def test_labels_compare_options_texts_and_tokens(tmp_path):
    """An option counts before a text, a text before a token; texts are equal up to case and space."""
    labels = answer_labels([2, -1, None, -1], ["x", "Ein  Haus ", "ein haus", None], [5, 5, 6, 9])
    assert labels[0] == 2 and labels[3] == 9
    assert labels[1] == labels[2] and labels[1] > 0
    rows = [row("a", choice=None, token_id=None, text="ja"), row("b", choice=None, token_id=None)]
    labels = read_answers(write(tmp_path / "v.parquet", rows)).label
    assert labels[0] > 0 and labels[1] == -1


def test_answers_by_donor(tmp_path):
    path = write(tmp_path / "d.parquet", [row("a", token_id=1), row("a", donor=1, token_id=2, correct=None)])
    assert read_answers(path, donor=1).label.tolist() == [2]
    assert not read_answers(path, donor=1).known.any()
    with pytest.raises(ConfigError, match="several rows"):
        read_answers(path)
    with pytest.raises(ConfigError, match="no row of donor 4"):
        read_answers(path, donor=4)
    assert np.array_equal(read_answers(path, donor=0).of(["a"]).correct, [True])

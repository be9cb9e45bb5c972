"""A sweep's files: what is written comes back, whole or not at all, and instances make up the tables."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from lingraft.errors import ConfigError
from lingraft.patching.instances import Instance
from lingraft.patching.map_files import map_keys, read_answers, read_maps
from lingraft.patching.prompts import encode_prompt
from lingraft.patching.records import (
    ANSWER_SCHEMA,
    finished_instances,
    instance_file,
    merge_instances,
    write_instance,
)
from lingraft.patching.sweep import InstanceMap, SweepSettings, sweep_instance
from lingraft.patching.unions import read_samples

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
tiny_world = importlib.import_module("tiny_world")

ROWS = [
    Instance(
        id="größe-1",
        donor=("Open the document", "Öffnen Sie"),
        receiver="Ireki dokumentua eta",
        options=(" papera", " the size"),
        answers=(1,),
        language="eu",
    ),
    Instance(
        id="ñ-2",
        donor=("A table of", "Eine Tabelle"),
        receiver="Taula bat 안녕",
        options=(" a", " b"),
        language="ko",
    ),
]
SITES = ("attn", "ffn")


@pytest.fixture
def maps(tiny: Callable[..., Any]) -> list[InstanceMap]:
    tokenizer = tiny_world.byte_bpe_tokenizer()
    settings = SweepSettings(
        sites=SITES, score="options", samples=3, donor_layers=(2, 0), receiver_layers=(1,)
    )
    model = tiny("qwen2")
    return [sweep_instance(model, tokenizer, encode_prompt(tokenizer, row), settings) for row in ROWS]


def test_what_is_written_comes_back(tmp_path: Path, maps: list[InstanceMap]) -> None:
    for number in (1, 0):
        assert finished_instances(tmp_path, 2) == ([] if number else [1])
        write_instance(tmp_path, number, maps[number], ROWS[number], SITES, 0.5 + number)
    assert merge_instances(tmp_path, 2) == 2.0
    assert pq.read_schema(tmp_path / "map.parquet") == ANSWER_SCHEMA
    assert map_keys(tmp_path / "map.parquet") == [(site, donor) for site in SITES for donor in (0, 1)]
    for place, site in enumerate(SITES):
        for donor in (0, 1):
            back = read_maps(tmp_path / "map.parquet", site=site, donor=donor)
            assert back.instances == ("größe-1", "ñ-2") and back.languages == ("eu", "ko")
            assert back.donor_layers.tolist() == [0, 2] and back.receiver_layers.tolist() == [1, 1]
            assert back.known.tolist() == [True, False]
            for number, found in enumerate(maps):
                rows = (found.pairs.site == place) & (found.pairs.donor == donor)
                assert (back.label[number] == found.rows.choice[rows]).all()
                for name in ("score", "margin", "entropy"):
                    np.testing.assert_array_equal(
                        getattr(back, name)[number], getattr(found.rows, name)[rows]
                    )
            assert maps[0].rows.correct is not None
            rows = (maps[0].pairs.site == place) & (maps[0].pairs.donor == donor)
            assert (back.correct[0] == maps[0].rows.correct[rows]).all()
    vanilla = read_answers(tmp_path / "vanilla.parquet")
    assert vanilla.label.tolist() == [int(found.vanilla.choice[0]) for found in maps]
    for donor in (0, 1):
        own = read_answers(tmp_path / "donors.parquet", donor=donor)
        assert own.label.tolist() == [int(found.donors.choice[donor]) for found in maps]
    samples = read_samples(tmp_path / "samples.parquet")
    assert samples.instances == ("größe-1",) and maps[0].samples is not None
    assert (samples.correct[0] == maps[0].samples).all()


def test_tables_of_nothing_are_not_left(tmp_path: Path, maps: list[InstanceMap]) -> None:
    write_instance(tmp_path, 0, replace(maps[1], samples=None), ROWS[1], SITES, 1.0)
    merge_instances(tmp_path, 1)
    assert not (tmp_path / "samples.parquet").exists() and (tmp_path / "map.parquet").exists()
    assert not list(tmp_path.glob("**/.*"))


def test_a_damaged_instance_is_named(tmp_path: Path, maps: list[InstanceMap]) -> None:
    for number in (0, 1):
        write_instance(tmp_path, number, maps[number], ROWS[number], SITES, 1.0)
    file = instance_file(tmp_path, 1)
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(
        ConfigError, match=r"000001\.parquet.*delete that file and run the same command again"
    ):
        merge_instances(tmp_path, 2)
    assert not (tmp_path / "map.parquet").exists()

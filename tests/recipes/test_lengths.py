"""Lengths are held against the positions of the model that a stage reads, where these are known."""

import json
from pathlib import Path

import pytest
from pydantic import Field

from lingraft.recipes.checking.filling import Filled
from lingraft.recipes.checking.lengths import length_faults
from lingraft.recipes.stages.contract import StageSettings


class Settings(StageSettings):
    block_length: int | None = Field(None, description="Tokens a block.")


@pytest.mark.parametrize(
    ("made_from", "faulty"),
    [
        ("start", ["tuned", "again"]),
        ("other", []),
        # A merge of several models: nothing is known of what it makes.
        (None, []),
    ],
)
def test_a_stage_reads_as_far_as_the_model_it_is_made_from(
    tmp_path: Path, made_from: str | None, faulty: list[str]
) -> None:
    for name, positions in (("start", 512), ("other", 4096)):
        (tmp_path / name).mkdir()
        config = {"max_position_embeddings": positions}
        (tmp_path / name / "config.json").write_text(json.dumps(config), encoding="utf-8")
    first = None if made_from is None else str(tmp_path / made_from)
    stages = [
        ("made", Settings(), Filled({"model": first}, ())),
        ("tuned", Settings(block_length=1024), Filled({"model": "stage:made"}, ())),
        ("again", Settings(block_length=513), Filled({"model": "stage:tuned/model"}, ())),
        ("fits", Settings(block_length=512), Filled({"model": "stage:again"}, ())),
    ]
    found = list(length_faults(stages, str(tmp_path / "start")))
    assert [fault.keys[1] for fault in found] == faulty
    assert all(fault.expected == "at most 512, the model's positions" for fault in found)

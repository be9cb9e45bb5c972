"""Command line, options and sweep are one thing at three heights: same names, same defaults."""

import inspect
from dataclasses import fields

import pytest

from lingraft.cli.patch_options import parse_layers
from lingraft.cli.patch_sweep import sweep
from lingraft.errors import ConfigError
from lingraft.patching.sweep import SweepSettings
from lingraft.recipes.patching.sweep_options import Shard, SweepOptions

HOW = {"out", "shard", "workers", "ray", "memory_mib", "device", "json"}
"""Parameters that say how and where, not what; a run is the same run whatever they are."""


def test_the_command_has_every_option_with_its_default():
    command = inspect.signature(sweep).parameters
    options = {field.name: field for field in fields(SweepOptions)}
    assert {"sites" if name == "site" else name for name in command} - HOW == set(options)
    for name, parameter in command.items():
        if name in HOW or parameter.default is inspect.Parameter.empty:
            continue
        default = (parameter.default,) if name == "site" else parameter.default
        assert default == options["sites" if name == "site" else name].default, name


def test_settings_take_every_option_that_they_share():
    changed = {
        "sites": ("attn", "resid"),
        "score": "generate",
        "operator": "lerp:0.25",
        "donor_layers": (3, 1),
        "receiver_layers": (2,),
        "new_tokens": 7,
        "mean_donors": True,
        "control": "noise",
        "samples": 4,
        "temperature": 0.5,
        "seed": 9,
    }
    settings = SweepOptions(model="m", pairs="p", **changed).settings(123)
    assert {name: getattr(settings, name) for name in changed} == changed
    assert {field.name for field in fields(SweepSettings)} == {*changed, "memory_bytes"}
    assert settings.memory_bytes == 123
    # Shuffled donors come with the rows; the sweep itself then is an ordinary one.
    assert SweepOptions(model="m", pairs="p", control="shuffled").settings(1).control == "none"


@pytest.mark.parametrize(
    ("text", "layers"), [("3,1,3", (1, 3)), ("0-2", (0, 1, 2)), ("5, 7-8", (5, 7, 8)), ("4", (4,))]
)
def test_layers(text, layers):
    assert parse_layers(text, "--donor-layers") == layers
    assert parse_layers(None, "--donor-layers") is None


@pytest.mark.parametrize("text", ["", "first", "3-1", "-1", "1,,x", "2-"])
def test_layers_that_are_none(text):
    with pytest.raises(ConfigError, match=r"--donor-layers .*; expected layers from 0"):
        parse_layers(text, "--donor-layers")


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/", "a/b", "-1/2"])
def test_shards_that_are_none(text):
    assert Shard.parse("2/2") == Shard(2, 2)
    with pytest.raises(ConfigError, match=r"--shard .*; expected K/N"):
        Shard.parse(text)

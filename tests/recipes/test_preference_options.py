"""`clo train`, `clo compare`, their options and the plan are one thing at three heights: same names and defaults."""

import inspect
from dataclasses import MISSING, fields

from lingraft.cli.clo_compare import compare
from lingraft.cli.clo_train import train
from lingraft.preference.compare import ARMS
from lingraft.preference.monitor import MonitorOptions
from lingraft.preference.plan import PreferencePlan
from lingraft.preference.policies import LoraOptions
from lingraft.recipes.preference.comparing_objectives import CompareOptions
from lingraft.recipes.preference.training import PreferenceOptions

HOW = {
    "out",
    "device",
    "gradient_accumulation",
    "tokens_together",
    "save_every",
    "track",
    "trust_remote_code",
    "accept_terms",
    "json",
}
"""Parameters that say how and where, not what."""
RENAMED = {"max_length": "longest", "lora_rank": "rank", "lora_alpha": "alpha"}


def declared(*classes: type) -> dict[str, object]:
    return {field.name: field.default for one in classes for field in fields(one)}  # type: ignore[arg-type]


def typed(command: object) -> dict[str, object]:
    parameters = inspect.signature(command).parameters  # type: ignore[arg-type]
    return {RENAMED.get(name, name): p.default for name, p in parameters.items() if name not in HOW}


def test_train_has_every_option_with_its_default() -> None:
    options = declared(PreferenceOptions, PreferencePlan, MonitorOptions, LoraOptions)
    found = typed(train)
    # Parts that are themselves made of options, and two numbers that nobody needs to type.
    assert set(options) - set(found) == {"plan", "lora", "monitor", "batch_size", "dropout"} - {"batch_size"}
    for name, default in found.items():
        # The monitor's batch of prompts has the name of the training's batch of items.
        expected = PreferencePlan().batch_size if name == "batch_size" else options[name]
        assert default == (inspect.Parameter.empty if expected is MISSING else expected), name


def test_compare_has_every_option_with_its_default() -> None:
    options = declared(CompareOptions, PreferencePlan, MonitorOptions)
    found = typed(compare)
    assert found.pop("arms") == ",".join(ARMS) and found.pop("sizes") == "400"
    # An arm says the objective; its length is the number of items; the seeds are the comparison's.
    assert set(options) - set(found) == {
        *("plan", "monitor", "lora", "arms", "sizes", "objective", "steps", "seed", "weight_decay"),
        "gradient_clip",
    }
    for name, default in found.items():
        expected = PreferencePlan().batch_size if name == "batch_size" else options[name]
        assert default == (inspect.Parameter.empty if expected is MISSING else expected), name

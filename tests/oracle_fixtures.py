"""Other libraries, which results are compared with: imported without what they change for the whole process."""

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A function that imports a module of a package that results are compared with, or skips the test.

    They come with `make test`, but for `nnterp`, whose latest release (1.3.0) needs an nnsight older than 0.8.
    `wechsel` and `deepfocus` import the library `fasttext`, which does not build against current numpy. What the
    tests call of them does not use it, so an empty stand-in takes its place for the time of the test.
    """

    def load(name: str) -> Any:
        if "fasttext" not in sys.modules and importlib.util.find_spec("fasttext") is None:
            stand_in: Any = types.ModuleType("fasttext")
            stand_in.util = types.ModuleType("fasttext.util")
            stand_in.FastText = types.SimpleNamespace(_FastText=type("_FastText", (), {}))
            monkeypatch.setitem(sys.modules, "fasttext", stand_in)
            monkeypatch.setitem(sys.modules, "fasttext.util", stand_in.util)
        # nnsight puts a backward of its own into every tensor, which reads the source of whoever calls it. Tests
        # that run later in this process are not about it.
        backward = torch.Tensor.backward
        try:
            return importlib.import_module(name)
        except ImportError as error:
            return pytest.skip(f"{name} cannot be imported: {error}")
        finally:
            torch.Tensor.backward = backward  # type: ignore[method-assign]

    return load


@pytest.fixture
def nnsight(oracle: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The library, without the `save` that it would otherwise give to every object of the process."""
    config = tmp_path / "nnsight.yaml"
    config.write_text("APP:\n  PYMOUNT: false\n", encoding="utf-8")
    monkeypatch.setenv("NNSIGHT_CONFIG", str(config))
    monkeypatch.setattr(sys, "argv", sys.argv[:1])
    return oracle("nnsight")

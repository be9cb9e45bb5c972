"""The tiny models of tests/models."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


def _models() -> Any:
    specification = importlib.util.spec_from_file_location(
        "tiny_models", HERE.parent / "models" / "conftest.py"
    )
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


MODELS = _models()


@pytest.fixture
def tiny() -> Callable[..., Any]:
    """Build a tiny random model by its name."""
    build: Callable[..., Any] = MODELS.build
    return build


@pytest.fixture(params=MODELS.ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> str:
    """The name of every supported architecture in turn."""
    return str(request.param)

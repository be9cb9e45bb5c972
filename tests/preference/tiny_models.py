"""The tiny models of tests/models, and random rows for them."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch

from lingraft.preference.collation import Row

HERE = Path(__file__).parent


def _models() -> Any:
    name = "tiny_models_of_tests"
    specification = importlib.util.spec_from_file_location(name, HERE.parent / "models" / "conftest.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


MODELS = _models()
ARCHITECTURES = MODELS.ARCHITECTURES
build = MODELS.build


def random_rows(*, two: bool = True, rows: int = 611) -> list[Row]:
    """Rows of unequal lengths: a long prompt with short answers, a prompt of one token, an answer of one."""
    generator = torch.Generator().manual_seed(3)

    def ids(length: int) -> list[int]:
        return torch.randint(3, rows, (length,), generator=generator).tolist()

    sizes = [(9, 5, 7), (1, 6, 1), (4, 1, 8), (6, 3, 3)]
    return [Row(ids(p), ids(a), ids(b) if two else [], bool(i % 2)) for i, (p, a, b) in enumerate(sizes)]


def separate_logs(model: Any, row: Row) -> list[torch.Tensor]:
    """The slow plain reference: one forward pass for each answer, no batch, no mask."""
    sums = []
    for answer in (row.chosen, row.rejected):
        if not answer:
            continue
        ids = torch.tensor([[*row.prompt, *answer]])
        logits = model(input_ids=ids, use_cache=False).logits[0].float()
        logs = logits.log_softmax(-1)
        places = range(len(row.prompt) - 1, len(row.prompt) + len(answer) - 1)
        sums.append(sum(logs[place, token] for place, token in zip(places, answer, strict=True)))
    return sums

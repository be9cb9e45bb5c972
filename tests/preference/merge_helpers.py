"""Tiny checkpoints to merge, and the result as transformers reads it."""

import importlib.util
import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from lingraft.preference.merging import write_merge
from lingraft.preference.merging_inputs import Tokens, read_checkpoint

_spec = importlib.util.spec_from_file_location(
    "tiny_architectures", Path(__file__).parents[1] / "models" / "conftest.py"
)
tiny_architectures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny_architectures)
ARCHITECTURES, build = tiny_architectures.ARCHITECTURES, tiny_architectures.build

IDS = torch.randint(3, 480, (2, 9), generator=torch.Generator().manual_seed(5))


def perturbed(name, seed, *, tied=True, dtype=torch.float32):
    """A tiny model whose weights differ from the built one's by seeded noise."""
    model = build(name, tied=tied, dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = 0.1 * torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise.to(dtype))
    return model


def saved(model, directory, **options):
    model.save_pretrained(directory, **options)
    return directory


def read(role, directory, tokens=None):
    return read_checkpoint(role, directory.name, directory, tokens)


def written(plan, first, directory):
    """Carry out a plan, with the config of the input that it names."""
    directory.mkdir()
    write_merge(directory, plan.tensors)
    shutil.copy(first / "config.json", directory)
    return directory


def load(directory, **options):
    options = {"attn_implementation": "eager", "output_loading_info": True, **options}
    model, report = AutoModelForCausalLM.from_pretrained(directory, **options)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    return model.eval()


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits.float()


def same(first, second):
    """Whether two state dicts are equal bit by bit, the sign of zero included."""
    assert first.keys() == second.keys()
    return all(
        value.dtype == second[key].dtype
        and torch.equal(value.contiguous().view(torch.uint8), second[key].contiguous().view(torch.uint8))
        for key, value in first.items()
    )


def tokens(count, added=(), **changes):
    ordinary = {i: f"t{i}" for i in range(count) if i not in added}
    ordinary |= {int(key[1:]): value for key, value in changes.items()}
    return Tokens(ordinary, {i: f"<{i}>" for i in added})

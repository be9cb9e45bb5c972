"""The numbers of docs/scaling.md are those that its script computes, and the script counts as the library does."""

import importlib
import sys
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lingraft.training.flops import matrix_parameters

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
scaling = importlib.import_module("scaling")


def test_the_page_has_the_tables_of_the_script():
    page = scaling.PAGE.read_text(encoding="utf-8")
    assert scaling.filled(page) == page
    assert all(f"<!-- table {name} -->" in page for name in scaling.TABLES)
    assert scaling.filled(page.replace("6,979,321,856", "7")) == page


def test_its_model_has_as_many_parameters_as_transformers_makes():
    big = scaling.BIG
    config = LlamaConfig(
        vocab_size=big.rows,
        hidden_size=big.width,
        intermediate_size=big.inner,
        num_hidden_layers=big.layers,
        num_attention_heads=big.heads,
        num_key_value_heads=big.kv_heads,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    assert sum(p.numel() for p in model.parameters() if p.ndim > 1) == big.parameters
    assert sum(matrix_parameters(model)) == big.multiplied

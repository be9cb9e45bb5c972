"""The real models of the asset cache: the lens names Paris, and the donor's neighbours are translations."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lingraft.models.architecture import final_norm, head, resolve
from lingraft.models.hooks import Patch, capture, patch
from lingraft.models.loading import load_donor, load_model

pytestmark = pytest.mark.real


def test_lens_and_patch_on_smollm2(real_asset: Callable[[str], Path]) -> None:
    real_asset("smollm2-135m-instruct")
    loaded = load_model("smollm2-135m-instruct", dtype="float32", device="cpu")
    model, tokenizer = loaded.model, loaded.tokenizer
    assert len(resolve(model).layers) == 30
    batch = tokenizer(["The capital of France is", "Hi"], return_tensors="pt", padding=True)
    with torch.no_grad(), capture(model, ["resid", "ffn"]) as captured:
        logits = model(**batch).logits
    lens = head(model)(final_norm(model)(captured["resid"]))
    assert tokenizer.decode(lens[-1, 0].argmax()) == " Paris"
    with torch.no_grad(), patch(model, [Patch("ffn", 12, captured["ffn"][12])]):
        again = model(**batch).logits
    assert torch.equal(again, logits)


def test_donor_neighbours_of_e5(real_asset: Callable[[str], Path]) -> None:
    real_asset("multilingual-e5-small")
    donor = load_donor("multilingual-e5-small")
    assert donor.embeddings.shape == (250_037, 384)
    rows = torch.nn.functional.normalize(donor.embeddings, dim=1)
    water = donor.tokenizer.convert_tokens_to_ids("▁water")
    nearest = donor.tokenizer.convert_ids_to_tokens((rows @ rows[water]).topk(40).indices.tolist())
    assert {"▁water", "▁Wasser", "▁água"} <= set(nearest)

"""Capture and patch: exact where they should change nothing, confined to what they name, gone afterwards."""

from typing import Any

import pytest
import torch
from torch import nn

from lingraft.errors import ConfigError, ModelError
from lingraft.models.architecture import resolve
from lingraft.models.hooks import Patch, capture, patch
from lingraft.models.sites import Site

ALL_SITES = [
    Site("attn"),
    Site("ffn"),
    Site("attn", "contribution"),
    Site("ffn", "contribution"),
    Site("resid"),
    Site("resid_in"),
    Site("attn_official"),
]


def unhooked(model: nn.Module) -> bool:
    return not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def padded(ids: torch.Tensor, lengths: list[int], side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows cut to their lengths and padded with id 0 on one side; and the mask."""
    width = max(lengths)
    tokens, mask = torch.zeros(len(lengths), width, dtype=torch.long), torch.zeros(len(lengths), width).long()
    for row, length in enumerate(lengths):
        place = slice(width - length, width) if side == "left" else slice(0, length)
        tokens[row, place] = ids[row, :length]
        mask[row, place] = 1
    return tokens, mask


@pytest.mark.parametrize("site", ALL_SITES, ids=lambda site: f"{site.name}-{site.view}")
def test_patching_with_own_activations_changes_nothing(
    architecture: str, site: Site, tiny: Any, ids: Any
) -> None:
    model = tiny(architecture)
    with torch.no_grad():
        with capture(model, [site], [2, 0]) as captured:
            before = model(ids).logits
        patches = [Patch(site, layer, captured[site][i]) for i, layer in enumerate([2, 0])]
        with patch(model, patches):
            after = model(ids).logits
    assert torch.equal(after, before)
    assert unhooked(model)


@pytest.mark.parametrize("site", ALL_SITES, ids=lambda site: f"{site.name}-{site.view}")
def test_a_patch_arrives_and_is_confined(architecture: str, site: Site, tiny: Any, ids: Any) -> None:
    model = tiny(architecture)
    value = torch.randn(32)
    with torch.no_grad():
        before = model(ids).logits
        with (
            patch(model, [Patch(site, 1, value, torch.tensor([4, 6]), rows=[1])]),
            capture(model, [site], [1], "all") as captured,
        ):
            after = model(ids).logits
    torch.testing.assert_close(captured[site][0, 1, 6], value, rtol=1e-5, atol=1e-5)
    assert torch.equal(after[0], before[0])
    assert torch.equal(after[1, :6], before[1, :6])
    assert float((after[1, 6:] - before[1, 6:]).abs().max()) > 1e-3


def test_capture_entered_first_sees_the_patch_too(tiny: Any, ids: Any) -> None:
    model = tiny("bloom")
    site, value = Site("ffn", "contribution"), torch.randn(2, 32)
    with torch.no_grad(), capture(model, [site], [1]) as captured, patch(model, [Patch(site, 1, value)]):
        model(ids)
    torch.testing.assert_close(captured[site][0], value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("site", ALL_SITES, ids=lambda site: f"{site.name}-{site.view}")
def test_left_and_right_padding_agree(architecture: str, site: Site, tiny: Any, ids: Any) -> None:
    model = tiny(architecture)
    lengths = [9, 5]
    with torch.no_grad():
        with capture(model, [site], [2, 1]) as alone:
            model(ids[1:, :5])
        for side in ("left", "right"):
            tokens, mask = padded(ids, lengths, side)
            positions = (mask.cumsum(-1) - 1).clamp_min(0)
            extra = {} if architecture == "bloom" else {"position_ids": positions}
            with capture(model, [site], [2, 1]) as captured:
                model(tokens, attention_mask=mask, **extra)
            torch.testing.assert_close(captured[site][:, 1], alone[site][:, 0], rtol=1e-4, atol=1e-4)


def test_layers_come_in_the_order_asked_for(tiny: Any, ids: Any) -> None:
    model = tiny("qwen3")
    with torch.no_grad(), capture(model, ["ffn"], [2, 0, 2]) as some, capture(model, ["ffn"]) as every:
        model(ids)
    assert torch.equal(some["ffn"], every["ffn"][[2, 0, 2]])
    assert every["ffn"].shape == (3, 2, 32)


def test_positions_by_index(tiny: Any, ids: Any) -> None:
    model = tiny("mistral")
    several = torch.tensor([[0, 3], [8, 2]])
    with (
        torch.no_grad(),
        capture(model, ["attn"], None, "all") as every,
        capture(model, ["attn"], None, several) as some,
        capture(model, ["attn"], None, several[:, 0]) as single,
    ):
        model(ids)
    assert torch.equal(
        some["attn"], torch.stack([every["attn"][:, 0, [0, 3]], every["attn"][:, 1, [8, 2]]], 1)
    )
    assert torch.equal(single["attn"], some["attn"][:, :, 0])


def test_generation_is_patched_in_the_prefill_only(architecture: str, tiny: Any, ids: Any) -> None:
    """A manual greedy loop that patches the prefill by hand agrees, cache and left padding included."""
    model = tiny(architecture)
    tokens, mask = padded(ids, [9, 5], "left")
    item = Patch("ffn", 1, 3 * torch.randn(2, 32))
    with torch.no_grad():
        with patch(model, [item]), capture(model, ["ffn"], [1], calls="all") as captured:
            fast = model.generate(
                tokens,
                attention_mask=mask,
                max_new_tokens=4,
                min_new_tokens=4,
                do_sample=False,
                pad_token_id=0,
            )
        whole, whole_mask = tokens, mask
        for _ in range(4):
            position = torch.full((2,), 8)
            extra = (
                {} if architecture == "bloom" else {"position_ids": (whole_mask.cumsum(-1) - 1).clamp_min(0)}
            )
            with patch(model, [Patch("ffn", 1, item.value, position)]):
                logits = model(whole, attention_mask=whole_mask, **extra).logits[:, -1]
            logits[:, model.generation_config.eos_token_id or 2] = -torch.inf
            whole = torch.cat([whole, logits.argmax(-1, keepdim=True)], 1)
            whole_mask = torch.cat([whole_mask, torch.ones(2, 1).long()], 1)
    assert torch.equal(fast, whole)
    assert len(captured.calls) == 4
    torch.testing.assert_close(captured["ffn"][0], item.value, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(captured.of_call("ffn", 1)[0], item.value, atol=1e-2)


def test_a_cached_continuation(architecture: str, tiny: Any, ids: Any) -> None:
    """Prefix first, last token on its cache: `last` is found by the mask of the whole, or without a mask."""
    model = tiny(architecture)
    value = torch.randn(2, 32)
    with torch.no_grad():
        with patch(model, [Patch("attn", 1, value)]):
            expected = model(ids).logits[:, -1]
        for mask in (torch.ones_like(ids), None):
            cache = model(ids[:, :-1], use_cache=True).past_key_values
            with patch(model, [Patch("attn", 1, value)]):
                got = model(ids[:, -1:], past_key_values=cache, attention_mask=mask).logits[:, -1]
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_rows_may_enter_at_different_layers(tiny: Any, ids: Any) -> None:
    model = tiny("llama")
    value = torch.randn(32)
    with torch.no_grad():
        singles = []
        for layer in (0, 2):
            with patch(model, [Patch("ffn", layer, value)]):
                singles.append(model(ids[:1]).logits)
        with patch(model, [Patch("ffn", 0, value, rows=[0]), Patch("ffn", 2, value, rows=[1])]):
            together = model(ids[[0, 0]]).logits
    torch.testing.assert_close(together, torch.cat(singles), rtol=1e-5, atol=1e-5)


def test_patches_of_one_place_apply_in_order(tiny: Any, ids: Any) -> None:
    model = tiny("gemma2")
    ones = torch.ones(2, 32)
    add = Patch("attn", 1, 2 * ones, combine=lambda current, value: current + value)
    with torch.no_grad():
        with patch(model, [Patch("attn", 1, ones), add]), capture(model, ["attn"], [1]) as captured:
            model(ids)
        torch.testing.assert_close(captured["attn"][0], 3 * ones)
        with patch(model, [add, Patch("attn", 1, ones)]), capture(model, ["attn"], [1]) as captured:
            model(ids)
        torch.testing.assert_close(captured["attn"][0], ones)


@pytest.mark.parametrize("architecture", ["phi", "gpt_neox"])
def test_parallel_attention_does_not_reach_its_own_mlp(architecture: str, tiny: Any, ids: Any) -> None:
    model = tiny(architecture)
    with torch.no_grad(), capture(model, ["ffn"], [1]) as before:
        model(ids)
    with torch.no_grad(), patch(model, [Patch("attn", 1, torch.randn(32))]), capture(model, ["ffn"]) as after:
        model(ids)
    assert torch.equal(before["ffn"][0], after["ffn"][1])
    assert not torch.equal(before["ffn"][0], after["ffn"][2])


def test_bfloat16_keeps_its_dtype(tiny: Any, ids: Any) -> None:
    model = tiny("gemma3_text", dtype=torch.bfloat16)
    with torch.no_grad():
        with capture(model, ["attn_official"], [1]) as captured:
            before = model(ids).logits
        assert captured["attn_official"].dtype == torch.bfloat16
        with patch(model, [Patch("attn_official", 1, captured["attn_official"][0].float())]):
            after = model(ids).logits
    assert after.dtype == torch.bfloat16
    assert float((after - before).abs().max()) < 0.2 * float(before.abs().max())


def test_hooks_go_when_the_forward_call_fails(tiny: Any, ids: Any) -> None:
    model = tiny("llama")
    with pytest.raises(IndexError), capture(model, ["attn"]), patch(model, [Patch("ffn", 0, torch.ones(32))]):
        model(ids + 10_000)
    with (
        pytest.raises(ModelError, match=r"shape \[3, 32\]"),
        patch(model, [Patch("ffn", 0, torch.ones(3, 32))]),
    ):
        model(ids)
    assert unhooked(model)


def test_bad_requests(tiny: Any, ids: Any) -> None:
    model = tiny("llama")
    with pytest.raises(ConfigError, match="'mlp'"):
        Site("mlp")  # type: ignore[arg-type]
    for layers in ([3], [-1]):
        with pytest.raises(ConfigError, match="0 to 2"), capture(model, ["ffn"], layers):
            pass
    with pytest.raises(ConfigError, match="width 7"), patch(model, [Patch("ffn", 0, torch.ones(7))]):
        pass
    with pytest.raises(ModelError, match="0 forward calls"), capture(model, ["ffn"]) as captured:
        _ = captured["ffn"]
    with capture(model, ["ffn"]) as captured:
        model(ids)
    with pytest.raises(ModelError, match="no capture of"):
        _ = captured["attn"]
    with pytest.raises(ModelError, match="0 to 8"), capture(model, ["ffn"], None, torch.tensor([9, 0])):
        model(ids)
    with (
        pytest.raises(ModelError, match="rows 0 to 1"),
        patch(model, [Patch("ffn", 0, torch.ones(32), rows=[2])]),
    ):
        model(ids)


def test_a_forgotten_or_odd_mask(tiny: Any, ids: Any) -> None:
    model = tiny("llama")
    tokens, mask = padded(ids, [9, 5], "right")
    with pytest.raises(ModelError, match="without an attention mask"), capture(model, ["ffn"]):
        model(tokens)
    mask[1] = 0
    with pytest.raises(ModelError, match="row 1 of the batch attends to none"), capture(model, ["ffn"]):
        model(tokens, attention_mask=mask)
    square = torch.zeros(2, 1, 9, 9)
    with pytest.raises(ModelError, match="2-D mask"), capture(model, ["ffn"]):
        model(ids, attention_mask=square)
    with capture(model, ["ffn"], None, torch.tensor([8, 8])) as captured:
        model(ids, attention_mask=square)
    assert captured["ffn"].shape == (3, 2, 32)
    assert len(resolve(model).layers) == 3

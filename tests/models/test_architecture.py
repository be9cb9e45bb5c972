"""The table's rows against the models: the lens gives the logits, the parts give the stream, strangers are refused."""

from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, BloomConfig, FalconConfig, MambaConfig, MptConfig, OPTConfig

from lingraft.errors import ArchitectureError, ModelError
from lingraft.models.adapters import ADAPTERS
from lingraft.models.architecture import attention_parameters, final_norm, head, resolve
from lingraft.models.hooks import capture
from lingraft.models.sites import Site


def unhooked(model: nn.Module) -> bool:
    return not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("tied", [False, True])
def test_last_layer_through_norm_and_head_gives_logits(
    architecture: str, tied: bool, tiny: Any, ids: Any
) -> None:
    model = tiny(architecture, tied=tied)
    with torch.no_grad(), capture(model, ["resid"], [2], "all") as captured:
        logits = model(ids).logits
    lens = head(model)(final_norm(model)(captured["resid"][0]))
    torch.testing.assert_close(lens, logits, rtol=1e-5, atol=1e-5)
    assert unhooked(model)


def test_embedding_and_contributions_sum_to_the_stream(architecture: str, tiny: Any, ids: Any) -> None:
    model = tiny(architecture)
    attention, feed_forward = Site("attn", "contribution"), Site("ffn", "contribution")
    with (
        torch.no_grad(),
        capture(model, ["resid_in", "resid", attention, feed_forward], None, "all") as captured,
    ):
        model(ids)
    total = captured["resid_in"][0] + captured[attention].sum(0) + captured[feed_forward].sum(0)
    final = captured["resid"][-1]
    torch.testing.assert_close(total, final, rtol=1e-5, atol=1e-5 * float(final.abs().max()))
    assert float(captured[attention].abs().mean()) > 0.01
    torch.testing.assert_close(captured["resid_in"][1:], captured["resid"][:-1], rtol=0, atol=0)


def test_output_differs_from_contribution_just_where_it_should(
    architecture: str, tiny: Any, ids: Any
) -> None:
    model = tiny(architecture)
    with (
        torch.no_grad(),
        capture(model, ["attn", "ffn", Site("attn", "contribution"), "attn_official"]) as captured,
    ):
        model(ids)
    same = torch.equal(captured["attn"], captured[Site("attn", "contribution")])
    assert same != (architecture in {"gemma2", "gemma3_text", "olmo2", "bloom"})
    if architecture == "bloom":
        torch.testing.assert_close(captured["attn_official"], captured["attn"])


def test_official_attention_is_what_the_mlp_norm_reads(architecture: str, tiny: Any, ids: Any) -> None:
    model = tiny(architecture)
    found = resolve(model)
    adapter = ADAPTERS[found.model_type]
    if found.parallel or adapter.mlp_norm is None:
        pytest.skip("no module reads the sum of residual and attention here")
    seen: list[torch.Tensor] = []
    norm = found.layers[1].layer.get_submodule(adapter.mlp_norm)
    handle = norm.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    with torch.no_grad(), capture(model, ["attn_official"], [1], "all") as captured:
        model(ids)
    handle.remove()
    torch.testing.assert_close(captured["attn_official"][0], seen[0], rtol=1e-6, atol=1e-6)


def test_traits(tiny: Any) -> None:
    assert resolve(tiny("phi")).parallel
    assert resolve(tiny("gpt_neox")).parallel
    assert not resolve(tiny("gpt_neox_serial")).parallel
    assert resolve(tiny("bloom")).alibi
    assert resolve(tiny("gemma2")).softcap == 2.0
    assert [layer.window for layer in resolve(tiny("gemma2")).layers] == [4, None, 4]
    assert [layer.window for layer in resolve(tiny("mistral")).layers] == [4, 4, 4]
    assert [layer.window for layer in resolve(tiny("llama")).layers] == [None, None, None]


def test_attention_parameters(architecture: str, tiny: Any) -> None:
    model = tiny(architecture)
    names = attention_parameters(model)
    fused = architecture in {"phi3", "gpt_neox", "gpt_neox_serial", "gpt2", "bloom"}
    weights = [name for name in names if name.endswith("weight")]
    assert len(weights) == 3 * (2 if fused else 4)
    assert all("mlp" not in name and "norm" not in name and "embed" not in name for name in names)


def test_half_precision_passes_the_check(architecture: str, tiny: Any) -> None:
    assert len(resolve(tiny(architecture, dtype=torch.bfloat16)).layers) == 3


@pytest.mark.parametrize(
    "config",
    [
        OPTConfig(
            vocab_size=50,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            ffn_dim=8,
            word_embed_proj_dim=8,
        ),
        MptConfig(vocab_size=50, d_model=8, n_layers=1, n_heads=2),
        FalconConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2),
        MambaConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, state_size=4),
    ],
    ids=lambda config: config.model_type,
)
def test_unknown_architectures_are_refused_by_name(config: Any) -> None:
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(
        ArchitectureError, match=f"{config.model_type!r}.*expected one of bloom, gemma"
    ) as caught:
        resolve(model)
    assert "\n" not in str(caught.value)


def test_a_departing_model_is_refused() -> None:
    config = BloomConfig(
        vocab_size=50, hidden_size=8, n_layer=2, n_head=2, apply_residual_connection_post_layernorm=True
    )
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    with pytest.raises(ArchitectureError, match="is not the layer's output"):
        resolve(model)
    assert unhooked(model)


def test_weights_that_are_no_numbers_are_named(tiny: Any) -> None:
    model = tiny("gpt2")
    with torch.no_grad():
        model.transformer.h[1].mlp.c_fc.bias[3] = torch.nan
    with pytest.raises(ModelError, match="not finite on a probe of three tokens; expected finite weights"):
        resolve(model)


def test_a_scaled_head_is_refused(tiny: Any) -> None:
    model = tiny("llama")
    model.lm_head.register_forward_hook(lambda *call: None)
    old = model.forward

    def scaled(*args: Any, **kwargs: Any) -> Any:
        out = old(*args, **kwargs)
        out.logits = out.logits * 3
        return out

    model.forward = scaled
    with pytest.raises(ArchitectureError, match="do not give the logits"):
        resolve(model)


def test_a_missing_hook_point_is_named(tiny: Any) -> None:
    model = tiny("gpt2")
    del model.transformer.h[1].mlp
    with pytest.raises(ArchitectureError, match=r"no module at transformer\.h\.1\.mlp"):
        resolve(model)
    bare = tiny("llama").model
    with pytest.raises(ArchitectureError, match=r"no module at|0 layers"):
        resolve(bare)


def test_resolving_leaves_the_mode_alone(tiny: Any) -> None:
    model = tiny("llama").train()
    resolve(model)
    assert model.training
    assert unhooked(model)
    assert resolve(model) is resolve(model)


def test_gemma3_with_a_vision_tower(ids: Any) -> None:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text = {
        "vocab_size": 611,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "head_dim": 8,
    }
    text |= {"num_key_value_heads": 2, "intermediate_size": 44, "sliding_window": 4, "pad_token_id": 0}
    vision = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    vision |= {"intermediate_size": 16}
    config = Gemma3Config(
        text_config=text,
        vision_config=vision,
        mm_tokens_per_image=4,
        image_token_index=610,
        boi_token_index=608,
        eoi_token_index=609,
    )
    model = Gemma3ForConditionalGeneration(config).eval()
    with torch.no_grad(), capture(model, ["resid"], [2]) as captured:
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    torch.testing.assert_close(
        head(model)(final_norm(model)(captured["resid"][0])), logits[:, -1], rtol=1e-5, atol=1e-5
    )

"""Every pair at once equals one hook and one forward a pair, on every architecture."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from naive import donor_values, naive_generate, naive_logits

from lingraft.models.sites import Site
from lingraft.patching.engine import chunks, transplant_all
from lingraft.patching.pairs import Pairs, all_pairs, token_layers
from lingraft.patching.prefill import prefill
from lingraft.patching.sites import PATCH_SITES, add, lerp, norm_match, replace

DONOR = [17, 301, 44, 45, 9, 230, 77]
OTHER_DONOR = [400, 12, 90]
RECEIVER = [5, 88, 131, 402, 19, 7, 33, 250, 61, 71, 300]
"""Longer than the sliding windows of four, and of another length than the donors."""


def run(model: Any, names: list[str], pairs: Pairs, donors: list[list[int]], operator: Any = replace) -> Any:
    sites = [PATCH_SITES[name] for name in names]
    return transplant_all(
        model,
        prefill(model, RECEIVER),
        [prefill(model, ids, sites) for ids in donors],
        pairs,
        sites,
        operator,
    )


@pytest.mark.parametrize(
    "site", ["ffn", "attn", "attn_official", "attn-contribution", "ffn-contribution", "resid"]
)
def test_every_pair_equals_one_patched_forward(
    tiny: Callable[..., Any], architecture: str, site: str
) -> None:
    model = tiny(architecture)
    pairs = all_pairs(3)
    logits = run(model, [site], pairs, [DONOR]).logits
    values = donor_values(model, DONOR, PATCH_SITES[site])
    for row in range(len(pairs)):
        giver, taker = int(pairs.donor_layer[row]), int(pairs.receiver_layer[row])
        expected = naive_logits(model, RECEIVER, values[giver], PATCH_SITES[site], taker, replace)
        torch.testing.assert_close(logits[row], expected, rtol=1e-4, atol=1e-4)
        assert int(logits[row].argmax()) == int(expected.argmax())


def test_greedy_texts_equal_generate(tiny: Callable[..., Any], architecture: str) -> None:
    """With an end token that some rows meet early: it is what another row says in its third step."""
    model = tiny(architecture)
    pairs = all_pairs(3)
    texts = run(model, ["ffn"], pairs, [DONOR]).greedy(7)
    end = texts[4][2]
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = end, 0
    values = donor_values(model, DONOR, Site("ffn"))
    shortened = run(model, ["ffn"], pairs, [DONOR]).greedy(7, {end})
    for row in range(len(pairs)):
        giver, taker = int(pairs.donor_layer[row]), int(pairs.receiver_layer[row])
        expected = naive_generate(model, RECEIVER, values[giver], Site("ffn"), taker, 7, eos_token_id=end)
        assert shortened[row] == expected
    assert {len(text) for text in shortened} != {7}


@pytest.mark.parametrize("operator", [add, lerp(0.3), norm_match])
def test_operators_sites_and_donors_of_one_pass(tiny: Callable[..., Any], operator: Any) -> None:
    """Layers 2 and 1 of the donors, 2 and 0 of the receiver; two donors and two sites in one batch."""
    model = tiny("qwen3")
    names = ["attn", "ffn"]
    pairs = all_pairs(3, sites=2, donors=2, donor_layers=[2, 1], receiver_layers=[2, 0])
    logits = run(model, names, pairs, [DONOR, OTHER_DONOR], operator).logits
    assert len(pairs) == 16
    for row in range(len(pairs)):
        site = PATCH_SITES[names[int(pairs.site[row])]]
        values = donor_values(model, [DONOR, OTHER_DONOR][int(pairs.donor[row])], site)
        expected = naive_logits(
            model,
            RECEIVER,
            values[int(pairs.donor_layer[row])],
            site,
            int(pairs.receiver_layer[row]),
            operator,
        )
        torch.testing.assert_close(logits[row], expected, rtol=1e-4, atol=1e-4)


def test_own_activations_change_nothing(tiny: Callable[..., Any], architecture: str) -> None:
    model = tiny(architecture)
    pairs = all_pairs(3)
    plain = prefill(model, RECEIVER).logits
    for name in PATCH_SITES:
        logits = run(model, [name], pairs, [RECEIVER]).logits
        own = torch.from_numpy(pairs.donor_layer == pairs.receiver_layer)
        if name == "attn_official":
            # The released rule adds the residual twice, so it does change a run.
            assert ((logits[own] - plain).abs().amax(dim=1) > 1e-3).all()
        else:
            torch.testing.assert_close(logits[own], plain.expand(3, -1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2"])
def test_attn_official_is_the_released_rule(tiny: Callable[..., Any], name: str) -> None:
    """What the released wrappers do, step by step, in the architectures that they know.

    A layer keeps its attention's output, and adds the residual to that very tensor: what was kept is the sum. The
    receiving layer overwrites the last token of its attention's output with it, and adds its own residual.
    """
    model = tiny(name)

    def layer_by_layer(ids: list[int], change: Any) -> tuple[list[torch.Tensor], torch.Tensor]:
        kept: list[torch.Tensor] = []
        hooks = []
        for number, layer in enumerate(model.model.layers):
            entering: list[torch.Tensor] = []

            def stash(module: Any, args: Any, kwargs: Any, entering: Any = entering) -> None:
                entering[:] = [args[0] if args else kwargs["hidden_states"]]

            def keep(
                module: Any, args: Any, output: Any, number: int = number, entering: Any = entering
            ) -> Any:
                attention = output[0].clone()
                if number in change:
                    attention[:, -1] = change[number]
                kept.append((attention + entering[0])[0, -1])
                return (attention, *output[1:])

            hooks += [
                layer.register_forward_pre_hook(stash, with_kwargs=True),
                layer.self_attn.register_forward_hook(keep),
            ]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        for hook in hooks:
            hook.remove()
        return kept, logits

    stored, _ = layer_by_layer(DONOR, {})
    pairs = all_pairs(3)
    logits = run(model, ["attn_official"], pairs, [DONOR]).logits
    for row in range(len(pairs)):
        giver, taker = int(pairs.donor_layer[row]), int(pairs.receiver_layer[row])
        _, expected = layer_by_layer(RECEIVER, {taker: stored[giver]})
        torch.testing.assert_close(logits[row], expected, rtol=1e-4, atol=1e-4)


def test_option_likelihoods_are_those_of_plain_forwards(tiny: Callable[..., Any], architecture: str) -> None:
    model = tiny(architecture)
    pairs = all_pairs(3, donor_layers=[1], receiver_layers=[2, 1])
    # Two begin alike, one is the beginning of another, one comes twice.
    options = [[8, 15, 230], [8], [99, 7], [8, 15, 9], [99, 7]]
    rows = run(model, ["attn"], pairs, [DONOR])
    scores = rows.log_likelihoods(options)
    values = donor_values(model, DONOR, Site("attn"))
    for row in range(len(pairs)):
        for column, option in enumerate(options):
            total = 0.0
            for length, token in enumerate(option):
                ids = RECEIVER + option[:length]
                total += _patched_log_probability(
                    model, ids, values[1], int(pairs.receiver_layer[row]), token
                )
            assert float(scores[row, column]) == pytest.approx(total, abs=2e-4)
    again = rows.log_likelihoods(options)
    assert torch.equal(scores, again)


def _patched_log_probability(
    model: Any, ids: list[int], value: torch.Tensor, layer: int, token: int
) -> float:
    from lingraft.models.hooks import Patch, patch

    place = torch.tensor([len(RECEIVER) - 1])
    tokens = torch.tensor([ids])
    with torch.no_grad(), patch(model, [Patch("attn", layer, value[None], positions=place)]):
        logits = model(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False).logits
    return float(torch.log_softmax(logits[0, -1].float(), dim=-1)[token])


def test_chunks_give_what_the_whole_gives(tiny: Callable[..., Any]) -> None:
    """Chunks of four rows of nine: one begins in the middle of a receiver layer, one has no row for layer 0."""
    model = tiny("gemma3_text")
    pairs = all_pairs(3)
    whole = run(model, ["attn"], pairs, [DONOR]).greedy(5)
    parts = []
    for begin, end in chunks(len(pairs), 4):
        parts += run(model, ["attn"], pairs.part(begin, end), [DONOR]).greedy(5)
    assert parts == whole


def test_a_prompt_of_one_token(tiny: Callable[..., Any], architecture: str) -> None:
    """No prefix at all."""
    model = tiny(architecture)
    donor = prefill(model, DONOR, [Site("ffn")])
    rows = transplant_all(model, prefill(model, [9]), [donor], all_pairs(3), [Site("ffn")])
    values = donor_values(model, DONOR, Site("ffn"))
    expected = naive_logits(model, [9], values[2], Site("ffn"), 1, replace)
    torch.testing.assert_close(rows.logits[1 * 3 + 2], expected, rtol=1e-4, atol=1e-4)


def test_the_attention_implementation_is_put_back(tiny: Callable[..., Any]) -> None:
    model = tiny("llama")
    before = model.config._attn_implementation
    run(model, ["ffn"], all_pairs(3), [DONOR]).greedy(3)
    assert model.config._attn_implementation == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_rows_pass_only_the_layers_from_their_own_on() -> None:
    """Three layers, nine pairs: 3 x (3 + 2 + 1)."""
    assert token_layers(all_pairs(3), 3) == 18

"""What Lingraft's sweep is timed against: XTransplant's released algorithm, the plain loop, and nnsight.

All three reach the modules on their own, through a Llama-shaped model's own names, and share no code with
`lingraft.patching`: they are a second opinion on the results too. The released algorithm is written anew from its
description: a process for every pair generates one token from the donor prompt while every layer keeps its module's
output, then generates from the receiver prompt with the donor layer's output at the last position in place of the
receiver layer's, in the prefill only. Left out, in its favour: the released code loads the model anew for every pair.
"""

import contextlib
import importlib

import torch


def module_of(model, site, layer):
    block = model.model.layers[layer]
    return block.mlp if site == "ffn" else block.self_attn


def tensor_of(output):
    return output[0] if isinstance(output, tuple) else output


def generate(problem, ids, new_tokens):
    """Greedy tokens of transformers' `generate`."""
    tokens = problem.tensor(ids)
    output = problem.model.generate(
        input_ids=tokens,
        attention_mask=torch.ones_like(tokens),
        max_new_tokens=new_tokens,
        do_sample=False,
        pad_token_id=0,
    )
    return output[0, tokens.shape[1] :].tolist()


@contextlib.contextmanager
def put(problem, site, layer, value):
    """Put a value `[d_model]` at the last position of the first forward call."""
    done = []

    def hook(_module, _args, output):
        if not done:
            done.append(True)
            tensor_of(output)[:, -1] = value

    handle = module_of(problem.model, site, layer).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def kept(problem, site):
    """Keep the outputs of all layers."""
    outputs = {}

    def hook_of(layer):
        def hook(_module, _args, output):
            outputs.setdefault(layer, tensor_of(output))

        return hook

    handles = [
        module_of(problem.model, site, layer).register_forward_hook(hook_of(layer))
        for layer in range(problem.layers)
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def released(problem, site, donor_layer, receiver_layer, new_tokens):
    """One pair of the released algorithm: its tokens."""
    with kept(problem, site) as outputs:
        generate(problem, problem.donor, 1)
    value = outputs[donor_layer][0, -1].clone()
    with put(problem, site, receiver_layer, value):
        return generate(problem, problem.receiver, new_tokens)


def released_forwards(pairs, new_tokens):
    """A donor's one token and the receiver's, for every pair."""
    return pairs * (1 + new_tokens)


@torch.no_grad()
def donor_values(problem, site):
    """`[layers, d_model]`: the donor read once."""
    with kept(problem, site) as outputs:
        problem.model(input_ids=problem.tensor(problem.donor), logits_to_keep=1)
    return torch.stack([outputs[layer][0, -1] for layer in range(problem.layers)]).clone()


@torch.no_grad()
def one_hook(problem, site, value, receiver_layer, new_tokens):
    """The plain loop's body, the donor already read: one patched forward, or one patched generation."""
    with put(problem, site, receiver_layer, value):
        if new_tokens > 1:
            return generate(problem, problem.receiver, new_tokens)
        output = problem.model(input_ids=problem.tensor(problem.receiver), logits_to_keep=1)
        return [int(output.logits[0, -1].argmax())]


def find_nnsight():
    try:
        return importlib.import_module("nnsight")
    except ImportError:
        return None


@torch.no_grad()
def traced_layer(nnsight, problem, site, values, receiver_layer, new_tokens):
    """nnsight, one trace for a receiver layer: all donor layers `[layers, d_model]` as a batch; tokens of each."""
    wrapped = nnsight.NNsight(problem.model)
    tokens = problem.tensor(problem.receiver).expand(len(values), -1)
    options = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    block = wrapped.model.layers[receiver_layer]
    if new_tokens == 1:
        with wrapped.trace(**options, logits_to_keep=1):
            if site == "ffn":
                block.mlp.output[:, -1] = values
            else:
                block.self_attn.output[0][:, -1] = values
            logits = nnsight.save(wrapped.output.logits)
        return logits[:, -1].argmax(dim=-1)[:, None].tolist()
    options |= {"max_new_tokens": new_tokens, "do_sample": False, "pad_token_id": 0}
    # In a generation the block runs on the first forward call alone, which is the prefill.
    with wrapped.trace(fn=problem.model.generate, **options) as tracer:
        if site == "ffn":
            block.mlp.output[:, -1] = values
        else:
            block.self_attn.output[0][:, -1] = values
        output = nnsight.save(tracer.result)
    return output[:, tokens.shape[1] :].tolist()

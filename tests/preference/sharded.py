"""Run as a script in two processes: gradients under fully_shard, and those of the whole model; prints what differs."""

import torch
import torch.distributed as dist
from tiny_training import WordFormat, items, tiny_llama
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from lingraft.models.architecture import attention_parameters
from lingraft.preference.collation import collate_rows, encode_items, forward_inputs
from lingraft.preference.losses import OBJECTIVES
from lingraft.preference.shared_prompt import answering


def gradients(*, sharded: bool, frozen: bool) -> dict[str, torch.Tensor]:
    """Log-probabilities under "logs", and the gradients of their sum."""
    model = tiny_llama()
    attention = {id(p) for p in attention_parameters(model).values()}
    for parameter in model.parameters():
        parameter.requires_grad_(not frozen or id(parameter) in attention)
    encoded, _ = encode_items(items(), WordFormat(), OBJECTIVES["clo"], longest=32)
    batch = collate_rows([row for item in encoded[:4] for row in item.rows])
    with answering(model):
        if sharded:
            mesh = init_device_mesh("cpu", (dist.get_world_size(),))
            for layer in model.model.layers:
                fully_shard(layer, mesh=mesh)
            fully_shard(model, mesh=mesh)
        logs = model(**forward_inputs(batch))
        logs.sum().backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    whole = {name: g.full_tensor() if sharded else g for name, g in found.items()}
    return {"logs": logs.detach(), **whole}


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    for frozen in (False, True):
        one, two = (gradients(sharded=sharded, frozen=frozen) for sharded in (False, True))
        assert one.keys() == two.keys()
        for name, value in one.items():
            torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-6, msg=name)
        if dist.get_rank() == 0:
            print(f"frozen {frozen}: {len(one)} equal")
    dist.destroy_process_group()

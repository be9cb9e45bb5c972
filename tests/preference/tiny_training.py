"""Tiny models and items that the training tests share; run as a script, one training in a process of its own."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from lingraft.preference.items import PairedItem

WORDS = ["haus", "baum", "wasser", "straße", "größe", "tür", "öffnen", "kälte", "überall", "fuß"]
ENGLISH = ["house", "tree", "water", "street", "size", "door", "open", "cold", "everywhere", "foot"]


IDS = {word: number for number, word in enumerate([*WORDS, *ENGLISH], start=3)}


class WordFormat:
    """A word is a token; 1 ends a prompt, 2 an answer."""

    def prompt_ids(self, prompt: str) -> list[int]:
        return [*(IDS[word] for word in prompt.split()), 1]

    def response_ids(self, prompt: str, response: str) -> list[int]:
        return [*(IDS[word] for word in response.split()), 2]


def items(count: int = 13) -> list[PairedItem]:
    """Items of unequal lengths: prompts of 1 to 4 words, answers of 1 to 5."""
    made = []
    for number in range(count):
        asked = [(number + step) % 10 for step in range(1 + number % 4)]
        said = [(3 * number + 2 * step) % 10 for step in range(1 + (2 * number) % 5)]
        texts = [" ".join(words[i] for i in chosen) for words in (ENGLISH, WORDS) for chosen in (asked, said)]
        made.append(PairedItem(*texts, "de", f"item-{number}"))
    return made


def tiny_llama(*, tied: bool = False, seed: int = 0, **changed: Any) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    options = {
        "vocab_size": 29,
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32,
        "initializer_range": 0.2,
        "tie_word_embeddings": tied,
    }
    return LlamaForCausalLM(LlamaConfig(**options | changed))


def tiny_gpt2_with_dropout() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=29, n_embd=24, n_layer=2, n_head=4, n_positions=32))


def train(directory: Path | None, **chosen: Any) -> dict[str, Any]:
    """Train; `die_at` kills the process at an evaluation, `dropout` takes a model that draws numbers."""
    from lingraft.preference.plan import PreferencePlan
    from lingraft.preference.policies import LoraOptions
    from lingraft.preference.training import train_preference

    die_at = chosen.pop("die_at", None)
    model = tiny_gpt2_with_dropout() if chosen.pop("dropout", False) else tiny_llama()
    loop = {
        name: chosen.pop(name)
        for name in (
            "gradient_accumulation",
            "tokens_together",
            "save_every",
            "evaluate_at",
            "keep",
            "trackers",
        )
        if name in chosen
    }
    if "lora" in chosen:
        chosen["lora"] = LoraOptions(**chosen["lora"])

    def evaluate(step: int, current: torch.nn.Module) -> dict[str, float]:
        if step == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        value = float(sum(p.detach().double().abs().sum() for p in current.parameters()))
        return {"value": value, "english_bits_per_byte": 1.0, "target_bits_per_byte": abs(step - 3.0)}

    result = train_preference(
        model,
        items(),
        WordFormat(),
        PreferencePlan(**chosen),
        output_dir=directory,
        evaluate=evaluate,
        **loop,
    )
    measures = [{k: v for k, v in m.items() if k != "seconds"} for m in result.measures]
    return {
        "processes": dist.get_world_size() if dist.is_initialized() else 1,
        "losses": result.losses.tolist(),
        "measures": measures,
        "evaluations": {step: dict(value) for step, value in result.evaluations.items()},
        "resumed_from": result.resumed_from,
        "step": result.step,
        "weights": {name: value.clone() for name, value in result.model.state_dict().items()},
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    outcome = train(Path(sys.argv[1]), **json.loads(sys.argv[3]))
    if int(os.environ.get("RANK", "0")) == 0:
        torch.save(outcome, sys.argv[2])

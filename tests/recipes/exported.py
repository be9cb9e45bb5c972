"""Tiny adapted checkpoints of every family and kind of vocabulary, to see what other programs make of them."""

import json
from collections.abc import Callable
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from lingraft.tokenizers.extending import extend_tokenizer
from lingraft.tokenizers.gguf_cuts import LLAMA3, QWEN2
from lingraft.tokenizers.lossless import BYTE_PIECES
from lingraft.tokenizers.training import train_tokenizer

BASQUE = [
    "Ireki dokumentua eta aukeratu Formatua - Orrialdea paperaren tamaina ezartzeko.",
    "Euskal Herriko mendiak ederrak dira, eta itsasoa ere bai; ñabardura txikiak 2024an.",
    "문서를 열고 페이지를 선택하세요. 오늘은 날씨가 매우 좋습니다.",
    "Größere Änderungen müssen überprüft werden; die Straße heißt Königsallee 17.",
] * 3
PROBES = [
    "Ireki dokumentua, mesedez: 12345 orrialde!",
    "Größe 99 € — naïve café… déjà vu",
    "안녕하세요. 문서를 선택하세요.",
    "मेरा नाम 🙂 こんにちは、世界。",
    "Съешь ещё этих булок",
    "two  spaces, a\ttab\nand\n\na line; it's DON'T we'll",
    " leading space",
    "a",
    "<|im_start|>user\nKaixo<|im_end|>\n",
]
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
    "initializer_range": 0.2,
}
WIDE = {**SIZES, "num_attention_heads": 2, "num_key_value_heads": 1}
FAMILIES: dict[str, Callable[..., Any]] = {
    "llama": lambda **more: LlamaConfig(**SIZES, num_hidden_layers=2, **more),
    "mistral": lambda **more: MistralConfig(**SIZES, num_hidden_layers=2, sliding_window=None, **more),
    "qwen2": lambda **more: Qwen2Config(**SIZES, num_hidden_layers=2, **more),
    # transformers takes these head widths for granted when it reads a GGUF file.
    "qwen3": lambda **more: Qwen3Config(**WIDE, num_hidden_layers=2, head_dim=128, **more),
    "gemma2": lambda **more: Gemma2Config(
        **WIDE, num_hidden_layers=2, head_dim=256, sliding_window=8, **more
    ),
    "gemma3_text": lambda **more: Gemma3TextConfig(
        **WIDE, num_hidden_layers=6, head_dim=256, sliding_window=8, **more
    ),
}


def tiny_model(family: str, rows: int, *, tied: bool, dtype: torch.dtype = torch.float32) -> Any:
    """A random model of a family, all of whose weights differ from their neutral values."""
    torch.manual_seed(3)
    config = FAMILIES[family](vocab_size=rows, tie_word_embeddings=tied)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator).to(dtype))
    return model


def sentencepiece(texts: list[str], *, prefix: bool = False) -> Any:
    """Gemma's kind of tokenizer: `▁` for spaces, BPE with byte fallback, nothing cut; Llama 2's puts a space first."""
    backend = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    words = [piece for text in texts for piece in text.replace(" ", " ▁").split(" ") if "\n" not in piece]
    specials = ["<unk>", "<bos>", "<eos>", "<pad>"]
    backend.train_from_iterator(
        words * 4, trainers.BpeTrainer(vocab_size=420, special_tokens=specials, show_progress=False)
    )
    description = json.loads(backend.to_str())
    for text in [*BYTE_PIECES, "\n"]:
        description["model"]["vocab"].setdefault(text, len(description["model"]["vocab"]))
    description["model"]["byte_fallback"] = True
    backend = Tokenizer.from_str(json.dumps(description))
    spaces = normalizers.Replace(" ", "▁")
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces]) if prefix else spaces
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        clean_up_tokenization_spaces=False,
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
    )


def _recut(tokenizer: Any, *cuts: Any, ignore_merges: bool = False) -> Any:
    """The same vocabulary, with text cut otherwise."""
    description = json.loads(tokenizer.backend_tokenizer.to_str())
    description["model"]["ignore_merges"] = ignore_merges
    backend = Tokenizer.from_str(json.dumps(description))
    backend.pre_tokenizer = pre_tokenizers.Sequence(list(cuts))
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=backend, clean_up_tokenization_spaces=False, **tokenizer.special_tokens_map
    )
    wrapped.chat_template = tokenizer.chat_template
    return wrapped


def _with_bos(tokenizer: Any) -> Any:
    """The same tokenizer, which puts its bos before every text."""
    bos = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.bos_token_id)]
    )
    return tokenizer


def vocabulary(kind: str, byte_bpe: Any, texts: list[str]) -> Any:
    """An adapted tokenizer: extended from the sources, or trained to replace them."""
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    patterned = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if kind == "gpt-2":
        return byte_bpe
    if kind == "smollm-extended":
        return extend_tokenizer(
            _recut(byte_bpe, pre_tokenizers.Digits(individual_digits=True), patterned), BASQUE, new_tokens=40
        )
    if kind in {"llama3", "qwen2-extended"}:
        pattern = LLAMA3 if kind == "llama3" else QWEN2
        cut = _recut(
            byte_bpe,
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            bytes_only,
            ignore_merges=kind == "llama3",
        )
        return _with_bos(cut) if kind == "llama3" else extend_tokenizer(cut, BASQUE, new_tokens=30)
    if kind == "gemma-extended":
        return _with_bos(extend_tokenizer(sentencepiece(texts), BASQUE, new_tokens=40))
    if kind == "sentencepiece-plain":
        return sentencepiece(texts)
    if kind == "llama2":
        return _with_bos(sentencepiece(texts, prefix=True))
    if kind == "unigram-replaced":
        return train_tokenizer(PROBES + BASQUE, vocabulary_size=640, source_tokenizer=byte_bpe)
    raise AssertionError(kind)


CASES = [
    # family, vocabulary, tied, rows beyond the tokenizer's
    ("llama", "smollm-extended", True, 7),
    ("llama", "gpt-2", False, 0),
    ("llama", "llama3", False, 3),
    ("mistral", "sentencepiece-plain", False, 0),
    ("mistral", "llama2", True, 2),
    ("llama", "unigram-replaced", True, 5),
    ("qwen2", "qwen2-extended", True, 0),
    ("qwen3", "qwen2-extended", False, 9),
    ("gemma2", "gemma-extended", True, 0),
    ("gemma3_text", "gemma-extended", True, 4),
]
"""Every family, every kind of vocabulary, tied and untied, with and without padding rows."""

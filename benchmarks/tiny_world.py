"""A directory with a tiny random model, donor, tokenizers and text: what a command line can be tried on in a second."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SOURCE_TEXTS = [
    "The quick brown fox jumps over the lazy dog, and then it sleeps for 12345 hours.",
    "Open the document and choose Format - Page to set the size of the paper.",
    "A table of contents lists the headings of the document, each with its page number.",
    "Größere Änderungen müssen überprüft werden; the café serves piñas for 99 €.",
]
TARGET_TEXTS = [
    "Egun on! Zer moduz zaude gaur? Euskal Herriko mendiak ederrak dira, eta itsasoa ere bai.",
    "Ireki dokumentua eta aukeratu Formatua - Orrialdea paperaren tamaina ezartzeko.",
    "Dokumentuaren edukien taulak izenburuak zerrendatzen ditu, bakoitza bere orrialde-zenbakiarekin.",
    "Größe — naïve café: 안녕하세요, el niño comió piñas, 12345 €.",
    "Taula bat sortzeko, aukeratu Taula - Txertatu taula, eta idatzi errenkaden eta zutabeen kopurua.",
]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_world(directory: Path) -> Path:
    """Fill a directory with `model`, `untied`, `donor`, `target` (a tokenizer) and `corpus.txt`; return it."""
    source = byte_bpe_tokenizer()
    for name, tied in (("model", True), ("untied", False)):
        save_llama(directory / name, source, tied=tied)
    target = unigram_tokenizer()
    save_encoder(directory / "donor", target)
    target.save_pretrained(directory / "target")
    write_lines(directory / "corpus.txt", TARGET_TEXTS * 4)
    return directory


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write UTF-8 text, a document a line."""
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def byte_bpe_tokenizer(size: int = 420, **roles: str | None) -> Any:
    """Train a GPT-2 style tokenizer with chat markers; `roles` overrides its special roles."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator((SOURCE_TEXTS + TARGET_TEXTS[:2]) * 4, trainer)
    special = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", **roles}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **special)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def unigram_tokenizer(texts: Iterable[str] = tuple(TARGET_TEXTS + SOURCE_TEXTS[:2]), size: int = 320) -> Any:
    """Train an XLM-R style tokenizer."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    backend.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=size,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    backend.train_from_iterator(list(texts) * 4, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def save_llama(directory: Path, tokenizer: Any, *, tied: bool = True, padding: int = 12) -> None:
    """Save a two-layer random Llama with some rows more than its tokenizer has."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + padding,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=tied,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def save_encoder(directory: Path, tokenizer: Any, *, width: int = 24, padding: int = 4) -> None:
    """Save a one-layer random BERT."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(2)
    config = BertConfig(
        vocab_size=len(tokenizer) + padding,
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def edit_json(path: Path, **changes: Any) -> None:
    """Set keys of a JSON file; None removes one."""
    content = json.loads(path.read_text(encoding="utf-8"))
    content.update(changes)
    kept = {key: value for key, value in content.items() if value is not None}
    path.write_text(json.dumps(kept, ensure_ascii=False), encoding="utf-8")

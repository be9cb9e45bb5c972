"""What all tests share: tiny models and tokenizers made in memory, and the real ones where cached."""

import os

# Before torch and tokenizers are imported, since both read these once.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .oracle_fixtures import nnsight, oracle

__all__ = ["nnsight", "oracle"]

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

MULTILINGUAL_TEXTS = [
    "The quick brown fox jumps over the lazy dog, and then it sleeps for 12345 hours.",
    "Open the document and choose Format - Page to set the size of the paper.",
    "Egun on! Zer moduz zaude gaur? Euskal Herriko mendiak ederrak dira, eta itsasoa ere bai.",
    "Ireki dokumentua eta aukeratu Formatua - Orrialdea paperaren tamaina ezartzeko.",
    "Größere Änderungen müssen überprüft werden; die Straße heißt Königsallee.",
    "Öffnen Sie das Dokument und wählen Sie Format - Seite, um die Papiergröße festzulegen.",
    "Habari ya asubuhi! Watoto wanasoma vitabu vyao shuleni kila siku.",
    "안녕하세요. 오늘은 날씨가 매우 좋습니다. 문서를 열고 페이지를 선택하세요.",
    "मेरा नाम लिंग्राफ्ट है और मैं भाषाएँ सीखता हूँ।",
    "Съешь ещё этих мягких французских булок, да выпей чаю.",
    "こんにちは、世界。文書を開いて、ページの書式を選びます。",
    "¿Dónde está la biblioteca? El niño comió piñas en el jardín: cuánto cuesta, 99 €.",
    "naïve café déjà vu — “quotes” … 🙂 😀 tabs\tand\nnewlines  and   spaces",
]

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def pytest_configure(config: pytest.Config) -> None:
    """Keep the number of threads at what the smallest supported machine has."""
    import torch

    torch.set_num_threads(min(2, int(os.environ.get("OMP_NUM_THREADS", "2"))))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that no process is left with one when the others have nothing more to do."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Start every test from the same random state."""
    import numpy
    import torch

    random.seed(0)
    numpy.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def quiet_progress() -> Iterator[None]:
    """Draw no bars, wherever the tests run."""
    from lingraft.progress import progress_enabled

    with progress_enabled(False):
        yield


@pytest.fixture(scope="session")
def multilingual_texts() -> list[str]:
    """Some lines in eleven languages and six scripts, with digits, emoji and odd white space."""
    return list(MULTILINGUAL_TEXTS)


def wrap_tokenizer(backend: Any, **special: Any) -> Any:
    """Return a transformers tokenizer around a copy of a trained tokenizers.Tokenizer."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(backend.to_str()), clean_up_tokenization_spaces=False, **special
    )
    return tokenizer


@pytest.fixture(scope="session")
def byte_bpe_backend() -> Any:
    """A GPT-2 style byte-level BPE of 600 tokens with chat markers, as a tokenizers.Tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        MULTILINGUAL_TEXTS * 4,
        trainers.BpeTrainer(
            vocab_size=600,
            special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return backend


@pytest.fixture
def byte_bpe_tokenizer(byte_bpe_backend: Any) -> Any:
    """A fresh byte-level BPE tokenizer (600 tokens): bos, eos and pad roles, no unk, a chat template."""
    tokenizer = wrap_tokenizer(
        byte_bpe_backend, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


@pytest.fixture(scope="session")
def unigram_backend() -> Any:
    """An XLM-R style unigram model (about 500 tokens), as a tokenizers.Tokenizer."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    backend.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    backend.train_from_iterator(
        MULTILINGUAL_TEXTS * 4,
        trainers.UnigramTrainer(
            vocab_size=500,
            special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
            unk_token="<unk>",
            show_progress=False,
        ),
    )
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", backend.token_to_id("<s>")), ("</s>", backend.token_to_id("</s>"))],
    )
    return backend


@pytest.fixture
def unigram_tokenizer(unigram_backend: Any) -> Any:
    """A fresh SentencePiece style unigram tokenizer: `<s> text </s>`, with pad and unk."""
    return wrap_tokenizer(
        unigram_backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        cls_token="<s>",
        sep_token="</s>",
    )


@pytest.fixture
def wordpiece_tokenizer() -> Any:
    """A fresh BERT style WordPiece tokenizer (cased, `##` continuations)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.train_from_iterator(
        MULTILINGUAL_TEXTS * 4,
        trainers.WordPieceTrainer(
            vocab_size=500,
            special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
            show_progress=False,
        ),
    )
    return wrap_tokenizer(
        backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


@pytest.fixture
def make_tiny_llama() -> Callable[..., Any]:
    """A function that makes a random Llama: `make(vocab_size, tied=, hidden=, layers=, dtype=, seed=)`."""

    def make(
        vocab_size: int = 600,
        *,
        tied: bool = True,
        hidden: int = 32,
        layers: int = 2,
        dtype: Any = None,
        seed: int = 0,
        **config: Any,
    ) -> Any:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(seed)
        settings = {
            "vocab_size": vocab_size,
            "hidden_size": hidden,
            "intermediate_size": 2 * hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 256,
            "tie_word_embeddings": tied,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
            # The default of 0.02 makes all logits nearly equal, which hides mistakes.
            "initializer_range": 0.2,
        }
        model = LlamaForCausalLM(LlamaConfig(**(settings | config))).eval()
        return model if dtype is None else model.to(dtype)

    return make


@pytest.fixture
def tiny_llama_tied(make_tiny_llama: Callable[..., Any]) -> Any:
    """A two-layer random Llama of 600 tokens, width 32, with one matrix for input and output."""
    return make_tiny_llama(600, tied=True)


@pytest.fixture
def tiny_llama_untied(make_tiny_llama: Callable[..., Any]) -> Any:
    """A two-layer random Llama of 640 rows (40 more than its tokenizer has), with a head of its own."""
    return make_tiny_llama(640, tied=False)


@pytest.fixture
def real_asset() -> Callable[[str], Path]:
    """A function that gives a catalogued asset's cached path, or skips the test and says why."""

    def find(name: str) -> Path:
        from lingraft.assets.catalog import find_asset

        path = find_asset(name)
        if path is None:
            pytest.skip(f"asset {name!r} is not in the cache: run `lingraft assets fetch {name}`")
        return Path(path)

    return find


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """A function that gives a file or folder of the real test data beside the checkout, or skips the test."""

    def find(name: str) -> Path:
        path = SHARED_DATA / name
        if not path.exists():
            pytest.skip(f"no real test data {name!r} beside the checkout")
        return path

    return find

"""What stands before a document: bos, else eos, but no marker of turns where the separator is there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from lingraft.errors import TokenizerError
from lingraft.tokenizers.adapting import adapt_tokenizer
from lingraft.tokenizers.document_start import SEPARATOR, document_start
from lingraft.tokenizers.extending import extend_tokenizer

CHATML = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
LLAMA_2 = (
    "{% for message in messages %}{% if message.role == 'user' %}{{ bos_token }}[INST] {{ message.content }} [/INST]"
    "{% else %} {{ message.content }} {{ eos_token }}{% endif %}{% endfor %}"
)
SPECIALS = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]


def tokenizer_with(*more: str, template: str | None = None, **roles: str) -> PreTrainedTokenizerFast:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({symbol: number for number, symbol in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens([*SPECIALS, *more])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template, **roles)


@pytest.mark.parametrize(
    ("more", "template", "roles", "expected"),
    [
        ([SEPARATOR], None, {"bos_token": "<s>", "eos_token": "</s>"}, "<s>"),
        ([SEPARATOR], None, {"eos_token": "</s>"}, "</s>"),
        ([SEPARATOR], LLAMA_2, {"bos_token": "<s>", "eos_token": "</s>"}, "<s>"),
        ([SEPARATOR], CHATML, {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}, SEPARATOR),
        ([SEPARATOR], CHATML, {"eos_token": "<|im_end|>"}, SEPARATOR),
        ([SEPARATOR], CHATML, {"bos_token": "<s>", "eos_token": "<|im_end|>"}, "<s>"),
        ([SEPARATOR], CHATML, {"bos_token": "<|im_start|>", "eos_token": "</s>"}, "</s>"),
        ([], CHATML, {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}, "<|im_start|>"),
        ([], CHATML, {"eos_token": "<|im_end|>"}, "<|im_end|>"),
        ([SEPARATOR], "{{ raise_exception('no') }}", {"bos_token": "<|im_start|>"}, "<|im_start|>"),
    ],
)
def test_what_stands_before_a_document(
    more: list[str], template: str | None, roles: dict[str, str], expected: str
) -> None:
    tokenizer = tokenizer_with(*more, template=template, **roles)
    assert tokenizer.convert_ids_to_tokens(document_start(tokenizer)) == expected
    assert document_start(tokenizer, 7) == 7


def test_a_tokenizer_without_any() -> None:
    with pytest.raises(TokenizerError, match="neither a bos nor an eos"):
        document_start(tokenizer_with(SEPARATOR))


def test_adapted_and_extended_tokenizers_begin_documents_as_their_source_does() -> None:
    """Also where no role and no template names the separator, as in Qwen with a pad token of the user's own."""
    source = tokenizer_with(SEPARATOR, template=CHATML, eos_token="<|im_end|>")
    target = tokenizer_with(bos_token="<s>", eos_token="</s>")
    adapted = adapt_tokenizer(target, source)
    assert adapted.convert_ids_to_tokens(document_start(adapted)) == SEPARATOR
    extended = extend_tokenizer(source, ["euskara euskaraz euskaldun"] * 20, new_tokens=5, minimum_count=2)
    assert document_start(extended) == document_start(source)


@pytest.mark.real
def test_smollm2_was_pretrained_on_documents_after_the_separator(
    real_asset: Callable[[str], Path],
) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(real_asset("smollm2-135m-instruct"))
    assert tokenizer.bos_token == "<|im_start|>"
    assert tokenizer.convert_ids_to_tokens(document_start(tokenizer)) == SEPARATOR

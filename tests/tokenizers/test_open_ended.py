"""What is to be continued must not end with the token that a tokenizer closes texts with."""

import copy
from typing import Any

import pytest
from tokenizers import processors

from lingraft.evaluation.harness import harness_lm
from lingraft.models.loading import LoadedModel
from lingraft.patching.generate import _rows
from lingraft.patching.prompts import _encode, continuation
from lingraft.tokenizers.open_ended import open_ended, prompt_ids


def closing(tokenizer: Any, *, before: bool = True) -> Any:
    tokenizer = copy.deepcopy(tokenizer)
    bos, eos = tokenizer.bos_token, tokenizer.eos_token
    single = f"{bos} $A {eos}" if before else f"$A {eos}"
    roles = [(token, tokenizer.convert_tokens_to_ids(token)) for token in (bos, eos)]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=roles
    )
    return tokenizer


def opening(tokenizer: Any) -> Any:
    other = copy.deepcopy(tokenizer)
    other.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{tokenizer.bos_token} $A", special_tokens=[(tokenizer.bos_token, tokenizer.bos_token_id)]
    )
    return other


def test_the_end_is_left_off_and_the_beginning_kept(byte_bpe_tokenizer: Any) -> None:
    for before in (True, False):
        tokenizer = closing(byte_bpe_tokenizer, before=before)
        whole = tokenizer("Größe 안녕")["input_ids"]
        assert whole[-1] == tokenizer.eos_token_id and (whole[0] == tokenizer.bos_token_id) is before
        assert prompt_ids(tokenizer, "Größe 안녕") == whole[:-1]
        opened = open_ended(tokenizer)
        assert opened is not tokenizer and opened("Größe 안녕")["input_ids"] == whole[:-1]
        assert tokenizer("Größe 안녕")["input_ids"] == whole, "the user's own is not changed"
        assert open_ended(opened) is opened


def test_an_end_that_the_text_itself_spells_stays(byte_bpe_tokenizer: Any) -> None:
    tokenizer = closing(byte_bpe_tokenizer)
    text = f"bat{tokenizer.eos_token}"
    assert prompt_ids(tokenizer, text)[-1] == tokenizer.eos_token_id


def test_transplants_read_prompts_without_it(make_tiny_llama: Any, byte_bpe_tokenizer: Any) -> None:
    tokenizer = closing(byte_bpe_tokenizer)
    wanted = tokenizer("Zer da?")["input_ids"][:-1]
    assert _encode(tokenizer, "Zer da?", False) == wanted
    model = make_tiny_llama(len(tokenizer))
    assert _rows(model, tokenizer, ["Zer da?"], 1) == [wanted]
    both = tokenizer("Zer da? bat")["input_ids"][:-1]
    assert continuation(tokenizer, "Zer da?", " bat") == tuple(both[len(wanted) :])


def test_lm_eval_scores_and_generates_without_it(make_tiny_llama: Any, byte_bpe_tokenizer: Any) -> None:
    instance = pytest.importorskip("lm_eval.api.instance").Instance
    model = make_tiny_llama(600)
    requests = [
        instance("loglikelihood", {}, ("Zer da?", answer), number)
        for number, answer in enumerate([" bat", " etxe zuria", "!"])
    ]
    found = []
    for tokenizer in (opening(byte_bpe_tokenizer), closing(byte_bpe_tokenizer)):
        lm = harness_lm(LoadedModel(model, tokenizer, "tiny", "0"))
        ids, _mask = lm.tok_batch_encode(["Zer da?"])
        found.append((lm.loglikelihood(requests, disable_tqdm=True), ids.tolist()))
    assert found[0] == found[1]

"""Options and answers in the tokens that they have behind a plain prompt, and where an answer begins in a chat."""

from typing import Any

import pytest

from lingraft.patching.instances import Instance
from lingraft.patching.prompts import encode_prompt

ROW = Instance(
    id="r",
    donor=("English: the house - German:",),
    receiver="Das Haus heißt",
    options=(" the house", " größe"),
    answers=(" the table", 1),
)


def test_behind_a_plain_prompt_the_space_belongs_to_the_answer(byte_bpe_tokenizer: Any) -> None:
    prompt = encode_prompt(byte_bpe_tokenizer, ROW)
    assert [byte_bpe_tokenizer.decode(ids) for ids in prompt.options] == [" the house", " größe"]
    for ids, text in zip(prompt.options, ROW.options, strict=True):
        assert [*prompt.receiver, *ids] == byte_bpe_tokenizer(ROW.receiver + text)["input_ids"]


@pytest.mark.parametrize("place", [0, 1])
def test_in_a_chat_the_answer_begins_as_the_template_writes_it(byte_bpe_tokenizer: Any, place: int) -> None:
    """The tokens are those of the whole conversation, in which the message's text begins without a space."""
    prompt = encode_prompt(byte_bpe_tokenizer, ROW, chat_template=True)
    said = ROW.options[place].strip()
    whole = byte_bpe_tokenizer.apply_chat_template(
        [{"role": "user", "content": ROW.receiver}, {"role": "assistant", "content": said}], tokenize=False
    )
    ids = byte_bpe_tokenizer(whole, add_special_tokens=False)["input_ids"]
    begin = len(prompt.receiver)
    assert ids[:begin] == list(prompt.receiver)
    assert ids[begin : begin + len(prompt.options[place])] == list(prompt.options[place])
    assert prompt.donor_options[0][place] == prompt.options[place]
    assert byte_bpe_tokenizer.decode([prompt.answers[0]]).startswith("t")

"""What a transfer promises whatever the method: identity, ties, provenance, seeds, a checkpoint that reloads."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from lingraft.models.embeddings import read_embeddings
from lingraft.models.loading import LoadedModel
from lingraft.models.saving import save_checkpoint
from lingraft.tokenizers.extending import extend_tokenizer
from lingraft.tokenizers.pieces import read_pieces
from lingraft.vocabulary.initializers import COPIES_NO_OVERLAP, INITIALIZERS
from lingraft.vocabulary.transfer import transfer_vocabulary

TEXT = "Größere Änderungen: Egun on! 안녕하세요 — naïve café 🙂 12345"
LEXICON = {"dokumentua": ["document"], "Egun": ["day", "daytime hours"], "gaur": ["today"]}
DRAWN = {"multivariate", "random"}
"""Methods that draw every new row."""


def logits(model, tokenizer, text=TEXT):
    with torch.no_grad():
        return model(torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])).logits


def head_rows(model):
    return model.get_output_embeddings().weight.detach()


# ------------------------------------------------------------------- the same tokenizer in and out


@pytest.mark.parametrize("kind", ["byte_bpe", "unigram", "wordpiece", "twin"])
@pytest.mark.parametrize("mode", ["replace", "extend"])
@pytest.mark.parametrize(("tied", "dtype"), [(True, torch.float32), (False, torch.bfloat16)])
def test_same_tokenizer_leaves_the_model_as_it_is(request, load, kind, mode, tied, dtype):
    """Bit for bit, with rows of padding, in vocabularies with twin tokens and without an eos of their own."""
    tokenizer = request.getfixturevalue(f"{kind}_tokenizer")
    if tokenizer.eos_token is None:
        tokenizer.eos_token = tokenizer.sep_token
    model = load(tokenizer=tokenizer, tied=tied, dtype=dtype)
    before = [parameter.detach().clone() for parameter in model.model.parameters()]
    expected = logits(model.model, tokenizer)
    ends = model.model.generation_config.eos_token_id
    result = transfer_vocabulary(model, tokenizer, method="mean", mode=mode)
    assert torch.equal(logits(result.model, result.tokenizer), expected)
    after = list(result.model.parameters())
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(after, before, strict=True))
    assert result.model.config.vocab_size == 640
    assert set(result.counts) <= {"copied", "matched"}
    assert result.model.generation_config.eos_token_id == ends


def test_twins_are_there(twin_tokenizer):
    """The vocabulary of the test above has tokens of equal bytes, and not all of them have the lower id."""
    keys = Counter(piece.key for piece in read_pieces(twin_tokenizer) if piece and not piece.role)
    assert keys[(b"a", False)] == 2 and sum(count > 1 for count in keys.values()) > 30


def test_output_bias(byte_bpe_tokenizer, donor, unigram_tokenizer):
    """Phi has a head with a bias: it comes along unchanged, and as the rows do where the vocabulary changes."""
    from transformers import PhiConfig, PhiForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    phi = PhiForCausalLM(PhiConfig(vocab_size=640, **sizes)).eval()
    with torch.no_grad():
        phi.lm_head.bias.normal_()
    model = LoadedModel(phi, byte_bpe_tokenizer, "phi", "none")
    expected, bias = logits(phi, byte_bpe_tokenizer), phi.lm_head.bias.detach().clone()
    same = transfer_vocabulary(model, byte_bpe_tokenizer, method="mean")
    assert torch.equal(logits(same.model, same.tokenizer), expected)
    result = transfer_vocabulary(model, unigram_tokenizer, donor=donor, method="focus")
    assert phi.lm_head.bias.shape == (result.provenance.num_rows,)
    source, target = read_pieces(byte_bpe_tokenizer), read_pieces(result.tokenizer)
    ids = {piece.key: piece.token_id for piece in source if not piece.role}
    shared = [(piece.token_id, ids[piece.key]) for piece in target if not piece.role and piece.key in ids]
    assert len(shared) > 50
    for token_id, source_id in shared:
        assert phi.lm_head.bias[token_id] == bias[source_id]
    new = [piece.token_id for piece in target if not piece.role and piece.key not in ids]
    low, high = bias.min(), bias.max()
    assert ((phi.lm_head.bias[new] >= low) & (phi.lm_head.bias[new] <= high)).all()
    assert phi.lm_head.bias[new].std() > 0


# ------------------------------------------------------------------------------------------- extend


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("rows", [600, 610, 704])
def test_extend_keeps_every_source_row(load, donor, multilingual_texts, tied, rows):
    """Without padding, with less padding than new tokens, and with more."""
    model = load(rows=rows, tied=tied)
    extended = extend_tokenizer(model.tokenizer, multilingual_texts * 3, new_tokens=40)
    before, head = (read_embeddings(model.model).input.clone(), head_rows(model.model).clone())
    plain = "The quick brown fox, and then 12345 hours."
    expected = logits(model.model, model.tokenizer, plain)
    result = transfer_vocabulary(model, extended, donor=donor, method="salt", mode="extend")
    after = read_embeddings(result.model)
    assert len(after.input) == max(rows, 640)
    assert torch.equal(after.input[:600], before[:600])
    assert torch.equal(head_rows(result.model)[:600], head[:600])
    assert (after.output is None) == tied
    assert torch.equal(after.input[640:], before[640:])
    moved = (
        (after.input[600:640] - before[600:640]).norm(dim=1) if rows > 640 else after.input[600:].norm(dim=1)
    )
    assert (moved > 0).all()
    ids = model.tokenizer(plain, add_special_tokens=False)["input_ids"]
    got = result.model(torch.tensor([ids])).logits
    assert torch.allclose(got[..., :600], expected[..., :600], atol=1e-6)
    assert result.counts["copied"] + result.counts["matched"] == 600
    assert sum(result.counts.values()) == 640


@pytest.mark.parametrize("method", sorted(INITIALIZERS))
def test_extend_keeps_source_rows_whatever_the_method(load, donor, multilingual_texts, method):
    """Also `wechsel`'s, which copies no overlap where it replaces a vocabulary."""
    model = load(rows=601)
    extended = extend_tokenizer(model.tokenizer, multilingual_texts * 3, new_tokens=30)
    before = read_embeddings(model.model).input.clone()
    result = transfer_vocabulary(
        model, extended, donor=donor, method=method, mode="extend", lexicon=LEXICON, corpus=multilingual_texts
    )
    after = read_embeddings(result.model).input
    assert torch.equal(after[:600], before[:600]) and torch.isfinite(after).all() and len(after) == 630


def test_extended_tokenizer_in_replace_mode_keeps_ids_too(load, multilingual_texts):
    model = load()
    before = read_embeddings(model.model).input.clone()
    extended = extend_tokenizer(model.tokenizer, multilingual_texts * 3, new_tokens=20)
    result = transfer_vocabulary(model, extended, method="subword-mean")
    after = read_embeddings(result.model).input
    assert torch.equal(after[:600], before[:600]) and torch.equal(after[620:], before[620:])


def test_shorter_vocabulary_on_the_same_ids_has_no_stray_rows(load, twin_tokenizer):
    """The first tokens of a vocabulary, under the same ids: the matrix ends with them."""
    import json

    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    description = json.loads(twin_tokenizer.backend_tokenizer.to_str())
    vocabulary = description["model"]["vocab"]
    kept = {text: token_id for text, token_id in vocabulary.items() if not text.startswith("<0x")}
    description["model"] |= {"vocab": kept, "byte_fallback": False}
    shorter = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(description)), **twin_tokenizer.special_tokens_map
    )
    assert max(kept.values()) == len(kept) - 1
    model = load(tokenizer=twin_tokenizer)
    result = transfer_vocabulary(model, shorter, method="mean")
    assert len(read_embeddings(result.model).input) == len(result.tokenizer) == len(kept)
    assert result.model.config.vocab_size == len(kept)


# ------------------------------------------------------------------------------------ every method


@pytest.mark.parametrize("method", sorted(INITIALIZERS))
@pytest.mark.parametrize("tied", [True, False])
def test_every_method_and_its_provenance(load, donor, unigram_tokenizer, multilingual_texts, method, tied):
    """Finite rows, documented origins, a row a token, the norms of the rows, copies where they are said to be."""
    model = load(tied=tied)
    before = read_embeddings(model.model)
    before_input, before_output = before.input.clone(), None if tied else before.output.clone()
    result = transfer_vocabulary(
        model, unigram_tokenizer, donor=donor, method=method, lexicon=LEXICON, corpus=multilingual_texts
    )
    table = result.provenance
    names = ["token_id", "text", "origin", "neighbours", "residual", "norm"]
    assert table.column_names == names
    size = len(result.tokenizer)
    assert table["token_id"].to_pylist() == list(range(size))
    after = read_embeddings(result.model)
    assert len(after.input) == size == result.model.config.vocab_size
    assert (after.output is None) == tied
    rows = after.input
    assert torch.isfinite(rows).all() and (tied or torch.isfinite(after.output).all())
    assert table["norm"].to_pylist() == pytest.approx(rows.norm(dim=1).tolist(), rel=1e-6)
    origins = table["origin"].to_pylist()
    assert set(origins) <= {"copied", "matched", "regressed", "averaged", "drawn", "special"}
    assert result.counts == Counter(origins) and sum(result.counts.values()) == size
    assert ("copied" not in result.counts) == (method in COPIES_NO_OVERLAP)
    assert result.method == method and result.reason == "asked for"
    neighbours = np.array(table["neighbours"].to_pylist())
    assert (neighbours[[origin == "drawn" for origin in origins]] == 0).all()
    assert (neighbours[[origin in {"regressed", "averaged"} for origin in origins]] > 0).all()
    source_ids = {piece.key: piece.token_id for piece in read_pieces(model.tokenizer) if not piece.role}
    for piece in read_pieces(result.tokenizer):
        if origins[piece.token_id] == "copied":
            source_id = source_ids[piece.key]
            assert torch.equal(rows[piece.token_id], before_input[source_id])
            assert tied or torch.equal(after.output[piece.token_id], before_output[source_id])


def test_text_of_the_provenance(load, donor, unigram_tokenizer):
    table = transfer_vocabulary(load(), unigram_tokenizer, donor=donor).provenance.to_pylist()
    texts = {row["text"] for row in table}
    assert {"<|im_end|>", "</s>", "<unk>"} <= texts
    assert any(text.startswith(" ") and not text.isascii() for text in texts)


@pytest.mark.parametrize("method", sorted(INITIALIZERS))
def test_seeds(load, donor, unigram_tokenizer, method):
    """The same seed gives the same rows; another seed changes those that are drawn, and no others."""
    donor.embeddings[200:] = 0  # tokens without a vector are drawn by the methods that need one
    results = []
    for seed in (5, 5, 6):
        result = transfer_vocabulary(
            load(), unigram_tokenizer, donor=donor, method=method, lexicon=LEXICON, seed=seed
        )
        results.append(read_embeddings(result.model).input.clone())
    drawn = torch.tensor([origin == "drawn" for origin in result.provenance["origin"].to_pylist()])
    first, again, other = results
    assert torch.equal(first, again)
    changed = (first != other).any(dim=1)
    if method == "fused":  # the folds of its cross-validation are drawn too, and may pick another ridge
        assert changed[drawn].all()
    else:
        assert torch.equal(changed, drawn)
    assert bool(drawn.any()) == (method not in {"subword-mean", "lexicon", "mean"})


def test_input_and_output_have_draws_of_their_own(load, unigram_tokenizer):
    result = transfer_vocabulary(load(tied=False), unigram_tokenizer, method="random")
    drawn = [i for i, origin in enumerate(result.provenance["origin"].to_pylist()) if origin == "drawn"]
    rows, head = read_embeddings(result.model).input[drawn], head_rows(result.model)[drawn]
    correlation = torch.corrcoef(torch.stack([rows.flatten(), head.flatten()]))[0, 1]
    assert abs(correlation) < 0.1


# ---------------------------------------------------------------------------- what is carried over


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tied", [True, False])
def test_checkpoint_reloads_in_plain_transformers(tmp_path, load, donor, unigram_tokenizer, tied, dtype):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = load(tied=tied)
    # Not .to(dtype), which would round the rotary frequencies as well: no checkpoint holds these.
    plain = AutoModelForCausalLM.from_config(model.model.config, dtype=dtype).eval()
    plain.load_state_dict(model.model.state_dict())
    plain.generation_config.max_new_tokens = 7
    model = replace(model, model=plain)
    template = model.tokenizer.chat_template
    result = transfer_vocabulary(model, unigram_tokenizer, donor=donor, method="fused")
    expected = logits(result.model, result.tokenizer)
    save_checkpoint(tmp_path / "out", result.model, result.tokenizer, recipe={"method": result.method})
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert next(again.parameters()).dtype == dtype
    assert torch.equal(logits(again, tokenizer), expected)
    assert (again.get_output_embeddings().weight is again.get_input_embeddings().weight) == tied
    assert tokenizer.chat_template == template
    messages = [{"role": "user", "content": "Egun on!"}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    assert tokenizer.decode(ids).startswith("<|im_start|>") and tokenizer.unk_token_id not in ids
    assert again.generation_config.max_new_tokens == 7
    assert again.generation_config.eos_token_id == tokenizer.eos_token_id
    assert tokenizer.convert_ids_to_tokens(again.config.eos_token_id) == "<|im_end|>"
    assert tokenizer.convert_ids_to_tokens(again.config.bos_token_id) == "<|im_start|>"
    assert tokenizer.convert_ids_to_tokens(again.config.pad_token_id) == "<|endoftext|>"


def test_special_ids_of_the_model_in_memory(load, donor, unigram_tokenizer):
    """Every token that ends generation is followed; the padding row is the new padding token's."""
    model = load()
    config = model.model.generation_config
    config.eos_token_id, config.suppress_tokens, config.forced_bos_token_id = [2, 0], [17, 18], 1
    result = transfer_vocabulary(model, unigram_tokenizer, donor=donor)
    ids = result.tokenizer.convert_tokens_to_ids
    assert config.eos_token_id == [ids("<|im_end|>"), ids("<|endoftext|>")]
    assert result.model.config.eos_token_id == config.eos_token_id
    assert config.forced_bos_token_id == ids("<|im_start|>") and config.suppress_tokens is None
    assert result.model.config.pad_token_id == ids("<|endoftext|>")
    assert result.model.get_input_embeddings().padding_idx == ids("<|endoftext|>")
    embedding = result.model.get_input_embeddings()
    embedding.weight.grad = None
    result.model(torch.tensor([[0, 1, 2, 3]])).logits.square().mean().backward()
    assert (embedding.weight.grad[:4].norm(dim=1) > 0).all()


def test_what_ends_generation_is_carried_though_no_template_names_it(load, unigram_tokenizer):
    model = load()
    model.tokenizer.add_tokens(["<|eom|>"])
    ends = [2, model.tokenizer.convert_tokens_to_ids("<|eom|>")]
    model.model.generation_config.eos_token_id = ends
    result = transfer_vocabulary(model, unigram_tokenizer, method="subword-mean")
    found = result.tokenizer.convert_ids_to_tokens(result.model.generation_config.eos_token_id)
    assert found == model.tokenizer.convert_ids_to_tokens(ends)


def test_special_tokens_without_counterpart_are_the_mean_of_special_rows(load, donor, unigram_tokenizer):
    model = load()
    source = read_embeddings(model.model).input.clone()
    result = transfer_vocabulary(model, unigram_tokenizer, donor=donor)
    rows = read_embeddings(result.model).input
    assert torch.allclose(rows[result.tokenizer.unk_token_id], source[:3].mean(dim=0))
    assert torch.equal(rows[result.tokenizer.eos_token_id], source[2])
    # The eos of equal text has its row alone: with a twin, greedy answers would end with what ends nothing.
    sep = rows[result.tokenizer.convert_tokens_to_ids("</s>")]
    assert torch.equal(sep, rows[result.tokenizer.unk_token_id])


def test_the_body_is_untouched(load, donor, unigram_tokenizer):
    model = load(tied=False)
    before = {name: value.clone() for name, value in model.model.model.layers.state_dict().items()}
    result = transfer_vocabulary(model, unigram_tokenizer, donor=donor)
    after = result.model.model.layers.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_third_party_method(load, donor, unigram_tokenizer, tmp_path, monkeypatch):
    (tmp_path / "their_method.py").write_text(
        "import numpy as np\nfrom lingraft.vocabulary.problem import Rule\n\n"
        "def ones(problem):\n"
        "    n = len(problem.new_ids)\n"
        "    def fill(which, source, out):\n"
        "        out[problem.new_ids] = 1.0\n"
        "    return Rule(fill, np.full(n, 'averaged'), np.ones(n, int), np.full(n, np.nan))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    result = transfer_vocabulary(load(), unigram_tokenizer, method="their_method:ones")
    new = [i for i, origin in enumerate(result.provenance["origin"].to_pylist()) if origin == "averaged"]
    assert len(new) > 50 and (read_embeddings(result.model).input[new] == 1).all()


def test_public_name():
    import lingraft.vocabulary

    assert lingraft.vocabulary.transfer_vocabulary is transfer_vocabulary
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = lingraft.vocabulary.no_such_name


def test_report_sections_need_no_further_library(load, donor, unigram_tokenizer, monkeypatch):
    """pandas is no requirement of ours, though some extras bring it."""
    import sys

    from lingraft.vocabulary.writing import transfer_sections

    result = transfer_vocabulary(load(), unigram_tokenizer, donor=donor)
    monkeypatch.setitem(sys.modules, "pandas", None)
    (section,) = transfer_sections(result.provenance, method=result.method, reason=result.reason)
    table = section.blocks[1]
    rows = {row[0]: row for row in table.rows}
    assert {origin: row[1] for origin, row in rows.items()} == dict(result.counts)
    assert rows["copied"][2] == 1.0 and rows["copied"][3] is None and 0 <= rows["regressed"][3] < 1

"""Matrices go in and out of every architecture, and the checkpoint that comes of it is a plain one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertModel,
    Gemma3nForCausalLM,
    Gemma3nTextConfig,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from lingraft.errors import ModelError, OutputError
from lingraft.models.embeddings import EmbeddingMatrices, read_embeddings, write_embeddings
from lingraft.models.loading import _refuse_float8, load_tokenizer
from lingraft.models.saving import save_checkpoint


def resized(matrices: EmbeddingMatrices, rows: int) -> EmbeddingMatrices:
    """Rows in reverse order, cut or padded with random ones to another number."""

    def other(part: torch.Tensor | None) -> torch.Tensor | None:
        if part is None:
            return None
        fill = torch.randn(rows, *part.shape[1:])
        keep = min(rows, len(part))
        fill[:keep] = part.flip(0)[:keep].float()
        return fill

    first = other(matrices.input)
    assert first is not None
    return EmbeddingMatrices(first, other(matrices.output), other(matrices.output_bias), matrices.tied)


@pytest.mark.parametrize("tied", [False, True])
def test_same_matrices_leave_logits_unchanged(architecture: str, tied: bool, tiny: Any, ids: Any) -> None:
    model = tiny(architecture, tied=tied)
    before = model(ids).logits
    matrices = read_embeddings(model)
    assert matrices.tied == tied
    assert (matrices.output is None) == tied
    assert (matrices.output_bias is not None) == (architecture == "phi")
    write_embeddings(model, matrices)
    assert torch.equal(model(ids).logits, before)


@pytest.mark.parametrize("rows", [487, 803])
@pytest.mark.parametrize("tied", [False, True])
def test_permuted_rows_permute_logits(architecture: str, tied: bool, rows: int, tiny: Any, ids: Any) -> None:
    model = tiny(architecture, tied=tied)
    old = model(ids).logits
    size = model.config.vocab_size
    write_embeddings(model, resized(read_embeddings(model), rows))
    mapped = size - 1 - ids
    if int(mapped.max()) >= rows:
        mapped = mapped % rows
        ids = size - 1 - mapped
        fresh = tiny(architecture, tied=tied)
        old = fresh(ids).logits
    new = model(mapped).logits
    keep = min(rows, size)
    assert new.shape[-1] == rows == model.config.get_text_config().vocab_size
    torch.testing.assert_close(new[..., :keep], old.flip(-1)[..., :keep])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("rows", [605, 803])
def test_saved_checkpoint_reloads_in_plain_transformers(
    architecture: str,
    tied: bool,
    rows: int,
    dtype: torch.dtype,
    tiny: Any,
    ids: Any,
    tmp_path: Path,
    byte_bpe_tokenizer: Any,
) -> None:
    model = tiny(architecture, tied=tied, dtype=dtype)
    write_embeddings(model, resized(read_embeddings(model), rows))
    assert {p.dtype for p in model.parameters()} == {dtype}
    expected = model(ids).logits
    recipe = {"name": "erdi-ergatiboa ñ", "seed": 3}
    save_checkpoint(tmp_path / "out", model, byte_bpe_tokenizer, recipe=recipe, card="# card")
    again = AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", dtype="auto", attn_implementation="eager", local_files_only=True
    ).eval()
    assert again.dtype == dtype
    assert torch.equal(again(ids).logits, expected)
    assert (again.get_output_embeddings().weight is again.get_input_embeddings().weight) == tied
    assert again.generation_config.eos_token_id == byte_bpe_tokenizer.eos_token_id
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer("Égun on 🙂").input_ids == byte_bpe_tokenizer("Égun on 🙂").input_ids
    assert tokenizer.chat_template == byte_bpe_tokenizer.chat_template
    assert "ñ" in (tmp_path / "out" / "recipe.yaml").read_text(encoding="utf-8")
    assert not list((tmp_path / "out").glob("*.bin"))
    again.train()
    again(ids, labels=ids).loss.backward()


def test_padding_id_beyond_the_rows_is_cleared(tiny: Any) -> None:
    model = tiny("llama")
    model.config.pad_token_id = 600
    model.get_input_embeddings().padding_idx = 600
    write_embeddings(model, resized(read_embeddings(model), 301))
    assert model.get_input_embeddings().padding_idx is None
    assert model.config.pad_token_id is None


def test_generation_after_growth(tiny: Any, ids: Any) -> None:
    model = tiny("gemma2", tied=True)
    write_embeddings(model, resized(read_embeddings(model), 999))
    out = model.generate(ids, max_new_tokens=3, do_sample=False, pad_token_id=0)
    assert out.shape[1] <= ids.shape[1] + 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"input": torch.ones(5, 7)}, r"\[5, 7\]"),
        ({"output": torch.ones(5, 32)}, r"\[5, 32\]"),
        ({"output": None}, "untied"),
        ({"tied": True}, "untied"),
        ({"output_bias": torch.ones(611)}, "output bias"),
        ({"input": torch.full((611, 32), float("nan"))}, "NaN"),
    ],
)
def test_matrices_that_do_not_fit(change: dict[str, Any], words: str, tiny: Any, ids: Any) -> None:
    model = tiny("llama")
    before = model(ids).logits
    old = read_embeddings(model)
    fields = {name: getattr(old, name) for name in ("input", "output", "output_bias", "tied")}
    with pytest.raises(ModelError, match=words):
        write_embeddings(model, EmbeddingMatrices(**{**fields, **change}))
    assert torch.equal(model(ids).logits, before)


def test_a_model_without_head_is_refused() -> None:
    config = BertConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    with pytest.raises(ModelError, match="no output head"):
        read_embeddings(BertModel(config))


def test_saving_into_a_full_directory(tiny: Any, tmp_path: Path, byte_bpe_tokenizer: Any) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds something"):
        save_checkpoint(tmp_path, tiny("gpt2"), byte_bpe_tokenizer, recipe={})
    assert [file.name for file in tmp_path.iterdir()] == ["note.txt"]


def test_failed_saving_leaves_nothing(
    tiny: Any, tmp_path: Path, byte_bpe_tokenizer: Any, monkeypatch: Any
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(byte_bpe_tokenizer), "save_pretrained", full)
    with pytest.raises(OutputError, match="No space left"):
        save_checkpoint(tmp_path / "out", tiny("gpt2"), byte_bpe_tokenizer, recipe={})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "idle"),
    [
        (
            {"num_beams": 1, "early_stopping": True, "length_penalty": 0.6},
            {"early_stopping", "length_penalty"},
        ),
        ({"early_stopping": "never"}, {"early_stopping"}),
        ({"num_beams": 3, "early_stopping": True, "length_penalty": 0.6}, set()),
        ({"do_sample": False, "temperature": 0.0, "top_p": 0.9}, {"temperature", "top_p"}),
        ({"top_h": 0.4, "min_p": 1.0, "epsilon_cutoff": 0.1}, {"top_h", "min_p", "epsilon_cutoff"}),
        ({"top_k": 50}, set()),
        ({"output_scores": True, "output_attentions": True}, {"output_scores", "output_attentions"}),
        ({"use_cache": False, "cache_implementation": "static"}, {"cache_implementation"}),
    ],
)
def test_a_generation_config_that_transformers_reads_is_saved(
    settings: dict[str, Any], idle: set[str], tiny: Any, ids: Any, tmp_path: Path, byte_bpe_tokenizer: Any
) -> None:
    """Also one that it refuses to write: settings without an effect are left out, and it generates the same."""
    model = tiny("llama")
    model.generation_config.update(**settings)
    options: dict[str, Any] = {"max_new_tokens": 4, "attention_mask": torch.ones_like(ids)}
    before = model.generate(ids, **options)
    save_checkpoint(tmp_path / "out", model, byte_bpe_tokenizer, recipe={})
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out", attn_implementation="eager")
    kept = {name: getattr(again.generation_config, name) for name in settings}
    assert kept == {name: None if name in idle else value for name, value in settings.items()}
    assert not again.generation_config.do_sample
    assert torch.equal(again.generate(ids, **options), before)


def test_generation_config_follows_the_tokenizer(tiny: Any, tmp_path: Path, byte_bpe_tokenizer: Any) -> None:
    model = tiny("llama")
    byte_bpe_tokenizer.add_tokens(["<|stop|>"])
    stop = byte_bpe_tokenizer.convert_tokens_to_ids("<|stop|>")
    model.generation_config.eos_token_id = [605, 0, 5, stop, True, [5]]
    model.generation_config.do_sample, model.generation_config.temperature = True, 0.6
    model.generation_config.suppress_tokens = [4000]
    save_checkpoint(tmp_path / "out", model, byte_bpe_tokenizer, recipe={})
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out").generation_config
    # 0 is a special token of this tokenizer and <|stop|> an added one; 605 and 5 are neither.
    assert again.eos_token_id == [2, 0, stop]
    assert again.bos_token_id == byte_bpe_tokenizer.bos_token_id
    assert again.pad_token_id == byte_bpe_tokenizer.pad_token_id
    assert (again.do_sample, again.temperature) == (True, 0.6)
    assert not again.suppress_tokens
    with pytest.raises(ModelError, match="611 rows"):
        save_checkpoint(tmp_path / "two", model, byte_bpe_tokenizer, recipe={}, end_ids=[9999])


def test_quantisation_mark_is_removed(tiny: Any, tmp_path: Path, byte_bpe_tokenizer: Any) -> None:
    model = tiny("llama")
    model.config.quantization_config = {"quant_method": "gguf"}
    save_checkpoint(tmp_path / "out", model, byte_bpe_tokenizer, recipe={})
    assert "quantization" not in (tmp_path / "out" / "config.json").read_text()


def test_a_config_that_lies_about_ties_is_corrected(
    tiny: Any, ids: Any, tmp_path: Path, byte_bpe_tokenizer: Any
) -> None:
    model = tiny("llama", tied=False)
    model.config.tie_word_embeddings = True
    matrices = read_embeddings(model)
    assert not matrices.tied
    write_embeddings(model, resized(matrices, 700))
    assert model.config.tie_word_embeddings is False
    save_checkpoint(tmp_path / "out", model, byte_bpe_tokenizer, recipe={})
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out", attn_implementation="eager")
    assert torch.equal(again(ids).logits, model(ids).logits)


def test_the_mark_of_a_quantised_file_does_not_stop_saving(
    tiny: Any, tmp_path: Path, byte_bpe_tokenizer: Any
) -> None:
    model = tiny("llama")
    model.hf_quantizer = object()
    save_checkpoint(tmp_path / "out", model, byte_bpe_tokenizer, recipe={})
    assert not hasattr(model, "hf_quantizer")


def test_matrices_can_be_given_away(tiny: Any) -> None:
    """With `copy=False` the model keeps the very tensors, and ties and values are what they are with copies."""
    model, copied = tiny("llama", tied=True), tiny("llama", tied=True)
    matrices = resized(read_embeddings(model), 300)
    write_embeddings(model, matrices, copy=False)
    write_embeddings(copied, matrices)
    kept = model.get_input_embeddings().weight
    assert kept.data_ptr() == matrices.input.data_ptr()
    assert model.get_output_embeddings().weight is kept
    assert copied.get_input_embeddings().weight.data_ptr() != matrices.input.data_ptr()
    assert torch.equal(copied.get_input_embeddings().weight, kept)


def test_a_second_table_of_token_rows_is_refused() -> None:
    """Gemma 3n looks every id up in its layers too: new ids would find other tokens' rows there."""
    config = Gemma3nTextConfig(
        vocab_size=120,
        vocab_size_per_layer_input=120,
        hidden_size=32,
        hidden_size_per_layer_input=8,
        intermediate_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        num_kv_shared_layers=2,
        laurel_rank=4,
        altup_num_inputs=2,
        layer_types=["sliding_attention", "full_attention"] * 2,
    )
    with pytest.raises(ModelError, match=r"second table of 120 rows .*embed_tokens_per_layer"):
        read_embeddings(Gemma3nForCausalLM(config))


def test_float8_weights_are_not_saved(tiny: Any, tmp_path: Path, byte_bpe_tokenizer: Any) -> None:
    model = tiny("llama")
    narrow = model.model.layers[0].mlp.up_proj
    narrow.weight = torch.nn.Parameter(narrow.weight.detach().to(torch.float8_e4m3fn), requires_grad=False)
    with pytest.raises(ModelError, match=r"up_proj.weight is torch.float8_e4m3fn"):
        save_checkpoint(tmp_path / "out", model, byte_bpe_tokenizer, recipe={})
    with pytest.raises(ModelError, match=r"tiny has float8_e4m3fn weights .*up_proj"):
        _refuse_float8(model, "tiny")


@pytest.mark.parametrize("kind", ["unigram_tokenizer", "byte_bpe_tokenizer"])
def test_plain_transformers_loads_the_tokenizer_that_was_saved(
    kind: str, request: Any, tmp_path: Path, multilingual_texts: list[str]
) -> None:
    """For Qwen2 AutoTokenizer takes a byte-level BPE class, whatever class the file names."""
    tokenizer = request.getfixturevalue(kind)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    save_checkpoint(tmp_path / "out", Qwen2ForCausalLM(config), tokenizer, recipe={})
    expected = [tokenizer(text)["input_ids"] for text in multilingual_texts]
    for again in (AutoTokenizer.from_pretrained(tmp_path / "out"), load_tokenizer(str(tmp_path / "out"))):
        assert [again(text)["input_ids"] for text in multilingual_texts] == expected
        assert again.decode(expected[0]) == tokenizer.decode(expected[0])

"""A tiny GGUF file becomes the model and the tokenizer it was made from; damaged ones are refused."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lingraft.assets.gguf import check_gguf, rebuild_gguf
from lingraft.errors import AssetError, MissingExtraError

gguf = pytest.importorskip("gguf", reason="the extra lingraft[gguf] is not installed")

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"


def interleaved(weight, heads):
    """Order query and key rows as llama.cpp's rotary embedding wants them."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_gguf(path: Path, model, backend, *, pre="smollm", architecture="llama") -> Path:
    config, state = model.config, {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    spec = json.loads(backend.to_str())["model"]
    tokens = sorted(spec["vocab"], key=spec["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<|") else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in spec["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_chat_template(TEMPLATE)
    names = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    writer.add_tensor("token_embd.weight", state["model.embed_tokens.weight"])
    writer.add_tensor("output_norm.weight", state["model.norm.weight"])
    if not config.tie_word_embeddings:
        writer.add_tensor("output.weight", state["lm_head.weight"])
    for layer in range(config.num_hidden_layers):
        for name, short in names.items():
            weight = state[f"model.layers.{layer}.{name}.weight"]
            if short == "attn_q":
                weight = interleaved(weight, config.num_attention_heads)
            elif short == "attn_k":
                weight = interleaved(weight, config.num_key_value_heads)
            writer.add_tensor(f"blk.{layer}.{short}.weight", weight.copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("tied", [True, False])
def test_the_rebuilt_model_is_the_original(tmp_path, make_tiny_llama, byte_bpe_backend, tied):
    size = byte_bpe_backend.get_vocab_size()
    original = make_tiny_llama(size, tied=tied)
    file = write_gguf(tmp_path / "tiny.gguf", original, byte_bpe_backend)
    out = rebuild_gguf(file, tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.dtype == torch.float32
    assert model.config.tie_word_embeddings is tied
    assert (model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()) is tied
    assert not hasattr(model.config, "quantization_config")
    ids = torch.arange(3, 60)[None]
    with torch.no_grad():
        assert torch.allclose(model(ids).logits, original(ids).logits, atol=1e-5)
    generation = model.generation_config
    assert (generation.bos_token_id, generation.eos_token_id, generation.pad_token_id) == (1, 2, 0)
    assert sorted(file.name for file in out.glob("*.safetensors")) == ["model.safetensors"]
    assert not list(out.glob("*.bin"))


def test_the_tokenizer_cuts_text_as_the_file_says(tmp_path, make_tiny_llama, byte_bpe_backend):
    model = make_tiny_llama(byte_bpe_backend.get_vocab_size())
    text = "naïve  안녕 in  12345, x 7\n\t🙂"
    tokens = {}
    for pre in ("smollm", "gpt-2"):
        file = write_gguf(tmp_path / f"{pre}.gguf", model, byte_bpe_backend, pre=pre)
        tokenizer = AutoTokenizer.from_pretrained(rebuild_gguf(file, tmp_path / pre))
        ids = tokenizer(text).input_ids
        assert tokenizer.decode(ids) == text
        tokens[pre] = tokenizer.convert_ids_to_tokens(ids)
        assert tokenizer.chat_template == TEMPLATE
        assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 0)
        assert tokenizer.model_max_length == model.config.max_position_embeddings
        assert tokenizer("<|im_start|>").input_ids == [1]
    assert tokens["gpt-2"] == byte_bpe_backend.encode(text).tokens
    assert [token for token in tokens["smollm"] if token.strip("Ġ").isdigit()] == list("123457")
    assert "Ġ7" not in tokens["smollm"]


def test_a_way_to_cut_text_that_is_not_known_is_refused(tmp_path, make_tiny_llama, byte_bpe_backend):
    model = make_tiny_llama(byte_bpe_backend.get_vocab_size())
    file = write_gguf(tmp_path / "odd.gguf", model, byte_bpe_backend, pre="never-heard-of")
    with pytest.raises(AssetError, match="never-heard-of"):
        rebuild_gguf(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("keep", [0, 3, 10, 200, 0.5, 0.99])
def test_cut_off_files_are_refused(tmp_path, make_tiny_llama, byte_bpe_backend, keep):
    model = make_tiny_llama(byte_bpe_backend.get_vocab_size())
    file = write_gguf(tmp_path / "tiny.gguf", model, byte_bpe_backend)
    whole = file.read_bytes()
    file.write_bytes(whole[: keep if isinstance(keep, int) else int(len(whole) * keep)])
    with pytest.raises(AssetError) as caught:
        rebuild_gguf(file, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)
    assert "hub id" in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.gguf"]


def test_damaged_headers_are_refused(tmp_path, make_tiny_llama, byte_bpe_backend):
    model = make_tiny_llama(byte_bpe_backend.get_vocab_size())
    file = write_gguf(tmp_path / "tiny.gguf", model, byte_bpe_backend)
    whole = bytearray(file.read_bytes())
    for position in (0, 4, 8, 16, 24, 40):
        damaged = whole.copy()
        damaged[position] ^= 0xFF
        file.write_bytes(damaged)
        with pytest.raises(AssetError):
            check_gguf(file)
            rebuild_gguf(file, tmp_path / "out")
    with pytest.raises(AssetError, match="No such file"):
        rebuild_gguf(tmp_path / "absent.gguf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_architecture_without_support_is_refused(tmp_path, make_tiny_llama, byte_bpe_backend):
    model = make_tiny_llama(byte_bpe_backend.get_vocab_size())
    file = write_gguf(tmp_path / "odd.gguf", model, byte_bpe_backend, architecture="wombat")
    with pytest.raises(AssetError, match="wombat"):
        rebuild_gguf(file, tmp_path / "out")


def test_a_missing_library_names_the_extra(tmp_path, make_tiny_llama, byte_bpe_backend, monkeypatch):
    import importlib.util

    file = write_gguf(
        tmp_path / "tiny.gguf", make_tiny_llama(byte_bpe_backend.get_vocab_size()), byte_bpe_backend
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None)
    with pytest.raises(MissingExtraError, match=r"lingraft\[gguf\]"):
        rebuild_gguf(file, tmp_path / "out")


@pytest.mark.real
def test_smollm2_is_whole(real_asset):
    tokenizer = AutoTokenizer.from_pretrained(real_asset("smollm2-135m-instruct"))
    model = AutoModelForCausalLM.from_pretrained(real_asset("smollm2-135m-instruct"))
    assert tokenizer.convert_ids_to_tokens(tokenizer("in  12").input_ids) == ["in", "ĠĠ", "1", "2"]
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    answer = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(answer, skip_special_tokens=True) == "The capital of France is Paris."


@pytest.mark.real
def test_gemma_knows_several_languages(real_asset):
    path = real_asset("gemma-3-270m")
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path)
    assert (path / "GEMMA_TERMS.html").stat().st_size > 10_000
    text = "El comité se reunió el martes para discutir el presupuesto de las escuelas, 안녕  12."
    ids = tokenizer(text, return_tensors="pt").input_ids
    assert tokenizer.decode(ids[0], skip_special_tokens=True) == text
    spanish = tokenizer("El comité se reunió el martes para discutir", return_tensors="pt").input_ids
    with torch.no_grad():
        loss = model(spanish, labels=spanish).loss
    assert loss < 5.0  # nats a token; noise is 12.5

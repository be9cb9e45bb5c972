import pytest

from lingraft.errors import TokenizerError
from lingraft.tokenizers.adapting import adapt_tokenizer
from lingraft.tokenizers.overlap import canonical_form, match_vocabularies
from lingraft.tokenizers.pieces import Piece, read_pieces


def pairs(target, source, **options):
    target_pieces, source_pieces = read_pieces(target), read_pieces(source)
    match = match_vocabularies(target_pieces, source_pieces, **options)
    return {
        target_pieces[t].surface: source_pieces[s].surface
        for t, s in zip(match.target_ids, match.source_ids, strict=True)
    }


def test_same_vocabulary_is_identity(any_tokenizer):
    pieces = read_pieces(any_tokenizer)
    match = match_vocabularies(pieces, pieces)
    keys = {piece.key for piece in pieces if not piece.role}
    assert len(match) == len(pieces)
    same = (match.target_ids == match.source_ids).sum()
    assert same >= len(keys)  # only entries with equal bytes, such as a byte piece and its letter, may differ


def test_non_ascii_pieces_meet_across_kinds(
    byte_bpe_tokenizer, sentencepiece_bpe_tokenizer, unigram_tokenizer, wordpiece_tokenizer
):
    """Comparing token strings finds none of these: byte-level vocabularies write `é` as `Ã©`."""
    kinds = [byte_bpe_tokenizer, sentencepiece_bpe_tokenizer, unigram_tokenizer, wordpiece_tokenizer]
    for target in kinds:
        for source in kinds:
            target_pieces = read_pieces(target)
            match = match_vocabularies(target_pieces, read_pieces(source))
            shared = [
                target_pieces[t].text
                for t, by_role in zip(match.target_ids, match.by_role, strict=True)
                if not by_role
                and not target_pieces[t].text.isascii()
                and "\ufffd" not in target_pieces[t].text
            ]
            assert len(shared) >= 3, (target, source)
    for target in (sentencepiece_bpe_tokenizer, unigram_tokenizer):
        found = pairs(target, byte_bpe_tokenizer)
        assert any(surface.startswith("▁") and found[surface].startswith("Ġ") for surface in found)
        assert all(
            surface.startswith("▁") == found[surface].startswith("Ġ")
            for surface in found
            if "<" not in surface
        )


def test_ordinary_piece_before_byte_piece(byte_bpe_tokenizer, sentencepiece_bpe_tokenizer):
    found = pairs(byte_bpe_tokenizer, sentencepiece_bpe_tokenizer)
    assert found["Ċ"] == "\n" and found["a"] == "a" and found["Ġ"] == "▁"
    assert found["Ã"] == "<0xC3>"
    assert pairs(sentencepiece_bpe_tokenizer, byte_bpe_tokenizer)["<0x0A>"] == "Ċ"


def test_special_tokens_meet_by_role(unigram_tokenizer, byte_bpe_tokenizer, wordpiece_tokenizer):
    found = pairs(unigram_tokenizer, byte_bpe_tokenizer)
    assert (
        found["<s>"] == "<|im_start|>" and found["</s>"] == "<|im_end|>" and found["<pad>"] == "<|endoftext|>"
    )
    assert "<unk>" not in found
    encoder = pairs(wordpiece_tokenizer, byte_bpe_tokenizer)
    assert encoder["[CLS]"] == "<|im_start|>" and encoder["[SEP]"] == "<|im_end|>" and "[MASK]" not in encoder
    back = pairs(byte_bpe_tokenizer, wordpiece_tokenizer)
    assert back["<|im_start|>"] == "[CLS]"


def test_equal_text_before_role(byte_bpe_tokenizer):
    other = [Piece(0, b"<|im_end|>", False, "special:<|im_end|>"), Piece(1, b"</s>", False, "eos")]
    pieces = read_pieces(byte_bpe_tokenizer)
    end = byte_bpe_tokenizer.convert_tokens_to_ids("<|im_end|>")
    match = match_vocabularies([pieces[end]], other)
    assert list(match.source_ids) == [0] and list(match.by_role) == [True]


def test_a_special_token_of_the_source_has_no_twins(any_tokenizer, byte_bpe_tokenizer):
    """An encoder's sep, eos and pad, beside the source's own: rows of the source go to one target token each."""
    adapted = adapt_tokenizer(any_tokenizer, byte_bpe_tokenizer)
    match = match_vocabularies(read_pieces(adapted), read_pieces(byte_bpe_tokenizer))
    special = match.source_ids[match.by_role].tolist()
    assert len(special) == len(set(special)) and len(special) >= 3
    texts = adapted.convert_ids_to_tokens(match.target_ids[match.by_role].tolist())
    assert {"<|im_start|>", "<|im_end|>", "<|endoftext|>"} <= set(texts)


def test_the_end_of_a_text_before_other_roles():
    """GPT-2's one special token is bos, eos and unk at once: what ends a text must be able to."""
    source = [Piece(0, b"<|endoftext|>", False, "bos", ("eos", "unk"))]
    target = [
        Piece(0, b"<unk>", False, "unk"),
        Piece(1, b"<s>", False, "bos"),
        Piece(2, b"</s>", False, "eos"),
    ]
    match = match_vocabularies(target, source)
    assert (match.target_ids.tolist(), match.source_ids.tolist()) == ([2], [0])


def test_special_pairs(byte_bpe_tokenizer):
    target = [Piece(0, b"<turn>", False, "special:<turn>", surface="<turn>")]
    pieces = read_pieces(byte_bpe_tokenizer)
    assert len(match_vocabularies(target, pieces)) == 0
    match = match_vocabularies(target, pieces, special_pairs={"<turn>": "<|im_start|>"})
    assert pieces[match.source_ids[0]].surface == "<|im_start|>"


def test_unknown_normalisation(byte_bpe_tokenizer):
    with pytest.raises(TokenizerError, match="normalise='casefold'"):
        match_vocabularies([], read_pieces(byte_bpe_tokenizer), normalise="casefold")


def padded(tokenizer, marks):
    """Give a tokenizer 101 more pieces of its kind: deepfocus tells kinds apart by counting marks."""
    import json

    from lingraft.tokenizers.backend import rebuild

    description = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = description["model"]["vocab"]
    for number in range(101):
        text = f"{marks}q{number}"
        if isinstance(vocabulary, list):
            vocabulary.append([text, -20.0])
        else:
            vocabulary.setdefault(text, len(vocabulary))
    return rebuild(description, tokenizer)


@pytest.mark.parametrize(
    ("normalise", "options"),
    [
        ("focus", (False, True, False)),
        ("focus-symbols", (True, True, False)),
        ("focus-fuzzy", (False, True, True)),
    ],
)
def test_focus_equals_deepfocus(
    normalise, options, oracle, byte_bpe_tokenizer, unigram_tokenizer, wordpiece_tokenizer
):
    focus = oracle("deepfocus.focus")
    tokenizers = [byte_bpe_tokenizer, padded(unigram_tokenizer, "▁"), padded(wordpiece_tokenizer, "##")]
    for target in tokenizers:
        for source in tokenizers:
            special = {piece.surface for piece in [*read_pieces(target), *read_pieces(source)] if piece.role}
            expected, _ = focus.get_overlapping_tokens(target, source, *options)
            theirs = {
                text: found.source[0].native_form
                for text, found in expected.items()
                if text not in special and found.source[0].native_form not in special
            }
            ours = {
                text: found
                for text, found in pairs(target, source, normalise=normalise).items()
                if text not in special
            }
            # Bytes of unfinished characters all have the form U+FFFD there; which of them is first says nothing.
            broken = {text for text in {*theirs, *ours} if "\ufffd" in canonical(target, text)}
            assert {t: s for t, s in ours.items() if t not in broken} == {
                t: s for t, s in theirs.items() if t not in broken
            }
            assert any(not text.isascii() for text in theirs)


def canonical(tokenizer, text):
    piece = next(piece for piece in read_pieces(tokenizer) if piece.surface == text)
    return canonical_form(piece)


@pytest.mark.real
def test_real_overlap_counts(real_asset):
    from transformers import AutoTokenizer

    source = read_pieces(AutoTokenizer.from_pretrained(real_asset("smollm2-135m-instruct")))
    target = read_pieces(AutoTokenizer.from_pretrained(real_asset("multilingual-e5-small")))
    match = match_vocabularies(target, source)
    shared = [target[token_id] for token_id in match.target_ids]
    assert len(match) > 15_000
    assert sum(not piece.text.isascii() for piece in shared) > 400

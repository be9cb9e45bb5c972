"""Tiny translation models of three families, with their own tokenizers, as checkpoint directories.

They learn four sentences by heart, so that their translations end, at unequal lengths; random ones go on for ever.
"""

import json
import logging

import sentencepiece
import torch
from transformers import (
    M2M100Config,
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
    MarianConfig,
    MarianMTModel,
    MarianTokenizer,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

SIZES = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    # Wide enough that a random model's next tokens are far apart.
    "init_std": 0.4,
}
ENGLISH = [
    "The quick brown fox jumps over the lazy dog.",
    "Größe: 12 naïve cafés",
    "Open the document, please, and choose the size of the paper in the menu.",
    "Dog!",
]
TRANSLATIONS = {
    "es": ["El perro.", "12 cafés: Größe", "Abra el menú, por favor", "¡Perro!"],
    "sw": ["Mbwa.", "Kahawa 12", "Fungua menyu ya hati", "Mbwa mbwa"],
}


def sentencepiece_vocabulary(directory, texts):
    """Train a small SentencePiece model; return its file and a vocabulary as Marian and M2M100 write it."""
    prefix = directory / "pieces"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts * 8),
        model_prefix=str(prefix),
        vocab_size=200,
        hard_vocab_limit=False,
        model_type="unigram",
        minloglevel=2,
    )
    file = prefix.with_suffix(".model")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(file))
    names = [pieces.id_to_piece(number) for number in range(pieces.get_piece_size())]
    return file, [name for name in names if name not in {"<s>", "</s>", "<unk>"}]


def save(directory, model, tokenizer, *, prefix="", languages=("es",)):
    learn_by_heart(model, tokenizer, prefix, languages)
    logging.disable(logging.WARNING)
    model.eval().save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    logging.disable(logging.NOTSET)
    return directory


def learn_by_heart(model, tokenizer, prefix, languages):
    """Train on the sentences, with the language's token at the beginning of a translation where there is one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    end, padding = model.config.eos_token_id, model.config.pad_token_id
    given = tokenizer([prefix + text for text in ENGLISH] * len(languages), padding=True, return_tensors="pt")
    rows = []
    for language in languages:
        token = [tokenizer.convert_tokens_to_ids(f"__{language}__")] if len(languages) > 1 else []
        for text in TRANSLATIONS[language]:
            pieces = tokenizer(text, add_special_tokens=False)["input_ids"]
            rows.append([*token, *pieces, end])
    width = max(map(len, rows))
    labels = torch.tensor([row + [-100] * (width - len(row)) for row in rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    model.eval()
    for _ in range(200):
        optimizer.zero_grad()
        loss = model(
            input_ids=given["input_ids"],
            attention_mask=given["input_ids"].ne(padding).long(),
            labels=labels,
        ).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    torch.set_num_threads(threads)
    assert loss < 0.1, float(loss)


def make_marian(directory, texts, source="en", target="es"):
    directory.mkdir(parents=True, exist_ok=True)
    file, names = sentencepiece_vocabulary(directory, texts)
    vocabulary = {name: number for number, name in enumerate(["</s>", "<unk>", *names, "<pad>"])}
    words = directory / "words.json"
    words.write_text(json.dumps(vocabulary))
    tokenizer = MarianTokenizer(
        source_spm=str(file), target_spm=str(file), vocab=str(words), source_lang=source, target_lang=target
    )
    pad = vocabulary["<pad>"]
    torch.manual_seed(1)
    config = MarianConfig(
        vocab_size=len(vocabulary),
        pad_token_id=pad,
        eos_token_id=0,
        decoder_start_token_id=pad,
        forced_eos_token_id=None,
        bad_words_ids=[[pad]],
        **SIZES,
    )
    return save(directory / "model", MarianMTModel(config), tokenizer)


def make_m2m100(directory, texts):
    directory.mkdir(parents=True, exist_ok=True)
    file, names = sentencepiece_vocabulary(directory, texts)
    vocabulary = {name: number for number, name in enumerate(["<s>", "<pad>", "</s>", "<unk>", *names])}
    words = directory / "words.json"
    words.write_text(json.dumps(vocabulary))
    files = {"vocab_file": str(words), "spm_file": str(file)}
    # As the published tokenizers have them; by itself the class leaves them out of its vocabulary.
    languages = list(M2M100Tokenizer(**files).lang_token_to_id)
    tokenizer = M2M100Tokenizer(**files, src_lang="en", additional_special_tokens=languages)
    torch.manual_seed(1)
    config = M2M100Config(vocab_size=len(tokenizer) + 8, decoder_start_token_id=2, **SIZES)
    return save(
        directory / "model", M2M100ForConditionalGeneration(config), tokenizer, languages=("es", "sw")
    )


def make_t5(directory, backend):
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    torch.manual_seed(1)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_heads=2,
        initializer_factor=1.0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    return save(
        directory, T5ForConditionalGeneration(config), tokenizer, prefix="translate English to Spanish: "
    )

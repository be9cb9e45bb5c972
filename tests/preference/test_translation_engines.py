"""Engines: real transformers and CTranslate2 models, tiny and random, and programs that stand in for Apertium."""

import copy
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from tiny_seq2seq import ENGLISH, make_m2m100, make_marian, make_t5

from lingraft.errors import ConfigError, LingraftError, MissingExtraError, ModelError, TranslationError
from lingraft.models.seq2seq import load_seq2seq, stated_licence
from lingraft.preference.engine_apertium import ApertiumEngine
from lingraft.preference.engine_inputs import (
    LanguageMarks,
    find_marks,
    fit_length,
    join_parts,
    translated_whole,
)
from lingraft.preference.engine_parallel import ParallelEngine
from lingraft.recipes.preference.translation_engines import EngineOptions, open_engine

MOST = 24
GREEDY = EngineOptions(device="cpu", beams=1, max_new_tokens=MOST)


@pytest.fixture(scope="module")
def models(tmp_path_factory, unigram_backend, multilingual_texts):
    root = tmp_path_factory.mktemp("models")
    return {
        "marian": make_marian(root / "marian", multilingual_texts),
        "m2m100": make_m2m100(root / "m2m100", multilingual_texts),
        "t5": make_t5(root / "t5", copy.deepcopy(unigram_backend)),
    }


@pytest.fixture(scope="module")
def converted(models, tmp_path_factory):
    """Converts a model for CTranslate2, once; its tokenizer's files go with it."""
    root, made = tmp_path_factory.mktemp("converted"), {}

    def convert(family):
        out = root / family
        if family not in made:
            converters = pytest.importorskip("ctranslate2").converters
            converters.TransformersConverter(str(models[family])).convert(str(out))
            for file in models[family].iterdir():
                kept = (
                    file.suffix == ".safetensors" or (out / file.name).exists() or file.name == "config.json"
                )
                if not kept:
                    shutil.copy(file, out)
        made[family] = out
        return out

    return convert


def options_of(family, **more):
    prefix = "translate English to Spanish: " if family == "t5" else ""
    return EngineOptions(**{"device": "cpu", "beams": 1, "max_new_tokens": MOST, "prefix": prefix, **more})


@pytest.mark.parametrize("family", ["marian", "m2m100", "t5"])
def test_what_generate_says_alone_is_what_the_engine_says_in_a_batch(models, family):
    engine, _ = open_engine(f"seq2seq:{models[family]}", "es", options_of(family))
    loaded = load_seq2seq(str(models[family]), device="cpu")
    extra = {}
    if family == "m2m100":
        loaded.tokenizer.src_lang = "en"
        extra["forced_bos_token_id"] = loaded.tokenizer.lang_token_to_id["__es__"]
    expected = []
    for sentence in ENGLISH:
        text = f"{options_of(family).prefix}{sentence}"
        ids = loaded.tokenizer(text, return_tensors="pt").input_ids
        with torch.inference_mode():
            produced = loaded.model.generate(ids, num_beams=1, do_sample=False, max_new_tokens=MOST, **extra)
        row = [token for token in produced[0].tolist() if token != extra.get("forced_bos_token_id")]
        expected.append(loaded.tokenizer.decode(row, skip_special_tokens=True).strip())
    assert engine.translate(ENGLISH) == expected
    assert len(set(expected)) > 1
    assert not any("__es__" in answer for answer in expected)
    assert engine.translate([]) == []
    assert engine.source_language == "en" and engine.target_language == "es"
    assert engine.version.startswith("sha256:") and "beams=1" in engine.version


@pytest.mark.parametrize("family", ["marian", "m2m100", "t5"])
def test_ctranslate2_says_what_transformers_says(models, converted, family):
    options = options_of(family)
    faster, _ = open_engine(f"ctranslate2:{converted(family)}", "es", options)
    original, _ = open_engine(f"seq2seq:{models[family]}", "es", options)
    assert faster.translate(ENGLISH) == original.translate(ENGLISH)
    assert faster.version != original.version


@pytest.mark.parametrize("family", ["marian", "m2m100", "t5"])
@pytest.mark.parametrize("kind", ["seq2seq", "ctranslate2"])
def test_a_translation_that_was_cut_off_is_none(models, converted, family, kind):
    """What has no end within the most new tokens is translated in halves; if these have none either, it is nothing.

    There is room for `El perro.` and `¡Perro!`, and not for `Abra el menú, por favor`.
    """
    reference = f"{kind}:{models[family] if kind == 'seq2seq' else converted(family)}"
    engine, _ = open_engine(reference, "es", options_of(family))
    whole = engine.translate(ENGLISH)
    lengths = [len(engine._tokenizer(text)["input_ids"]) for text in whole]
    room = max(lengths[0], lengths[3]) + 2
    assert all(whole) and room < lengths[2] - 1
    engine, _ = open_engine(reference, "es", options_of(family, max_new_tokens=room))
    asked = []
    parts = engine._translate_parts
    engine._translate_parts = lambda given: asked.append(given) or parts(given)
    found = engine.translate([ENGLISH[2], ENGLISH[3], ENGLISH[0]])
    assert found[1:] == [whole[3], whole[0]]
    assert asked[0] == [ENGLISH[2], ENGLISH[3], ENGLISH[0]] and " ".join(asked[1]) == ENGLISH[2]
    assert all(len(text.split()) < 14 for text in asked[1]) and found[0] != whole[2]


def test_halves_are_put_together_again():
    """A translation of at most three words comes to its end: seven words are cut in two and the longer half again."""

    def translate(parts):
        asked.append(parts)
        return [None if len(part.split()) > 3 else part.upper() for part in parts]

    asked = []
    found = translated_whole(["a b c d, e f g", "h", ""], translate, len, 100)
    assert found == ["A B C D, E F G", "H", ""]
    assert asked == [["a b c d, e f g", "h", ""], ["a b c d,", "e f g"], ["a b", "c d,"]]
    never = translated_whole(["one two three four five"], lambda parts: [None] * len(parts), len, 100)
    assert never == [""] and translated_whole([], translate, len, 9) == []


def test_the_target_language_changes_what_m2m100_says(models):
    spanish, _ = open_engine(f"seq2seq:{models['m2m100']}", "es", GREEDY)
    swahili, _ = open_engine(f"seq2seq:{models['m2m100']}", "sw", GREEDY)
    assert spanish.translate(ENGLISH) != swahili.translate(ENGLISH)
    assert spanish.version != swahili.version and "en>__sw__" in swahili.version


def test_what_is_too_long_for_the_model_is_cut_and_none_of_it_lost(models):
    engine, _ = open_engine(f"seq2seq:{models['marian']}", "es", GREEDY)
    sentence = "The quick brown fox, the lazy dog, and the paper of the document jump over the menu. " * 6
    parts = fit_length(sentence.strip(), engine._size, 64)
    assert len(parts) > 3 and " ".join(parts).split() == sentence.split()
    assert all(engine._size(part) <= 64 for part in parts)
    assert engine.translate([sentence]) == [" ".join(engine.translate([part])[0] for part in parts)]


def test_cutting_and_joining():
    assert fit_length("abcdefgh", len, 3) == ["ab", "cd", "ef", "gh"]
    assert fit_length("one two, three four", len, 12) == ["one two,", "three four"]
    assert join_parts([2, 1, 1], ["a ", "b", "", "c"]) == ["a b", "", "c"]


class Vocabulary:
    """A tokenizer as far as its language tokens go."""

    def __init__(self, *tokens, **attributes):
        self._tokens = tokens
        self.__dict__.update(attributes)

    def get_vocab(self):
        return {token: number for number, token in enumerate(["dog", "▁cat", *self._tokens])}


NLLB = Vocabulary("eng_Latn", "spa_Latn", "swh_Latn", "zho_Hans", "zho_Hant")


@pytest.mark.parametrize(
    ("tokenizer", "target", "marks"),
    [
        (NLLB, "sw", LanguageMarks("eng_Latn", "swh_Latn")),
        (Vocabulary("__en__", "__es__"), "es", LanguageMarks("en", "__es__")),
        (Vocabulary("en_XX", "sw_KE", "es_XX"), "sw", LanguageMarks("en_XX", "sw_KE")),
        (Vocabulary("<2en>", "<2sw>"), "sw", LanguageMarks(prefix="<2sw> ")),
        (Vocabulary(">>spa<<", ">>fra<<"), "es", LanguageMarks(prefix=">>spa<< ")),
        (Vocabulary(), "es", LanguageMarks()),
    ],
)
def test_how_models_are_told_the_language(tokenizer, target, marks):
    assert find_marks(tokenizer, "en", target) == marks


def test_languages_that_a_model_does_not_know_or_knows_twice():
    with pytest.raises(ConfigError, match=r"no language 'eu'.*eng_Latn"):
        find_marks(NLLB, "en", "eu")
    with pytest.raises(ConfigError, match=r"several language 'zh' .zho_Hans, zho_Hant.*--target-code"):
        find_marks(NLLB, "en", "zh")
    assert find_marks(NLLB, "en", "zh", target_code="zho_Hant").target_token == "zho_Hant"
    with pytest.raises(ConfigError, match="target_lang is 'de'"):
        find_marks(Vocabulary(source_lang="en", target_lang="de"), "en", "es")


def test_models_that_cannot_be_opened(models, tmp_path, make_tiny_llama, byte_bpe_tokenizer, monkeypatch):
    def refused(reference, kind, match, **options):
        with pytest.raises(kind, match=match) as caught:
            open_engine(reference, "es", EngineOptions(device="cpu", **options))
        assert "\n" not in str(caught.value)

    llama = tmp_path / "llama"
    make_tiny_llama(600).save_pretrained(llama)
    byte_bpe_tokenizer.save_pretrained(llama)
    refused(f"seq2seq:{llama}", ModelError, "no encoder-decoder model")
    refused(f"seq2seq:{tmp_path / 'nowhere'}", ModelError, "no file or directory")
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text(json.dumps({"is_encoder_decoder": True, "model_type": "marian"}))
    (pickled / "pytorch_model.bin").write_bytes(b"x")
    refused(f"seq2seq:{pickled}", ModelError, "only pickled weights")
    refused(f"ctranslate2:{models['marian']}", ModelError, "holds no model.bin")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model.bin").write_bytes(b"nonsense")
    refused(f"ctranslate2:{broken}", ModelError, "cannot be opened by CTranslate2")
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    refused(f"ctranslate2:{broken}", MissingExtraError, r'pip install "lingraft\[translate\]"')


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("babelfish:x", "apertium:eng-spa"),
        ("apertum:eng-spa", "did you mean apertium"),
        ("apertium", "--engine 'apertium'"),
        ("apertium:spa-eng", "a pair from en to es"),
        ("apertium:eng", "a pair from en to es"),
        ("apertium:eng-epo", "a pair from en to es"),
        ("endpoint:ftp://host#m", "http or https URL"),
        ("endpoint:http://host/v1", "URL#MODEL"),
        ("endpoint:http://user:secret@host/v1#m", "environment variable"),
        ("parallel:nowhere.tsv", "no file nowhere.tsv"),
    ],
)
def test_names_that_are_no_engine(reference, said):
    with pytest.raises(LingraftError) as caught:
        open_engine(reference, "es")
    assert said in str(caught.value) and "secret" not in str(caught.value)


def test_licences_stated_in_model_cards(tmp_path):
    assert stated_licence(tmp_path) is None
    card = tmp_path / "README.md"
    card.write_text("---\nlanguage: [en, es]\nlicense: cc-by-nc-4.0\n---\n# NLLB\n")
    assert stated_licence(tmp_path) == "cc-by-nc-4.0"
    for head in ("# no head", "---\n: {\n---\n", "---\nlicense:\n---\n"):
        card.write_text(head)
        assert stated_licence(tmp_path) is None


def test_parallel_data_with_a_missing_translation(tmp_path):
    rows = [
        {"source": "A dog", "target": "Un perro"},
        {"source": "A cat"},
        {"source": "A dog", "target": "x"},
    ]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    engine, plan = open_engine(f"parallel:{file}", "es", EngineOptions(licence="CC0-1.0"))
    assert engine.translate([" A dog\n", "A cat", "A cow"]) == ["Un perro", "", ""]
    assert engine.licence == "CC0-1.0" and not plan.segment and not plan.protect
    tsv = tmp_path / "pairs.tsv"
    tsv.write_text("A dog\tUn perro\nA cat\tUn gato\n")
    assert open_engine(f"parallel:{tsv}", "es")[0].translate(["A cat"]) == ["Un gato"]
    with pytest.raises(LingraftError, match="no pair in x"):
        names = {"name": "x", "version": "1", "licence": "", "source_language": "en", "target_language": "es"}
        ParallelEngine([], **names)


def program(tmp_path, body, name="apertium-eng-spa"):
    file = tmp_path / name
    file.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
    file.chmod(0o755)
    return str(file)


def apertium(command):
    return ApertiumEngine(
        command,
        name="apertium:eng-spa",
        version="1",
        licence="GPL-2.0",
        source_language="en",
        target_language="es",
        timeout=5,
    )


def test_one_run_of_apertium_for_many_sentences_and_halves_where_numbers_differ(tmp_path):
    # This one drops the empty line before a sentence with "join", as a rule that reaches over a line would.
    body = (
        "text = sys.stdin.read().upper().replace('\\n\\nJOIN', ' JOIN')\n"
        "open(sys.argv[0] + '.log', 'a').write('run\\n')\nprint(text, end='')"
    )
    command = program(tmp_path, body)
    sentences = ["One  dog.", "Two\ncats", "join us", "a b"]
    assert apertium([command]).translate(sentences[:2]) == ["ONE DOG.", "TWO CATS"]
    assert (tmp_path / "apertium-eng-spa.log").read_text().count("run") == 1
    assert apertium([command]).translate(sentences) == ["ONE DOG.", "TWO CATS", "JOIN US", "A B"]
    assert apertium([command]).translate([]) == []
    # Blanks that rules left behind go; compounds are taken apart, but for those that Apertium knows.
    sentences = ["A  dog, cat", "So : be it"]
    gaps = program(tmp_path, "print(sys.stdin.read().replace(',', ' ,'), end='')", "gaps")
    assert apertium([gaps]).translate(sentences) == ["A dog, cat", "So : be it"]
    sentence = "a 3-year-old, self-made one-man-show of COVID-19"
    assert apertium([gaps]).translate([sentence]) == ["a 3 year old, self-made one man show of COVID-19"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("sys.exit('cannot load libicu')", "failed with status 1 .cannot load libicu."),
        ("sys.stdin.read(); print('lt-proc: not found', file=sys.stderr)", "lt-proc: not found"),
        ("import time; time.sleep(60)", "hung for 1 seconds"),
    ],
)
def test_an_apertium_that_fails(tmp_path, body, said):
    engine = apertium([program(tmp_path, body)])
    engine._timeout = 1
    with pytest.raises(TranslationError, match=said):
        engine.translate(["A dog."])


def test_an_apertium_that_is_not_there(tmp_path):
    with pytest.raises(TranslationError, match="nowhere is not there"):
        apertium([str(tmp_path / "nowhere")]).translate(["A dog."])


def test_apertium_on_the_path_comes_first(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    body = (
        "if '-l' in sys.argv: print('  eng-epo\\n  eng-spa')\n"
        "elif '-V' in sys.argv: print('Apertium 9.9')\n"
        "else: print(' '.join(sys.argv[1:]) + ' ' + sys.stdin.read(), end='')"
    )
    program(folder, body, "apertium")
    monkeypatch.setenv("PATH", str(folder))
    engine, plan = open_engine("apertium:eng-spa", "es")
    assert engine.translate(["A dog."]) == ["-u eng-spa A dog."]
    assert engine.version.startswith("Apertium 9.9") and engine.licence.startswith("GPL") and plan.protect
    with pytest.raises(
        TranslationError, match=r"no apertium with the pair eng-cat on the PATH.*apt-get install"
    ):
        open_engine("apertium:eng-cat", "ca")


@pytest.mark.real
def test_apertium_for_real():
    from lingraft.assets.catalog import find_asset

    found = find_asset("apertium-eng-spa")
    if found is None:
        pytest.skip("apertium-eng-spa is not in the asset cache")
    environment = {"PATH": "/usr/bin:/bin"}
    command = [str(found / "bin" / "apertium-eng-spa")]
    done = subprocess.run(
        command, input="The blue house.", capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == "La casa azul." and not done.stderr
    sentences = [
        "I have 1,234.5 reasons.",
        "Is it a dog?",
        "",
        "xyzzy ⟦0⟧ 'quoted' [1] \\ ^ $ / * @ < > { }",
    ] * 30
    answers = apertium(command).translate(sentences)
    assert len(answers) == 120 and answers[:4] == answers[4:8]
    assert "1,234.5" in answers[0] and "perro" in answers[1] and "⟦0⟧" in answers[3] and "[1]" in answers[3]
    assert os.access(found / "bin" / "apertium-spa-eng", os.X_OK)

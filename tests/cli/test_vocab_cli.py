"""`lingraft vocab` end to end: what a user types, what lies on the disk afterwards, what transformers makes of it."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from lingraft.cli.app import main
from lingraft.models.loading import load_donor, load_model, load_tokenizer
from lingraft.recipes.vocabulary import transferring
from lingraft.tokenizers.pieces import read_pieces
from lingraft.vocabulary.initializers import INITIALIZERS
from lingraft.vocabulary.transfer import transfer_vocabulary

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
tiny_world = importlib.import_module("tiny_world")

ENGLISH = "The quick brown fox opened the document, 12345 €."
BASQUE = "Ireki dokumentua eta aukeratu Formatua; Größe — 안녕하세요."
SCHEMA = {
    "token_id": pa.int64(),
    "text": pa.string(),
    "origin": pa.string(),
    "neighbours": pa.int64(),
    "residual": pa.float64(),
    "norm": pa.float32(),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return tiny_world.make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def world(template, tmp_path, monkeypatch):
    """A copy of the tiny world to work in."""
    shutil.copytree(template, tmp_path / "world")
    monkeypatch.chdir(tmp_path / "world")
    return tmp_path / "world"


def transfer(*more, model="model", tokenizer="target", donor="donor", corpus="corpus.txt", out="out"):
    """Run a transfer; options that are None are left out."""
    options = {"model": model, "tokenizer": tokenizer, "donor": donor, "corpus": corpus, "out": out}
    given = [
        part for name, value in options.items() if value is not None for part in (f"--{name}", str(value))
    ]
    return main(["vocab", "transfer", *given, *more])


def reload(directory):
    """Model and tokenizer as a stranger loads them."""
    return AutoModelForCausalLM.from_pretrained(directory), AutoTokenizer.from_pretrained(directory)


def logits(model, tokenizer, text=ENGLISH):
    with torch.no_grad():
        return model(torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])).logits


def listing(directory):
    return sorted(path.name for path in directory.iterdir())


# -------------------------------------------------------------------------------- the same tokenizer in and out


@pytest.mark.parametrize("name", ["model", "untied"])
@pytest.mark.parametrize("mode", ["replace", "extend"])
def test_the_same_tokenizer_leaves_the_logits_as_they_are(world, name, mode):
    assert (
        transfer("--method", "mean", "--mode", mode, model=name, tokenizer=name, donor=None, corpus=None) == 0
    )
    before, after = reload(world / name), reload(world / "out")
    for text in (ENGLISH, BASQUE):
        assert after[1](text)["input_ids"] == before[1](text)["input_ids"]
        assert torch.equal(logits(*after, text), logits(*before, text))
    old, new = load_file(world / name / "model.safetensors"), load_file(world / "out" / "model.safetensors")
    assert old.keys() == new.keys()
    assert all(torch.equal(old[key], new[key]) for key in old)
    assert after[0].config.tie_word_embeddings is (name == "model")
    assert after[0].generation_config.eos_token_id == before[0].generation_config.eos_token_id
    origins = set(pq.read_table(world / "out" / "provenance.parquet")["origin"].to_pylist())
    assert origins == {"copied", "matched"}


def test_a_tokenizer_file_that_equals_the_models(world):
    """A tokenizer.json alone, at another path: the vocabulary counts, not the name."""
    shutil.copy(world / "model" / "tokenizer.json", world / "same.json")
    arguments = {"donor": None, "corpus": None, "tokenizer": "same.json"}
    assert transfer("--method", "subword-mean", "--mode", "extend", **arguments) == 0
    assert torch.equal(logits(*reload(world / "out")), logits(*reload(world / "model")))


def test_bits_per_byte_are_the_same_before_and_after(world, capsys):
    assert transfer("--method", "random", tokenizer="model", donor=None) == 0
    results = []
    for name in ("model", "out"):
        capsys.readouterr()
        assert (
            main(["eval", "bpb", "--model", name, "--text", "corpus.txt", "--device", "cpu", "--json"]) == 0
        )
        results.append(json.loads(capsys.readouterr().out))
    for key in ("bits_per_byte", "bytes", "tokens", "documents", "interval"):
        assert results[0][key] == results[1][key]
    text = (world / "corpus.txt").read_text(encoding="utf-8")
    assert results[0]["bytes"] == len(text.replace("\n", "").encode())


# ------------------------------------------------------------------------------------------ the checkpoint


@pytest.mark.parametrize("name", ["model", "untied"])
def test_tied_stays_tied_and_an_untied_head_is_transferred(world, name):
    assert transfer(model=name) == 0
    model, _ = reload(world / "out")
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert (embedding is head) is (name == "model")
    assert ("lm_head.weight" in load_file(world / "out" / "model.safetensors")) is (name == "untied")
    table = pq.read_table(world / "out" / "provenance.parquet")
    assert len(embedding) == len(head) == model.config.vocab_size == table.num_rows
    source, source_tokenizer = reload(world / name)
    source_ids = {piece.key: i for i, piece in enumerate(read_pieces(source_tokenizer)) if not piece.role}
    target = read_pieces(AutoTokenizer.from_pretrained(world / "out"))
    copied = [i for i, origin in enumerate(table["origin"].to_pylist()) if origin == "copied"]
    assert len(copied) > 50
    for ours, theirs in zip(
        (embedding, head), (source.get_input_embeddings(), source.get_output_embeddings()), strict=True
    ):
        for i in copied:
            assert torch.equal(ours[i], theirs.weight[source_ids[target[i].key]])
        assert torch.isfinite(ours).all()
    new = [i for i, origin in enumerate(table["origin"].to_pylist()) if origin == "regressed"]
    if name == "untied":
        assert not torch.allclose(embedding[new], head[new])


def test_the_body_is_untouched(world):
    assert transfer() == 0
    before, after = (load_file(world / name / "model.safetensors") for name in ("model", "out"))
    assert before.keys() == after.keys()
    changed = [
        key for key in before if before[key].shape != after[key].shape or (before[key] != after[key]).any()
    ]
    assert changed == ["model.embed_tokens.weight"]


def test_reloaded_logits_are_those_of_the_python_function(world):
    """The command line and the function are one thing; saving and loading change nothing."""
    assert transfer("--method", "salt-safe", "--seed", "3") == 0
    texts = (world / "corpus.txt").read_text(encoding="utf-8").splitlines()
    result = transfer_vocabulary(
        load_model("model"),
        load_tokenizer("target"),
        donor=load_donor("donor"),
        corpus=texts,
        method="salt-safe",
        seed=3,
    )
    model, tokenizer = reload(world / "out")
    for text in (ENGLISH, BASQUE):
        assert tokenizer(text)["input_ids"] == result.tokenizer(text)["input_ids"]
        assert torch.equal(logits(model, tokenizer, text), logits(result.model, result.tokenizer, text))
    table = pq.read_table(world / "out" / "provenance.parquet")
    assert table.equals(result.provenance)


def test_what_a_chat_model_needs_comes_along(world):
    assert transfer() == 0
    model, tokenizer = reload(world / "out")
    _, before = reload(world / "model")
    assert tokenizer.chat_template == before.chat_template
    chat = tokenizer.apply_chat_template([{"role": "user", "content": BASQUE}], add_generation_prompt=True)[
        "input_ids"
    ]
    assert max(chat) < len(tokenizer) <= model.config.vocab_size
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (
        before.bos_token,
        before.eos_token,
        before.pad_token,
    )
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == model.config.eos_token_id
    assert chat.count(tokenizer.eos_token_id) == 1
    with torch.no_grad():
        out = model.generate(torch.tensor([chat]), max_new_tokens=4, do_sample=False)
    assert out.shape[1] > len(chat)


@pytest.mark.parametrize(
    ("option", "expected"), [([], torch.bfloat16), (["--dtype", "float32"], torch.float32)]
)
def test_the_checkpoints_type_is_kept(world, option, expected):
    model, tokenizer = reload(world / "model")
    model.to(torch.bfloat16).save_pretrained(world / "half")
    tokenizer.save_pretrained(world / "half")
    assert transfer(*option, model="half") == 0
    assert {tensor.dtype for tensor in load_file(world / "out" / "model.safetensors").values()} == {expected}
    assert AutoModelForCausalLM.from_pretrained(world / "out").dtype == expected


def test_a_marker_without_a_row(world):
    """Gemma 3's text-only models have an image token beyond their matrix, as model and as donor."""
    tokenizers = {"model": tiny_world.byte_bpe_tokenizer(), "donor": tiny_world.unigram_tokenizer()}
    for tokenizer in tokenizers.values():
        tokenizer.add_special_tokens({"additional_special_tokens": ["<image_soft_token>"]})
    tiny_world.save_llama(world / "model", tokenizers["model"], padding=-1)
    tiny_world.save_encoder(world / "donor", tokenizers["donor"], padding=-1)
    assert transfer() == 0
    assert logits(*reload(world / "out"), BASQUE).isfinite().all()
    for mode in ("replace", "extend"):
        assert transfer("--method", "mean", "--mode", mode, tokenizer="model", out=mode) == 0
        before, after = logits(*reload(world / "model")), logits(*reload(world / mode))
        assert torch.equal(after[..., : before.shape[-1]], before)


# ---------------------------------------------------------------------------------------- files of a run


def test_every_file_is_there_readable_by_all_and_nothing_else(world):
    before = set(listing(world))
    assert transfer() == 0
    assert set(listing(world)) - before == {"out"}
    names = listing(world / "out")
    for name in (
        "model.safetensors",
        "tokenizer.json",
        "config.json",
        "generation_config.json",
        "provenance.parquet",
    ):
        assert name in names
    for name in ("result.json", "recipe.yaml", "report.html", "README.md"):
        assert name in names
    assert not [name for name in names if name.endswith((".bin", ".pkl", ".pt", ".part"))]
    mask = os.umask(0)
    os.umask(mask)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (world / "out").iterdir()}
    assert modes == dict.fromkeys(modes, 0o666 & ~mask)
    assert (world / "out").stat().st_mode & 0o777 == 0o777 & ~mask


def test_provenance_has_a_row_a_token(world):
    assert transfer("--mode", "extend", "--new-tokens", "40", tokenizer=None) == 0
    table = pq.read_table(world / "out" / "provenance.parquet")
    assert {field.name: field.type for field in table.schema} == SCHEMA
    model, tokenizer = reload(world / "out")
    assert table["token_id"].to_pylist() == list(range(len(tokenizer))) == list(range(420 + 40))
    rows = model.get_input_embeddings().weight.detach()
    assert np.allclose(table["norm"].to_numpy(), rows[: len(tokenizer)].norm(dim=1).numpy(), rtol=1e-5)
    frame = table.to_pandas()
    assert set(frame["origin"][:420]) == {"copied", "matched"} and set(frame["origin"][420:]) <= {
        "regressed",
        "drawn",
    }
    assert (frame["neighbours"][frame["origin"] == "regressed"] >= 1).all()
    assert frame["residual"][frame["origin"] == "regressed"].notna().all()
    assert frame["residual"][:420].isna().all()
    assert tokenizer.decode([430]) == frame["text"][430]


def test_result_and_recipe_hold_what_made_them(world, capsys):
    assert transfer("--seed", "5", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    result = json.loads((world / "out" / "result.json").read_text(encoding="utf-8"))
    assert printed == {**result, "out": "out"}
    assert result["kind"] == "vocab transfer"
    assert result["metrics"]["method"] == "salt"
    assert sum(result["counts"]["tokens"].values()) == result["metrics"]["target_tokens"]
    assert result["counts"]["corpus"] == {"documents": 20}
    assert [item["role"] for item in result["inputs"]] == ["model", "tokenizer", "donor", "corpus"]
    assert all(item["revision"] for item in result["inputs"])
    assert all((world / "out" / file).exists() for file in result["files"].values())
    recipe = yaml.safe_load((world / "out" / "recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["vocabulary"]["method"] == "salt" and recipe["vocabulary"]["fasttext_epochs"] == 5
    assert recipe["inputs"] == result["inputs"]
    assert recipe["seeds"] == result["seeds"] == {"draws": 5}
    assert recipe["versions"]["torch"] == result["provenance"]["libraries"]["torch"]
    card = (world / "out" / "README.md").read_text(encoding="utf-8")
    assert "method `salt`" in card and "licence" in card


def test_the_report_needs_no_network(world):
    assert transfer() == 0
    page = (world / "out" / "report.html").read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href|action|data)\s*=\s*["']?\s*(?:https?:)?//""", page)
    assert not re.findall(r"@import|url\(\s*[\"']?(?!data:|#)", page)
    assert "<link" not in page and "<script src" not in page
    assert "data:image/" in page or "<svg" in page
    for word in ("copied", "regressed", "salt", "donor"):
        assert word in page


def test_paths_with_spaces_and_umlauts(world):
    (world / "Modell für Übung").mkdir()
    for file in (world / "model").iterdir():
        shutil.copy(file, world / "Modell für Übung" / file.name)
    shutil.copy(world / "corpus.txt", world / "텍스트 1.txt")
    out = world / "a" / "neues Ergebnis – 1"
    assert transfer(model="Modell für Übung", corpus="텍스트 1.txt", out=out) == 0
    assert logits(*reload(out)).isfinite().all()
    assert listing(world / "a") == [out.name]


# ------------------------------------------------------------------------------------------- the options


@pytest.mark.parametrize("method", [*INITIALIZERS, "auto"])
def test_every_method(world, method, capsys):
    tiny_world.write_lines(
        world / "words.tsv", ["dokumentua\tdocument", "taula\ttable", "egun\tday", "orrialdea\tpage"]
    )
    # A donor that shares the model's whole vocabulary: the regressions of `fused` want many anchors.
    tiny_world.save_encoder(world / "donor", tiny_world.byte_bpe_tokenizer(450))
    assert transfer("--method", method, "--lexicon", "words.tsv", "--json", model="untied") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["metrics"]["method"] == method) is (method != "auto")
    if method == "auto":
        assert result["metrics"]["method"] in INITIALIZERS
        assert "held-out" in result["metrics"]["reason"]
    assert logits(*reload(world / "out"), BASQUE).isfinite().all()


@pytest.mark.parametrize(
    ("tokenizer", "more"),
    [
        ("trim:target", []),
        ("train:bpe", ["--vocabulary-size", "300"]),
        ("train:unigram", ["--vocabulary-size", "420"]),
        (None, ["--mode", "extend", "--new-tokens", "60"]),
    ],
)
def test_every_kind_of_target_tokenizer(world, capsys, tokenizer, more):
    assert transfer("--json", *more, tokenizer=tokenizer) == 0
    result = json.loads(capsys.readouterr().out)
    model, after = reload(world / "out")
    _, before = reload(world / "model")
    assert result["metrics"]["target_tokens"] == len(after)
    for text in tiny_world.TARGET_TEXTS:
        ids = after(text, add_special_tokens=False)["input_ids"]
        assert max(ids) < model.config.vocab_size
        assert after.decode(ids) == text
    if "--vocabulary-size" in more:
        assert len(after) <= int(more[-1])
    if tokenizer is None:
        assert len(after) == 480
        assert {**after.get_vocab(), **before.get_vocab()} == after.get_vocab()
        texts = tiny_world.TARGET_TEXTS
        assert sum(len(after(t)["input_ids"]) for t in texts) < sum(
            len(before(t)["input_ids"]) for t in texts
        )
        old, new = (load_file(world / name / "model.safetensors") for name in ("model", "out"))
        matrix = "model.embed_tokens.weight"
        assert torch.equal(new[matrix][:420], old[matrix][:420])


def test_word_vectors_and_fasttext(world, capsys):
    generator = np.random.default_rng(0)
    words = sorted({word for text in tiny_world.TARGET_TEXTS for word in text.split()})
    lines = [f"{word} {' '.join(f'{value:.4f}' for value in generator.normal(size=8))}" for word in words]
    tiny_world.write_lines(world / "eu.vec", [f"{len(words)} 8", *lines])
    for place, options in enumerate(
        (
            ["--auxiliary", "words:eu.vec"],
            ["--auxiliary", "fasttext", "--fasttext-minimum-count", "2", "--fasttext-dimension", "12"],
            ["--auxiliary", "donor"],
        )
    ):
        assert transfer("--method", "focus", "--json", *options, out=f"out{place}") == 0
        assert json.loads(capsys.readouterr().out)["counts"]["tokens"]["averaged"] > 0
    rows = [
        load_file(world / f"out{place}" / "model.safetensors")["model.embed_tokens.weight"]
        for place in range(3)
    ]
    assert not torch.equal(rows[0], rows[1]) and not torch.equal(rows[0], rows[2])


def test_seeds(world):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert transfer("--method", "multivariate", "--seed", str(seed), out=name) == 0
    weights = {name: (world / name / "model.safetensors").read_bytes() for name in "abc"}
    assert weights["a"] == weights["b"] != weights["c"]
    tables = [(world / name / "provenance.parquet").read_bytes() for name in "ab"]
    assert tables[0] == tables[1]


# ---------------------------------------------------------------------------------------- the same again


def test_the_same_command_again_gives_the_finished_result(world, capsys, monkeypatch):
    assert transfer("--json") == 0
    first = capsys.readouterr().out
    times = {path.name: path.stat().st_mtime_ns for path in (world / "out").iterdir()}
    monkeypatch.setattr(transferring, "load_inputs", lambda **options: pytest.fail("computed again"))
    assert transfer("--json") == 0
    assert capsys.readouterr().out == first
    assert {path.name: path.stat().st_mtime_ns for path in (world / "out").iterdir()} == times
    assert transfer() == 0
    assert "target tokens by salt" in capsys.readouterr().out


def test_another_command_into_the_same_place_is_refused(world, capsys):
    assert transfer() == 0
    before = {path.name: path.read_bytes() for path in (world / "out").iterdir()}
    capsys.readouterr()
    for more, named in (
        (["--seed", "1"], "seed"),
        (["--method", "focus"], "method"),
        (["--mode", "extend"], "mode"),
    ):
        assert transfer(*more) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert f"holds a run of another command (differs in: {named})" in captured.err
    assert {path.name: path.read_bytes() for path in (world / "out").iterdir()} == before


# ------------------------------------------------------------------------------------------------ inspect


@pytest.mark.parametrize("mode", ["replace", "extend"])
def test_inspect(world, capsys, mode):
    before = sorted(str(path) for path in world.rglob("*"))
    tokenizer = (
        ["--tokenizer", "trim:target"] if mode == "replace" else ["--mode", "extend", "--new-tokens", "50"]
    )
    arguments = [
        "vocab",
        "inspect",
        "--model",
        "untied",
        "--donor",
        "donor",
        "--corpus",
        "corpus.txt",
        *tokenizer,
    ]
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report) == {"vocabulary", "overlap", "anchors", "fertility", "warnings"}
    assert set(report["vocabulary"]) == {"source", "target", "tied", "parameters_saved"}
    assert report["vocabulary"]["tied"] is False
    assert report["overlap"].keys() == {"shared", "by_role", "new"}
    assert report["anchors"].keys() == {
        "shared_with_donor_row",
        "source_tokens_in_donor",
        "new_without_donor_vector",
    }
    for row in report["fertility"].values():
        assert row["tokens_per_word"] > 0 and row["bytes_per_token"] > 0 and row["texts"] == 20
        assert isinstance(row["digits"], str) and 0 <= row["round_trip"] <= 1
    assert all(isinstance(line, str) for line in report["warnings"])
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    for start in ("vocabulary", "overlap", "anchors", "before", "after"):
        assert sum(line.startswith(start) for line in lines) == 1
    assert sum(line.startswith("warning") for line in lines) == len(report["warnings"])
    assert sorted(str(path) for path in world.rglob("*")) == before


def test_inspect_and_transfer_agree(world, capsys):
    assert main(["vocab", "inspect", "--model", "model", "--tokenizer", "target", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["anchors"] is None and report["fertility"] is None
    assert any("no --donor" in line for line in report["warnings"])
    assert transfer("--method", "mean", "--json", donor=None, corpus=None) == 0
    counts = json.loads(capsys.readouterr().out)["counts"]["tokens"]
    assert counts["copied"] == report["overlap"]["shared"]
    assert counts["matched"] == report["overlap"]["by_role"]
    assert counts["averaged"] == report["overlap"]["new"]
    assert report["vocabulary"]["target"] == sum(counts.values())


# ---------------------------------------------------------------------------------- processes of their own


def process(world, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "lingraft.cli.app", *arguments],
        cwd=world,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_the_same_rows_whatever_order_python_hashes_in(world):
    """fastText, the draws and the neighbours, in two real processes; JSON alone on stdout, nothing on stderr."""
    made = []
    for seed in ("1", "2"):
        options = ["--model", "model", "--tokenizer", "target", "--donor", "donor", "--corpus", "corpus.txt"]
        more = ["--auxiliary", "fasttext", "--fasttext-minimum-count", "2", "--fasttext-dimension", "16"]
        out = ["--out", f"out{seed}", "--json"]
        done = process(world, "vocab", "transfer", *options, *more, *out, PYTHONHASHSEED=seed)
        assert done.returncode == 0 and done.stderr == ""
        assert json.loads(done.stdout)["counts"]["tokens"].keys() >= {"regressed", "drawn"}
        names = ("model.safetensors", "tokenizer.json", "provenance.parquet")
        made.append([(world / f"out{seed}" / name).read_bytes() for name in names])
    assert made[0] == made[1]


@pytest.mark.parametrize("verb", ["inspect", "transfer"])
def test_help_teaches_and_imports_nothing_heavy(verb):
    program = (
        "import sys\nfrom lingraft.cli.app import main\n"
        f"status = main(['vocab', {verb!r}, '--help'])\n"
        "sys.exit('imported torch' if {'torch', 'transformers', 'numpy'} & set(sys.modules) else status)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"  lingraft vocab {verb} --model smollm2-135m-instruct" in done.stdout
    for option in ("--model", "--tokenizer", "--donor", "--corpus", "--mode", "--json"):
        assert re.search(rf"^  {option}\b.* \S", done.stdout, re.MULTILINE)
    for word in ("trim:REF", "train:bpe", "<replace|extend>"):
        assert word in done.stdout
    if verb == "transfer":
        for method in INITIALIZERS:
            assert re.search(rf"\b{method}\b", done.stdout), f"--help does not name {method}"

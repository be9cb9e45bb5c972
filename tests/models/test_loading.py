"""What loads, and the one line that everything broken, foreign or unsafe gets."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lingraft.errors import AssetError, ConfigError, LingraftError, ModelError, TokenizerError
from lingraft.models import references
from lingraft.models.checkpoints import fingerprint_weights
from lingraft.models.devices import choose_device
from lingraft.models.loading import load_donor, load_model, load_tokenizer
from lingraft.models.saving import save_checkpoint


@pytest.fixture
def saved(tiny: Any, tmp_path: Path, byte_bpe_tokenizer: Any) -> Path:
    """A tiny bfloat16 Llama with 11 padding rows, saved."""
    out = tmp_path / "modelo ñ"
    save_checkpoint(out, tiny("llama", dtype=torch.bfloat16), byte_bpe_tokenizer, recipe={})
    return out


def edit(file: Path, **changes: Any) -> None:
    """Change fields of a JSON file; None removes one."""
    value = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: item for key, item in value.items() if item is not None}))


def one_line(error: LingraftError) -> str:
    text = str(error)
    assert "\n" not in text
    assert error.found and error.expected and error.remedy
    return text


def test_load_model_keeps_the_checkpoint_dtype(saved: Path, ids: Any, tiny: Any) -> None:
    loaded = load_model(str(saved), device="cpu")
    assert loaded.model.dtype == torch.bfloat16
    assert not loaded.model.training
    assert loaded.revision.startswith("sha256:")
    assert load_model(str(saved), dtype="float32", device="cpu").model.dtype == torch.float32
    assert loaded.tokenizer("Egun on ñ").input_ids == load_tokenizer(str(saved))("Egun on ñ").input_ids
    tokenizer_file = load_tokenizer(str(saved / "tokenizer.json"))
    assert tokenizer_file("Egun on ñ").input_ids == loaded.tokenizer("Egun on ñ").input_ids


def test_revision_follows_the_weights_not_the_name(saved: Path, tmp_path: Path) -> None:
    before = fingerprint_weights(saved)
    moved = tmp_path / "moved"
    shutil.copytree(saved, moved)
    assert fingerprint_weights(moved) == before
    weights = load_file(moved / "model.safetensors")
    weights["model.norm.weight"][3] += 1
    save_file(weights, moved / "model.safetensors", metadata={"format": "pt"})
    assert fingerprint_weights(moved) != before


def test_sampled_fingerprint_sees_every_part(tmp_path: Path, monkeypatch: Any) -> None:
    from lingraft.models import checkpoints

    monkeypatch.setattr(checkpoints, "FULL_HASH_LIMIT", 10)
    save_file({"a": torch.zeros(100)}, tmp_path / "model.safetensors")
    first = fingerprint_weights(tmp_path)
    save_file({"a": torch.ones(100)}, tmp_path / "model.safetensors")
    assert first.startswith("sha256-sampled:")
    assert fingerprint_weights(tmp_path) != first


def test_hub_snapshot_gives_its_commit(saved: Path, tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "models--a--b" / "snapshots" / commit
    shutil.copytree(saved, snapshot)
    assert load_model(str(snapshot), device="cpu").revision == commit


def test_sharded_checkpoint(saved: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    names = sorted(weights)
    files = {"model-00001-of-00002.safetensors": names[:5], "model-00002-of-00002.safetensors": names[5:]}
    for file, part in files.items():
        save_file({name: weights[name] for name in part}, saved / file, metadata={"format": "pt"})
    (saved / "model.safetensors").unlink()
    index = saved / "model.safetensors.index.json"
    weight_map = {name: file for file, part in files.items() for name in part}
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    assert load_model(str(saved), device="cpu").revision.startswith("sha256:")
    assert load_donor(str(saved)).embeddings.shape == (611, 32)

    index.write_text(json.dumps({"metadata": {}, "weight_map": {**weight_map, "absent": names[0]}}))
    with pytest.raises(ModelError, match="1 of the 3 weight files"):
        load_model(str(saved))
    first = next(iter(files))
    index.write_text(json.dumps({"metadata": {}, "weight_map": {**weight_map, "absent": first}}))
    with pytest.raises(ModelError, match=r"1 tensors that .* \(first: absent\)"):
        load_model(str(saved))
    index.write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(str(saved))


def truncated(path: Path) -> None:
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def lfs_pointer(path: Path) -> None:
    (path / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    )


def cut_header(path: Path) -> None:
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:20])


def pickled(path: Path) -> None:
    (path / "model.safetensors").rename(path / "pytorch_model.bin")


def without(name: str) -> Any:
    return lambda path: (path / name).unlink()


def adapter(path: Path) -> None:
    (path / "config.json").rename(path / "adapter_config.json")


def broken_config(path: Path) -> None:
    (path / "config.json").write_text('{"model_type": "llama"')


def nan_rows(path: Path) -> None:
    weights = load_file(path / "model.safetensors")
    weights["model.embed_tokens.weight"][[7, 9]] = float("nan")
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})


def lacking_weight(path: Path) -> None:
    weights = load_file(path / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})


def wrong_shape(path: Path) -> None:
    edit(path / "config.json", intermediate_size=20)


def foreign_code(path: Path) -> None:
    edit(
        path / "config.json",
        model_type="own",
        auto_map={"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"},
    )
    (path / "own.py").write_text("raise SystemExit('this must never run')")


def unknown_type(path: Path) -> None:
    edit(path / "config.json", model_type="no-such-model", architectures=None)


@pytest.mark.parametrize(
    ("breakage", "words"),
    [
        (truncated, "bytes by its own header"),
        (lfs_pointer, "git-lfs pointer"),
        (cut_header, "cut off"),
        (pickled, "pickled weights"),
        (without("model.safetensors"), "holds no weights"),
        (without("config.json"), r"holds no config\.json"),
        (adapter, "adapter without its base model"),
        (broken_config, "cannot be read"),
        (nan_rows, r"2 of 611 rows of the input embeddings .* \(first: row 7\)"),
        (lacking_weight, r"lacks 1 weights of a LlamaForCausalLM"),
        (wrong_shape, "cannot be loaded"),
        (foreign_code, "Python code from its own repository"),
        (unknown_type, "cannot be loaded"),
    ],
)
def test_broken_checkpoints(breakage: Any, words: str, saved: Path) -> None:
    breakage(saved)
    with pytest.raises(ModelError, match=words) as caught:
        load_model(str(saved), device="cpu")
    assert str(saved) in one_line(caught.value)


@pytest.mark.parametrize("breakage", [truncated, pickled, nan_rows, foreign_code, without("config.json")])
def test_broken_donors(breakage: Any, saved: Path) -> None:
    breakage(saved)
    with pytest.raises(ModelError) as caught:
        load_donor(str(saved))
    one_line(caught.value)


def test_a_donor_without_its_embeddings_is_refused(saved: Path) -> None:
    """transformers would draw some at random, and say so in a log alone."""
    file = saved / "model.safetensors"
    tensors = load_file(file)
    assert tensors.pop("model.embed_tokens.weight") is not None
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(
        ModelError, match=r"no input embeddings \(embed_tokens\.weight is missing\)"
    ) as caught:
        load_donor(str(saved))
    one_line(caught.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"num_attention_heads": 5, "head_dim": None}, "not a multiple of the number of attention heads"),
        ({"hidden_size": "32"}, "'hidden_size' expected int, got str"),
        ({"pad_token_id": 99999}, "Padding_idx must be within num_embeddings"),
        ({"num_key_value_heads": 0}, "ZeroDivisionError"),
        ({"dtype": []}, "IndexError"),
    ],
)
def test_configs_that_no_model_can_have(change: dict[str, Any], reason: str, saved: Path) -> None:
    edit(saved / "config.json", **change)
    with pytest.raises(ModelError, match=reason) as caught:
        load_model(str(saved))
    assert str(saved) in one_line(caught.value)


def test_missing_and_broken_tokenizer(saved: Path) -> None:
    (saved / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(TokenizerError, match="cannot be read") as caught:
        load_model(str(saved))
    one_line(caught.value)
    (saved / "tokenizer.json").unlink()
    with pytest.raises(TokenizerError):
        load_tokenizer(str(saved))
    (saved / "tokenizer_config.json").unlink()
    with pytest.raises(TokenizerError, match="holds no tokenizer"):
        load_model(str(saved))


@pytest.mark.parametrize(
    "reference", ["/no/such/dir", "./no-such-dir", "a/b/c/d", "no such model", "", "gone.gguf"]
)
def test_nothing_there(reference: str) -> None:
    with pytest.raises(ModelError, match="no file or directory") as caught:
        load_model(reference)
    one_line(caught.value)


@pytest.mark.parametrize("name", ["model.pt", "pytorch_model.bin", "weights.pth", "x.CKPT"])
def test_pickle_files_are_refused_unopened(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    with pytest.raises(ModelError, match="pickle checkpoint"):
        load_model(str(file))
    file.write_bytes(b"\x80\x04")
    for load in (load_model, load_donor, load_tokenizer):
        with pytest.raises(ModelError, match="pickle checkpoint"):
            load(str(file))


def test_single_files(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="single weight file"):
        load_model(str(saved / "model.safetensors"))
    with pytest.raises(ModelError, match=r"is a \.json file"):
        load_model(str(saved / "tokenizer.json"))
    (tmp_path / "a.gguf").write_bytes(b"GGML and more")
    with pytest.raises(ModelError, match="GGML"):
        load_model(str(tmp_path / "a.gguf"))


def test_gguf_is_rebuilt_once(saved: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from lingraft.assets import gguf

    calls = []

    def rebuild(file: Path, out: Path) -> Path:
        calls.append(file)
        shutil.copytree(saved, out)
        return out

    monkeypatch.setattr(gguf, "rebuild_gguf", rebuild)
    monkeypatch.setenv("LINGRAFT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.gguf").write_bytes(b"GGUF and more")
    first = load_model(str(tmp_path / "a.gguf"), device="cpu")
    (tmp_path / "a.gguf").rename(tmp_path / "b.gguf")
    assert load_model(str(tmp_path / "b.gguf"), device="cpu").revision == first.revision
    assert len(calls) == 1


def test_asset_names_go_to_the_catalogue(saved: Path, monkeypatch: Any) -> None:
    from lingraft.assets import catalog

    monkeypatch.setattr(catalog, "find_asset", lambda name: saved)
    assert load_model("smollm2-135m-instruct", device="cpu").reference == "smollm2-135m-instruct"

    def refuse(name: str, **options: Any) -> None:
        raise AssetError(f"{name} {options}", "terms", "accept")

    monkeypatch.setattr(catalog, "find_asset", lambda name: None)
    monkeypatch.setattr(catalog, "fetch_asset", refuse)
    with pytest.raises(AssetError, match="accept_terms': True"):
        load_model("gemma-3-270m", accept_terms=True)


def test_unreachable_hub(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="out of reach") as caught:
        load_model("some-owner/some-model@main")
    one_line(caught.value)


def test_hub_reference_with_revision(saved: Path, monkeypatch: Any) -> None:
    asked = {}

    def download(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return str(saved)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert references.resolve_reference("owner/name@v1.0") == saved
    assert (asked["name"], asked["revision"]) == ("owner/name", "v1.0")
    assert not any(pattern.endswith((".py", ".bin")) for pattern in asked["allow_patterns"])
    references.resolve_reference("owner/name", tokenizer_only=True)
    assert not any("safetensors" in pattern for pattern in asked["allow_patterns"])


def test_each_process_of_a_launch_has_its_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    for rank, index in (("3", 3), ("0", 0), ("4", None), ("", None), ("x", None)):
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert choose_device("auto") == choose_device("cuda") == torch.device("cuda", index)
        assert choose_device("cuda:1") == torch.device("cuda:1")
    monkeypatch.delenv("LOCAL_RANK")
    assert choose_device("auto") == torch.device("cuda")


def test_devices_and_dtypes(saved: Path) -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in {"cpu", "cuda", "mps"}
    for name in ("tpu", "cuda:99", "nonsense:1", ""):
        with pytest.raises(ConfigError, match="device"):
            choose_device(name)
    for dtype in ("int8", "float33", "nn"):
        with pytest.raises(ConfigError, match="dtype"):
            load_model(str(saved), dtype=dtype)

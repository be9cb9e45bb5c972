"""`lingraft push`: really uploaded, with the hub's own client, to a small hub on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from hub_server import hub_environment, serve_hub

from lingraft.errors import ModelError
from lingraft.recipes.sharing.pushing import _content, push_files


@pytest.fixture
def hub():
    with serve_hub() as served:
        yield served


@pytest.fixture
def model(tmp_path, make_tiny_llama, byte_bpe_tokenizer):
    directory = tmp_path / "model"
    make_tiny_llama(600).save_pretrained(directory)
    byte_bpe_tokenizer.save_pretrained(directory)
    (directory / "README.md").write_text("---\nlanguage: eu\n---\nEuskara\n", encoding="utf-8")
    (directory / "recipe.yaml").write_text("model: /home/someone/secret\n")
    (directory / ".lingraft-run.json").write_text("{}")
    (directory / "optimizer.pt").write_text("no")
    return directory


@pytest.fixture
def push(hub, tmp_path):
    def run(*arguments, token="hf_test", **environment):
        base = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        command = [sys.executable, "-m", "lingraft.cli.app", "push", *map(str, arguments)]
        env = {**base, **hub_environment(hub, tmp_path / "home", token), **environment}
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=env, check=False)

    return run


def test_the_card_names_no_directories_and_licences_go_along(push, hub, model):
    card = (
        "- base: `/home/someone/größe/base` (sha256:1f) of `org/name`, see https://example.org/a/b.\n"
        "    lingraft merge --out=/home/someone/out ~/models/x.gguf runs/eu/model ../data/eu.txt and/or\n"
    )
    (model / "README.md").write_text(card, encoding="utf-8")
    licences = {"LICENSE.txt", "License", "licence.md", "NOTICE", "GEMMA_TERMS.md", "USE_POLICY.md"}
    for name in licences:
        (model / name).write_text(name, encoding="utf-8")
    (model / "additional_chat_templates").mkdir()
    (model / "additional_chat_templates" / "tool.jinja").write_text("{{ messages }}", encoding="utf-8")
    done = push("--model", model, "--to", "me/model", "--yes")
    assert done.returncode == 0, done.stderr
    uploaded = hub.files["me/model"]
    assert {*licences, "additional_chat_templates/tool.jinja"} <= set(uploaded)
    assert uploaded["README.md"].decode() == (
        "- base: `base` (sha256:1f) of `org/name`, see https://example.org/a/b.\n"
        "    lingraft merge --out=out x.gguf runs/eu/model ../data/eu.txt and/or\n"
    )
    assert (model / "README.md").read_text(encoding="utf-8") == card


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        (b"`/home/My Name/base/` and '/home/My Name/a b'", b"`base/` and 'a b'"),
        (b"engine: parallel:/home/me/x.tsv", b"engine: parallel:x.tsv"),
        *[
            (same, same)
            for same in (
                b"![a](data:image/jpeg;base64,/9j/4AAQ/Sk) [b](/docs/x/y)",
                b'<img src="/me/model/x.png"> https://example.org/a/b',
                b"one\r\ntwo \xff w/o 1/2/3",
            )
        ],
    ],
)
def test_only_paths_are_cut_out_of_a_card(tmp_path, written, sent):
    (tmp_path / "README.md").write_bytes(written)
    assert _content(tmp_path / "README.md") == sent


def test_files_of_other_tokenizers_and_the_models_own_code_go_along(model):
    before = set(push_files(model, with_report=False))
    for name in ("spiece.model", "source.spm", "vocab.txt", "preprocessor_config.json", "train.py"):
        (model / name).write_text("{}")
    (model / "modeling_mine.py").write_text("from .layers_mine import Layer\n")
    (model / "layers_mine.py").write_text("class Layer: ...\n")
    (model / "tokenizing.py").write_text("")
    config = json.loads((model / "config.json").read_text())
    named = {"AutoModel": "modeling_mine.Mine", "AutoConfig": "owner/other--train.Config"}
    (model / "config.json").write_text(json.dumps({**config, "auto_map": named}))
    config = json.loads((model / "tokenizer_config.json").read_text())
    named = {"AutoTokenizer": [None, "tokenizing.Fast"]}
    (model / "tokenizer_config.json").write_text(json.dumps({**config, "auto_map": named}))
    assert set(push_files(model, with_report=False)) - before == {
        *("spiece.model", "source.spm", "vocab.txt", "preprocessor_config.json"),
        *("modeling_mine.py", "layers_mine.py", "tokenizing.py"),
    }
    (model / "layers_mine.py").unlink()
    with pytest.raises(ModelError, match=r"layers_mine\.py, which the model's code imports"):
        push_files(model, with_report=False)


def test_nothing_is_sent_unless_asked(push, hub, model):
    refused = push("--model", model, "--to", "me/model")
    assert refused.returncode == 2
    assert "give --yes" in refused.stderr
    shown = push("--model", model, "--to", "me/model", "--dry-run", "--private", token=None)
    assert shown.returncode == 0, shown.stderr
    assert "would upload" in shown.stdout
    assert "model.safetensors" in shown.stdout
    assert "recipe.yaml" not in shown.stdout
    assert "optimizer" not in shown.stdout
    assert hub.requests == []


def test_a_checkpoint_is_uploaded_in_one_commit(push, hub, model):
    done = push("--model", model, "--to", "me/model", "--private", "--yes", "--json", "--message", "Kaixo ñ")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["uploaded"] is True
    assert result["commit"] == hub.commit("me/model")
    uploaded = hub.files["me/model"]
    assert sorted(uploaded) == sorted(result["files"])
    for name, content in uploaded.items():
        assert content == (model / name).read_bytes()
    assert not {"recipe.yaml", ".lingraft-run.json", "optimizer.pt"} & set(uploaded)
    assert hub.private == {"me/model"}
    assert hub.commits == ["Kaixo ñ"]
    again = push("--model", model, "--to", "me/model", "--yes", "--with-report")
    assert again.returncode == 0, again.stderr
    assert "recipe.yaml" in hub.files["me/model"]


@pytest.mark.parametrize(
    ("arguments", "token", "environment", "line"),
    [
        (["--to", "me/model", "--yes"], None, {}, "hf auth login"),
        (["--to", "me/model", "--yes"], "hf_other", {}, "(401)"),
        (["--to", "others/model", "--yes"], "hf_test", {}, "(403)"),
        (["--to", "no owner", "--yes"], "hf_test", {}, "owner/name"),
        (["--to", "me/model", "--yes"], "hf_test", {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE"),
        (
            ["--to", "me/model", "--yes"],
            "hf_test",
            {"HF_ENDPOINT": "http://127.0.0.1:9"},
            "same command again",
        ),
    ],
)
def test_what_the_hub_refuses_is_one_line(push, hub, model, arguments, token, environment, line):
    failed = push("--model", model, *arguments, token=token, **environment)
    assert failed.returncode == 2, failed.stderr
    assert failed.stderr.startswith("error: ")
    assert failed.stderr.count("\n") == 1
    assert line in failed.stderr
    assert failed.stdout == ""
    assert not hub.blobs


def test_only_whole_checkpoints_are_taken(push, model, tmp_path):
    (model / "tokenizer.json").unlink()
    assert "no tokenizer" in push("--model", model, "--to", "me/m", "--dry-run").stderr
    (model / "model.safetensors").unlink()
    assert "only pickled weights" in push("--model", model, "--to", "me/m", "--dry-run").stderr
    assert "no directory" in push("--model", tmp_path / "none", "--to", "me/m", "--dry-run").stderr

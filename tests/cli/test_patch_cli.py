"""`lingraft patch` end to end: what is typed, what lies on the disk, and that it is what plain forwards say."""

import importlib
import json
import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lingraft.cli.app import main
from lingraft.models.hooks import Patch, capture, patch
from lingraft.models.sites import Site

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
tiny_world = importlib.import_module("tiny_world")

ROWS = [
    {
        "id": f"{language}-größe-{number}",
        "donor": f"Open the document {number} and choose",
        "receiver": f"Ireki dokumentua {'안녕 ' * number}eta aukeratu",
        "options": [" Formatua", " papera", " the size"],
        "answer": number % 3,
        "language": language,
    }
    for language in ("eu", "ko")
    for number in range(4)
]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    world = tiny_world.make_world(tmp_path_factory.mktemp("world"))
    # Three layers, so that pairs of different layers cannot be confused.
    import transformers

    torch.manual_seed(5)
    config = transformers.AutoConfig.from_pretrained(world / "model")
    config.num_hidden_layers = 3
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(world / "model")
    write_rows(world / "pairs.jsonl", ROWS)
    return world


@pytest.fixture
def world(template, tmp_path, monkeypatch):
    shutil.copytree(template, tmp_path / "world")
    monkeypatch.chdir(tmp_path / "world")
    return tmp_path / "world"


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def sweep(*more, out="out", pairs="pairs.jsonl"):
    """Arguments of a sweep that works."""
    return ["patch", "sweep", "--model", "model", "--pairs", pairs, "--out", out, *more]


def table(path):
    """A table with its columns as lists, by name."""
    return pq.read_table(path).to_pydict()


def plain_logits(row, donor_layer=None, receiver_layer=None, site="ffn"):
    """Last logits of a receiver, patched by an ordinary hook if layers are given."""
    model, tokenizer = (kind.from_pretrained("model") for kind in (AutoModelForCausalLM, AutoTokenizer))
    model.eval()
    donor, receiver = (tokenizer(row[name], return_tensors="pt") for name in ("donor", "receiver"))
    with torch.no_grad():
        if donor_layer is None:
            return model(**receiver).logits[0, -1]
        with capture(model, [Site(site)], [donor_layer]) as captured:
            model(**donor)
        with patch(model, [Patch(Site(site), receiver_layer, captured[Site(site)][0])]):
            return model(**receiver).logits[0, -1]


def test_a_map_is_what_plain_forwards_say(world, capsys):
    assert main(sweep("--site", "attn,ffn", "--json")) == 0
    result = json.loads(capsys.readouterr().out)
    rows = table("out/map.parquet")
    assert len(rows["instance"]) == 8 * 2 * 9
    for place in (0, 37, 100, 143):
        row = next(item for item in ROWS if item["id"] == rows["instance"][place])
        logits = plain_logits(
            row, rows["donor_layer"][place], rows["receiver_layer"][place], rows["site"][place]
        )
        assert rows["token_id"][place] == int(logits.argmax())
        tokenizer = AutoTokenizer.from_pretrained("model")
        right = tokenizer(row["options"][row["answer"]])["input_ids"][0]
        over = torch.log_softmax(logits, -1)[right]
        assert rows["score"][place] == pytest.approx(float(over), abs=1e-4)
    vanilla = table("out/vanilla.parquet")
    assert vanilla["token_id"] == [int(plain_logits(row).argmax()) for row in ROWS]
    accuracy = result["metrics"]["accuracy"]
    assert set(accuracy) == {"attn", "ffn"} and set(accuracy["ffn"]) == {"donor 0"}
    share = np.mean([bool(right) for right in vanilla["correct"]])
    assert accuracy["ffn"]["donor 0"]["vanilla"]["value"] == pytest.approx(share)
    assert result["metrics"]["cost"]["rows"] == 144 and result["counts"]["instances"] == {"eu": 4, "ko": 4}
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "Latent transplants" in page and "http://" not in page.replace("http://www.w3.org", "")
    pictures = [name for name in result["files"].values() if name.endswith(".png")]
    assert pictures and all(Path("out", name).read_bytes().startswith(b"\x89PNG") for name in pictures)


def test_ones_own_activations_change_nothing(world):
    """Through the real command, for texts: every row of the map is the unpatched answer."""
    assert main(sweep("--control", "self", "--score", "generate", "--new-tokens", "6")) == 0
    rows, vanilla = table("out/map.parquet"), table("out/vanilla.parquet")
    plain = dict(zip(vanilla["instance"], vanilla["text"], strict=True))
    own = [
        text == plain[name]
        for name, giver, taker, text in zip(
            *(rows[key] for key in ("instance", "donor_layer", "receiver_layer", "text")), strict=True
        )
        if giver == taker
    ]
    assert len(own) == 8 * 3 and all(own)
    assert len(set(rows["text"])) > 8


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        "shards",
        "workers",
        pytest.param("ray", marks=pytest.mark.skipif(find_spec("ray") is None, reason="no ray")),
    ],
)
def test_shards_and_workers_sum_to_the_whole(world, capsys, how):
    assert main(sweep("--score", "options", "--samples", "5", out="whole")) == 0
    if how == "shards":
        for shard in ("3/3", "1/3", "2/3"):
            capsys.readouterr()
            given = sweep("--score", "options", "--samples", "5", "--shard", shard, "--json", out="parts")
            assert main(given) == 0
            assert json.loads(capsys.readouterr().out)["complete"] == (shard == "2/3")
            assert Path("parts/map.parquet").exists() == (shard == "2/3")
    else:
        more = ["--workers", "2"] if how == "workers" else ["--workers", "1", "--ray", "local"]
        assert main(sweep("--score", "options", "--samples", "5", *more, out="parts")) == 0
    for name in ("map", "vanilla", "donors", "samples"):
        assert pq.read_table(f"whole/{name}.parquet").equals(pq.read_table(f"parts/{name}.parquet"))
    whole, parts = (json.loads(Path(out, "result.json").read_text()) for out in ("whole", "parts"))
    assert whole["metrics"]["accuracy"] == parts["metrics"]["accuracy"]


def test_an_interrupted_sweep_continues(world, monkeypatch, capsys):
    """The second run computes only what is missing, and ends with the same tables."""
    assert main(sweep(out="whole")) == 0
    from lingraft.recipes.patching import sweeping

    real, done = sweeping.sweep_instance, []

    def fail_at_fourth(model, tokenizer, prompt, *rest, **more):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(prompt.instance.id)
        return real(model, tokenizer, prompt, *rest, **more)

    monkeypatch.setattr(sweeping, "sweep_instance", fail_at_fourth)
    assert main(sweep()) == 130
    kept = sorted(Path("out/instances").iterdir())
    assert len(kept) == 3 and not Path("out/result.json").exists()
    times = [file.stat().st_mtime_ns for file in kept]
    done.clear()
    monkeypatch.setattr(
        sweeping, "sweep_instance", lambda *rest, **more: done.append(1) or real(*rest, **more)
    )
    assert main(sweep()) == 0
    assert len(done) == 5 and [file.stat().st_mtime_ns for file in kept] == times
    assert pq.read_table("whole/map.parquet").equals(pq.read_table("out/map.parquet"))
    done.clear()
    capsys.readouterr()
    assert main(sweep("--json")) == 0 and not done
    assert json.loads(capsys.readouterr().out)["complete"]


def test_another_command_or_another_file_is_refused(world, capsys):
    assert main(sweep()) == 0
    assert main(sweep("--site", "attn")) == 2
    assert re.search(r"differs in: sites\)", capsys.readouterr().err)
    write_rows(Path("pairs.jsonl"), ROWS[:5])
    assert main(sweep()) == 2
    assert re.search(r"differs in: content of pairs\)", capsys.readouterr().err)


@pytest.mark.slow
def test_controls_and_selection(world, capsys):
    """Noise and shuffled donors are other runs; select reads them beside the real one and the samples."""
    given = ("--score", "options", "--site", "attn")
    assert main(sweep(*given, "--samples", "9", out="real")) == 0
    assert main(sweep(*given, "--control", "noise", out="noise")) == 0
    assert main(sweep(*given, "--control", "shuffled", out="shuffled")) == 0
    maps = {name: table(f"{name}/map.parquet")["score"] for name in ("real", "noise", "shuffled")}
    assert len({tuple(values) for values in maps.values()}) == 3
    capsys.readouterr()
    command = ["patch", "select", "--run", "real", "--out", "choice", "--folds", "2", "--json"]
    controls = ["--control", "noise=noise", "--control", "shuffled=shuffled"]
    assert main([*command, *controls]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert [line["name"] for line in metrics["bound"]["controls"]] == ["noise", "shuffled", "samples"]
    methods = {line["method"] for line in metrics["methods"]}
    assert {
        "vanilla",
        "donor",
        "coarse",
        "target first",
        "margin",
        "upper bound",
        "control: noise",
    } <= methods
    assert metrics["settings"]["all"]["coarse"] == {"donor_layer": 2, "receiver_layer": 0}
    assert set(metrics["settings"]) == {"all", "eu", "ko"}
    real = table("real/map.parquet")
    bound = np.mean(
        [
            any(r for r, i in zip(real["correct"], real["instance"], strict=True) if i == row["id"])
            for row in ROWS
        ]
    )
    assert metrics["bound"]["bound"]["value"] == pytest.approx(bound)
    assert "upper bound" in metrics["verdict"] and Path("choice/report.html").exists()
    assert pq.read_table("choice/selection.parquet").num_rows == len(metrics["methods"])
    # The same command again writes the same; another is refused.
    assert main([*command, *controls]) == 0
    assert main(command) == 2


def test_a_fixed_pair_is_the_maps_entry(world, capsys):
    assert main(sweep("--score", "generate", "--new-tokens", "5", "--site", "ffn")) == 0
    rows = table("out/map.parquet")
    wanted = [
        text
        for giver, taker, text in zip(
            *(rows[key] for key in ("donor_layer", "receiver_layer", "text")), strict=True
        )
        if (giver, taker) == (2, 1)
    ]
    pair = ["--site", "ffn", "--donor-layer", "2", "--receiver-layer", "1", "--new-tokens", "5"]
    one = ["--model", "model", "--pairs", "pairs.jsonl", *pair]
    capsys.readouterr()
    generate = ["patch", "generate", *one, "--unpatched", "--batch-size", "3", "--out", "answers.jsonl"]
    assert main([*generate, "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)["answers"]
    assert [row["text"] for row in answers] == wanted
    assert [row["unpatched"] for row in answers] == table("out/vanilla.parquet")["text"]
    lines = Path("answers.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == answers
    assert main(["patch", "evaluate", *one, "--out", "fixed", "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    shares = {
        line["method"]: line["accuracy"]["value"] for line in metrics["methods"] if line["language"] == "all"
    }
    right = [
        bool(correct)
        for giver, taker, correct in zip(
            *(rows[key] for key in ("donor_layer", "receiver_layer", "correct")), strict=True
        )
        if (giver, taker) == (2, 1)
    ]
    assert shares["patched"] == pytest.approx(np.mean(right))
    assert table("fixed/sweep/map.parquet")["text"] == wanted
    assert main(["patch", "evaluate", *one, "--out", "fixed"]) == 0
    alone = ["--donor", ROWS[2]["donor"], "--receiver", ROWS[2]["receiver"]]
    capsys.readouterr()
    assert main(["patch", "generate", "--model", "model", *pair, *alone]) == 0
    assert capsys.readouterr().out == f"1: {wanted[2]}\n"


def test_the_plan_counts_what_the_sweep_does(world, capsys):
    options = ["--site", "attn,ffn", "--score", "generate", "--donor-layers", "0-1", "--receiver-layers", "2"]
    plan = ["patch", "plan", "--model", "model", "--pairs", "pairs.jsonl", *options]
    assert main([*plan, "--json"]) == 0
    cost = json.loads(capsys.readouterr().out)
    assert cost["rows"] == 8 * 4 and cost["instances"] == 8
    assert main([*plan, "--memory-mib", "1"]) == 0
    assert "pair by pair" in capsys.readouterr().out
    assert main(sweep(*options)) == 0
    assert len(table("out/map.parquet")["instance"]) == 8 * 4


def test_a_chat_template_only_when_asked(world):
    assert main(sweep(out="plain")) == 0
    assert main(sweep("--chat-template", out="chat")) == 0
    assert table("plain/map.parquet")["token_id"] != table("chat/map.parquet")["token_id"]


def test_limit_counts_by_language(world):
    assert main(sweep("--limit", "1")) == 0
    assert table("out/vanilla.parquet")["instance"] == ["eu-größe-0", "ko-größe-0"]

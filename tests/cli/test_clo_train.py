"""`lingraft clo train` and `clo compare` end to end on a tiny model: what lies on the disk, continuing, bad input."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from lingraft.cli.app import main
from lingraft.preference.items import PairedItem, write_items

CHAT = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}</s>\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
GERMAN = ["Größe der Straße", "Öffnen Sie das Dokument", "Wählen Sie Format", "Die Papiergröße ist 99"]
ENGLISH = ["Size of the street", "Open the document", "Choose format", "The size of the paper is 99"]


def items(count: int, start: int = 0) -> list[PairedItem]:
    return [
        PairedItem(
            f"{ENGLISH[n % 4]}, {n}?",
            f"{ENGLISH[(n + 1) % 4]} and {ENGLISH[(n + 2) % 4]} {n}.",
            f"{GERMAN[n % 4]}, {n}?",
            f"{GERMAN[(n + 1) % 4]} {n}.",
            "de",
            f"item-{n}",
        )
        for n in range(start, start + count)
    ]


@pytest.fixture
def place(tmp_path: Path, make_tiny_llama: Any, byte_bpe_tokenizer: Any, monkeypatch: Any) -> Path:
    """A directory with a tiny model, a tokenizer with a chat template, and paired items."""
    torch.manual_seed(0)
    tokenizer = byte_bpe_tokenizer
    model = make_tiny_llama(len(tokenizer))
    tokenizer.chat_template = CHAT
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    write_items(tmp_path / "pairs.jsonl", items(12))
    write_items(tmp_path / "held.jsonl", items(5, 50))
    monkeypatch.chdir(tmp_path)
    return tmp_path


FAST = ("--batch-size", "4", "--learning-rate", "1e-3", "--device", "cpu", "--fidelity-prompts", "3")


def train(*more: str, out: str = "out", pairs: str = "pairs.jsonl", model: str = "model") -> int:
    given = ["--model", model, "--pairs", pairs, "--out", out, "--max-new-tokens", "4"]
    return main(["clo", "train", *given, *FAST, *more])


def test_end_to_end_and_again(place: Path, capsys: Any) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options = ("--held-out", "held.jsonl", "--evaluations", "3", "--keep", "last", "--json")
    assert train(*options) == 0
    printed = json.loads(capsys.readouterr().out)
    metrics = printed["metrics"]
    assert (
        metrics["steps"] == 3
        and metrics["step_kept"] == 3
        and set(metrics["evaluations"]) == {"0", "1", "2", "3"}
    )
    assert printed["counts"]["items"]["trained on"] == 12
    rows = pq.read_table("out/steps.parquet").to_pylist()
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert rows[0]["loss"] == pytest.approx(metrics["loss"]["first"])
    assert {"english_margin", "target_margin", "target_accuracy", "english_nats_a_token"} <= set(rows[0])
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "data:image/" in page and "Größe" in page
    assert not any(outside in page for outside in ('src="http', 'href="http', "<link", "@import"))
    before = AutoModelForCausalLM.from_pretrained("model").state_dict()
    after = AutoModelForCausalLM.from_pretrained("out/model").state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all("self_attn" in name for name in changed)
    assert AutoTokenizer.from_pretrained("out/model").chat_template == CHAT

    times = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*") if path.is_file()}
    assert train(*options) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == metrics
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_a_run_without_its_result_continues(place: Path, capsys: Any) -> None:
    assert train("--json", "--save-every", "1") == 0
    first = json.loads(capsys.readouterr().out)["metrics"]
    weights = Path("out/model/model.safetensors").read_bytes()
    Path("out/result.json").unlink()
    shutil.rmtree("out/model")
    assert train("--json", "--save-every", "1") == 0
    again = json.loads(capsys.readouterr().out)["metrics"]
    assert again["loss"] == first["loss"] and Path("out/model/model.safetensors").read_bytes() == weights


def refused(capsys: Any, status: int) -> str:
    assert status == 2
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and "Traceback" not in printed.err and not printed.out
    assert not Path("out").exists() or not any(Path("out").iterdir())
    return lines[0]


def test_bad_input_is_one_line(place: Path, capsys: Any) -> None:
    def line(*more: str, **given: Any) -> str:
        return refused(capsys, train(*more, **given))

    assert "objective 'orca'; expected one of clo, clo-both" in line("--objective", "orca")
    assert "parameters 'head'; expected one of attention, full, lora" in line("--parameters", "head")
    assert "12 items for a batch of 40" in line("--batch-size", "40")
    assert "nothing.jsonl" in line(pairs="nothing.jsonl")
    Path("bad.jsonl").write_text('{"english_prompt": "a"}\n', encoding="utf-8")
    assert "bad.jsonl" in line(pairs="bad.jsonl")
    mixed = [*items(3), PairedItem("a b", "c", "d e", "f", "sw", "x")]
    write_items(Path("mixed.jsonl"), mixed)
    assert "items in de, sw; expected items in one target language" in line(pairs="mixed.jsonl")
    assert "prompts of 3 tokens or more; expected items of at most 3 tokens" in line("--max-length", "3")
    assert "the trackers abacus; expected some of" in line("--track", "abacus")
    shutil.copytree("model", "silent")
    (Path("silent") / "chat_template.jinja").unlink()
    found = line(model="silent")
    assert "a tokenizer without a chat template" in found and "--template plain" in found


def test_what_a_template_cannot_write_is_left_out_and_counted(place: Path, capsys: Any) -> None:
    """Templates of thinking models cut an answer at its own end of thought; one such answer stops no training."""
    content = "{{ message['content'] }}"
    thought = "{{ message['content'].partition('</think>')[0] if '</think>' in message['content'] }}"
    thinking = f"{{% if message['role'] != 'user' %}}<think>{thought}</think>{{% endif %}}"
    answer = "{{ message['content'].split('</think>')[-1] }}"
    Path("template.jinja").write_text(CHAT.replace(content, thinking + answer), encoding="utf-8")
    odd = replace(items(1, 20)[0], english_response="Write </think> behind it.")
    write_items(Path("pairs.jsonl"), [*items(8), odd])
    assert train("--template", "template.jinja", "--json") == 0
    counts = json.loads(capsys.readouterr().out)["counts"]["items"]
    assert counts["read"] == 9 and counts["trained on"] == 8
    assert counts["texts that the template cannot write as they are"] == 1


def test_counted_and_named_but_not_stopped(place: Path, capsys: Any) -> None:
    """An empty side, identical answers and a missing translation are passed over, each kept with its line."""
    broken = [
        {"english_prompt": "a", "english_response": " ", "target_prompt": "b", "target_response": "c"},
        {"english_prompt": "a", "english_response": "Same", "target_prompt": "b", "target_response": "Same "},
        {"english_prompt": "a", "english_response": "x", "target_prompt": "b", "target_response": None},
    ]
    with Path("pairs.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps({**row, "target_language": "de"}) + "\n" for row in broken)
    assert train("--json") == 0
    counts = json.loads(capsys.readouterr().out)["counts"]["items"]
    assert counts["trained on"] == 12 and sum(counts.values()) == 12 + 12 + 3
    rejects = [
        json.loads(line) for line in Path("out/rejects.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [row["line"] for row in rejects] == [13, 14, 15]


def test_a_training_that_drops_items_is_measured_at_its_last_step(place: Path, capsys: Any) -> None:
    long = [replace(item, target_response=item.target_response * 40) for item in items(4, 20)]
    write_items(Path("mixed.jsonl"), [*items(5), *long, *items(4, 30)])
    options = ("--held-out", "held.jsonl", "--evaluations", "2", "--max-length", "120", "--json")
    assert train(*options, pairs="mixed.jsonl") == 0
    result = json.loads(capsys.readouterr().out)
    dropped = {n: k for n, k in result["counts"]["items"].items() if "answer of more than" in n}
    assert sum(dropped.values()) == 4 and result["counts"]["items"]["trained on"] == 9
    assert result["metrics"]["steps"] == 2, "of 13 items 9 are left, in batches of 4"
    assert list(result["metrics"]["evaluations"]) == ["0", "1", "2"]


def compared(capsys: Any, *options: str, out: str = "out") -> dict[str, Any]:
    given = ["--model", "model", "--pairs", "pairs.jsonl", "--held-out", "held.jsonl", "--out", out]
    assert main(["clo", "compare", *given, *FAST, "--max-new-tokens", "4", "--json", *options]) == 0
    metrics: dict[str, Any] = json.loads(capsys.readouterr().out)["metrics"]
    for line in metrics["arms"]:
        del line["seconds"]
    return metrics


@pytest.mark.slow
def test_a_larger_grid_adds_to_a_smaller_one(place: Path, capsys: Any) -> None:
    small = compared(capsys, "--arms", "clo", "--sizes", "4", "--seeds", "1")
    made = {file: file.stat().st_mtime_ns for file in Path("out/cells").iterdir()}
    assert {file.name for file in made} == {"base-0-0.json", "clo-4-0.json"}
    wider = ["--arms", "clo,sft", "--sizes", "6,4", "--seeds", "2"]
    large = compared(capsys, *wider)
    assert {file: file.stat().st_mtime_ns for file in made} == made, "what was there is not trained again"
    assert len(list(Path("out/cells").iterdir())) == 1 + 2 * 2 * 2
    assert large == compared(capsys, *wider, out="at-once"), "the same as in one go"
    assert compared(capsys, "--arms", "clo", "--sizes", "4", "--seeds", "1") == small
    assert len(list(Path("out/cells").iterdir())) == 1 + 2 * 2 * 2, "a smaller grid deletes nothing"


@pytest.mark.slow
def test_compare_and_again(place: Path, capsys: Any) -> None:
    def compare(*more: str) -> int:
        given = ["--model", "model", "--pairs", "pairs.jsonl", "--held-out", "held.jsonl", "--out", "out"]
        options = ["--sizes", "8,4", "--seeds", "2", "--max-new-tokens", "4", "--json"]
        return main(["clo", "compare", *given, *FAST, *options, *more])

    assert compare("--arms", "clo,sft-both+dpo,clo@full") == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert [(line["arm"], line["items"], line["seeds"]) for line in metrics["arms"]] == [
        ("base", 0, 1),
        ("clo", 4, 2),
        ("clo", 8, 2),
        ("sft-both+dpo", 4, 2),
        ("sft-both+dpo", 8, 2),
        ("clo@full", 4, 2),
        ("clo@full", 8, 2),
    ]
    assert len(list(Path("out/cells").iterdir())) == 13
    compared = {(row["clo less"], row["items"], row["side"]) for row in metrics["differences"]}
    assert ("clo@full", 4, "english") in compared and ("base", 0, "target") not in compared
    table = pq.read_table("out/comparison.parquet").to_pylist()
    assert len(table) == 7 and table[1]["target_bits"] == pytest.approx(
        metrics["arms"][1]["target_bits"]["value"]
    )
    Path("out/result.json").unlink()
    Path("out/cells/clo-4-1.json").unlink()
    assert compare("--arms", "clo,sft-both+dpo,clo@full") == 0
    again = json.loads(capsys.readouterr().out)["metrics"]
    seconds = {"seconds"}
    assert [{k: v for k, v in row.items() if k not in seconds} for row in again["arms"]] == [
        {k: v for k, v in row.items() if k not in seconds} for row in metrics["arms"]
    ]


@pytest.mark.slow
def test_every_arm_trains_on_the_same_items(place: Path, capsys: Any) -> None:
    """A long English answer is no matter to `sft`, which looks at target answers alone: `clo` leaves it out."""
    long = [replace(item, english_response=item.english_response * 40) for item in items(4, 20)]
    write_items(Path("pairs.jsonl"), [*items(5), *long, *items(4, 30)])
    given = ["--model", "model", "--pairs", "pairs.jsonl", "--held-out", "held.jsonl", "--out", "out"]
    options = ["--arms", "sft,sft-both,clo", "--max-length", "120", "--max-new-tokens", "4", "--json", *FAST]
    assert main(["clo", "compare", *given, *options, "--sizes", "8"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["counts"]["items"].pop("to draw from") == 9
    assert list(result["counts"]["items"].values()) == [4]
    tokens = {
        arm: json.loads(Path(f"out/cells/{arm}-8-0.json").read_text(encoding="utf-8"))["answer_tokens"]
        for arm in ("sft", "sft-both", "clo")
    }
    # The same eight items: target answers, both answers, and both with the other one of each.
    assert tokens["clo"] == 2 * tokens["sft-both"] and tokens["sft"] < tokens["sft-both"]
    shutil.rmtree("out")
    line = refused(capsys, main(["clo", "compare", *given, *options, "--sizes", "10"]))
    assert "10 items wanted, 9 that fit every arm" in line


def test_compare_refuses(place: Path, capsys: Any) -> None:
    def line(*more: str) -> str:
        given = ["--model", "model", "--pairs", "pairs.jsonl", "--held-out", "held.jsonl", "--out", "out"]
        return refused(capsys, main(["clo", "compare", *given, *FAST, *more]))

    assert "the arm 'clo+sfd'; expected base, or OBJECTIVE" in line("--arms", "clo+sfd")
    assert "--sizes '4,x'; expected whole numbers" in line("--sizes", "4,x")
    write_items(Path("held.jsonl"), items(3))
    assert "3 of the 3 held-out items are among those to train on" in line("--sizes", "4")


def as_data_set(file: str, name: str) -> str:
    """Save the rows of a file as a data set; return its reference."""
    import datasets

    rows = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]
    datasets.Dataset.from_list(rows).save_to_disk(name)
    return f"hf:{name}"


def test_data_sets_take_the_place_of_files(place: Path, capsys: Any) -> None:
    pytest.importorskip("datasets")
    named, held = as_data_set("pairs.jsonl", "sets/pairs"), as_data_set("held.jsonl", "sets/held")
    assert train("--held-out", held, "--evaluations", "1", "--json", pairs=named) == 0
    found = json.loads(capsys.readouterr().out)
    assert train("--held-out", "held.jsonl", "--evaluations", "1", "--json", out="files") == 0
    other = json.loads(capsys.readouterr().out)
    assert found["metrics"]["loss"] == other["metrics"]["loss"]
    assert found["metrics"]["evaluations"] == other["metrics"]["evaluations"]
    pinned = {entry["role"]: entry["revision"] for entry in found["inputs"]}
    assert len(pinned["pairs"]) == len(pinned["held-out"]) == 64 and pinned["pairs"] != pinned["held-out"]
    assert Path("out/model/model.safetensors").exists()
    # Read again, not trained again; and other rows under the same name are another run.
    assert train("--held-out", held, "--evaluations", "1", "--json", pairs=named) == 0
    assert json.loads(capsys.readouterr().out) == found
    write_items(Path("pairs.jsonl"), items(13))
    shutil.rmtree("sets/pairs")
    as_data_set("pairs.jsonl", "sets/pairs")
    assert train("--held-out", held, "--evaluations", "1", pairs=named) == 2
    assert "content of pairs" in capsys.readouterr().err
    grid = ["--arms", "base,clo", "--sizes", "8", "--seeds", "1", *FAST, "--max-new-tokens", "4", "--json"]
    given = ["--model", "model", "--pairs", named, "--held-out", held, "--out", "compared"]
    assert main(["clo", "compare", *given, *grid]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [arm["items"] for arm in found["metrics"]["arms"]] == [0, 8]
    assert found["inputs"][1]["revision"] != pinned["pairs"]

"""A data set's name wherever a file of rows may stand: saved on disk, a directory of files, and out of reach."""

import json
from pathlib import Path

import pytest

from lingraft.cli.app import main
from lingraft.contents import with_contents
from lingraft.corpora.json_objects import read_objects
from lingraft.corpora.named_datasets import dataset_rows, is_dataset
from lingraft.corpora.reading import read_documents, read_pairs, read_texts
from lingraft.corpora.shards import ShardReading, plan_shards, read_batches, require_unchanged
from lingraft.errors import CorpusError, MissingExtraError
from lingraft.files import fingerprint
from lingraft.patching.instances import read_instances
from lingraft.preference.items import read_items
from lingraft.recipes.evaluating.fidelity_inputs import read_prompts
from lingraft.recipes.evaluating.options import EvaluationOptions
from lingraft.recipes.inputs import read_corpus
from lingraft.recipes.pretraining.inputs import text_contents
from lingraft.recipes.pretraining.options import PretrainingOptions
from lingraft.recipes.running.planning import _identity

datasets = pytest.importorskip("datasets", reason='datasets is not installed: pip install "lingraft[train]"')

TEXTS = ["Egun on, Zer moduz?", "Größe 99 €", "안녕하세요", "   ", "हिन्दी 🙂"]
ITEM = {
    "english_prompt": "Who?",
    "english_response": "Me.",
    "target_prompt": "Nor?",
    "target_response": "Ni, noski.",
    "target_language": "eu",
}


@pytest.fixture
def texts(tmp_path: Path) -> str:
    rows = datasets.Dataset.from_dict(
        {"text": TEXTS, "source": ["ñ"] * 5, "en": ["Good day", "", "Hi", "", "x"]}
    )
    datasets.DatasetDict({"train": rows, "test": rows.select([0])}).save_to_disk(tmp_path / "saved")
    return f"hf:{tmp_path / 'saved'}"


def test_documents_of_a_saved_data_set(texts, tmp_path):
    documents = list(read_documents(texts, language="eu"))
    assert [document.text for document in documents] == [text for text in TEXTS if text.strip()]
    assert documents[0].meta == {"source": "ñ", "en": "Good day"}
    assert documents[0].id == f"{texts}:1"
    assert read_texts(f"{texts}::test") == TEXTS[:1]
    assert read_texts(texts, text_field="source") == ["ñ"] * 5
    assert len(list(read_pairs(texts, source_field="text", target_field="en"))) == 3
    # As a command line's Path, too.
    assert read_corpus(Path(texts)) == [text for text in TEXTS if text.strip()]
    shards = plan_shards([texts])
    reading = ShardReading()
    assert "".join(batch.text for batch in read_batches(shards[0], reading)).count("\n") == 3
    assert reading.documents == 4


def test_a_directory_of_files_is_a_data_set(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "files").mkdir()
    lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in TEXTS)
    (tmp_path / "files" / "train.jsonl").write_text(lines, encoding="utf-8")
    assert [row["text"] for row in dataset_rows(f"hf:{tmp_path / 'files'}")] == TEXTS


def test_pairs_prompts_and_instances_by_name(tmp_path):
    bad = {**ITEM, "target_response": None}
    datasets.Dataset.from_list([ITEM, bad]).save_to_disk(tmp_path / "items")
    name = Path(f"hf:{tmp_path / 'items'}")
    items, refused = read_items(name, rejects=tmp_path / "rejects.jsonl")
    assert [(item.target_response, item.id) for item in items] == [("Ni, noski.", "1")]
    assert refused == {"no target_response": 1}
    assert json.loads((tmp_path / "rejects.jsonl").read_text())["line"] == 2
    assert read_prompts(name, language="eu").texts == ["Nor?", "Nor?"]
    assert [row.line for row in read_objects(name)] == [1, 2]
    rows = [
        {"id": "a", "donor": "Hi", "receiver": "Kaixo", "options": [" x", " y"], "answer": 0},
        {"id": "b", "donor": "No", "receiver": "Ez", "options": [" x", " z"], "answer": None},
    ]
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "pairs")
    found = read_instances(Path(f"hf:{tmp_path / 'pairs'}"))
    assert [(row.id, row.answers) for row in found] == [("a", (0,)), ("b", ())]


def test_a_changed_data_set_on_disk_is_another_input(texts):
    before = with_contents({"corpus": f"{texts}::train"})
    assert len(before) == 2
    Path(texts.removeprefix("hf:"), "more").touch()
    assert with_contents({"corpus": f"{texts}::train"}) != before


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hf:nobody/nothing", "nobody/nothing' cannot be loaded"),
        ("hf:{saved}::nosuch", "nosuch"),
        ("hf:/no/such/directory", "hf:NAME:CONFIG:SPLIT"),
    ],
)
def test_what_is_not_there_is_one_line(texts, name, expected, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(CorpusError) as caught:
        list(dataset_rows(name.format(saved=texts.removeprefix("hf:"))))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"lingraft\[train\]"):
        list(dataset_rows("hf:x"))
    assert is_dataset("hf:x")
    assert not is_dataset(Path("hf.txt"))


def test_the_command_line_takes_names(texts, tmp_path, make_tiny_llama, byte_bpe_tokenizer, capsys):
    model = tmp_path / "m"
    make_tiny_llama(600).save_pretrained(model)
    byte_bpe_tokenizer.save_pretrained(model)
    assert main(["eval", "bpb", "--model", str(model), "--text", texts, "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    (tmp_path / "plain.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    assert main(["eval", "bpb", "--model", str(model), "--text", str(tmp_path / "plain.txt"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bits_per_byte"] == measured["bits_per_byte"]
    assert main(["eval", "bpb", "--model", str(model), "--text", "hf:nobody/nothing"]) == 2
    assert "nobody/nothing" in capsys.readouterr().err


def test_changed_rows_of_a_directory_are_another_input(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "files" / "data"
    folder.mkdir(parents=True)
    reference = f"hf:{tmp_path / 'files'}"

    def known_as() -> tuple:
        (identity,) = {shard.identity for shard in plan_shards([reference])}
        compare = EvaluationOptions(
            models={"m": "org/model"}, held_out=reference, prompts=Path(reference), language="eu"
        )
        pretrain = PretrainingOptions(model="org/model", corpus=(reference,))
        return (
            text_contents([reference]),
            identity,
            fingerprint(compare.command()),
            fingerprint(pretrain.command()),
            fingerprint(_identity(reference, {})),
        )

    (folder / "train.jsonl").write_text('{"text": "bat"}\n')
    first = known_as()
    assert known_as() == first
    (shard,) = plan_shards([reference])
    require_unchanged(shard)
    (folder / "train.jsonl").write_text('{"text": "batez"}\n')
    assert all(one != other for one, other in zip(first, known_as(), strict=True))
    with pytest.raises(CorpusError, match="was changed while it was read"):
        require_unchanged(shard)
    second = known_as()
    (folder.parent / "test").mkdir()
    (folder / "train.jsonl").rename(folder.parent / "test" / "train.jsonl")
    assert all(one != other for one, other in zip(second, known_as(), strict=True)), "another split"
    # A data set of the hub has no files here.
    assert text_contents(["hf:org/corpus"]) is None
    assert plan_shards(["hf:org/corpus"])[0].identity == ()
    assert _identity("hf:org/corpus", {}) == {"name": "hf:org/corpus"}

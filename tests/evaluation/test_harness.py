"""The harness without a method: lm-eval's own numbers, and a hook that is told the truth about every call."""

import importlib
import json
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from lingraft.errors import ConfigError, MissingExtraError
from lingraft.evaluation.harness import evaluate_tasks, harness_lm, read_contexts, run_harness
from lingraft.evaluation.harness_calls import ModelCall
from lingraft.models.loading import LoadedModel
from lingraft.tokenizers.open_ended import open_ended

pytest.importorskip("lm_eval", reason='lm-eval is not installed: pip install "lingraft[eval]"')

DOCUMENTS = [
    {"question": "Zer kolore du zeruak? 안녕", "options": ["urdina", "gorri-gorria da", "Größe"], "gold": 0},
    {"question": "Non dago?", "options": ["hemen", "han urrutian", "ez"], "gold": 2},
    {"question": "Zenbat da bi eta bi, mesedez?", "options": ["lau", "bost eta erdi", "bat"], "gold": 0},
    {"question": "Noiz, नमस्ते?", "options": ["gaur", "bihar goizean", "ez dakit"], "gold": 1},
    {"question": "Nor?", "options": ["ni", "zu eta hura", "gu"], "gold": 1},
]
CHOICE = """
task: choice
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
  cache_dir: {cache}
test_split: test
fewshot_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}\\nA:"
doc_to_choice: options
doc_to_target: gold
metric_list:
  - metric: acc
  - metric: acc_norm
"""
FREE = """
include: choice.yaml
task: free
output_type: generate_until
doc_to_choice: null
doc_to_target: "{{{{options[gold]}}}}"
generation_kwargs: {{until: ["\\n\\n"], max_gen_toks: 6, do_sample: false}}
metric_list:
  - metric: exact_match
"""
GROUP = """
group: mine
task: [choice]
aggregate_metric_list:
  - {{metric: acc, aggregation: mean}}
"""


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A directory with YAML tasks over a local file."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in DOCUMENTS)
    (tmp_path / "data.jsonl").write_text(lines, encoding="utf-8")
    for name, text in (("choice", CHOICE), ("free", FREE), ("mine", GROUP)):
        filled = text.format(data=tmp_path / "data.jsonl", cache=tmp_path / "cache")
        (tmp_path / f"{name}.yaml").write_text(filled, encoding="utf-8")
    return tmp_path


@pytest.fixture
def loaded(make_tiny_llama: Callable[..., Any], byte_bpe_tokenizer: Any) -> LoadedModel:
    return LoadedModel(make_tiny_llama(600), byte_bpe_tokenizer, "tiny", "0")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def plain(loaded: LoadedModel, **options: Any) -> Any:
    base = importlib.import_module("lm_eval.models.huggingface").HFLM
    return base(loaded.model, backend="causal", tokenizer=loaded.tokenizer, **options)


def requests(pairs: list[Any], kind: str = "loglikelihood") -> list[Any]:
    instance = importlib.import_module("lm_eval.api.instance").Instance
    return [instance(request_type=kind, doc={}, arguments=pair, idx=0) for pair in pairs]


PAIRS = [
    (row["question"] + blank, f" {option}")
    for row in DOCUMENTS
    for blank in ("", " ")
    for option in [*row["options"], "a", "b"]
] + [("", "etxe zuri bat")]


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("add_bos_token", [None, True])
def test_numbers_are_lm_evals_own(
    loaded: LoadedModel, unigram_tokenizer: Any, batch_size: int, add_bos_token: bool | None
) -> None:
    """Two tokenizers, one of which puts tokens in front and behind; long texts are cut the same."""
    for tokenizer in (loaded.tokenizer, unigram_tokenizer):
        both = LoadedModel(loaded.model, tokenizer, "tiny", "0")
        # lm-eval would take the </s> that closes a text for a part of the context.
        given = LoadedModel(loaded.model, open_ended(tokenizer), "tiny", "0")
        options: dict[str, Any] = {"batch_size": batch_size, "add_bos_token": add_bos_token}
        ours, theirs = harness_lm(both, **options), plain(given, **options)
        found, wanted = (lm.loglikelihood(requests(PAIRS)) for lm in (ours, theirs))
        assert [value for value, _ in found] == pytest.approx([value for value, _ in wanted], abs=1e-4)
        assert [greedy for _, greedy in found] == [greedy for _, greedy in wanted]
        whole = requests([(row["question"],) for row in DOCUMENTS], "loglikelihood_rolling")
        assert ours.loglikelihood_rolling(whole) == pytest.approx(
            theirs.loglikelihood_rolling(whole), abs=1e-4
        )
        settings = {"until": ["e"], "max_gen_toks": 8}
        free = requests([(row["question"], settings) for row in DOCUMENTS], "generate_until")
        assert ours.generate_until(free) == theirs.generate_until(free)


def test_long_requests_are_cut_as_lm_eval_does_and_counted(loaded: LoadedModel) -> None:
    pairs = [("Zer kolore du zeruak? " * 9, " urdina"), ("Nor?", " ni")]
    ours, theirs = harness_lm(loaded, max_length=24), plain(loaded, max_length=24)
    found, wanted = (lm.loglikelihood(requests(pairs)) for lm in (ours, theirs))
    assert [value for value, _ in found] == pytest.approx([value for value, _ in wanted], abs=1e-4)
    assert ours.counts["truncated"] == 1
    free = requests([(text, {"max_gen_toks": 6, "until": []}) for text, _ in pairs], "generate_until")
    assert ours.generate_until(free) == theirs.generate_until(free)
    assert ours.counts["truncated"] == 2
    with pytest.raises(ConfigError, match=r"requested max tokens to generate \(30\)"):
        ours.generate_until(requests([("Nor?", {"max_gen_toks": 30})], "generate_until"))
    with pytest.raises(ConfigError, match="tokens of context and 0 to score"):
        ours.loglikelihood(requests([("Nor?", "")]))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_hook_knows_each_rows_context_and_its_last_token(loaded: LoadedModel, batch_size: int) -> None:
    """What the model was given, at the position told, is the last token of the context told."""
    calls: list[tuple[ModelCall, list[torch.Tensor]]] = []

    @contextmanager
    def around(call: ModelCall) -> Iterator[None]:
        seen: list[torch.Tensor] = []
        hook = loaded.model.register_forward_pre_hook(
            lambda _module, args, kwargs: seen.append(args[0] if args else kwargs["input_ids"]),
            with_kwargs=True,
        )
        yield
        hook.remove()
        calls.append((call, seen))

    asked: list[list[str | None]] = []
    lm = harness_lm(
        loaded, around=around, before=lambda contexts: asked.append(list(contexts)), batch_size=batch_size
    )
    lm.loglikelihood(requests(PAIRS))
    scored = len(calls)
    free = [(row["question"], {"max_gen_toks": 4, "until": []}) for row in DOCUMENTS]
    lm.generate_until(requests(free, "generate_until"))
    for number, (call, seen) in enumerate(calls):
        assert len(seen) == 1 if number < scored else len(seen) > 1
        assert len(call.contexts) == len(seen[0]) == len(call.positions) <= batch_size
        for row, (context, position) in enumerate(zip(call.contexts, call.positions.tolist(), strict=True)):
            ids = call.encode(context)
            assert ids == loaded.tokenizer(context.rstrip())["input_ids"] or not context
            assert seen[0][row, position - len(ids) + 1 : position + 1].tolist() == ids
    assert {one for call, _ in calls[:scored] for one in call.contexts} == {context for context, _ in PAIRS}
    assert sorted(one for call, _ in calls[scored:] for one in call.contexts) == sorted(
        one for one, _ in free
    )
    assert asked == [[context for context, _ in PAIRS], [context for context, _ in free]]
    lm.loglikelihood_rolling(requests([("Nor?",)], "loglikelihood_rolling"))
    assert calls[-1][0].contexts == (None,) and asked[-1] == [None]


def test_options_of_one_token_share_a_call(loaded: LoadedModel) -> None:
    rows = 0

    @contextmanager
    def around(call: ModelCall) -> Iterator[None]:
        nonlocal rows
        rows += len(call.contexts)
        yield

    lm = harness_lm(loaded, around=around)
    lm.loglikelihood(
        requests([(context, option) for context in ("Nor?", "Non?") for option in ("a", "b", "c")])
    )
    assert rows == 2


def test_tasks_from_files(loaded: LoadedModel, tasks: Path, offline: None) -> None:
    """A directory of one's own: metrics, documents and samples as plain lm-eval gives them; groups; no network."""
    lm = harness_lm(loaded, batch_size=3)
    result = evaluate_tasks(lm, ["mine", "free"], include_path=tasks)
    pairs = [(f"{row['question']}\nA:", f" {option}") for row in DOCUMENTS for option in row["options"]]
    wanted = [value for value, _ in plain(loaded).loglikelihood(requests(pairs))]
    samples = result.samples["choice"]
    assert [value for one in samples for value, _ in one["responses"]] == pytest.approx(wanted, abs=1e-4)
    right = [
        max(range(3), key=wanted[3 * number : 3 * number + 3].__getitem__) == row["gold"]
        for number, row in enumerate(DOCUMENTS)
    ]
    assert [one["acc"] for one in samples] == right
    assert result.metrics["choice"]["acc"] == result.metrics["mine"]["acc"] == pytest.approx(sum(right) / 5)
    assert set(result.metrics["choice"]) == {"acc", "acc_stderr", "acc_norm", "acc_norm_stderr"}
    assert result.documents == {"choice": 5, "free": 5}
    assert result.metrics["free"]["exact_match"] == 0
    assert all(isinstance(one["responses"][0], str) for one in result.samples["free"])


def test_options_of_a_run(
    loaded: LoadedModel, tasks: Path, offline: None, capfd: pytest.CaptureFixture[str]
) -> None:
    lm = harness_lm(loaded, batch_size=3)
    path = str(tasks / "choice.yaml")
    found = run_harness(lm, [path], limit=2, bootstrap=0)
    assert set(found["choice"]) == {"acc", "acc_norm"}
    plainly = read_contexts(lm, path, limit=3)
    assert plainly == {
        (document, option): f"{DOCUMENTS[document]['question']}\nA:"
        for document in range(3)
        for option in range(3)
    }
    shots = read_contexts(lm, path, limit=1, num_fewshot=2)[0, 0]
    assert shots.count("\nA: ") == 2 and shots.endswith(plainly[0, 0])
    chat = read_contexts(lm, path, limit=1, chat_template=True)[0, 0]
    message = [{"role": "user", "content": plainly[0, 0]}]
    assert chat == loaded.tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    longer = evaluate_tasks(lm, ["free"], include_path=tasks, limit=1, generation={"max_gen_toks": 12})
    shorter = evaluate_tasks(lm, ["free"], include_path=tasks, limit=1)
    texts = [result.samples["free"][0]["responses"][0] for result in (longer, shorter)]
    assert texts[0].startswith(texts[1]) and len(texts[0]) > len(texts[1])
    said = capfd.readouterr()
    assert said.out == "" and "it/s" not in said.err and "Task:" not in said.err


def test_what_is_refused(
    loaded: LoadedModel, tasks: Path, offline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = harness_lm(loaded)
    with pytest.raises(ConfigError, match="no task; expected at least one"):
        run_harness(lm, [])
    (tasks / "broken.yaml").write_text(
        (tasks / "choice.yaml").read_text().replace("{{question}}", "{{frage}}")
    )
    with pytest.raises(ConfigError, match="'frage' is undefined"):
        run_harness(lm, [str(tasks / "broken.yaml")])
    (tasks / "gone.yaml").write_text((tasks / "choice.yaml").read_text().replace("data.jsonl", "gone.jsonl"))
    with pytest.raises(ConfigError, match=r"gone\.jsonl"):
        run_harness(lm, [str(tasks / "gone.yaml")])
    with pytest.raises(ConfigError, match="batch size 0"):
        harness_lm(loaded, batch_size=0)
    cache = importlib.import_module("lm_eval.api.model").CachingLM
    with pytest.raises(ConfigError, match="a response cache"):
        cache(harness_lm(loaded, around=lambda call: None), str(tasks / "cache.db"))  # type: ignore[arg-type,return-value]
    loaded.tokenizer.pad_token = None
    harness_lm(loaded)
    assert loaded.tokenizer.pad_token is None, "lm-eval gives the tokenizer one"
    loaded.tokenizer.eos_token = None
    with pytest.raises(ConfigError, match="a tokenizer without an eos token"):
        harness_lm(loaded)
    monkeypatch.setitem(sys.modules, "lm_eval.models.huggingface", None)
    with pytest.raises(MissingExtraError, match=r'pip install "lingraft\[eval\]"'):
        harness_lm(loaded)


def test_a_bad_document_is_the_tasks_fault_and_a_bad_call_is_not(
    loaded: LoadedModel, tasks: Path, offline: None
) -> None:
    with (tasks / "data.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"question": "Nola?", "options": null, "gold": 0}\n')
    path = str(tasks / "choice.yaml")
    with pytest.raises(ConfigError, match=r"--tasks .*choice\.yaml: TypeError: 'NoneType'"):
        run_harness(harness_lm(loaded), [path])
    with pytest.raises(ConfigError, match=r"--tasks .*choice\.yaml: TypeError: 'NoneType'"):
        read_contexts(harness_lm(loaded), path)

    @contextmanager
    def around(_: ModelCall) -> Iterator[None]:
        raise RuntimeError("a hook's own")
        yield

    with pytest.raises(RuntimeError, match="a hook's own"):
        run_harness(harness_lm(loaded, around=around), [path], limit=5)


def test_one_name_for_two_tasks_is_refused(loaded: LoadedModel, tasks: Path, offline: None) -> None:
    """The second would take the first one's place in the results."""
    lm = harness_lm(loaded)
    with pytest.raises(ConfigError, match=r"--tasks choice and --tasks choice, which both give choice;"):
        run_harness(lm, ["choice", "choice"], include_path=tasks)
    with pytest.raises(ConfigError, match=r"--tasks mine and --tasks choice, which both give choice;"):
        run_harness(lm, ["mine", "choice"], include_path=tasks)
    (tasks / "other").mkdir()
    other = (tasks / "choice.yaml").rename(tasks / "other" / "again.yaml")
    (tasks / "choice.yaml").write_text(other.read_text())
    names = [str(tasks / "choice.yaml"), str(other)]
    with pytest.raises(ConfigError, match=r"choice\.yaml and --tasks .*again\.yaml, which both give choice;"):
        run_harness(lm, names)


def test_how_many_examples_each_task_took(loaded: LoadedModel, tasks: Path, offline: None) -> None:
    for name, more in (("zero", "num_fewshot: 0"), ("whole", "output_type: loglikelihood_rolling")):
        rows = f"include: choice.yaml\ntask: {name}\n{more}\n"
        if name == "whole":
            rows += (
                'doc_to_choice: null\ndoc_to_target: "{{question}}"\nmetric_list: [{metric: bits_per_byte}]\n'
            )
        (tasks / f"{name}.yaml").write_text(rows)
    names = [str(tasks / f"{name}.yaml") for name in ("choice", "zero", "whole")]
    lm = harness_lm(loaded)
    assert evaluate_tasks(lm, names, num_fewshot=2, limit=2).shots == {"choice": 2, "zero": 0, "whole": 0}
    assert set(evaluate_tasks(lm, names, limit=2).shots.values()) == {0}


def test_an_unknown_task_is_named(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked for among lm-eval's own too, which are not read here: that takes seconds."""
    module = importlib.import_module("lm_eval.tasks")
    looked: list[Any] = []
    own = module.TaskManager

    def manager(**options: Any) -> Any:
        looked.append(options)
        return own(**options | {"include_defaults": False})

    monkeypatch.setattr(module, "TaskManager", manager)
    with pytest.raises(
        ConfigError, match="--tasks xnli_none: KeyError: Spec 'xnli_none' is not a registered"
    ):
        run_harness(harness_lm(loaded), ["xnli_none"])
    assert [options.get("include_defaults", True) for options in looked] == [False, True]

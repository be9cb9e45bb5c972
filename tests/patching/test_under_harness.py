"""lm-eval under a transplant equals the engine, whatever lm-eval sorts, groups, merges and pads."""

import importlib
import json
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from lingraft.errors import ConfigError
from lingraft.evaluation.harness import evaluate_tasks, harness_lm, read_contexts
from lingraft.models.loading import LoadedModel, load_model
from lingraft.patching.engine import transplant_all
from lingraft.patching.generate import generate
from lingraft.patching.pairs import all_pairs
from lingraft.patching.prefill import prefill
from lingraft.patching.sites import PATCH_SITES, mean_donor
from lingraft.patching.under_harness import pair_contexts, transplanted_lm

pytest.importorskip("lm_eval", reason='lm-eval is not installed: pip install "lingraft[eval]"')

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
tiny_world = importlib.import_module("tiny_world")

DONORS = {
    "Ireki dokumentua eta aukeratu": "Open the document",
    "Zer moduz zaude gaur 안녕?": "How are you today?",
    "Taula": "A table of contents lists the headings",
    "Größe:": "Size of the paper:",
}
OPTIONS = [" bai", " a", " b", " Größere Änderungen", " 안녕하세요"]
"""Two of one token each, which share a forward call, and longer ones of other lengths."""
PAIR: dict[str, Any] = {"donor_layer": 2, "receiver_layer": 1}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_world.byte_bpe_tokenizer()


@pytest.fixture
def loaded(tiny: Callable[..., Any], tokenizer: Any) -> LoadedModel:
    return LoadedModel(tiny("llama"), tokenizer, "tiny", "0")


def requests(pairs: Sequence[tuple[str, Any]], kind: str = "loglikelihood") -> list[Any]:
    instance = importlib.import_module("lm_eval.api.instance").Instance
    return [instance(request_type=kind, doc={}, arguments=pair, idx=0) for pair in pairs]


def plain(loaded: LoadedModel, batch_size: int = 3) -> Any:
    base = importlib.import_module("lm_eval.models.huggingface").HFLM
    return base(loaded.model, backend="causal", tokenizer=loaded.tokenizer, batch_size=batch_size)


def rows_of(loaded: LoadedModel, context: str, donors: Sequence[str], site: str = "ffn") -> Any:
    """The engine's one row for a context."""
    states = [
        prefill(loaded.model, loaded.tokenizer(donor)["input_ids"], [PATCH_SITES[site]]) for donor in donors
    ]
    mean = mean_donor([state.sites[PATCH_SITES[site]] for state in states])
    states[0].sites[PATCH_SITES[site]] = mean
    pairs = all_pairs(3, donor_layers=[2], receiver_layers=[1])
    receiver = prefill(loaded.model, loaded.tokenizer(context)["input_ids"])
    return transplant_all(loaded.model, receiver, states[:1], pairs, [PATCH_SITES[site]])


def expected(loaded: LoadedModel, context: str, option: str, donor: str, site: str = "ffn") -> float:
    context, option = context.rstrip(), context[len(context.rstrip()) :] + option
    ids = loaded.tokenizer(context)["input_ids"]
    tokens = loaded.tokenizer(context + option)["input_ids"][len(ids) :]
    return float(rows_of(loaded, context, [donor], site).log_likelihoods([tokens])[0, 0])


@pytest.mark.parametrize("site", ["ffn", "attn_official"])
def test_log_likelihoods_are_the_engines(
    tiny: Callable[..., Any], architecture: str, tokenizer: Any, site: str
) -> None:
    loaded = LoadedModel(tiny(architecture), tokenizer, "tiny", "0")
    asked = [(context, option) for context in DONORS for option in OPTIONS]
    wanted = torch.tensor([expected(loaded, *pair, DONORS[pair[0]], site) for pair in asked])
    for batch_size in (1, 3):
        lm = transplanted_lm(loaded, DONORS, site=site, **PAIR, batch_size=batch_size)
        found = torch.tensor([value for value, _greedy in lm.loglikelihood(requests(asked))])
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-4)
    unpatched = torch.tensor([value for value, _ in plain(loaded).loglikelihood(requests(asked))])
    assert (found - unpatched).abs().max() > 0.01, "a transplant that does nothing would pass"


def test_what_greedy_decoding_gives_is_called_greedy(loaded: LoadedModel) -> None:
    lm = transplanted_lm(loaded, DONORS, site="ffn", **PAIR, batch_size=2)
    asked, wanted = [], []
    for context, donor in DONORS.items():
        greedy = rows_of(loaded, context, [donor]).greedy(3)[0]
        ids = loaded.tokenizer(context)["input_ids"]
        other = [*greedy[:2], (greedy[2] + 1) % 400]
        asked += [((context, ""), ids, greedy), ((context, ""), ids, other)]
        wanted += [True, False]
    assert [greedy for _value, greedy in lm._loglikelihood_tokens(asked)] == wanted


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "gemma3_text", "bloom"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_texts_are_those_of_generate(
    tiny: Callable[..., Any], name: str, tokenizer: Any, batch_size: int
) -> None:
    loaded = LoadedModel(tiny(name), tokenizer, "tiny", "0")
    options = {"max_gen_toks": 7, "until": []}
    lm = transplanted_lm(loaded, DONORS, site="ffn", **PAIR, batch_size=batch_size)
    found = lm.generate_until(requests([(context, options) for context in DONORS], "generate_until"))
    wanted = generate(
        loaded.model, tokenizer, list(DONORS), list(DONORS.values()), site="ffn", **PAIR, new_tokens=7
    )
    assert found == wanted
    unpatched = plain(loaded).generate_until(
        requests([(context, options) for context in DONORS], "generate_until")
    )
    assert found != unpatched
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in loaded.model.modules())


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "gemma3_text"])
def test_own_activations_change_nothing(tiny: Callable[..., Any], name: str, tokenizer: Any) -> None:
    """Blanks at a context's end, beams, and a context that lm-eval gives a prefix token, too."""
    loaded = LoadedModel(tiny(name), tokenizer, "tiny", "0")
    lm = transplanted_lm(
        loaded, lambda context: context, site="attn", donor_layer=1, receiver_layer=1, batch_size=3
    )
    contexts = [*DONORS, "Taula  ", "Zer\n", ""]
    asked = requests([(context, option) for context in contexts for option in OPTIONS])
    found, wanted = lm.loglikelihood(asked), plain(loaded).loglikelihood(asked)
    torch.testing.assert_close(
        torch.tensor([value for value, _ in found]), torch.tensor([value for value, _ in wanted])
    )
    assert [greedy for _, greedy in found] == [greedy for _, greedy in wanted]
    for extra in ({}, {"num_beams": 2}):
        asked = requests(
            [(context, {"max_gen_toks": 5, "until": [], **extra}) for context in contexts[:-1]],
            "generate_until",
        )
        assert lm.generate_until(asked) == plain(loaded).generate_until(asked)


def test_contexts_whose_tokens_are_the_same_keep_their_own_donor(loaded: LoadedModel) -> None:
    """lm-eval shares a call by tokens: here the border, or the text, is another, and so the patch."""
    donors = {
        "Zer moduz": "How",
        "Zer moduz zaude": "How are you",
        "Taula": "A table",
        "Taula ": "Contents",
    }
    asked = [
        ("Zer moduz", " zaude gaur"),
        ("Zer moduz zaude", " gaur"),
        ("Taula", " bat"),
        ("Taula ", "bat"),
        ("Taula", " ez"),
    ]
    encode = loaded.tokenizer
    assert (
        encode("Zer moduz zaude")["input_ids"][: len(encode("Zer moduz")["input_ids"])]
        == (encode("Zer moduz")["input_ids"])
    )
    lm = transplanted_lm(loaded, donors, site="ffn", **PAIR, batch_size=3)
    found = [value for value, _ in lm.loglikelihood(requests(asked))]
    wanted = [expected(loaded, context, option, donors[context]) for context, option in asked]
    assert found == pytest.approx(wanted, abs=1e-4)
    assert abs(found[2] - found[3]) > 0.01


def test_the_order_of_requests_does_not_matter(loaded: LoadedModel) -> None:
    asked = [(context, option) for context in DONORS for option in OPTIONS]
    shuffled = random.Random(3).sample(asked, len(asked))
    lm = transplanted_lm(loaded, DONORS, site="ffn", **PAIR, batch_size=3)
    first = dict(zip(asked, lm.loglikelihood(requests(asked)), strict=True))
    second = dict(zip(shuffled, lm.loglikelihood(requests(shuffled)), strict=True))
    for pair in asked:
        assert first[pair][0] == pytest.approx(second[pair][0], abs=1e-5)
    contexts = list(DONORS) * 2
    options = [{"max_gen_toks": 4, "until": []}, {"max_gen_toks": 6, "until": ["z"]}]
    generated = [(context, options[number >= 4]) for number, context in enumerate(contexts)]
    texts = lm.generate_until(requests(generated, "generate_until"))
    assert texts[::-1] == lm.generate_until(requests(generated[::-1], "generate_until"))


def test_several_donors_are_averaged(loaded: LoadedModel) -> None:
    several = {"Taula": ["A table", "Eine Größe", "Open"]}
    lm = transplanted_lm(loaded, several, site="ffn", **PAIR)
    ids = loaded.tokenizer(" bat")["input_ids"]
    wanted = rows_of(loaded, "Taula", several["Taula"]).log_likelihoods([ids])
    assert lm.loglikelihood(requests([("Taula", " bat")]))[0][0] == pytest.approx(float(wanted), abs=1e-4)


def test_a_context_that_is_cut_is_patched_at_its_last_token(loaded: LoadedModel) -> None:
    context = "Ireki dokumentua eta aukeratu"
    ids = loaded.tokenizer(context)["input_ids"]
    tokens = loaded.tokenizer(" Größere")["input_ids"]
    most = len(ids) + len(tokens) - 4
    lm = transplanted_lm(loaded, DONORS, site="ffn", **PAIR, max_length=most)
    found = lm.loglikelihood(requests([(context, " Größere")]))[0][0]
    kept = (ids + tokens)[-(most + 1) : -len(tokens)]
    assert 0 < len(kept) < len(ids)
    states = prefill(loaded.model, loaded.tokenizer(DONORS[context])["input_ids"], [PATCH_SITES["ffn"]])
    pairs = all_pairs(3, donor_layers=[2], receiver_layers=[1])
    rows = transplant_all(loaded.model, prefill(loaded.model, kept), [states], pairs, [PATCH_SITES["ffn"]])
    assert found == pytest.approx(float(rows.log_likelihoods([tokens])[0, 0]), abs=1e-4)
    assert lm.counts["truncated"] == 1


def test_without_a_donor_all_is_refused_before_the_first_call(loaded: LoadedModel) -> None:
    lm = transplanted_lm(loaded, DONORS, site="ffn", **PAIR)
    loaded.model.forward = None
    asked = [("Taula", " bat"), ("Nola deitzen zara, eta nongoa zara? " * 3, " x"), ("안녕", " y")]
    with pytest.raises(
        ConfigError, match=r"no donor prompt for 2 of 3 contexts, the first 'Nola deitz.*\.\.\.'"
    ):
        lm.loglikelihood(requests(asked))
    with pytest.raises(ConfigError, match="no donor prompt for 1 of 1 contexts, the first '안녕'"):
        lm.generate_until(requests([("안녕", {"until": []})], "generate_until"))
    with pytest.raises(ConfigError, match="rolling likelihood"):
        lm.loglikelihood_rolling(requests([("Taula bat",)], "loglikelihood_rolling"))


def test_without_a_donor_a_row_can_stay_as_it_is(loaded: LoadedModel) -> None:
    """Patched and unpatched rows in one batch."""
    lm = transplanted_lm(loaded, DONORS, site="ffn", **PAIR, missing="vanilla", batch_size=3)
    asked = [("Taula", " bat"), ("Tauka", " bat"), ("Größe:", " 1234"), ("", " bat")]
    found = [value for value, _ in lm.loglikelihood(requests(asked))]
    untouched = [value for value, _ in plain(loaded).loglikelihood(requests(asked))]
    for number in (0, 2):
        wanted = expected(loaded, *asked[number], DONORS[asked[number][0]])
        assert found[number] == pytest.approx(wanted, abs=1e-4)
        assert abs(found[number] - untouched[number]) > 0.01
    assert found[1::2] == pytest.approx(untouched[1::2], abs=1e-4)
    assert lm.counts["unpatched"] == 2
    rolling = requests([("Taula bat " * 5,), ("Größe 안녕",)], "loglikelihood_rolling")
    assert lm.loglikelihood_rolling(rolling) == pytest.approx(
        plain(loaded).loglikelihood_rolling(rolling), abs=1e-3
    )


def test_what_is_refused(loaded: LoadedModel) -> None:
    with pytest.raises(ConfigError, match="layer 3; expected 0 to 2"):
        transplanted_lm(loaded, DONORS, site="ffn", donor_layer=3, receiver_layer=1)
    with pytest.raises(ConfigError, match="--site mlp"):
        transplanted_lm(loaded, DONORS, site="mlp", **PAIR)
    with pytest.raises(ConfigError, match="missing='no'"):
        transplanted_lm(loaded, DONORS, site="ffn", **PAIR, missing="no")  # type: ignore[arg-type]
    for donor, message in (
        ("", "an empty donor prompt for 'Taula'"),
        ("a b " * 2000, "at most 2048"),
        ([], "empty"),
    ):
        lm = transplanted_lm(loaded, {"Taula": donor}, site="ffn", **PAIR)
        with pytest.raises(ConfigError, match=message):
            lm.before(["Taula"])
    with pytest.raises(ConfigError, match="2 requests of one task and 1"):
        pair_contexts({0: "a", 1: "b"}, {0: "c"})
    with pytest.raises(ConfigError, match="two donor prompts for 'a'"):
        pair_contexts({0: "a", 1: "a"}, {0: "c", 1: "d"})


ROWS = [
    ("Zer kolore du zeruak, 안녕?", "What colour is the sky?", ["urdina", "gorri-gorria da", "Größe"], 0),
    ("Non dago taula?", "Where is the table?", ["hemen", "han urrutian", "ez"], 2),
    ("Zenbat da bi eta bi?", "How much is two and two?", ["lau", "bost eta erdi", "bat"], 0),
    ("Noiz?", "When do we go there, please?", ["gaur", "bihar goizean", "ez dakit"], 1),
]


def task(directory: Path, language: str, kind: str) -> dict[str, Any]:
    column = 0 if language == "eu" else 1
    lines = [
        json.dumps({"question": row[column], "options": row[2], "gold": row[3]}, ensure_ascii=False) + "\n"
        for row in ROWS
    ]
    path = directory / f"{language}.jsonl"
    path.write_text("".join(lines), encoding="utf-8")
    common = {
        "task": f"{kind}_{language}",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(path)}, "cache_dir": str(directory / "cache")},
        "test_split": "test",
        "output_type": kind,
        "doc_to_text": "{{question}}\nA:",
    }
    if kind == "multiple_choice":
        return common | {
            "doc_to_choice": "options",
            "doc_to_target": "gold",
            "metric_list": [{"metric": "acc"}],
        }
    return common | {
        "doc_to_target": "{{options[gold]}}",
        "generation_kwargs": {"until": ["\n\n"], "max_gen_toks": 6, "do_sample": False},
        "metric_list": [{"metric": "exact_match"}],
    }


@pytest.mark.parametrize("batch_size", [1, 3])
def test_whole_tasks_with_the_donors_of_the_english_one(
    loaded: LoadedModel, tmp_path: Path, batch_size: int
) -> None:
    choice, english = (task(tmp_path, language, "multiple_choice") for language in ("eu", "en"))
    reader = harness_lm(loaded)
    donors = pair_contexts(read_contexts(reader, choice), read_contexts(reader, english))
    assert donors == {f"{row[0]}\nA:": f"{row[1]}\nA:" for row in ROWS}
    lm = transplanted_lm(loaded, donors, site="ffn", **PAIR, batch_size=batch_size)
    result = evaluate_tasks(lm, [choice, task(tmp_path, "eu", "generate_until")])
    right = []
    for row, sample in zip(ROWS, result.samples["multiple_choice_eu"], strict=True):
        context = f"{row[0]}\nA:"
        wanted = [expected(loaded, context, f" {option}", donors[context]) for option in row[2]]
        assert [value for value, _ in sample["responses"]] == pytest.approx(wanted, abs=1e-4)
        right.append(float(max(range(3), key=wanted.__getitem__) == row[3]))
    assert result.metrics["multiple_choice_eu"]["acc"] == pytest.approx(sum(right) / 4)
    texts = generate(
        loaded.model, loaded.tokenizer, list(donors), list(donors.values()), site="ffn", **PAIR, new_tokens=6
    )
    samples = result.samples["generate_until_eu"]
    assert [sample["responses"][0] for sample in samples] == [text.split("\n\n")[0] for text in texts]
    assert result.documents == {"multiple_choice_eu": 4, "generate_until_eu": 4}
    assert not result.counts


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize("asset", ["smollm2-135m-instruct", "gemma-3-270m"])
def test_real_prompts(
    asset: str, real_asset: Callable[[str], Path], shared_data: Callable[[str], Path]
) -> None:
    """XNLI in Swahili with English donors, as a task of lm-eval; log-likelihoods of whole options, and texts."""
    loaded = load_model(str(real_asset(asset)), dtype="float32", device="cpu")
    split = shared_data("xtransplant/XNLI_sample/split")
    prompts = {}
    for language in ("sw", "en"):
        lines = (split / f"{language}.json").read_text(encoding="utf-8").splitlines()[:2]
        prompts[language] = [json.loads(line) for line in lines]
    donors = dict(zip(prompts["sw"], prompts["en"], strict=True))
    place: dict[str, Any] = {"donor_layer": 12, "receiver_layer": 5}
    lm = transplanted_lm(loaded, donors, site="ffn", **place, batch_size=3)
    options = [" (1)", " (3) Kupinga"]
    asked = [(context, option) for context in donors for option in options]
    found = [value for value, _ in lm.loglikelihood(requests(asked))]
    pairs = all_pairs(len(loaded.model.model.layers), donor_layers=[12], receiver_layers=[5])
    wanted: list[float] = []
    for context, donor in donors.items():
        ids, donor_ids = (loaded.tokenizer(text)["input_ids"] for text in (context, donor))
        states = prefill(loaded.model, donor_ids, [PATCH_SITES["ffn"]])
        rows = transplant_all(loaded.model, prefill(loaded.model, ids), [states], pairs, [PATCH_SITES["ffn"]])
        after = [loaded.tokenizer(context + option)["input_ids"][len(ids) :] for option in options]
        wanted += rows.log_likelihoods(after)[0].tolist()
    assert found == pytest.approx(wanted, abs=1e-3)
    free = [(context, {"max_gen_toks": 8, "until": []}) for context in donors]
    texts = generate(
        loaded.model, loaded.tokenizer, list(donors), list(donors.values()), site="ffn", **place, new_tokens=8
    )
    assert lm.generate_until(requests(free, "generate_until")) == texts
    own = transplanted_lm(loaded, lambda text: text, site="ffn", donor_layer=5, receiver_layer=5)
    untouched = [value for value, _ in plain(loaded).loglikelihood(requests(asked))]
    assert [value for value, _ in own.loglikelihood(requests(asked))] == pytest.approx(untouched, abs=1e-3)
    assert found != pytest.approx(untouched, abs=1e-2)

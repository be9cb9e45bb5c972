"""The page and the card of a whole run, runs read back and compared: real files, no model."""

import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "reports"))

from whole_run import evaluate_metrics, make_run, sections

from lingraft.cli.app import main
from lingraft.errors import ConfigError
from lingraft.recipes.running import outputs as run_outputs
from lingraft.recipes.showing import showing_runs
from lingraft.recipes.showing.comparing_runs import compare_runs
from lingraft.recipes.showing.finished import read_run
from lingraft.recipes.showing.inputs import UNKNOWN, find_catalogued, hub_name, run_inputs, told_reference
from lingraft.recipes.showing.metric_keys import as_estimate, number_keys, sourced
from lingraft.recipes.showing.model_card import model_card, write_model_card
from lingraft.recipes.showing.outcome import outcome_of
from lingraft.recipes.showing.recipe_report import duration, write_recipe_report
from lingraft.reports.intervals import Estimate
from lingraft.reports.page import Figure, Section, Table
from lingraft.reports.result import RunResult, collect_provenance, read_result, write_result


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


def change_metrics(directory, change):
    """Change the metrics of the run's `measure` stage."""
    place = next((directory / "stages").glob("measure-*"))
    result = read_result(place)
    write_result(place, result.model_copy(update={"metrics": change(result.metrics)}))


class TestOutcome:
    def test_headline_numbers_with_keys_and_differences(self, run):
        outcome = outcome_of(run)
        assert list(outcome.models) == ["source model", "adapted"]
        names = [measure.name for measure in outcome.measures]
        assert names == [
            "target.bits_per_byte",
            "english.bits_per_byte",
            "fidelity.line_pass_rate",
            "target.tokens",
        ]
        target, english, _, tokens = outcome.measures
        assert target.before == Estimate(2.513, 2.413, 2.613) and target.after.value == 1.672
        assert target.keys["adapted"] == "metrics.models.adapted.target.bits_per_byte"
        assert target.difference.value == pytest.approx(-0.841)
        assert target.difference_key == "metrics.differences.adapted.target"
        assert (target.verdict(), english.verdict(), tokens.verdict()) == ("better", "worse", "better")
        # The difference of bits per byte is none of the tokens'.
        assert tokens.difference is None

    def test_within_chance_and_one_model(self, tmp_path):
        run = make_run(tmp_path / "a", english=1.05)
        assert outcome_of(run).measures[1].verdict() == "no difference beyond chance"
        change_metrics(tmp_path / "a", lambda metrics: {**metrics, "differences": {}})
        assert outcome_of(read_run(tmp_path / "a")).measures[1].verdict() == "the intervals overlap"
        models = evaluate_metrics()["models"]
        change_metrics(tmp_path / "a", lambda _: {"models": {"source model": models["source model"]}})
        (found, *_) = outcome_of(read_run(tmp_path / "a")).measures
        assert found.before is None and found.verdict() == "" and found.after.value == 2.513

    @pytest.mark.parametrize("metrics", [{}, {"models": {}}, {"models": None}, {"models": 3}])
    def test_no_outcome_breaks_nothing(self, tmp_path, metrics):
        make_run(tmp_path / "a")
        change_metrics(tmp_path / "a", lambda _: metrics)
        run = read_run(tmp_path / "a")
        assert outcome_of(run) is None
        assert "no models were measured" in write_recipe_report(run, tmp_path).read_text(encoding="utf-8")
        assert "It was not measured" in model_card(run)

    def test_unknown_and_odd_measures(self, tmp_path):
        make_run(tmp_path / "a")
        bounded = {"value": 0.5, "low": 0.4, "high": 0.6}
        odd = {"a.b": {"new": bounded, "note": "x", "n": 3, "none": None}}
        change_metrics(tmp_path / "a", lambda _: {"models": odd, "differences": None})
        (measure,) = outcome_of(read_run(tmp_path / "a")).measures
        assert (measure.name, measure.label, measure.better) == ("new", "new", "")
        assert measure.values == {"a.b": Estimate(0.5, 0.4, 0.6)}
        words = {"a": {"words": {"score": bounded, "accuracy": bounded}, "tasks": {"xnli": {"acc": bounded}}}}
        change_metrics(tmp_path / "a", lambda _: {"models": words})
        names = [measure.name for measure in outcome_of(read_run(tmp_path / "a")).measures]
        assert names == ["words.score", "tasks.xnli.acc"]


class TestKeys:
    def test_every_number_by_its_key(self):
        result = RunResult(
            kind="x",
            metrics={
                "a": {"bits_per_byte": 2.5, "interval": [2, 3], "tokens": 7, "name": "größe"},
                "b": [{"value": 1, "low": 0, "high": 2, "observations": 9}, None],
                "curve": list(range(100)),
                "ok": True,
            },
            counts={"tokens": {"copied": 3}},
            provenance=collect_provenance(command="x"),
        )
        assert number_keys(result) == {
            "metrics.a.bits_per_byte": Estimate(2.5, 2.0, 3.0),
            "metrics.a.tokens": 7,
            "metrics.a.name": "größe",
            "metrics.b[0]": Estimate(1.0, 0.0, 2.0, 9),
            "metrics.b[0].observations": 9,
            "metrics.ok": True,
            "counts.tokens.copied": 3,
        }

    @pytest.mark.parametrize("value", [None, "x", True, float("nan"), {"low": 1}, {"value": None}, []])
    def test_what_is_no_estimate(self, value):
        assert as_estimate(value) is None

    def test_tables_and_pictures_say_where_from(self):
        table = Table("c", ("a", "b", "c"), [("x", Estimate(2.5), 1), ("y", 1.25, 0)])
        other = Table("c", ("a", "b"), [("x", 0.7)])
        own = Table("c", ("a", "b"), [("x", 0.7)], source="elsewhere")
        blocks = [table, other, own, Figure("c", "alt", b"")]
        numbers = {"metrics.p": 2.5, "metrics.q": 1.25, "metrics.one": 1}
        found = sourced(Section("t", blocks), "stages/a", numbers, "group")
        assert [block.source for block in found.blocks] == [
            "From stages/a/result.json: metrics.p, metrics.q",
            "From the files in stages/a",
            "elsewhere",
            "Drawn from stages/a (numbers: result.json)",
        ]
        assert found.group == "group" and found.title == "t"


class TestPage:
    def test_holds_all_parts_in_order_and_names_sources(self, run, tmp_path):
        path = write_recipe_report(run, tmp_path / "out")
        text = path.read_text(encoding="utf-8")
        headings = re.findall(r"<h2[^>]*>(.*?)</h2>", text)
        assert headings == [
            "What came out",
            "What went in",
            "Stages, times and costs",
            "1. look: look at the model",
            "2. graft: give it the language&#x27;s vocabulary",
            "3. measure: measure before and after",
            "Where each number comes from",
            "How to repeat this",
        ]
        plain = text.replace("<wbr>", "")
        assert "stages/measure-0123abcd/result.json: metrics.models.adapted.target.bits_per_byte" in plain
        assert "From stages/graft-0123abcd/result.json: metrics.tokens_per_word.before" in plain
        assert ">metrics.differences.adapted.english</td>" in text
        assert "Became worse: Bits per byte, English" in text
        assert "Apache-2.0" in text and UNKNOWN in text
        assert "lingraft run basque.yaml --out &#x27;runs/basque one&#x27;" in text
        assert "<b>" not in text and "Basque &amp; &lt;b&gt;" in text
        assert "6 min 30 s" in text

    def test_read_back_it_writes_the_same_page(self, run, tmp_path):
        first = write_recipe_report(run, tmp_path / "one").read_bytes()
        again = read_run(run.directory, sections_of=sections)
        assert again.stages[1].settings == {"seed": 0}
        assert write_recipe_report(again, tmp_path / "two").read_bytes() == first

    @pytest.mark.parametrize(
        ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
    )
    def test_durations(self, seconds, text):
        assert duration(seconds) == text

    def test_inputs_once_and_own_files_not(self, run):
        found = run_inputs(run)
        assert [(one.reference, one.stages) for one in found] == [
            ("smollm2-135m-instruct", "look, graft, measure"),
            ("my texts/größe.txt", "look, graft, measure"),
        ]
        assert find_catalogued("asset:libreoffice-help-eu/train.txt").name == "libreoffice-help-eu"
        assert find_catalogued("some/where/v1/else.txt") is None
        cached = "/home/me/.cache/lingraft/assets/libreoffice-help-eu/v2"
        assert told_reference(f"{cached}/en/train.txt") == "asset:libreoffice-help-eu/en/train.txt"
        assert told_reference(cached) == "libreoffice-help-eu"
        for other in ("/data/assets/mine/v2/train.txt", "train.txt", "größe/assets"):
            assert told_reference(other) == other


class TestCard:
    def test_front_matter_is_what_the_hub_reads(self, run, tmp_path):
        text = write_model_card(run, tmp_path).read_text(encoding="utf-8")
        _, front, body = text.split("---\n", 2)
        assert yaml.safe_load(front) == {
            "language": ["eu", "en"],
            "license": "apache-2.0",
            "library_name": "transformers",
            "pipeline_tag": "text-generation",
            "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
            "base_model_relation": "finetune",
            "tags": ["lingraft", "language-adaptation", "vocabulary-transfer"],
        }
        assert (
            "| Bits per byte, Basque | 2.513 (2.413 to 2.613) | 1.672 (1.572 to 1.772) |"
            " -0.841 (-0.901 to -0.781), better |" in body
        )
        assert "# Basque & &lt;b>\n" in body
        assert "- Became worse: Bits per byte, English" in body
        assert "lingraft run basque.yaml" in body and "use: vocabulary" in body

    def test_norwegian_stays_text_and_a_directory_has_no_base(self, tmp_path):
        make_run(tmp_path / "a", language="no")
        file = tmp_path / "a" / "run.json"
        kept = json.loads(file.read_text(encoding="utf-8")) | {"model": "./my model"}
        file.write_text(json.dumps(kept), encoding="utf-8")
        front = yaml.safe_load(model_card(read_run(tmp_path / "a")).split("---\n")[1])
        assert front["language"] == ["no", "en"]
        assert "base_model" not in front and "license" not in front

    @pytest.mark.parametrize(
        ("reference", "name"),
        [
            ("gemma-3-270m", "google/gemma-3-270m"),
            ("org/Model-1.5@main", "org/Model-1.5"),
            ("a/b/c", ""),
            ("./x", ""),
            ("models/x.gguf", ""),
        ],
    )
    def test_hub_names(self, reference, name):
        assert hub_name(reference) == name


class TestCompare:
    def test_what_differs_and_what_is_shared(self, tmp_path):
        make_run(tmp_path / "a")
        make_run(tmp_path / "b", target=1.9, seed=1)
        found = compare_runs([tmp_path / "a", tmp_path / "b"])
        assert found.names == ["a", "b"] and not found.warnings
        assert found.recipe == {f"stages.{name}.seed": [0, 1] for name in ("look", "graft", "measure")}
        first, second = found.measures["target.bits_per_byte"]
        assert (first.after.value, second.after.value) == (1.672, 1.9)
        assert [(row.name, row.shared) for row in found.stages] == [
            ("look", True),
            ("graft", True),
            ("measure", False),
        ]
        assert [value.value for value in found.numbers["measure", "metrics.differences.adapted.target"]] == [
            pytest.approx(-0.841),
            pytest.approx(-0.613),
        ]
        json.dumps(found.as_json(), allow_nan=False)

    def test_other_language_stages_and_no_outcome_are_told(self, tmp_path):
        make_run(tmp_path / "a")
        make_run(tmp_path / "b", language="sw", stages=(("only", "diagnose"),))
        found = compare_runs([tmp_path / "a", tmp_path / "b"])
        assert any("different target languages (eu, sw)" in text for text in found.warnings)
        assert any("Nothing was measured before and after in b" in text for text in found.warnings)
        assert found.measures["target.bits_per_byte"][1] is None
        assert [row.keys for row in found.stages][-1] == [None, "only-key-"]

    def test_other_texts_are_told_and_equal_names_are_paths(self, tmp_path):
        make_run(tmp_path / "x" / "run")
        make_run(tmp_path / "y" / "run")
        place = tmp_path / "y" / "run" / "stages" / "measure-0123abcd" / "result.json"
        place.write_text(
            place.read_text(encoding="utf-8").replace("sha256:ff", "sha256:00"), encoding="utf-8"
        )
        found = compare_runs([tmp_path / "x" / "run", tmp_path / "y" / "run"])
        assert found.names == [(tmp_path / one / "run").as_posix() for one in "xy"]
        assert any("different texts" in text for text in found.warnings)

    def test_resolved_revisions_are_named_by_input(self, tmp_path):
        for name, revision in (("a", "sha256:1"), ("b", "sha256:2")):
            make_run(tmp_path / name)
            file = tmp_path / name / "recipe.yaml"
            resolved = {
                "resolved": {
                    "lingraft": "0.1",
                    "stages": {"look": name},
                    "inputs": [{"role": "model", "reference": "m", "revision": revision}],
                }
            }
            file.write_text(file.read_text(encoding="utf-8") + yaml.safe_dump(resolved), encoding="utf-8")
        found = compare_runs([tmp_path / "a", tmp_path / "b"])
        assert found.recipe == {"resolved.revision.m": ["sha256:1", "sha256:2"]}

    def test_command_line(self, tmp_path, capsys):
        make_run(tmp_path / "a")
        make_run(tmp_path / "b", target=1.9, language="sw")
        paths = [str(tmp_path / "a"), str(tmp_path / "b")]
        assert main(["report", "compare", *paths]) == 0
        text = capsys.readouterr().out
        assert re.search(r"Bits per byte, the target language: after +1.672 \(1.572 to 1.772\)", text)
        assert "warning: The runs have different target languages (eu, sw)." in text
        for _ in range(2):
            assert main(["report", "compare", *paths, "--out", str(tmp_path / "c"), "--json"]) == 0
            found = json.loads(capsys.readouterr().out)
        assert json.loads((tmp_path / "c" / "comparison.json").read_text(encoding="utf-8")) == {
            key: value for key, value in found.items() if key != "report"
        }
        page = Path(found["report"]).read_text(encoding="utf-8")
        assert "different target languages" in page and "What differs in the recipes" in page
        assert main(["report", "compare", *reversed(paths), "--out", str(tmp_path / "c")]) == 2
        assert "holds a run of another command" in capsys.readouterr().err

    def test_bad_inputs_are_one_line(self, tmp_path, capsys):
        make_run(tmp_path / "a")
        good = str(tmp_path / "a")
        (tmp_path / "file").write_text("x")
        (tmp_path / "empty").mkdir()
        for name in ("broken", "old", "half", "recipe"):
            shutil.copytree(tmp_path / "a", tmp_path / name)
        (tmp_path / "broken" / "run.json").write_text("{")
        (tmp_path / "old" / "run.json").write_text('{"stages": [{"name": "x"}]}')
        next((tmp_path / "half" / "stages").glob("graft-*/result.json")).unlink()
        (tmp_path / "recipe" / "recipe.yaml").write_text("[1")
        for other, message in [
            (None, "1 run; expected at least two runs"),
            ("a", "given twice; expected at least two runs"),
            ("nowhere", "no directory"),
            ("file", "is a file; expected the run directory of a recipe"),
            ("empty", "run.json; expected the run directory of a recipe"),
            ("broken", "cannot be read"),
            ("old", "stages.0.kind: Field required"),
            ("half", "result.json; expected the result of a run"),
            ("recipe", "expected a YAML mapping"),
        ]:
            more = [] if other is None else [str(tmp_path / other)]
            assert main(["report", "compare", good, *more]) == 2, other
            told = capsys.readouterr().err
            assert message in told and told.count("\n") == 1, told


class TestShow:
    def test_writes_the_page_anew(self, run, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(showing_runs, "sections_of", sections)
        monkeypatch.setattr(showing_runs, "STAGES", dict.fromkeys(("diagnose", "vocabulary", "evaluate")))
        assert main(["report", "show", str(run.directory)]) == 0
        assert f"report: {run.directory / 'report.html'}" in capsys.readouterr().out
        text = (run.directory / "report.html").read_text(encoding="utf-8")
        assert text == write_recipe_report(run, tmp_path / "o").read_text(encoding="utf-8")
        assert main(["report", "show", str(run.directory), "--out", str(tmp_path / "p"), "--json"]) == 0
        assert Path(json.loads(capsys.readouterr().out)["report"]).parent == tmp_path / "p"

    def test_bad_inputs_are_one_line(self, run, tmp_path, capsys, monkeypatch):
        assert main(["report", "show", str(tmp_path)]) == 2
        assert "expected the run directory of a recipe" in capsys.readouterr().err
        monkeypatch.setattr(showing_runs, "STAGES", {"vocabulary": None})
        assert main(["report", "show", str(run.directory)]) == 2
        assert "a stage of kind 'diagnose'" in capsys.readouterr().err

        def other_version(*_):
            raise KeyError("inspection")

        kind = SimpleNamespace(settings=SimpleNamespace(model_validate=dict), sections=other_version)
        monkeypatch.setattr(
            showing_runs, "STAGES", dict.fromkeys(("diagnose", "vocabulary", "evaluate"), kind)
        )
        with pytest.raises(ConfigError, match="expected a stage of this version"):
            showing_runs.show_run(run.directory, tmp_path)

    def test_the_runner_writes_what_is_read_back(self):
        assert run_outputs.REPORT_FILE == "report.html"

"""The report of a sweep: numbers in sentences and tables, warnings, and the interactive map's data."""

import base64
import importlib
import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layer_maps import make_answers, make_maps
from test_map_figures import LAYERS, world

from lingraft.errors import ConfigError
from lingraft.patching.bounds import compare_bound, independent_curve, union_curve
from lingraft.patching.choosing import learning_curve
from lingraft.patching.instances import Instance
from lingraft.patching.map_explorer import EVERYTHING, map_explorer
from lingraft.patching.map_figures import heatmaps
from lingraft.patching.map_files import map_keys, read_answers, read_maps
from lingraft.patching.map_report import language_table, map_sections, map_sentence, selection_sections
from lingraft.patching.prompts import encode_prompt
from lingraft.patching.records import merge_instances, write_instance
from lingraft.patching.selection import selection_table
from lingraft.patching.sweep import SweepSettings, sweep_instance
from lingraft.patching.unions import Samples
from lingraft.reports.interactive import GridExplorer, view_bytes
from lingraft.reports.intervals import Estimate
from lingraft.reports.page import Figure, Paragraph, Table, render_page

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
tiny_world = importlib.import_module("tiny_world")

HOSTILE = ' (1)</script><script>alert("größe 안녕")</script>'


def blocks(sections, kind):
    return [block for section in sections for block in section.blocks if isinstance(block, kind)]


def words(sections):
    return " ".join(block.text for block in blocks(sections, Paragraph))


def texts_of(maps, text="answer {}"):
    return {
        name: {int(label): text.format(label) for label in np.unique(maps.label[place])}
        for place, name in enumerate(maps.instances)
    }


def decode(part, shape):
    raw = np.frombuffer(base64.b64decode(part["d"]), {1: "u1", 2: "<u2"}[part["w"]]).astype(float)
    none = 256 ** part["w"] - 1
    values = part["lo"] + raw / (none - 1) * (part["hi"] - part["lo"])
    return np.where(raw == none, np.nan, values).reshape(shape)


def embedded(sections):
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', render_page(sections), re.DOTALL)
    return json.loads(data)


def test_order_and_one_map_for_several_sites_and_donors():
    maps, vanilla = world()
    keyed = {("ffn", 0): maps, ("attn", -1): replace(maps, site="attn", donor=-1)}
    sections = map_sections(keyed, vanilla, vanilla, texts=texts_of(maps))
    assert [section.title for section in sections] == [
        "What the transplants did",
        "Heatmaps: ffn, donor 0",
        "Heatmaps: attn, mean of the donors",
        "The map, cell by cell",
    ]
    assert isinstance(sections[0].blocks[0], Paragraph)
    assert len(blocks(sections, GridExplorer)) == 1 and len(blocks(sections, Figure)) == 6
    (explorer,) = blocks(sections, GridExplorer)
    told = ["donor prompt's own" in group.views[-1].note for group in explorer.groups]
    assert told == [True, False]
    first, second = blocks(sections, Table)
    assert "donor's own" in first.columns and "donor's own" not in second.columns
    drawn = heatmaps(keyed, vanilla)
    again = map_sections(keyed, vanilla, vanilla, pictures=drawn)
    assert [one.picture for one in blocks(again, Figure)] == list(drawn.values())


def test_sentence_and_table_count_right():
    """Pair 1 is right for i0, i1, i3; i2 by pair 0 only; unpatched i0 only; i4 is not judged."""
    right = [[0, 1, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1]]
    languages = ["de", "de", "eu", "eu", "eu"]
    maps = make_maps(right, layers=[(0, 0), (3, 0), (5, 2)], languages=languages, known=[1, 1, 1, 1, 0])
    vanilla = make_answers([1, 0, 0, 0, 1], languages=languages)
    said = map_sentence(maps, vanilla)
    for part in ("3 layer pairs, 4 instances", "25.0 % are right unpatched", "33.3 % with a pair on average"):
        assert part in said
    assert "75.0 % with the best pair in hindsight (donor layer 3, receiver layer 0)" in said
    assert "100.0 % with any of the 3 pairs" in said
    table = language_table(maps, vanilla, vanilla)
    assert table is not None
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert list(rows) == ["all", "de", "eu"]
    assert [rows[name]["instances"] for name in rows] == [4, 2, 2]
    assert rows["de"]["unpatched"] == Estimate(50.0, None, None, 2)
    assert rows["eu"]["the paper's fixed pair"].value == 50.0
    hindsight = next(name for name in table.columns if "hindsight" in name)
    assert rows["all"][hindsight] == "75.0 (3\u00a0→\u00a00)"
    assert [rows[name]["upper bound"].value for name in rows] == [100.0] * 3
    warned = words(map_sections({("ffn", 0): maps}, vanilla, None, pictures={}))
    assert "union over 3 tries" in warned and "no control" in warned
    assert "all 4, de 2, eu 2" in warned and "1 instance without a known answer" in warned


def test_a_control_run_says_so():
    maps, vanilla = world()
    warned = words(map_sections({("ffn", 0): maps}, vanilla, None, control="noise", pictures={}))
    assert "This is a chance control (noise)" in warned and "no control" not in warned


def test_nothing_known():
    maps, vanilla = world(known=[False] * 6)
    maps.label[:] = 3
    changed = replace(vanilla, label=np.array([3, 3, 3, 4, 4, 4]))
    sections = map_sections({("ffn", 0): maps}, changed, None, texts=None, pictures={})
    assert not blocks(sections, Table)
    assert "changes the unpatched answer in 50.0 % of instances" in words(sections)
    (explorer,) = blocks(sections, GridExplorer)
    assert all(view.values[0] is None for view in explorer.groups[0].views)
    assert "answer given" in explorer.quantities[1].name
    render_page(sections)


def test_data_of_the_interactive_map():
    """Read back from the page: layers, means, single instances, texts, in the right cells."""
    known = [True, True, True, True, False, True]
    maps, vanilla = world(known=known)
    maps.label[:] = np.arange(36).reshape(6, 6)
    maps.score[0, 3] = np.nan
    vanilla = replace(vanilla, label=maps.label[:, 0].copy())
    sections = map_sections(
        {("ffn", 0): maps}, vanilla, vanilla, texts=texts_of(maps, HOSTILE + " {}"), pictures={}
    )
    page = render_page(sections)
    assert page.count("<script") == 2 and page.count("</script") == 2
    data = embedded(sections)
    (group,) = data["groups"]
    assert (group["rows"], group["columns"], group["frame"]) == ([1, 3], [0, 2, 5], 0)
    assert [view["facet"] for view in group["views"][:3]] == [EVERYTHING, "de", "eu"]
    views = {view["name"]: view for view in group["views"]}
    everyone = views["mean of 6"]
    cells = [((1, 3).index(donor), (0, 2, 5).index(receiver)) for donor, receiver in LAYERS]
    shares = decode(everyone["values"][0], (2, 3))
    for number, cell in enumerate(cells):
        assert shares[cell] == pytest.approx(maps.correct[np.array(known), number].mean(), abs=1e-4)
    assert everyone["values"][0]["ref"] == pytest.approx(vanilla.correct[np.array(known)].mean())
    for place, name in enumerate(maps.instances):
        view = views[name]
        assert view["facet"] == maps.languages[place]
        assert (view["values"][0] is None) == (not known[place])
        found = [part and decode(part, (2, 3)) for part in view["values"]]
        codes = decode(view["codes"], (2, 3))
        for number, cell in enumerate(cells):
            if known[place]:
                assert found[0][cell] == maps.correct[place, number]
            for part, values in zip(found[1:], (maps.score, maps.margin, maps.entropy), strict=True):
                np.testing.assert_allclose(part[cell], values[place, number], atol=2e-4)
            assert view["texts"][round(codes[cell])] == f"{HOSTILE} {maps.label[place, number]}"
        assert view["values"][1]["ref"] == pytest.approx(float(vanilla.score[place]))
        said = "" if not known[place] else (", right" if vanilla.correct[place] else ", wrong")
        assert view["note"].startswith(f"Unpatched: “{HOSTILE} {maps.label[place, 0]}”{said}. The donor")


def test_labels_without_text():
    maps = make_maps([[True, False, True]], labels=[[7, 8, 9]])
    vanilla = make_answers([False], labels=[99])
    explorer = map_explorer({("ffn", 0): maps}, vanilla, None, texts={"i0": {9: "neun", 7: "sieben"}})
    view = explorer.groups[0].views[-1]
    assert view.codes is not None and view.codes.ravel().tolist() == [0, -1, 1]
    assert view.texts == ("sieben", "neun") and view.note == "Unpatched: wrong."
    bare = map_explorer({("ffn", 0): maps}, vanilla, None)
    assert bare.groups[0].views[-1].codes is None


def test_page_keeps_to_its_limit_with_every_language_in_turn():
    maps, vanilla = world(count=12, languages=("de", "de", "eu"))
    whole = map_explorer({("ffn", 0): maps, ("attn", 0): replace(maps, site="attn")}, vanilla, None)
    assert "All 12 instances" in whole.caption
    singles = [view for view in whole.groups[0].views if not view.name.endswith(("12", "8", "4"))]
    most = 2 * sum(view_bytes(view) for view in singles[:5])
    fewer = map_explorer(
        {("ffn", 0): maps, ("attn", 0): replace(maps, site="attn")}, vanilla, None, most_bytes=most
    )
    kept = [[view for view in group.views if view.name.startswith("i")] for group in fewer.groups]
    assert [view.name for view in kept[0]] == [view.name for view in kept[1]]
    facets = [view.facet for view in kept[0]]
    assert 2 <= len(facets) < 12 and facets.count("eu") >= len(facets) // 2
    assert f"{len(facets)} of 12 instances, dealt evenly over languages" in fewer.caption
    assert sum(view_bytes(view) for group in kept for view in group) <= most
    none = map_explorer({("ffn", 0): maps}, vanilla, None, most_bytes=0)
    assert "0 of 12" in none.caption and len(none.groups[0].views) == 3


@pytest.mark.parametrize("layers", [[(0, 0)], LAYERS])
def test_a_single_instance(layers):
    maps, vanilla = world(count=1, languages=("",), layers=layers)
    sections = map_sections({("ffn", 0): maps}, vanilla, vanilla, texts=texts_of(maps))
    data = embedded(sections)
    assert [view["name"] for view in data["groups"][0]["views"]] == ["mean of 1", "i0"]
    assert {view["facet"] for view in data["groups"][0]["views"]} == {EVERYTHING}


def test_an_instance_without_unpatched_answer():
    maps, vanilla = world()
    with pytest.raises(ConfigError, match="'i5' is not in the unpatched answers"):
        map_sections({("ffn", 0): maps}, vanilla.of(vanilla.instances[:5]), None)


def test_real_sweep_from_files_to_page(tiny: Callable[..., Any], tmp_path: Path) -> None:
    """A tiny model's maps of two sites and two donors, written, merged, read, reported: scores agree with the sweep."""
    model, tokenizer = tiny("qwen2"), tiny_world.byte_bpe_tokenizer()
    instances = [
        Instance(
            id=f"größe-{number}",
            donor=("Open the document and choose", "Öffnen Sie das Dokument"),
            receiver=text,
            options=(" Formatua", " papera"),
            answers=(number % 2,),
            language=language,
        )
        for number, (language, text) in enumerate(
            [("eu", "Ireki dokumentua"), ("ko", "안녕하세요"), ("eu", "eta aukeratu")]
        )
    ]
    settings = SweepSettings(
        sites=("ffn", "attn"), score="options", donor_layers=(2, 0), receiver_layers=(1, 2)
    )
    swept = []
    for number, instance in enumerate(instances):
        found = sweep_instance(model, tokenizer, encode_prompt(tokenizer, instance), settings)
        write_instance(tmp_path, number, found, instance, settings.sites, 0.0)
        swept.append(found)
    merge_instances(tmp_path, len(instances))
    keyed = {
        key: read_maps(tmp_path / "map.parquet", site=key[0], donor=key[1])
        for key in map_keys(tmp_path / "map.parquet")
    }
    vanilla = read_answers(tmp_path / "vanilla.parquet")
    donors = read_answers(tmp_path / "donors.parquet", donor=0)
    texts = {one.id: dict(enumerate(one.options)) for one in instances}
    data = embedded(map_sections(keyed, vanilla, donors, texts=texts, pictures={}))
    assert [group["name"] for group in data["groups"]] == [
        f"{site}, donor {donor}" for site in ("attn", "ffn") for donor in (0, 1)
    ]
    for group, (site, donor) in zip(data["groups"], keyed, strict=True):
        assert (group["rows"], group["columns"], group["frame"]) == ([0, 2], [1, 2], None)
        for instance, found in zip(instances, swept, strict=True):
            view = next(one for one in group["views"] if one["name"] == instance.id)
            assert view["values"][1]["ref"] == pytest.approx(float(found.vanilla.score[0]))
            scores, codes = decode(view["values"][1], (2, 2)), decode(view["codes"], (2, 2))
            pairs = found.pairs
            for row in range(len(pairs)):
                if (settings.sites[pairs.site[row]], int(pairs.donor[row])) != (site, donor):
                    continue
                cell = ([0, 2].index(pairs.donor_layer[row]), [1, 2].index(pairs.receiver_layer[row]))
                assert scores[cell] == pytest.approx(float(found.rows.score[row]), abs=1e-4)
                assert view["texts"][round(codes[cell])] == instance.options[found.rows.choice[row]]


class TestSelection:
    def made(self, controls=True):
        maps, vanilla = world(count=24, seed=1)
        maps, vanilla = replace(maps, known=np.ones(24, bool)), replace(vanilla, known=np.ones(24, bool))
        other = world(count=24, seed=2)[0]
        samples = Samples(maps.instances, np.random.default_rng(0).random((24, 5)) < 0.3)
        bound = compare_bound(maps, {"self": other, "samples": samples} if controls else {}, vanilla=vanilla)
        lines = selection_table(maps, vanilla, vanilla, task_kind="generation")
        return maps, samples, lines, bound

    def test_tables_and_curves(self):
        maps, samples, lines, bound = self.made()
        curves = {"layer pairs": union_curve(maps), "samples": independent_curve(samples, [1, 2, 4])}
        learned = learning_curve(maps, np.arange(maps.pairs), [1, 2])
        sections = selection_sections(lines, bound, curves, learning=learned)
        render_page(sections)
        controls, overall, *languages = blocks(sections, Table)
        assert [row[0] for row in controls.rows] == ["self", "samples"]
        assert [row[1] for row in controls.rows] == [6, 5]
        assert controls.rows[0][2].value == pytest.approx(100 * bound.bound.value)
        assert len(languages) == 2 and "24 instances" in overall.caption
        right = {row[0]: row[1].value for row in overall.rows}
        assert right["upper bound"] == pytest.approx(100 * maps.correct.any(axis=1).mean())
        labels = {row[0]: row[-1] for row in overall.rows}
        assert labels["majority"] == "none" and labels["best pair"] == "other instances'"
        assert labels["upper bound"] == "the instance's own"
        assert len(blocks(sections, Figure)) == 3
        plain = selection_sections(lines, bound, union_curve(maps))
        assert len(blocks(plain, Figure)) == 2

    def test_sentence_leaves_bounds_and_donors_out(self):
        _, _, lines, bound = self.made()
        said = words(selection_sections(lines, bound))
        assert "Without labels" in said and "upper bound does best" not in said
        usable = [
            line
            for line in lines
            if line.language == "all"
            and not line.uses_labels
            and line.method not in {"vanilla", "donor", "upper bound"}
        ]
        best = max(usable, key=lambda line: line.accuracy.value)
        assert f"Without labels, {best.method} does best: {100 * best.accuracy.value:.1f} %" in said

    def test_without_controls(self):
        _, _, lines, bound = self.made(controls=False)
        sections = selection_sections(lines, bound, None)
        assert "Controls were not run" in words(sections)
        assert not any("control" in table.columns for table in blocks(sections, Table))

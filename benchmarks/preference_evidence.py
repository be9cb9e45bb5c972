"""The evidence for cross-lingual optimization: objectives side by side, at equal data, on small models.

    python benchmarks/preference_evidence.py --out runs/preference --swahili DIRECTORY
        [--models smollm2-135m-instruct,gemma-3-270m] [--languages de,sw] [--sizes 400,1600,3200] [--seeds 3]
        [--maximum-characters 400] [--page docs/results/preference_evidence.md]
        [--kept docs/results/preference_cells]

English to German from LibreOffice Help (a heading and the text under it) and to Swahili from parallel news (a line and
the next; DIRECTORY holds train.en and train.sw, which this project does not carry), made into paired items by
`lingraft clo pairs`, compared by `lingraft clo compare`. Finished trainings are kept in --out: the same command
continues a killed run, and other --arms, --sizes and --seeds add to what is there. --kept names a directory with the
finished trainings of each model and language in one file, to go on from and to write (see kept_results.py). A page
named P.md gets a picture P.png.
"""

import argparse
import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from kept_results import pack, unpack

from lingraft.cli.app import main as lingraft
from lingraft.reports.drawing import draw_light

ARMS = "base,sft,sft-both,sft-both+dpo,clo-both,clo,clo@full"
NAMES = {"de": "German", "sw": "Swahili"}
TEMPLATES = {"smollm2-135m-instruct": "chat", "gemma-3-270m": "plain"}
HEAD = """\
Small models on two CPU cores: a sign of direction at best. German items are headings of LibreOffice Help and the text
under them; Swahili items are a line of news and the next one, so their answers are continuations. Every line of a table
had the same items in the same order, once; one learning rate for all, not tuned for any. Bits per byte are those of
held-out answers after their prompts, lower is better. Answers in the language: share of greedy answers with no line in
another language; those too short to judge are skipped. Intervals: 95% over held-out items; they do not hold the chance
of another training."""


def command(*arguments: object) -> None:
    """Run the command line here; stop where it fails."""
    if status := lingraft(list(map(str, arguments))):
        raise SystemExit(status)


def make_items(language: str, options: argparse.Namespace) -> Path:
    """Make paired items of a language; return their directory."""
    place: Path = options.out / f"pairs-{language}"
    given: list[object] = ["--aligned", f"libreoffice-help-{language}"]
    if language == "sw":
        given = [
            "--parallel",
            options.swahili / "train.en",
            options.swahili / "train.sw",
            "--target-language",
            "sw",
        ]
    sizes = ("--held-out", options.held_out, "--maximum-characters", options.maximum_characters)
    command("clo", "pairs", *given, *sizes, "--out", place)
    return place


def compared(model: str, language: str, options: argparse.Namespace) -> dict[str, Any]:
    """Compare the arms on one model and language; return the result's metrics."""
    items = make_items(language, options)
    place = options.out / f"{model}-{language}"
    kept = None if options.kept is None else options.kept / f"{model}-{language}.jsonl"
    if kept is not None and kept.exists():
        unpack(kept, place)
    command(
        *("clo", "compare", "--model", model, "--accept-terms", "--template", TEMPLATES.get(model, "chat")),
        *("--pairs", items / "pairs.jsonl", "--held-out", items / "heldout.jsonl", "--out", place),
        *("--arms", options.arms, "--sizes", options.sizes, "--seeds", options.seeds),
        *(
            "--batch-size",
            16,
            "--gradient-accumulation",
            8,
            "--learning-rate",
            options.rate,
            "--warmup-steps",
            5,
            "--max-length",
            512,
        ),
        *("--fidelity-prompts", options.fidelity_prompts, "--max-new-tokens", 32),
    )
    if kept is not None:
        pack(place, kept)
    found: dict[str, Any] = json.loads((place / "result.json").read_text(encoding="utf-8"))["metrics"]
    return found


def told(
    value: Mapping[str, Any] | None, scale: float = 1.0, digits: int = 3, *, signed: bool = False
) -> str:
    """A value with its interval."""
    if value is None:
        return "–"
    form = f"{'+' if signed else ''}.{digits}f"
    text = format(scale * value["value"], form)
    if value["low"] is None:
        return text
    return f"{text} ({format(scale * value['low'], form)} to {format(scale * value['high'], form)})"


def page_lines(
    found: Mapping[tuple[str, str], Mapping[str, Any]], options: argparse.Namespace
) -> Iterator[str]:
    """The results page."""
    yield from ("# Objectives compared at equal data", "", "```sh")
    yield "python benchmarks/preference_evidence.py --out runs/preference --swahili DIRECTORY \\"
    models, languages = (list(dict.fromkeys(key[place] for key in found)) for place in (0, 1))
    yield f"    --models {','.join(models)} --languages {','.join(languages)} --sizes {options.sizes} \\"
    yield f"    --seeds {options.seeds} --arms {options.arms} --rate {options.rate:g} --held-out {options.held_out} \\"
    yield f"    --fidelity-prompts {options.fidelity_prompts} --maximum-characters {options.maximum_characters}"
    yield from ("```", "", *HEAD.splitlines(), "", f"Written on {platform.machine()}.", "")
    yield from (f"![Each measure by number of items]({options.page.with_suffix('.png').name})", "")
    if options.seeds < 3 or len(options.sizes.split(",")) < 3:
        yield from ("Begun: the full grid has three sizes, three seeds, both languages and both models.", "")
    for (model, language), metrics in found.items():
        yield from (f"## {model}, English to {NAMES[language]}", "")
        yield (
            f"| trained by | items | seeds | answers in {NAMES[language]}, % | skipped |"
            f" {NAMES[language]}, bits per byte | English, bits per byte | answers in English, % | seconds |"
        )
        yield "|" + "---|" * 9
        for arm in metrics["arms"]:
            cells = [arm["arm"], f"{arm['items']:,}", str(arm["seeds"]), told(arm["target_fidelity"], 100, 0)]
            cells += [str(arm["skipped"]), told(arm["target_bits"]), told(arm["english_bits"])]
            cells += [told(arm["english_fidelity"], 100, 0), f"{arm['seconds']:,.0f}"]
            yield f"| {' | '.join(cells)} |"
        yield from (
            "",
            "`clo` less each of the others, bits per byte on the same held-out answers (below 0: `clo` is better):",
            "",
        )
        yield f"| less | items | {NAMES[language]} | English |"
        yield "|---|---|---|---|"
        pairs: dict[tuple[str, int], dict[str, Any]] = {}
        for row in metrics["differences"]:
            pairs.setdefault((row["clo less"], row["items"]), {})[row["side"]] = row
        for (arm, items), sides in pairs.items():
            cells = [
                arm,
                f"{items:,}",
                *(told(sides[side], 1, 4, signed=True) for side in ("target", "english")),
            ]
            yield f"| {' | '.join(cells)} |"
        yield ""


MEASURES = (
    ("target_bits", "{language}, bits per byte"),
    ("english_bits", "English, bits per byte"),
    ("target_fidelity", "answers in {language}"),
)


def picture(found: Mapping[tuple[str, str], Mapping[str, Any]]) -> bytes:
    """Data efficiency: a row a model and language, a panel a measure, a line an arm; bars are 95% intervals."""
    arms = list(dict.fromkeys(arm["arm"] for metrics in found.values() for arm in metrics["arms"]))
    colours = {arm: f"C{place}" for place, arm in enumerate(arm for arm in arms if arm != "base")}

    def paint(figure: Any, _dark: bool) -> None:
        panels = figure.subplots(len(found), len(MEASURES), squeeze=False)
        for row, ((model, language), metrics) in zip(panels, found.items(), strict=True):
            for axes, (measure, label) in zip(row, MEASURES, strict=True):
                for arm, colour in colours.items():
                    points = [
                        line for line in metrics["arms"] if line["arm"] in {"base", arm} and line[measure]
                    ]
                    errorbar(axes, points, measure, color=colour, label=arm)
                axes.set(xlabel="items", ylabel=label.format(language=NAMES[language]))
                axes.set_xscale("symlog", base=2, linthresh=200)
                axes.set_xticks(sorted({line["items"] for line in metrics["arms"]}), minor=False)
                axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
                axes.grid(axis="y")
            row[1].set_title(model)
        figure.legend(
            *panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=len(colours)
        )

    return draw_light(paint, (10.0, 3.0 * len(found) + 0.4))


def errorbar(axes: Any, points: Sequence[Mapping[str, Any]], measure: str, **style: Any) -> None:
    """A line through an arm's points, from the unchanged model at 0 items."""
    values = [point[measure]["value"] for point in points]
    ends = [
        [
            abs(value - (value if (end := point[measure][side]) is None else end))
            for point, value in zip(points, values, strict=True)
        ]
        for side in ("low", "high")
    ]
    axes.errorbar(
        [point["items"] for point in points], values, yerr=ends, marker="o", markersize=3, capsize=2, **style
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--swahili", type=Path, default=Path("../shared/data/swahili"))
    parser.add_argument("--models", default="smollm2-135m-instruct,gemma-3-270m")
    parser.add_argument("--languages", default="de,sw")
    parser.add_argument("--sizes", default="400,1600,3200")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", default=ARMS)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--fidelity-prompts", type=int, default=32)
    parser.add_argument("--maximum-characters", type=int, default=400)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--kept", type=Path)
    options = parser.parse_args()
    found = {}
    for model in options.models.split(","):
        for language in options.languages.split(","):
            found[model, language] = compared(model, language, options)
            if options.page is not None:
                options.page.with_suffix(".png").write_bytes(picture(found))
                options.page.write_text("\n".join(page_lines(found, options)), encoding="utf-8")


if __name__ == "__main__":
    main()

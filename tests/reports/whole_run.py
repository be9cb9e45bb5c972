"""A recipe run with real blocks and tiny data, as its stages leave it: no model, no training."""

import numpy as np

from lingraft.recipes.showing.finished import RecipeRun, StageRun, write_run
from lingraft.reports.figures import Curve, loss_curves
from lingraft.reports.interactive import GridExplorer, GridGroup, GridValues, GridView, Quantity
from lingraft.reports.page import Command, Figure, Paragraph, SampleRow, Samples, Section, Table
from lingraft.reports.result import InputRevision, RunResult, collect_provenance, write_result
from lingraft.reports.tokengrid import TokenCell, TokenGrid

LONG = (
    "Zergatik da itsasoa gazia? Ibaiek lurretik gatza eramaten dute itsasora, eta ura lurruntzen denean. " * 6
)
ARABIC = "لماذا البحر مالح؟"


def estimate(value, reach, count=40):
    return {"value": value, "low": value - reach, "high": value + reach, "observations": count}


def scores(target, english, tokens, fidelity):
    return {
        "target": {"bits_per_byte": target, "interval": [target - 0.1, target + 0.1], "tokens": tokens},
        "english": {"bits_per_byte": english, "interval": [english - 0.05, english + 0.05], "tokens": 12034},
        "fidelity": {"line_pass_rate": estimate(fidelity, 0.08), "skipped": 2},
    }


def evaluate_metrics(target=1.672, english=1.151):
    return {
        "models": {
            "source model": scores(2.513, 1.043, 40211, 0.125),
            "adapted": scores(target, english, 25087, 0.875),
        },
        "differences": {
            "adapted": {
                "target": estimate(target - 2.513, 0.06),
                "english": estimate(english - 1.043, 0.02),
                "fidelity": estimate(0.75, 0.1),
            }
        },
        "baseline": "source model",
    }


def explorer():
    generator = np.random.default_rng(0)
    right = generator.random((6, 6))
    views = [
        GridView(
            name,
            "all",
            [GridValues(right, 0.4), GridValues((right > 0.5).astype(float), verdict=True)],
            "Receiver prompts in Basque, donor prompts in English.",
            marks={"best": (2, 3)},
            codes=np.arange(36).reshape(6, 6) % 3,
            texts=("bai", "größe", ARABIC),
        )
        for name in ("attention", "feed-forward")
    ]
    layers = list(range(0, 12, 2))
    return GridExplorer(
        caption="Share of right answers for every pair of layers.",
        label="Right answers by donor and receiver layer",
        row_label="donor layer",
        column_label="receiver layer",
        quantities=[Quantity("right", percent=True), Quantity("verdict")],
        groups=[GridGroup("eu", layers, layers, views, framed_column=0, frame_label="TargetFirst")],
        view_label="site",
        code_label="answer",
        reference_label="unchanged",
    )


def token_grid():
    words = ["etxe", "house", "hus", "casa"]
    columns = ["Basque", ":", "etxea", "English", ":"]
    cells = [
        [
            TokenCell(
                [(words[(row + place) % 4], 0.98 - 0.2 * ((row + place) % 4)), ("the", 0.1)], row % 4 - 1
            )
            for place in range(len(columns))
        ]
        for row in range(8)
    ]
    return TokenGrid(
        title="etxea → house",
        caption="Likeliest next token by layer and by token read: etxea → house",
        columns=columns,
        rows=[str(layer) for layer in reversed(range(8))],
        cells=cells,
        kinds=("token of the source word", "token of the target word", "given pivot"),
        marked=(3, 4),
        marked_name="columns after which a target token is to come",
        unfolded=True,
    )


def samples():
    rows = [
        SampleRow("Zergatik da itsasoa gazia?", [LONG, "Because of salt."], "Question 1", language="eu"),
        SampleRow(ARABIC, [ARABIC * 3, ""], language="ar"),
        *(SampleRow(f"Galdera {number}", ["bai", "ez"], language="eu") for number in range(6)),
    ]
    return Samples("Greedy answers of 8 of 40 prompts, 64 tokens at most", ["adapted", "source model"], rows)


def sections(kind, settings, directory, result):
    """What a stage of this kind would say."""
    if kind == "vocabulary":
        curve = loss_curves(
            [Curve("adapted", [0, 50], [5.9, 2.3]), Curve("unchanged", [0, 50], [4.2, 2.0], reference=True)],
            x_label="step",
            y_label="bits per byte",
        )
        rows = [("the model's", 49152, 3.418), ("the new one", 24576, 2.132)]
        wide = Table(
            "A wide table scrolls by itself", [f"column {n}" for n in range(14)], [list(range(14))] * 2
        )
        return [
            Section("What came out", [Paragraph("The vocabulary went from 49,152 to 24,576 tokens.")]),
            Section(
                "The tokenizer",
                [
                    Table("Both tokenizers", ("tokenizer", "tokens", "tokens a word"), rows, best=2),
                    wide,
                    Figure("Loss by step.", "Two falling curves, 2.3 and 2.0 at the end.", curve),
                ],
            ),
        ]
    if kind == "diagnose":
        return [Section("Layer by token", [token_grid()]), Section("Layer to layer", [explorer()])]
    return [
        Section("What came out", [Paragraph("English became worse.", warning=True)]),
        Section("Samples", [samples(), Command("lingraft eval fidelity --model adapted")]),
    ]


METRICS = {
    "diagnose": {"word_score": estimate(0.31, 0.04), "loss": list(range(100))},
    "vocabulary": {"tokens_per_word": {"before": 3.418, "after": 2.132}, "flops": 3.1e14, "tokens": 512000},
}


def make_run(
    directory, *, target=1.672, english=1.151, language="eu", stages=None, seed=0, title="Basque & <b>"
):
    """Write a run into `directory` and return it."""
    done = []
    names = stages or (("look", "diagnose"), ("graft", "vocabulary"), ("measure", "evaluate"))
    for name, kind in names:
        place = directory / "stages" / f"{name}-0123abcd"
        place.mkdir(parents=True)
        result = RunResult(
            kind=f"stage {kind}",
            metrics=evaluate_metrics(target, english) if kind == "evaluate" else METRICS[kind],
            counts={"tokens": {"copied": 4203, "made": 5034}} if kind == "vocabulary" else {},
            inputs=(
                InputRevision(
                    role="model", reference="smollm2-135m-instruct", revision="sha256:0123456789abcdef"
                ),
                InputRevision(role="corpus", reference="my texts/größe.txt", revision="sha256:ff"),
            ),
            seeds={"seed": seed},
            files={"model": "model"} if kind == "vocabulary" else {},
            provenance=collect_provenance(command=f"lingraft {kind}"),
        )
        write_result(place, result)
        done.append(
            StageRun(
                name=name,
                kind=kind,
                about={
                    "diagnose": "look at the model",
                    "vocabulary": "give it the language's vocabulary",
                }.get(kind, "measure before and after"),
                key=f"{name}-key-{target if kind == 'evaluate' else ''}",
                directory=place,
                result=result,
                sections=sections(kind, {}, place, result),
                seconds=130.0,
                settings={"seed": seed},
            )
        )
    recipe = f"title: {title!r}\nlanguage: {language}\nmodel: smollm2-135m-instruct\nstages:\n"
    recipe += "".join(f"  {name}:\n    use: {kind}\n    seed: {seed}\n" for name, kind in names)
    run = RecipeRun(
        title=title,
        recipe_text=recipe,
        command="lingraft run basque.yaml --out 'runs/basque one'",
        directory=directory,
        language=language,
        model="smollm2-135m-instruct",
        stages=done,
        provenance=collect_provenance(command="lingraft run basque.yaml --out 'runs/basque one'"),
    )
    (directory / "recipe.yaml").write_text(recipe, encoding="utf-8")
    write_run(run)
    return run

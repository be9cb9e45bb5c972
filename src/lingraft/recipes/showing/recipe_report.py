"""The one page of a recipe run: what went in, what came out, every stage, and where each number comes from."""

from collections.abc import Mapping
from pathlib import Path

from lingraft.preference.languages import language_name
from lingraft.recipes.showing.finished import RecipeRun, StageRun, relative
from lingraft.recipes.showing.inputs import run_inputs
from lingraft.recipes.showing.metric_keys import number_keys, sourced
from lingraft.recipes.showing.outcome import Measure, Outcome, outcome_of
from lingraft.reports.figures import dot_chart
from lingraft.reports.intervals import Estimate
from lingraft.reports.page import (
    Block,
    Card,
    Cards,
    Cell,
    Command,
    Figure,
    Paragraph,
    Section,
    Table,
    format_cell,
    write_page,
)

REPORT_FILE = "report.html"
MOST_CARDS = 6
LEADING = "What came out"
"""Heading of the first section of many stages: in this page it stands right under the stage's own."""


def write_recipe_report(run: RecipeRun, out: Path) -> Path:
    """Write the page of a run.

    Args:
        run: The run.
        out: Directory to write `report.html` into, usually the run's.

    Returns:
        The path written.

    Raises:
        OutputError: The disk is full, or the directory cannot be written.
    """
    outcome = outcome_of(run)
    sections = [_came_out(run, outcome), _went_in(run), _times(run)]
    for number, stage in enumerate(run.stages, 1):
        sections += _stage_sections(run, stage, number)
    sections += [_sources(run, outcome), _repeat(run)]
    return write_page(out / REPORT_FILE, sections, title=run.title or out.name, summary=summary(run, outcome))


def summary(run: RecipeRun, outcome: Outcome | None) -> str:
    """Say in a sentence or two what came out.

    Args:
        run: The run.
        outcome: What its last `evaluate` stage found, or None.

    Returns:
        Text.
    """
    begun = f"{run.model}, {language_name(run.language) if run.language else 'no language named'}: "
    begun += f"{_stages_text(len(run.stages))} in {duration(sum(stage.seconds for stage in run.stages))}."
    if outcome is None:
        return f"{begun} No stage measured models before and after."
    told = [_sentence(measure) for measure in outcome.measures[:3] if measure.before is not None]
    return " ".join([begun, *told])


def duration(seconds: float) -> str:
    """Return a time for people: `48 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    if whole < 5400:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def source_of(run: RecipeRun, stage: StageRun, key: str) -> str:
    """Say where a number is kept: file and key."""
    return f"{run.place(stage)}/result.json: {key}"


def _stages_text(number: int) -> str:
    return "1 stage" if number == 1 else f"{number} stages"


def _sentence(measure: Measure) -> str:
    before, after = (
        format_cell(Estimate(one.value), measure.digits)
        for one in (measure.before or measure.after, measure.after)
    )
    verdict = measure.verdict()
    return f"{measure.label}: {before} before, {after} after{f' ({verdict})' if verdict else ''}."


def _came_out(run: RecipeRun, outcome: Outcome | None) -> Section:
    if outcome is None:
        text = (
            "This recipe has no evaluate stage, so no models were measured before and after on the same"
            " text; what each stage found stands in its own part."
        )
        return Section("What came out", [Paragraph(text)])
    cards = [_card(run, outcome, measure) for measure in outcome.measures[:MOST_CARDS]]
    blocks: list[Block] = [Cards("The main numbers, before and after", cards)]
    worse = [one for one in outcome.measures if one.verdict() == "worse"]
    blocks += [Paragraph(f"Became worse: {_sentence(one)}", warning=True) for one in worse]
    rows: list[tuple[Cell, ...]] = [
        (model, *(_whole(measure.values.get(model), measure) for measure in outcome.measures[:MOST_CARDS]))
        for model in outcome.models
    ]
    columns = ("model", *(measure.label for measure in outcome.measures[:MOST_CARDS]))
    source = source_of(run, outcome.stage, "metrics.models")
    caption = "Every model that was measured; 95 % intervals"
    blocks.append(Table(caption, columns, rows, source=source))
    series = {
        measure.label: {model: measure.values[model] for model in outcome.models if model in measure.values}
        for measure in outcome.measures
        if measure.name.endswith("bits_per_byte")
    }
    if series:
        blocks.append(
            Figure(
                "Bits per UTF-8 byte of held-out text, 95 % intervals; lower is better.",
                " ".join(_sentence(one) for one in outcome.measures if one.label in series),
                dot_chart(series, x_label="bits per byte (lower is better)"),
                source,
            )
        )
    return Section("What came out", blocks)


def _card(run: RecipeRun, outcome: Outcome, measure: Measure) -> Card:
    verdict = measure.verdict()
    note = verdict[:1].upper() + verdict[1:]
    if measure.difference is not None:
        sign = "+" if measure.difference.value > 0 else ""
        note += f": {sign}{format_cell(measure.difference, measure.digits)}"
    wanted = {"lower": " (lower is better)", "higher": " (higher is better)", "": ""}[measure.better]
    return Card(
        label=f"{measure.label}{wanted}",
        after=_whole(measure.after, measure),
        before=_whole(measure.before, measure),
        note=note,
        source=source_of(run, outcome.stage, list(measure.keys.values())[-1]),
        digits=measure.digits,
    )


def _whole(estimate: Estimate | None, measure: Measure) -> Cell:
    """Return what is counted as a whole number."""
    if estimate is None or measure.digits or estimate.low is not None:
        return estimate
    return round(estimate.value)


def _went_in(run: RecipeRun) -> Section:
    inputs = run_inputs(run)
    head = (
        f"Model: {run.model}. Target language: {language_name(run.language) or 'not named'} ({run.language})."
    )
    blocks: list[Block] = [Paragraph(head)]
    if inputs:
        rows = [(one.reference, one.role, one.stages, one.licence, one.revision) for one in inputs]
        columns = ("what", "role", "read by", "licence", "revision")
        blocks.append(Table("Models and texts that were read, and what pins them", columns, rows))
        blocks += [Paragraph(f"{one.reference} comes under {one.terms}.") for one in inputs if one.terms]
    blocks.append(Command(run.recipe_text, title="The recipe, with every default filled in"))
    return Section("What went in", blocks)


def _times(run: RecipeRun) -> Section:
    total = sum(stage.seconds for stage in run.stages)
    rows: list[tuple[Cell, ...]] = []
    for stage in run.stages:
        metrics = stage.result.metrics
        share = 100 * stage.seconds / total if total else None
        flops, tokens = (metrics.get(name) for name in ("flops", "tokens"))
        rows.append(
            (
                stage.name,
                stage.about,
                duration(stage.seconds).replace(" ", "\u00a0"),
                share,
                tokens if isinstance(tokens, int) else None,
                flops / 1e12 if isinstance(flops, int | float) else None,
            )
        )
    columns = ("stage", "what it does", "time", "% of the time", "tokens trained on", "TFLOP (estimated)")
    keep = [place for place in range(len(columns)) if any(row[place] is not None for row in rows)]
    table = Table(
        f"Times and costs, {duration(total)} in all",
        [columns[place] for place in keep],
        [[row[place] for place in keep] for row in rows],
        digits=1,
        source="run.json: stages[].seconds; tokens and flops: result.json of the stage",
    )
    text = "A stage that was kept from an earlier start counts with the time it took then."
    return Section("Stages, times and costs", [table, Paragraph(text)])


def _stage_sections(run: RecipeRun, stage: StageRun, number: int) -> list[Section]:
    group = f"{number}. {stage.name}: {stage.about}" if stage.about else f"{number}. {stage.name}"
    place, numbers = run.place(stage), number_keys(stage.result)
    found = [sourced(section, place, numbers, group) for section in stage.sections]
    if found and found[0].title in {LEADING, ""}:
        found[0] = Section("", found[0].blocks, group)
    return [*found, _stage_numbers(run, stage, group, numbers)]


def _stage_numbers(run: RecipeRun, stage: StageRun, group: str, numbers: Mapping[str, Cell]) -> Section:
    """List all numbers of a stage by key, its files, and what names its content."""
    place = run.place(stage)
    rows = [(key, value) for key, value in numbers.items() if isinstance(value, int | float | Estimate)]
    blocks: list[Block] = [
        Paragraph(
            f"Kind {stage.kind}, {duration(stage.seconds)}, on {stage.result.provenance.device}. Everything that it"
            f" left is in {place}, a name that stands for all that went in."
        )
    ]
    if rows:
        caption = f"All {len(rows)} numbers of {place}/result.json by key"
        blocks.append(Table(caption, ("key", "value"), rows, folded=True))
    files = [(name, f"{place}/{file}") for name, file in stage.result.files.items()]
    if files:
        blocks.append(Table("Files that it left", ("what", "file"), files, folded=True))
    return Section("Numbers and files", blocks, group)


def _sources(run: RecipeRun, outcome: Outcome | None) -> Section:
    rows: list[tuple[Cell, ...]] = []
    if outcome is not None:
        place = f"{run.place(outcome.stage)}/result.json"
        for measure in outcome.measures:
            for model, value in measure.values.items():
                number = _unbroken(value, measure)
                rows.append(
                    (f"{measure.label}, {model}", number, outcome.stage.name, place, measure.keys[model])
                )
            if measure.difference is not None:
                number = _unbroken(measure.difference, measure)
                label = f"{measure.label}, last less first"
                rows.append((label, number, outcome.stage.name, place, measure.difference_key))
    rows += [
        (f"time of {stage.name}", duration(stage.seconds), stage.name, "run.json", f"stages[{place}].seconds")
        for place, stage in enumerate(run.stages)
    ]
    text = (
        "Numbers of a stage's own part name their file under each table and picture; every number of a stage is"
        " listed by its key at the end of its part."
    )
    table = Table("Every headline number", ("number", "value", "stage", "file", "key in the file"), rows)
    return Section("Where each number comes from", [Paragraph(text), table])


def _unbroken(value: Estimate, measure: Measure) -> str:
    """Return a number whose interval keeps to one line."""
    return format_cell(value, measure.digits).replace(" to ", "\u00a0to\u00a0")


def _repeat(run: RecipeRun) -> Section:
    origin = run.provenance
    rows: list[tuple[str, str]] = [
        ("lingraft", origin.lingraft),
        ("Python", origin.python),
        *origin.libraries.items(),
        ("platform", origin.platform),
        ("device", origin.device),
        ("finished", origin.finished),
    ]
    seeds = {(stage.name, name): seed for stage in run.stages for name, seed in stage.result.seeds.items()}
    rows += [(f"seed of {stage}: {name}", str(seed)) for (stage, name), seed in seeds.items()]
    blocks: list[Block] = [
        Paragraph("The command that made all of this; started again, it continues where it stopped:"),
        Command(run.command),
        Paragraph("This page alone, written anew from what the stages left:"),
        Command(f"lingraft report show {relative(run.directory, Path.cwd())}"),
        Table("What it ran on", ("item", "value"), rows),
    ]
    return Section("How to repeat this", blocks)

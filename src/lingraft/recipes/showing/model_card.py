"""The model card of what a recipe made: README.md with the front matter that the Hub reads.

It goes to others with the model, so of paths of this machine it has the last part alone.
"""

from pathlib import Path
from typing import Any

import yaml

from lingraft.files import write_text
from lingraft.preference.languages import language_name
from lingraft.recipes.showing.finished import RecipeRun
from lingraft.recipes.showing.inputs import UNKNOWN, find_catalogued, hub_name, run_inputs, told_reference
from lingraft.recipes.showing.outcome import Measure, Outcome, outcome_of
from lingraft.recipes.showing.recipe_report import duration
from lingraft.reports.intervals import Estimate
from lingraft.reports.local_paths import command_names, path_name
from lingraft.reports.page import format_cell

HUB_LICENCES = {"Apache-2.0": "apache-2.0", "MIT": "mit", "Gemma Terms of Use": "gemma"}
"""Licences of catalogued models by the identifiers that the Hub has for them."""
KIND_TAGS = {
    "vocabulary": "vocabulary-transfer",
    "pretrain": "continued-pretraining",
    "preference": "cross-lingual-optimization",
    "merge": "merge",
}
"""Kinds of stages that change a model, by tag."""


def write_model_card(run: RecipeRun, directory: Path) -> Path:
    """Write the card beside a model; nothing is loaded.

    Args:
        run: The run that made the model.
        directory: Of the checkpoint.

    Returns:
        The path of README.md.

    Raises:
        OutputError: The disk is full, or the directory cannot be written.
    """
    path = directory / "README.md"
    write_text(path, model_card(run))
    return path


def model_card(run: RecipeRun) -> str:
    """Return the card's text.

    Args:
        run: The run that made the model.

    Returns:
        YAML front matter and Markdown.
    """
    front = yaml.safe_dump(_front_matter(run), allow_unicode=True, sort_keys=False, width=100)
    outcome = outcome_of(run)
    name = language_name(run.language) or "another language"
    model = _told(run.model)
    parts = [
        f"---\n{front}---\n",
        f"# {_line(run.title.replace(run.model, model))}\n",
        f"`{model}` adapted to {name} by lingraft {run.provenance.lingraft}: "
        f"{len(run.stages)} stages in {duration(sum(stage.seconds for stage in run.stages))}"
        f" on {run.provenance.device}.\n",
        "## What was done\n",
        *(_stage_lines(run)),
        "\n## What came out\n",
        *_outcome_lines(outcome),
        "\n## Limits\n",
        *_limits(run, outcome),
        "\n## What it was made from\n",
        *_input_lines(run),
        "\n## How to repeat it\n",
        _fenced(command_names(run.command), "sh"),
        "with this recipe (`recipe.yaml`); of local paths, the last part is shown:\n",
        _fenced(_recipe_names(run.recipe_text), "yaml"),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _front_matter(run: RecipeRun) -> dict[str, Any]:
    # A directory wins over a hub id of the same form.
    base = hub_name(run.model) if _told(run.model) == run.model else ""
    asset = find_catalogued(run.model)
    licence = HUB_LICENCES.get(asset.licence) if asset is not None else None
    languages = [code for code in dict.fromkeys((run.language, "en")) if code]
    tags = dict.fromkeys(KIND_TAGS[stage.kind] for stage in run.stages if stage.kind in KIND_TAGS)
    return {
        "language": languages,
        **({"license": licence} if licence else {}),
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        **({"base_model": base, "base_model_relation": "finetune"} if base else {}),
        "tags": ["lingraft", "language-adaptation", *tags],
    }


def _stage_lines(run: RecipeRun) -> list[str]:
    return [
        f"{number}. **{stage.name}** (`{stage.kind}`, {duration(stage.seconds)})"
        + (f": {_line(stage.about)}" if stage.about else "")
        for number, stage in enumerate(run.stages, 1)
    ]


def _outcome_lines(outcome: Outcome | None) -> list[str]:
    if outcome is None:
        return ["It was not measured: the recipe has no `evaluate` stage."]
    models = [_cell(_told(model)) for model in outcome.models]
    rows = [
        f"| {_cell(measure.label)} | "
        + " | ".join(_number(measure, measure.values.get(model)) for model in outcome.models)
        + f" | {_change(measure)} |"
        for measure in outcome.measures
    ]
    return [
        "Measured on held-out text; 95 % intervals in brackets. Bits per byte: lower is better.\n",
        f"| | {' | '.join(models)} | change, first to last |",
        "|---" * (len(models) + 2) + "|",
        *rows,
    ]


def _number(measure: Measure, value: Estimate | None) -> str:
    return "–" if value is None else format_cell(value, measure.digits)


def _change(measure: Measure) -> str:
    if measure.difference is None:
        return measure.verdict()
    sign = "+" if measure.difference.value > 0 else ""
    told = f"{sign}{format_cell(measure.difference, measure.digits)}"
    verdict = measure.verdict()
    return f"{told}, {verdict}" if verdict else told


def _limits(run: RecipeRun, outcome: Outcome | None) -> list[str]:
    lines = [
        "- Bits per byte say how well text is predicted, not how good, true or safe answers are.",
        "- What the model it was made from does wrong, it may do as well; nothing was done about safety.",
    ]
    if outcome is None:
        lines.insert(0, "- Nobody measured whether it is better than what it was made from.")
    else:
        lines += [
            f"- Became worse: {measure.label} ({format_cell(measure.before, measure.digits)} to"
            f" {format_cell(measure.after, measure.digits)})."
            for measure in outcome.measures
            if measure.verdict() == "worse"
        ]
        place = run.place(outcome.stage)
        lines.append(f"- The numbers are those of the run's own held-out text (`{place}/result.json`).")
    return lines


def _input_lines(run: RecipeRun) -> list[str]:
    inputs = run_inputs(run)
    if not inputs:
        return ["The stages name no inputs."]
    lines = [
        "| what | role | licence | revision |",
        "|---|---|---|---|",
        *(
            f"| `{_cell(_told(one.reference))}` | {_cell(one.role)} | {_cell(one.licence)} | `{_cell(one.revision)}` |"
            for one in inputs
        ),
        "\nThe licences of all of them apply to this model.",
    ]
    if any(one.licence == UNKNOWN for one in inputs):
        lines.append(f'"{UNKNOWN}": ask where it comes from before you publish this model.')
    lines += [f"\n`{_told(one.reference)}` comes under {one.terms}." for one in inputs if one.terms]
    return lines


def _recipe_names(text: str) -> str:
    """Return a kept recipe, every path in it told by its last part."""
    told = _each_told(yaml.safe_load(text))
    return yaml.safe_dump(told, allow_unicode=True, sort_keys=False, width=100)


def _each_told(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _each_told(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_each_told(one) for one in value]
    return _told(value) if isinstance(value, str) else value


def _told(reference: str) -> str:
    """Return what others know a reference by: a file of an asset as recipes name it, a path by its last part."""
    return path_name(told_reference(reference))


def _fenced(text: str, language: str) -> str:
    """Set text off; the fence is longer than any in the text."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}\n"


def _line(text: str) -> str:
    """Return text on one line, in which nothing begins an HTML element."""
    return " ".join(text.split()).replace("<", "&lt;")


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|")

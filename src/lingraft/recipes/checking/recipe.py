"""Check a recipe whole before anything runs: keys, types, references, files, order; every fault at once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from lingraft.recipes.checking.changes import TOP, apply_changes
from lingraft.recipes.checking.faults import (
    Fault,
    RecipeError,
    settings_faults,
    shown,
    unknown_key,
    yes_for_numbers,
)
from lingraft.recipes.checking.filling import Filled, Outputs, fill_references, reference_fault
from lingraft.recipes.checking.languages import judging_faults, language_faults
from lingraft.recipes.checking.lengths import length_faults
from lingraft.recipes.checking.machine import machine_faults
from lingraft.recipes.checking.references import RECIPE, STAGE, each_text
from lingraft.recipes.checking.schema import DATA_ROLES, Recipe, RecipeData, ScaleSettings
from lingraft.recipes.checking.yaml_lines import Document, Keys, Lines
from lingraft.recipes.stages.contract import Role, StageKind, StageSettings
from lingraft.recipes.stages.kinds import STAGES

_NESTED: Mapping[str, type[BaseModel]] = {"data": RecipeData, "scale": ScaleSettings}


@dataclass(frozen=True, slots=True)
class CheckedStage:
    """A stage whose settings are valid.

    Attributes:
        name: Its name.
        kind_name: Name of its kind.
        kind: The kind.
        settings: As given, with defaults.
        filled: Its references: field to value, with defaults filled in.
    """

    name: str
    kind_name: str
    kind: StageKind
    settings: StageSettings
    filled: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CheckedRecipe:
    """A recipe without faults.

    Attributes:
        recipe: The recipe.
        stages: Its stages, in order.
        content: What the file says, with changes made.
    """

    recipe: Recipe
    stages: tuple[CheckedStage, ...]
    content: Mapping[str, Any]


@dataclass(slots=True)
class _Checking:
    """A check that goes on."""

    name: str
    lines: Lines
    changed: dict[Keys, str]
    faults: list[Fault] = field(default_factory=list)

    def told(self) -> list[str]:
        """Return a line for each fault, by where it stands; the same line once."""
        ordered = sorted(self.faults, key=lambda fault: fault.line or self.lines.of(fault.keys) or 0)
        return list(dict.fromkeys(self._line(fault) for fault in ordered))

    def _line(self, fault: Fault) -> str:
        for length in range(len(fault.keys), 0, -1):
            if fault.keys[:length] in self.changed:
                place = f"--set {self.changed[fault.keys[:length]]}"
                break
        else:
            number = fault.line or self.lines.of(fault.keys)
            place = self.name if number is None else f"{self.name}, line {number}"
        return f"{place}: {fault.found}; expected {fault.expected}; {fault.remedy}"


def check_recipe(document: Document, name: str, changes: Sequence[str] = ()) -> CheckedRecipe:
    """Check a recipe and fill in its references' defaults.

    Args:
        document: The recipe, as read.
        name: What errors call it.
        changes: `KEY=VALUE` in place of what it says: `model=...`, `data.corpus=...`, `STAGE.KEY=...`.

    Returns:
        The recipe.

    Raises:
        RecipeError: It has faults; all of them are told.
    """
    content, changed, bad = apply_changes(document.content, changes)
    checking = _Checking(name, document.lines, changed, bad)
    checking.faults += [
        Fault(keys, f"{'.'.join(map(str, keys))} stands twice", "each key once", "remove one of them", line)
        for keys, line in document.repeated
    ]
    recipe = _read_top(content, checking)
    if recipe is not None:
        content = _with_language(content, recipe.language)
        texts = {
            "title": content.get("title") or "",
            "data": RecipeData.model_validate(content.get("data") or {}),
        }
        recipe = recipe.model_copy(update=texts)
    checking.faults += _data_faults(content)
    if recipe is not None:
        checking.faults += machine_faults(recipe)
    stages = list(_read_stages(content.get("stages"), checking))
    filled = _fill(content, stages, checking)
    if recipe is not None:
        read = [(name, settings, filled[name]) for name, _, settings, _ in stages]
        checking.faults += length_faults(read, recipe.model)
        if not any(fault.keys == ("language",) for fault in checking.faults):
            checking.faults += judging_faults(read, recipe.language)
    if checking.faults or recipe is None:
        raise RecipeError(checking.told())
    checked = tuple(
        CheckedStage(stage, kind_name, STAGES[kind_name], settings, filled[stage].values)
        for stage, kind_name, settings, _ in stages
    )
    return CheckedRecipe(recipe, checked, content)


def _with_language(value: Any, language: str) -> Any:
    """Put the language's code where texts say `{language}`, so that one recipe serves many languages."""
    if isinstance(value, Mapping):
        return {key: _with_language(item, language) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_language(item, language) for item in value]
    return value.replace("{language}", language) if isinstance(value, str) else value


def _read_top(content: Mapping[str, Any], checking: _Checking) -> Recipe | None:
    known: dict[Keys, Sequence[str]] = {(): sorted(TOP - {"resolved"})}
    known |= {(name,): list(model.model_fields) for name, model in _NESTED.items()}
    if isinstance(content.get("language"), bool):
        expected = "a language's code as text; YAML reads a bare `no` as false"
        checking.faults.append(
            Fault(("language",), f"language: {content['language']}", expected, "quote it: 'no'")
        )
        content = {**content, "language": "no"}
    checking.faults += language_faults(content.get("language"))
    checking.faults += yes_for_numbers(Recipe, content)
    try:
        recipe = Recipe.model_validate(
            {key: value for key, value in content.items() if key != "stages"} | _SOME
        )
    except ValidationError as error:
        checking.faults += settings_faults(error.errors(), known)
        return None
    # Stages are read one by one, so that every fault in them is found.
    return recipe.model_copy(update={"stages": content.get("stages") or {}})


_SOME: dict[str, Any] = {"stages": {"any": {}}}


def _data_faults(content: Mapping[str, Any]) -> Iterator[Fault]:
    """Go through what the recipe itself names: its model and its data."""
    data = content.get("data")
    named: dict[Keys, tuple[Any, Role]] = {("model",): (content.get("model"), "model")}
    if isinstance(data, Mapping):
        named |= {("data", name): (data.get(name), role) for name, role in DATA_ROLES.items()}
    for keys, (value, role) in named.items():
        # Another type than text is told by the schema.
        for place, text in each_text(value if isinstance(value, str | list) else None):
            fault = reference_fault(text, role)
            if text.startswith((STAGE, RECIPE)):
                fault = (
                    repr(text),
                    "what is there before any stage",
                    "say that in a stage; name a file or model",
                )
            if fault is not None:
                yield Fault((*keys, *place), f"{'.'.join(map(str, keys))}: {fault[0]}", fault[1], fault[2])


_Read = tuple[str, str, StageSettings, frozenset[str]]
"""Name and kind of a stage, its settings, and the fields of them that were not valid and stand at their defaults."""


def _read_stages(given: Any, checking: _Checking) -> Iterator[_Read]:
    """Go through the stages; faults are kept."""
    if not isinstance(given, Mapping) or not given:
        found = "no stages" if not given else f"stages: {shown(given)}"
        expected = f"a mapping of stages ({', '.join(STAGES)})"
        checking.faults.append(Fault(("stages",), found, expected, "see `lingraft recipes copy`"))
        return
    for name, value in given.items():
        keys: Keys = ("stages", str(name))
        fault = _name_fault(name, keys)
        if fault is not None:
            checking.faults.append(fault)
            continue
        settings = {} if value is None else value
        if not isinstance(settings, Mapping):
            checking.faults.append(
                Fault(keys, f"stages.{name}: {shown(value)}", "a mapping of settings", "correct it")
            )
            continue
        kind = str(settings.get("use") or name)
        if kind not in STAGES:
            fault = unknown_key((*keys[:-1], kind), list(STAGES))
            remedy = (
                fault.remedy if fault.remedy != "remove it" else "name the stage so, or say `use: KIND` in it"
            )
            where = (*keys, "use") if settings.get("use") else keys
            checking.faults.append(
                Fault(where, f"no kind of stage {kind!r}", f"one of {', '.join(STAGES)}", remedy)
            )
            continue
        yield name, kind, *_read_settings(STAGES[kind].settings, settings, keys, checking)


def _name_fault(name: Any, keys: Keys) -> Fault | None:
    plain = isinstance(name, str) and name.replace("-", "").replace("_", "").isalnum() and name.isascii()
    if not plain:
        return Fault(keys, f"a stage named {shown(name)}", "letters, digits, - and _", "rename it")
    if name in TOP:
        return Fault(keys, f"a stage named {name!r}", "a name that is no key of the recipe", "rename it")
    return None


def _read_settings(
    model: type[StageSettings], given: Mapping[str, Any], keys: Keys, checking: _Checking
) -> tuple[StageSettings, frozenset[str]]:
    """Read a stage's settings; what is valid of them is returned too, so that what it names is checked at once."""
    checking.faults += yes_for_numbers(model, given, keys)
    try:
        return model.model_validate(dict(given)), frozenset()
    except ValidationError as error:
        checking.faults += settings_faults(error.errors(), {(): list(model.model_fields)}, keys)
        bad = frozenset(str(one["loc"][0]) for one in error.errors() if one["loc"])
    good = {name: value for name, value in given.items() if name in model.model_fields and name not in bad}
    try:
        return model.model_validate(good), bad
    except ValidationError:
        return model.model_construct(**good), bad


def _fill(
    content: Mapping[str, Any],
    stages: Sequence[_Read],
    checking: _Checking,
) -> dict[str, Filled]:
    """Fill in and check the references of all stages, as far as the recipe is readable."""
    data = content.get("data")
    given = {
        **(data if isinstance(data, Mapping) else {}),
        **({"model": content["model"]} if isinstance(content.get("model"), str) else {}),
    }
    filled: dict[str, Filled] = {}
    made: dict[str, Outputs] = {}
    for number, (name, kind_name, settings, bad) in enumerate(stages):
        kind = STAGES[kind_name]
        later = [stage for stage, *_ in stages[number:]]
        filled[name] = fill_references(name, kind, settings, given, made, later=later)
        # What a bad field leaves missing is no fault of its own.
        checking.faults += [
            one for one in filled[name].faults if not bad.intersection(map(str, one.keys[2:3]))
        ]
        made[name] = kind.made_by(settings)
    return filled

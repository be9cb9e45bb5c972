"""Check a recipe whole before anything runs: keys, types, references, files, order; every fault at once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from lingraft.recipes.faults import Fault, RecipeError, settings_faults, shown, unknown_key
from lingraft.recipes.filling import Filled, Outputs, fill_references, reference_fault
from lingraft.recipes.references import each_text
from lingraft.recipes.schema import DATA_ROLES, Recipe, RecipeData, ScaleSettings
from lingraft.recipes.stages.contract import Role, StageKind, StageSettings
from lingraft.recipes.stages.kinds import STAGES
from lingraft.recipes.yaml_lines import Document, Keys, Lines

_NESTED: Mapping[str, type[BaseModel]] = {"data": RecipeData, "scale": ScaleSettings}
_TOP = frozenset(Recipe.model_fields)


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
        ordered = sorted(self.faults, key=lambda fault: self.lines.of(fault.keys) or 0)
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
        recipe = recipe.model_copy(update={"data": RecipeData.model_validate(content.get("data") or {})})
    checking.faults += _data_faults(content)
    stages = list(_read_stages(content.get("stages"), checking))
    filled = _fill(content, stages, checking)
    if checking.faults or recipe is None:
        raise RecipeError(checking.told())
    checked = tuple(
        CheckedStage(stage, kind_name, STAGES[kind_name], settings, filled[stage].values)
        for stage, kind_name, settings in stages
        if settings is not None
    )
    return CheckedRecipe(recipe, checked, content)


def apply_changes(
    content: Mapping[str, Any], changes: Sequence[str]
) -> tuple[dict[str, Any], dict[Keys, str], list[Fault]]:
    """Put `KEY=VALUE` changes into a recipe's content.

    Args:
        content: What the file says; it is not changed.
        changes: The changes; a value is read as YAML.

    Returns:
        The changed content, which keys were changed by which text, and what is wrong with the changes.
    """
    new: dict[str, Any] = {**content}
    changed: dict[Keys, str] = {}
    faults: list[Fault] = []
    for text in changes:
        dotted, equals, given = text.partition("=")
        keys: Keys = tuple(dotted.strip().split("."))
        if keys[0] not in _TOP:
            keys = ("stages", *keys)
        changed[keys] = text
        if not equals or not all(keys):
            faults.append(
                Fault(keys, f"{text!r}", "STAGE.KEY=VALUE or KEY=VALUE", "for instance pretrain.steps=500")
            )
            continue
        try:
            value = yaml.safe_load(given)
        except yaml.YAMLError:
            value = given
        if keys[0] == "stages" and (len(keys) < 3 or keys[1] not in (new.get("stages") or {})):
            there = [*_TOP - {"stages", "resolved"}, *map(str, new.get("stages") or {})]
            fault = unknown_key((keys[1],), there)
            faults.append(replace(fault, keys=keys))
            continue
        _put(new, keys, value)
    return new, changed, faults


def _with_language(value: Any, language: str) -> Any:
    """Put the language's code where texts say `{language}`, so that one recipe serves many languages."""
    if isinstance(value, Mapping):
        return {key: _with_language(item, language) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_language(item, language) for item in value]
    return value.replace("{language}", language) if isinstance(value, str) else value


def _put(content: dict[str, Any], keys: Keys, value: Any) -> None:
    """Set a value deep inside, copying the mappings on the way."""
    for key in keys[:-1]:
        inner = content.get(str(key))
        content[str(key)] = {**inner} if isinstance(inner, Mapping) else {}
        content = content[str(key)]
    content[str(keys[-1])] = value


def _read_top(content: Mapping[str, Any], checking: _Checking) -> Recipe | None:
    known: dict[Keys, Sequence[str]] = {(): sorted(_TOP - {"resolved"})}
    known |= {(name,): list(model.model_fields) for name, model in _NESTED.items()}
    if isinstance(content.get("language"), bool):
        expected = "a language's code as text; YAML reads a bare `no` as false"
        checking.faults.append(
            Fault(("language",), f"language: {content['language']}", expected, "quote it: 'no'")
        )
        content = {**content, "language": "no"}
    checking.faults += _language_faults(content.get("language"))
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


def _language_faults(code: Any) -> Iterator[Fault]:
    if not isinstance(code, str):
        return
    if not code.isascii() or not code.isalpha() or not code.islower() or len(code) > 3:
        yield Fault(
            ("language",),
            f"language: {shown(code)}",
            "a code of ISO 639 in small letters, such as eu",
            "correct it",
        )
    elif code in {"en", "eng"}:
        yield Fault(
            ("language",), f"language: {code}", "another language than English", "give the target language"
        )


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
            if fault is not None:
                yield Fault((*keys, *place), f"{'.'.join(map(str, keys))}: {fault[0]}", fault[1], fault[2])


def _read_stages(given: Any, checking: _Checking) -> Iterator[tuple[str, str, StageSettings | None]]:
    """Go through the stages; settings that are not valid are None, and their faults are kept."""
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
                Fault(keys, f"{name}: {shown(value)}", "a mapping of settings", "correct it")
            )
            continue
        kind = str(settings.get("use") or name)
        if kind not in STAGES:
            fault = unknown_key((*keys[:-1], kind), list(STAGES))
            remedy = (
                fault.remedy if fault.remedy != "remove it" else "name the stage so, or say `use: KIND` in it"
            )
            checking.faults.append(
                Fault(keys, f"no kind of stage {kind!r}", f"one of {', '.join(STAGES)}", remedy)
            )
            continue
        yield name, kind, _read_settings(STAGES[kind].settings, settings, keys, checking)


def _name_fault(name: Any, keys: Keys) -> Fault | None:
    plain = isinstance(name, str) and name.replace("-", "").replace("_", "").isalnum() and name.isascii()
    if not plain:
        return Fault(keys, f"a stage named {shown(name)}", "letters, digits, - and _", "rename it")
    if name in _TOP:
        return Fault(keys, f"a stage named {name!r}", "a name that is no key of the recipe", "rename it")
    return None


def _read_settings(
    model: type[StageSettings], given: Mapping[str, Any], keys: Keys, checking: _Checking
) -> StageSettings | None:
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        checking.faults += settings_faults(error.errors(), {(): list(model.model_fields)}, keys)
        return None


def _fill(
    content: Mapping[str, Any],
    stages: Sequence[tuple[str, str, StageSettings | None]],
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
    for number, (name, kind_name, settings) in enumerate(stages):
        kind = STAGES[kind_name]
        if settings is not None:
            later = [stage for stage, _, _ in stages[number:]]
            filled[name] = fill_references(name, kind, settings, given, made, later=later)
            checking.faults += filled[name].faults
        made[name] = kind.outputs if settings is None else kind.made_by(settings)
    return filled

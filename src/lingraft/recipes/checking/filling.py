"""Fill in what a stage reads: the recipe's fields, and what earlier stages made; and say what cannot be."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lingraft.recipes.checking.faults import Fault
from lingraft.recipes.checking.references import (
    ASSET,
    RECIPE,
    STAGE,
    StageOutput,
    asset_file_fault,
    each_text,
    is_list_field,
    is_mapping_field,
    plain_fault,
    references_of,
    replace_texts,
    with_home,
)
from lingraft.recipes.checking.schema import RecipeData
from lingraft.recipes.checking.yaml_lines import Keys
from lingraft.recipes.stages.contract import NEWEST_MODEL, Reference, Role, StageKind, StageSettings

Outputs = Mapping[str, Role]
"""What a stage makes: name to what it is."""
IMPLIED = {"pairs": "pairs", "held_out_pairs": "heldout", "words": "words"}
"""Fields of the recipe's data that an earlier stage's output of this name stands for, where they are left out."""
_FITTING: Mapping[Role, frozenset[Role]] = {
    "model": frozenset({"model"}),
    "tokenizer": frozenset({"tokenizer", "model"}),
    "text": frozenset({"text"}),
    "pairs": frozenset({"pairs"}),
    "lexicon": frozenset({"lexicon"}),
    "file": frozenset({"file", "pairs", "text", "lexicon"}),
}
"""What a stage's output must be to be read in a field."""


@dataclass(frozen=True, slots=True)
class Filled:
    """References of one stage.

    Attributes:
        values: Field to value, of the field's shape; a field that names nothing is None.
        faults: What is wrong.
    """

    values: Mapping[str, Any]
    faults: Sequence[Fault]


def fill_references(
    name: str,
    kind: StageKind,
    settings: StageSettings,
    given: Mapping[str, Any],
    earlier: Mapping[str, Outputs],
    *,
    later: Sequence[str],
) -> Filled:
    """Fill in the references of a stage.

    Args:
        name: The stage.
        kind: Its kind.
        settings: Its settings.
        given: The recipe's `data`, and its `model`.
        earlier: What stages before it make, in order.
        later: The stage itself and those after it.

    Returns:
        Values in which `recipe:FIELD` is replaced; `stage:` and `asset:` stay, for whoever runs the stage.
    """
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    for field, reference in references_of(kind.settings).items():
        keys = ("stages", name, field)
        value = getattr(settings, field)
        if value is None or value == ():
            values[field] = _default(
                reference, given, earlier, mapping=is_mapping_field(kind.settings, field)
            )
        else:
            faults += _faults(value, reference, keys, earlier, later)
            values[field], bad = _recipe_fields(value, given, keys)
            faults += bad
        values[field] = value = _shaped(replace_texts(values[field], with_home), kind.settings, field)
        if isinstance(value, list):
            found = f"{'.'.join(keys)}: {len(value)} texts, which the recipe names"
            faults.append(Fault(keys, found, "one", f"say which: `{field}: FILE`"))
        if value is None and field in kind.settings.required:
            expected = _wanted(reference)
            faults.append(Fault(keys, f"stage {name} has no {field}", expected, f"add `{field}:` to it"))
    for field, needed in kind.settings.goes_with.items():
        if getattr(settings, field) and not values[needed]:
            found = f"{'.'.join(('stages', name, field))}: {getattr(settings, field)} without {needed}"
            faults.append(
                Fault(("stages", name, field), found, f"`{needed}` too", f"add `{needed}:`, or take it out")
            )
    for group in kind.settings.one_of:
        if not any(values.get(field, getattr(settings, field)) for field in group):
            known = ", ".join(f"`{field}`" for field in group)
            faults.append(
                Fault(
                    ("stages", name),
                    f"stage {name} has nothing to read",
                    f"one of {known}",
                    "add one of them",
                )
            )
    return Filled(values, faults)


def _shaped(value: Any, settings: type[StageSettings], field: str) -> Any:
    """Give a value its field's shape, as what was left out or named by `recipe:` comes in the recipe's.

    Where the field takes one text and there are several, they come back as a list.
    """
    if is_mapping_field(settings, field) or value is None:
        return value
    texts = [text for _, text in each_text(value)]
    if is_list_field(settings, field):
        return tuple(texts)
    return texts[0] if len(texts) == 1 else texts


def _default(
    reference: Reference, given: Mapping[str, Any], earlier: Mapping[str, Outputs], *, mapping: bool
) -> Any:
    """Return what a field names that was left out."""
    newest = _newest(earlier, "model") or given.get("model")
    if mapping:
        return {"before": given.get("model"), "after": newest} if reference.role == "model" else None
    if reference.default == NEWEST_MODEL:
        return newest
    if reference.default is None:
        return None
    named = given.get(reference.default)
    if named is None and reference.default in IMPLIED:
        return _newest(earlier, IMPLIED[reference.default])
    return named


def _newest(earlier: Mapping[str, Outputs], output: str) -> str | None:
    """Return a reference to the newest earlier stage's output of this name."""
    for name, outputs in reversed(list(earlier.items())):
        if output in outputs:
            return f"{STAGE}{name}" if next(iter(outputs)) == output else f"{STAGE}{name}/{output}"
    return None


def _recipe_fields(value: Any, given: Mapping[str, Any], keys: Keys) -> tuple[Any, list[Fault]]:
    """Replace `recipe:FIELD` by what the recipe says there."""
    faults = []
    for place, text in each_text(value):
        if not text.startswith(RECIPE):
            continue
        field = text.removeprefix(RECIPE)
        known = ["model", *RecipeData.model_fields]
        if field not in known:
            near = difflib.get_close_matches(field, known, n=1)
            remedy = f"did you mean {RECIPE}{near[0]}?" if near else "correct it"
            found = f"{_name(keys, place, value)}: {text!r}"
            faults.append(Fault((*keys, *place), found, f"recipe: and one of {', '.join(known)}", remedy))
        elif given.get(field) is None:
            there = "model" if field == "model" else f"data.{field}"
            found = f"{_name(keys, place, value)}: {text!r}, but the recipe has no {there}"
            remedy = f"add `{there}`, or name something else here"
            faults.append(Fault((*keys, *place), found, "a field that is set", remedy))
    if faults:
        return value, faults
    return (
        replace_texts(
            value, lambda text: given[text.removeprefix(RECIPE)] if text.startswith(RECIPE) else text
        ),
        [],
    )


def _faults(
    value: Any, reference: Reference, keys: Keys, earlier: Mapping[str, Outputs], later: Sequence[str]
) -> Iterator[Fault]:
    for place, text in each_text(value):
        if text.startswith(RECIPE):
            continue
        output = StageOutput.parse(text)
        found = (
            reference_fault(text, reference.role)
            if output is None
            else _output_fault(output, reference, earlier, later)
        )
        if found is not None:
            yield Fault((*keys, *place), f"{_name(keys, place, value)}: {found[0]}", found[1], found[2])


def _name(keys: Keys, place: Keys, value: Any) -> str:
    """Return what a reference is called; the place in a list of one is not said, as it may be no list."""
    single = isinstance(value, Sequence) and len(value) == 1
    return ".".join(map(str, keys if single else (*keys, *place)))


def reference_fault(text: str, role: Role) -> tuple[str, str, str] | None:
    """Say what is wrong with a reference that names no stage.

    Args:
        text: The reference.
        role: What it should name.

    Returns:
        Found, expected and remedy, or None.
    """
    return asset_file_fault(text) if text.startswith(ASSET) else plain_fault(text, role)


def _output_fault(
    named: StageOutput, reference: Reference, earlier: Mapping[str, Outputs], later: Sequence[str]
) -> tuple[str, str, str] | None:
    """Say what is wrong with a stage's output that a field names."""
    if named.stage not in earlier:
        return _order_fault(named, earlier, later)
    outputs = earlier[named.stage]
    if not outputs:
        return f"stage {named.stage!r}, which makes nothing to read", "a stage that does", "name another"
    output = named.output or next(iter(outputs))
    if output not in outputs:
        names = ", ".join(outputs)
        return f"stage {named.stage!r} has no output {output!r}", f"one of {names}", "correct the name"
    if outputs[output] not in _FITTING[reference.role]:
        what = _wanted(reference)
        return f"stage {named.stage!r} makes {_KINDS[outputs[output]]}", what, "name another stage"
    return None


def _order_fault(
    named: StageOutput, earlier: Mapping[str, Outputs], later: Sequence[str]
) -> tuple[str, str, str]:
    """Say why a stage cannot be read that is none of the earlier ones."""
    if named.stage == later[0]:
        return "the stage itself", "an earlier stage", "name another, or leave the key out"
    if named.stage in later:
        found = f"stage {named.stage!r}, which comes later"
        return found, "an earlier stage", "change the order of the stages"
    near = difflib.get_close_matches(named.stage, list(earlier), n=1)
    there = ", ".join(earlier) or "none: this is the first"
    remedy = f"did you mean {near[0]!r}?" if near else "correct the name"
    return f"no stage {named.stage!r}", f"an earlier stage ({there})", remedy


_KINDS: Mapping[Role, str] = {
    "model": "a model",
    "tokenizer": "a tokenizer",
    "text": "text",
    "pairs": "paired items",
    "lexicon": "a lexicon",
    "file": "a file",
}


def _wanted(reference: Reference) -> str:
    return _KINDS[reference.role]

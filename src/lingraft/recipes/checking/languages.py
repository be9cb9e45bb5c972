"""A recipe's language: whether its code is one, and whether the stages that judge texts by language know it."""

from collections.abc import Iterator, Sequence
from typing import Any

from lingraft.corpora.language_id import lingua_codes
from lingraft.recipes.checking.faults import Fault, shown
from lingraft.recipes.checking.filling import Filled
from lingraft.recipes.stages.contract import StageSettings


def language_faults(code: Any) -> Iterator[Fault]:
    """Say what is wrong with the recipe's `language`.

    Args:
        code: Its value; another type than text is told by the schema.

    Yields:
        What is no code, English, and three letters of a language that has two.
    """
    if not isinstance(code, str):
        return
    short = lingua_codes().get(code)
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
    elif short is not None:
        yield Fault(("language",), f"language: {code}", "a code of two letters (ISO 639-1)", f"write {short}")


def judging_faults(stages: Sequence[tuple[str, StageSettings, Filled]], language: str) -> Iterator[Fault]:
    """Find the stages that would identify languages, where lingua does not know this one.

    Args:
        stages: Names, settings and filled references, in order.
        language: The recipe's language.

    Yields:
        A fault a stage; none where lingua is not installed, since that is told when it is needed.
    """
    known = set(lingua_codes().values())
    for name, settings, filled in stages:
        code = getattr(settings, "target_language", None) or language
        remedy = _without_judging(settings, filled)
        if known and code not in known and remedy:
            expected = f"one of {', '.join(sorted(known))}"
            found = f"stage {name} judges texts by their language, and lingua does not know {code}"
            yield Fault(("stages", name), found, expected, f"correct the code, or set {remedy}")


def _without_judging(settings: StageSettings, filled: Filled) -> str:
    """Return the settings with which a stage judges nothing by its language; "" where it does not anyway."""
    if getattr(settings, "identifier", None) == "lingua":
        return "`identifier: none`"
    prompts = any(filled.values.get(field) is not None for field in ("prompts", "held_out"))
    counts = [field for field in ("fidelity_prompts", "english_prompts") if getattr(settings, field, 0)]
    if not prompts or not counts:
        return ""
    return " and ".join(f"`{field}: 0`" for field in counts)

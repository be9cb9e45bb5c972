"""What a run of a recipe read that it did not make itself, with revisions and licences."""

import re
from dataclasses import dataclass

from lingraft.assets.catalog import Asset, list_assets
from lingraft.recipes.showing.finished import RecipeRun

UNKNOWN = "not known here"
"""Said of the licence of what is not in the catalogue: only its source can tell it."""
MADE = {"extended"}
"""Names that verbs give to what they made themselves and list as read: the source tokenizer with new tokens."""
HUB_NAMES = {
    "smollm2-135m-instruct": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "gemma-3-270m": "google/gemma-3-270m",
}
"""Catalogued models by the names they have on the Hub."""


@dataclass(frozen=True, slots=True)
class RunInput:
    """One thing that was read.

    Attributes:
        role: What for, in all stages that read it.
        reference: As the stages named it, or as a recipe would.
        revision: What pins it; verbs have ways of their own to say so, which may stand side by side.
        stages: Names of these stages.
        licence: Of its content, or `UNKNOWN`.
        terms: Terms that had to be accepted, or "".
    """

    role: str
    reference: str
    revision: str
    stages: str
    licence: str
    terms: str


def run_inputs(run: RecipeRun) -> list[RunInput]:
    """Gather what the stages read from outside the run.

    Args:
        run: The run.

    Returns:
        Each thing once, in the order in which it was met.
    """
    met: dict[str, tuple[list[str], list[str], list[str]]] = {}
    own = run.directory.as_posix().rstrip("/") + "/"
    for stage in run.stages:
        for item in stage.result.inputs:
            if item.reference in MADE or item.reference.startswith((own, "stages/")):
                continue
            lists = met.setdefault(told_reference(item.reference), ([], [], []))
            for known, new in zip(lists, (item.role, item.revision, stage.name), strict=True):
                if new not in known:
                    known.append(new)
    found = []
    for reference, (roles, revisions, stages) in met.items():
        asset = find_catalogued(reference)
        found.append(
            RunInput(
                role=", ".join(roles),
                reference=reference,
                revision=", ".join(revisions),
                stages=", ".join(stages),
                licence=asset.licence if asset is not None else UNKNOWN,
                terms=(asset.terms or "") if asset is not None else "",
            )
        )
    return found


def find_catalogued(reference: str) -> Asset | None:
    """Return the asset that a reference is, or that it is a file of.

    Args:
        reference: A name such as `smollm2-135m-instruct`, `asset:NAME/FILE`, or a path below the cache.

    Returns:
        The asset, or None.
    """
    by_name = {asset.name: asset for asset in list_assets()}
    return next((by_name[part] for part in re.split(r"[/:\\]", reference) if part in by_name), None)


def told_reference(reference: str) -> str:
    """Return how a recipe names a file of an asset; its place in somebody's cache says nothing to others.

    Args:
        reference: A path or name.

    Returns:
        `asset:NAME/FILE` for a file below the cache, else the reference as it is.
    """
    found = re.search(r"/assets/([^/]+)/v\d+(?:/(.+))?$", reference)
    if found is None or find_catalogued(found[1]) is None:
        return reference
    return f"asset:{found[1]}/{found[2]}" if found[2] else found[1]


def hub_name(reference: str) -> str:
    """Return the name under which the Hub knows a model, or "" where there is none.

    Args:
        reference: As a recipe names a model.

    Returns:
        `owner/name`, or "".
    """
    if reference in HUB_NAMES:
        return HUB_NAMES[reference]
    plain = reference.removeprefix("hf:").partition("@")[0]
    is_id = re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", plain)
    return plain if is_id and not plain.endswith(".gguf") else ""

"""A sweep as an interactive map: means of all instances and languages, and single instances as far as a page allows."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lingraft.patching.map_grids import ALL, MapMeans, as_grid, axis_layers, by_language, map_means
from lingraft.patching.maps import Answers, LayerMaps
from lingraft.reports.interactive import GridExplorer, GridGroup, GridValues, GridView, Quantity, view_bytes

Texts = Mapping[str, Mapping[int, str]]
"""By instance and label (`answer_labels`): the option, the generated text, or the token."""

EVERYTHING = "all languages"
MOST_BYTES = 6_000_000
"""What single instances may take of a page (our choice)."""


def map_explorer(
    keyed: Mapping[tuple[str, int], LayerMaps],
    vanilla: Answers,
    donors: Answers | None,
    *,
    texts: Texts | None = None,
    layers: int | None = None,
    most_bytes: int = MOST_BYTES,
) -> GridExplorer:
    """Make the interactive map.

    Args:
        keyed: Maps by site and donor, of at least one instance.
        vanilla: The unpatched answers.
        donors: The first donor's own answers.
        texts: What answers say.
        layers: Of the model, for the paper's fixed pair.
        most_bytes: What single instances may take.

    Returns:
        A block for a page. Its caption says how many instances are embedded singly.

    Raises:
        ConfigError: An instance without unpatched answer.
    """
    every = next(iter(keyed.values()))
    single = _single_views(keyed, _dealt(every), vanilla, donors, texts or {}, most_bytes)
    kept = {name for views in single.values() for name in views}
    groups = []
    for (site, donor), maps in keyed.items():
        views = [
            _mean_view(name, map_means(part, vanilla, layers=layers))
            for name, part in by_language(maps).items()
        ]
        # In the file's order, whatever the order in which they were dealt.
        views += [single[site, donor][name] for name in maps.instances if name in single[site, donor]]
        rows, columns = axis_layers(maps)
        first = np.nonzero(columns == 0)[0]
        groups.append(
            GridGroup(
                f"{site}, {donor_name(donor)}",
                rows.tolist(),
                columns.tolist(),
                views,
                framed_column=int(first[0]) if len(first) else None,
                frame_label="TargetFirst (receiver layer 0)",
            )
        )
    return GridExplorer(
        caption=_caption(len(kept), len(every.instances), len(set(every.languages))),
        label="Map of layer pairs",
        row_label="donor layer",
        column_label="receiver layer",
        quantities=_quantities(list(keyed.values())),
        groups=groups,
        group_label="site and donor",
        facet_label="language",
        view_label="instance",
        code_label="answer",
        reference_label="unpatched",
        everything=EVERYTHING,
    )


def donor_name(donor: int) -> str:
    """Name a donor.

    Args:
        donor: Its number from 0; -1 for the mean of all.

    Returns:
        Words.
    """
    return "mean of the donors" if donor < 0 else f"donor {donor}"


def _quantities(maps: Sequence[LayerMaps]) -> list[Quantity]:
    known = np.concatenate([one.known for one in maps])
    what = "of the right answer" if known.all() else "of the right answer, else of the one given"
    what = what if known.any() else "of the answer given"
    return [
        Quantity("right", percent=True),
        Quantity(f"log-probability {what}", "nats"),
        Quantity("margin to the second answer", "nats"),
        Quantity("entropy", "nats"),
    ]


def _caption(kept: int, total: int, languages: int) -> str:
    said = f"All {total:,} instances can be chosen singly" if kept == total else ""
    if not said:
        dealt = (
            ", dealt evenly over languages in the file's order," if languages > 1 else " of the file's order"
        )
        said = (
            f"To keep the page small, {kept:,} of {total:,} instances{dealt} can be chosen singly; "
            "all of them are in the means and in map.parquet"
        )
    return (
        f"{said}. Layers count from 0. Numbers are rounded to one part in 65,534 of each map's range; in"
        " parentheses, the difference to the unpatched answer. Colours are scaled for each map by itself."
    )


def _mean_view(name: str, means: MapMeans) -> GridView:
    judged = "" if means.judged == means.instances else f", {means.judged:,} of them with a known answer"
    prefix = "" if name == ALL else f"{name}: "
    return GridView(
        name=f"{prefix}mean of {means.instances:,}",
        facet=EVERYTHING if name == ALL else name,
        values=[
            None if means.right is None else GridValues(means.right, means.unpatched_right),
            GridValues(means.score, means.unpatched_score),
            GridValues(means.margin),
            GridValues(means.entropy),
        ],
        note=f"Means over {means.instances:,} instances{judged}.",
        marks=means.marks,
    )


def _single_views(
    keyed: Mapping[tuple[str, int], LayerMaps],
    names: Sequence[str],
    vanilla: Answers,
    donors: Answers | None,
    texts: Texts,
    most_bytes: int,
) -> dict[tuple[str, int], dict[str, GridView]]:
    """Views of single instances, by name in each group, one after another until a page is full."""
    places = {key: {name: n for n, name in enumerate(maps.instances)} for key, maps in keyed.items()}
    own = {key: vanilla.of(maps.instances) for key, maps in keyed.items()}
    # The donor's own answers are the first donor's.
    theirs = {
        key: donors.of(maps.instances) if donors is not None and key[1] == 0 else None
        for key, maps in keyed.items()
    }
    kept: dict[tuple[str, int], dict[str, GridView]] = {key: {} for key in keyed}
    used = 0
    for name in names:
        made = {
            key: _instance_view(maps, places[key][name], own[key], theirs[key], texts.get(name, {}))
            for key, maps in keyed.items()
            if name in places[key]
        }
        used += sum(view_bytes(view) for view in made.values())
        if used > most_bytes:
            break
        for key, view in made.items():
            kept[key][name] = view
    return kept


def _instance_view(
    maps: LayerMaps, place: int, own: Answers, theirs: Answers | None, known: Mapping[int, str]
) -> GridView:
    codes, words = _codes(maps, place, known)
    reference = None if own.score is None else float(own.score[place])
    notes = [f"Unpatched: {_said(own, place, known)}."]
    if theirs is not None:
        notes.append(f"The donor prompt's own answer: {_said(theirs, place, known)}.")
    right = GridValues(as_grid(maps, maps.correct[place].astype(np.float64)), verdict=True)
    several = len(set(maps.languages)) > 1
    return GridView(
        name=maps.instances[place],
        facet=(maps.languages[place] or "no language") if several else EVERYTHING,
        values=[
            right if maps.known[place] else None,
            GridValues(as_grid(maps, maps.score[place]), reference),
            GridValues(as_grid(maps, maps.margin[place])),
            GridValues(as_grid(maps, maps.entropy[place])),
        ],
        note=" ".join(notes),
        codes=codes,
        texts=words,
    )


def _codes(
    maps: LayerMaps, place: int, known: Mapping[int, str]
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    labels, codes = np.unique(maps.label[place], return_inverse=True)
    words = [known.get(int(label)) for label in labels]
    if not any(word is not None for word in words):
        return None, ()
    # What has no text is no code; a pair that is not there is none either.
    there = np.array([word is not None for word in words])
    number = np.where(there, np.cumsum(there) - 1, -1)
    grid = as_grid(maps, number[codes.reshape(-1)])
    return np.nan_to_num(grid, nan=-1).astype(np.int64), tuple(word for word in words if word is not None)


def _said(answers: Answers, place: int, known: Mapping[int, str]) -> str:
    text = known.get(int(answers.label[place]))
    parts = [] if text is None else [f"“{text}”"]
    if answers.known[place]:
        parts.append("right" if answers.correct[place] else "wrong")
    return ", ".join(parts) or "another answer than any pair's"


def _dealt(maps: LayerMaps) -> list[str]:
    """Instances with the languages taking turns, so that a page that ends early has some of each."""
    seen: dict[str, int] = {}
    turns = []
    for place, language in enumerate(maps.languages):
        seen[language] = seen.get(language, -1) + 1
        turns.append((seen[language], place))
    return [maps.instances[place] for _, place in sorted(turns)]

"""The report of a sweep: what came out, language by language, heatmaps, and a map to walk through."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from lingraft.patching.choosing import best_pair
from lingraft.patching.map_explorer import MOST_BYTES, Texts, donor_name, map_explorer
from lingraft.patching.map_figures import ENTROPY, RIGHT, SCORE, figure_name, heatmaps
from lingraft.patching.map_grids import ALL, by_language, map_means, paper_pair, score_change
from lingraft.patching.maps import Answers, LayerMaps
from lingraft.patching.selection_report import percent, selection_sections
from lingraft.reports.drawing import Picture
from lingraft.reports.page import Block, Cell, Figure, Paragraph, Section, Table

__all__ = ["language_table", "map_sections", "map_sentence", "selection_sections", "warnings"]

_READING = (
    "How to read the table: intervals are 95 %, by bootstrap over instances (none below ten). The best pair"
    " was chosen on the very instances that it is scored on, so its share is too good, and has no interval. The"
    " upper bound counts an instance as right if any pair is."
)

# What a browser opens at once (our choice); pictures count, and some single instances are there however many.
_PAGE_BYTES, _LEAST_BYTES = 8_000_000, 1_000_000

FEW = 100
"""Below so many instances of a language its numbers are called rough (our choice)."""


def map_sections(
    keyed: Mapping[tuple[str, int], LayerMaps],
    vanilla: Answers,
    donors: Answers | None,
    *,
    texts: Texts | None = None,
    control: str = "none",
    layers: int | None = None,
    most_bytes: int | None = None,
    pictures: Mapping[str, Picture] | None = None,
    compared: bool = False,
) -> list[Section]:
    """Say what a sweep found.

    Args:
        keyed: Maps by site and donor, of at least one instance.
        vanilla: The unpatched answers.
        donors: The first donor's own answers.
        texts: By instance and label, what answers say.
        control: Which chance control this run is; `none` for a real one.
        layers: Of the model, for the paper's fixed pair; None: the highest donor layer is the last.
        most_bytes: What single instances may take in the interactive map; None lets the page grow to about 8 MB.
        pictures: What `heatmaps` made of the same maps; None draws them.
        compared: The page puts the upper bound beside its controls elsewhere, so nothing need be said of that.

    Returns:
        Sections for a page: results, a section of heatmaps for each site and donor, the interactive map.

    Raises:
        ConfigError: An instance without unpatched answer.
    """
    results: list[Block] = [Paragraph(map_sentence(maps, vanilla)) for maps in keyed.values()]
    results += [Paragraph(text, warning=True) for text in warnings(keyed, control, compared=compared)]
    if any(maps.known.any() for maps in keyed.values()):
        results.append(Paragraph(_READING))
    results += [
        table
        for maps in keyed.values()
        if (table := language_table(maps, vanilla, donors if maps.donor == 0 else None, layers=layers))
    ]
    sections = [Section("What the transplants did", results)]
    drawn = heatmaps(keyed, vanilla, layers=layers) if pictures is None else pictures
    for (site, donor), maps in keyed.items():
        shown = {name: drawn.get(figure_name(name, site, donor)) for name in (RIGHT, SCORE, ENTROPY)}
        figures = _figures(maps, vanilla, layers, shown)
        if figures:
            sections.append(Section(f"Heatmaps: {_name(maps)}", figures))
    if most_bytes is None:
        pixels = sum(len(picture.light) + len(picture.dark) for picture in drawn.values())
        most_bytes = max(_LEAST_BYTES, min(MOST_BYTES, _PAGE_BYTES - pixels * 4 // 3))
    explorer = map_explorer(keyed, vanilla, donors, texts=texts, layers=layers, most_bytes=most_bytes)
    sections.append(Section("The map, cell by cell", [explorer]))
    return sections


def map_sentence(maps: LayerMaps, vanilla: Answers) -> str:
    """Say in a sentence or two what came out at a site.

    Args:
        maps: The maps.
        vanilla: The unpatched answers.

    Returns:
        Shares right, or where no answer is known how often the answer changes.

    Raises:
        ConfigError: An instance without unpatched answer.
    """
    judged = maps.rows(maps.known)
    count = f"{_name(maps)}, {maps.pairs:,} layer pairs"
    if not judged.instances:
        changed = (maps.label != vanilla.of(maps.instances).label[:, None]).mean()
        return (
            f"{count}, {_plural(len(maps.instances))}: no right answers are known. A pair changes the unpatched answer"
            f" in {100 * changed:.1f} % of instances on average."
        )
    right = judged.correct.mean(axis=0)
    own = vanilla.of(judged.instances).correct.mean()
    best = best_pair(judged, np.arange(maps.pairs))
    return (
        f"{count}, {_plural(len(judged.instances))}: {100 * own:.1f} % are right unpatched,"
        f" {100 * right.mean():.1f} % with a pair on average, {100 * right[best]:.1f} % with the best pair in"
        f" hindsight ({_pair(maps, best)}), and {100 * judged.correct.any(axis=1).mean():.1f} % with any of the"
        f" {maps.pairs:,} pairs."
    )


def warnings(
    keyed: Mapping[tuple[str, int], LayerMaps], control: str, *, compared: bool = False
) -> list[str]:
    """What a reader must not overlook.

    Args:
        keyed: Maps by site and donor.
        control: Which chance control this run is.
        compared: The upper bound stands beside its controls elsewhere.

    Returns:
        Sentences.
    """
    first = next(iter(keyed.values()))
    said = []
    if control != "none":
        said.append(f"This is a chance control ({control}), not a real sweep: compare it with one.")
    elif not compared and any(maps.known.any() for maps in keyed.values()):
        said.append(
            f"The upper bound is a union over {first.pairs:,} tries, each judged with the answer known: it rises by"
            " chance alone, and nobody can reach it by choosing. This page compares it with no control, so it does"
            " not say how much of it is chance: run controls (the prompt as its own donor, noise, shuffled donors,"
            " samples) and put them beside it with `lingraft patch select`."
        )
    small = {
        name: int(part.known.sum()) for name, part in by_language(first).items() if 0 < part.known.sum() < FEW
    }
    if small:
        listed = ", ".join(f"{name} {count}" for name, count in small.items())
        said.append(
            f"Few instances ({listed}): a single one moves a share by"
            f" {100 / max(small.values()):.1f} to {100 / min(small.values()):.1f} points, so single cells of these"
            " maps, and best pairs above all, are mostly noise."
        )
    missing = sum(int((~maps.known).sum()) for maps in keyed.values()) // max(1, len(keyed))
    if missing and first.known.any():
        said.append(f"{_plural(missing)} without a known answer: left out of every share.")
    return said


def language_table(
    maps: LayerMaps, vanilla: Answers, donors: Answers | None, *, layers: int | None = None
) -> Table | None:
    """One row a language.

    Args:
        maps: The maps.
        vanilla: The unpatched answers.
        donors: The answers of this map's donor itself.
        layers: Of the model, for the paper's fixed pair.

    Returns:
        Shares right in percent; None where no answer is known.

    Raises:
        ConfigError: An instance without unpatched answer.
    """
    rows: list[tuple[Cell, ...]] = []
    for name, part in by_language(maps).items():
        judged = part.rows(part.known)
        if judged.instances:
            rows.append(_language_row(name, judged, vanilla, donors, layers))
    if not rows:
        return None
    columns = (
        "language",
        "instances",
        "unpatched",
        "donor's own",
        "mean over pairs",
        "the paper's fixed pair",
        "best pair in hindsight (donor → receiver)",
        "upper bound",
    )
    # A column that says nothing anywhere is left out.
    kept = [place for place in range(len(columns)) if any(row[place] is not None for row in rows)]
    return Table(
        f"Percent right at {_name(maps)}",
        [columns[place] for place in kept],
        [[row[place] for place in kept] for row in rows],
        digits=1,
    )


def _language_row(
    name: str, judged: LayerMaps, vanilla: Answers, donors: Answers | None, layers: int | None
) -> tuple[Cell, ...]:
    best = best_pair(judged, np.arange(judged.pairs))
    coarse = paper_pair(judged, layers)
    theirs = None if donors is None else donors.of(judged.instances)
    return (
        name,
        len(judged.instances),
        percent(vanilla.of(judged.instances).correct),
        percent(theirs.correct) if theirs is not None and theirs.known.all() else None,
        percent(judged.correct.mean(axis=1)),
        None if coarse is None else percent(judged.correct[:, coarse]),
        _share_and_pair(judged, best),
        percent(judged.correct.any(axis=1)),
    )


def _figures(
    maps: LayerMaps, vanilla: Answers, layers: int | None, pictures: Mapping[str, Picture | None]
) -> list[Block]:
    means = map_means(maps, vanilla, layers=layers)
    change = score_change(maps, vanilla)
    answer = "right answer" if means.judged else "answer given"
    told: dict[str, tuple[str, str]] = {}
    if means.right is not None and means.unpatched_right is not None:
        told[RIGHT] = (
            "Share of instances right, for every donor layer (up) and receiver layer (across). One colour scale for"
            " all panels; the line on it is the unpatched share of all instances.",
            f"Unpatched {100 * means.unpatched_right:.1f} %. {_extremes(maps, 100 * means.right, ' %', 1)}",
        )
    if change is not None:
        told[SCORE] = (
            f"Mean change of the log-probability of the {answer} against the unpatched run, in nats: blue is more,"
            " orange is less.",
            _extremes(maps, change, " nats", 2),
        )
    told[ENTROPY] = (
        "Mean entropy of the distribution that the answer was read from, in nats.",
        _extremes(maps, means.entropy, " nats", 2),
    )
    several = len(set(maps.languages)) > 1
    panels = f" Panels: {ALL} instances, then each language." if several else ""
    return [
        Figure(told[name][0] + panels, told[name][1], picture)
        for name, picture in pictures.items()
        if picture is not None
    ]


def _extremes(maps: LayerMaps, grid: ArrayLike, unit: str, digits: int) -> str:
    """Tell a map's ends to those who cannot see it."""
    values = np.asarray(grid, dtype=np.float64)
    if not np.isfinite(values).any():
        return "No finite value over all instances."
    donors, receivers = np.unique(maps.donor_layers), np.unique(maps.receiver_layers)
    said = []
    for word, place in (("Highest", np.nanargmax(values)), ("lowest", np.nanargmin(values))):
        row, column = np.unravel_index(place, values.shape)
        said.append(
            f"{word} {values[row, column]:.{digits}f}{unit} at donor layer {donors[row]}, receiver layer"
            f" {receivers[column]}"
        )
    return "; ".join(said) + "."


def _plural(count: int) -> str:
    return f"{count:,} instance{'' if count == 1 else 's'}"


def _pair(maps: LayerMaps, pair: int) -> str:
    return f"donor layer {maps.donor_layers[pair]}, receiver layer {maps.receiver_layers[pair]}"


def _share_and_pair(judged: LayerMaps, pair: int) -> str:
    """Kept on one line by spaces that do not break."""
    layers = f"{judged.donor_layers[pair]}\u00a0→\u00a0{judged.receiver_layers[pair]}"
    return f"{100 * judged.correct[:, pair].mean():.1f} ({layers})"


def _name(maps: LayerMaps) -> str:
    return f"{maps.site}, {donor_name(maps.donor)}"

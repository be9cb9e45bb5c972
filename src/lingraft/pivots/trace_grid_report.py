"""Layer-by-token pictures as PNG and as blocks of a page."""

from collections.abc import Collection
from functools import cache
from typing import Any

from lingraft.pivots.trace_grid import WordGrid, visible
from lingraft.reports.drawing import GRID, INK, draw_light
from lingraft.reports.tokengrid import TokenCell, TokenGrid

KINDS = ("token of the source word", "token of the target word", "given pivot")
_FRAMES = ("#D55E00", "#009E73", "#CC79A7")
_LONGEST = 11
"""Letters of a token that a cell of a PNG has room for."""


def grid_block(
    grid: WordGrid, *, pivots: Collection[int] = (), note: str = "", unfolded: bool = False
) -> TokenGrid:
    """Make the block of a page.

    Args:
        grid: What to show; the last layer comes first.
        pivots: Given pivots, framed.
        note: Behind the words in the heading.
        unfolded: Show it at once.

    Returns:
        The block.
    """
    layers, columns = grid.top_ids.shape[:2]
    cells = [
        [
            TokenCell(
                [
                    (visible(text, int(token)), float(chance))
                    for text, token, chance in zip(
                        grid.top_texts[layer][column],
                        grid.top_ids[layer, column],
                        grid.top_probabilities[layer, column],
                        strict=True,
                    )
                ],
                _kind(grid, int(grid.top_ids[layer, column, 0]), pivots),
            )
            for column in range(columns)
        ]
        for layer in reversed(range(layers))
    ]
    named = f"{grid.item.source_word} → {grid.item.target_word}"
    return TokenGrid(
        title=f"{named}{note}",
        caption=f"Likeliest next token by layer, from the last, and by token read: {named}",
        columns=[visible(token) for token in grid.tokens],
        rows=[str(layer) for layer in reversed(range(layers))],
        cells=cells,
        kinds=KINDS if pivots else KINDS[:2],
        marked=range(grid.begin, columns),
        marked_name="columns after which a target token is to come",
        unfolded=unfolded,
    )


def grid_picture(grid: WordGrid, *, pivots: Collection[int] = ()) -> bytes:
    """Draw a grid: the likeliest token in each cell, darker where it is surer, the last layer on top.

    Args:
        grid: What to draw.
        pivots: Given pivots, framed.

    Returns:
        PNG bytes. What the font cannot write is shown as the token's number.
    """
    layers, columns = grid.top_ids.shape[:2]

    def paint(figure: Any, _dark: bool) -> None:
        from matplotlib.colors import LinearSegmentedColormap
        from matplotlib.patches import Rectangle

        axes = figure.add_subplot()
        colours = LinearSegmentedColormap.from_list("probability", ("#f4f6f8", "#9ecae9", "#1f66a3"))
        chances = grid.top_probabilities[..., 0]
        image = axes.imshow(chances, aspect="auto", origin="lower", vmin=0, vmax=1, cmap=colours)
        for layer in range(layers):
            for column in range(columns):
                token = int(grid.top_ids[layer, column, 0])
                text = _drawable(visible(grid.top_texts[layer][column][0], token), token)
                axes.text(
                    column,
                    layer,
                    text,
                    ha="center",
                    va="center",
                    fontsize=7.5,
                    color=INK[bool(chances[layer, column] > 0.7)],
                )
                kind = _kind(grid, token, pivots)
                if kind >= 0:
                    box = Rectangle((column - 0.46, layer - 0.42), 0.92, 0.84)
                    box.set(
                        fill=False, edgecolor=_FRAMES[kind], linewidth=1.5, linestyle=("-", "--", ":")[kind]
                    )
                    axes.add_patch(box)
        axes.axvline(grid.begin - 0.5, color=INK[False], linewidth=1.2)
        names = [_drawable(visible(token), None) for token in grid.tokens]
        axes.set_xticks(range(columns), names, rotation=35, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(0, layers, 1 if layers <= 20 else 2))
        axes.tick_params(length=0)
        axes.spines[:].set_color(GRID[False])
        axes.set(xlabel="token read (right of the line, a target token is to come)", ylabel="layer")
        word, target = (_drawable(text, None) for text in (grid.item.source_word, grid.item.target_word))
        axes.set_title(f"{word} → {target}", fontsize=10)
        figure.colorbar(image, ax=axes, label="probability of the likeliest token", shrink=0.6)
        handles = [
            Rectangle((0, 0), 1, 1, fill=False, edgecolor=_FRAMES[number], linestyle=("-", "--", ":")[number])
            for number in range(3 if pivots else 2)
        ]
        figure.legend(handles, KINDS[: len(handles)], loc="outside lower left", ncols=3, fontsize=8)

    return draw_light(paint, (2.6 + 0.82 * columns, 2.2 + 0.235 * layers))


def _kind(grid: WordGrid, token: int, pivots: Collection[int]) -> int:
    for number, tokens in enumerate((grid.source_ids, grid.target_ids, pivots)):
        if token in tokens:
            return number
    return -1


def _drawable(text: str, token: int | None) -> str:
    """Shorten a token, and replace what the font has no glyph for."""
    glyphs = _glyphs()
    missing = [letter for letter in text if ord(letter) not in glyphs]
    if missing:
        text = (
            f"#{token}"
            if token is not None
            else "".join("□" if letter in missing else letter for letter in text)
        )
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


@cache
def _glyphs() -> frozenset[int]:
    """Characters of the font that pictures are written in; other fonts differ from machine to machine."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return frozenset(get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap())

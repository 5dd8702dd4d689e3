"""A grid of thumbnails with text below each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np

from skvgg.plotting._axes import get_axes

#: Width of a column in inches, in a new figure.
_COLUMN = 1.6

#: Minimum width of a new figure in inches, so that the title fits.
_NARROWEST = 4.2

#: Height of the title and the legend of a new figure, in inches.
_ABOVE_AND_BELOW = 0.6

#: With fewer columns, the entries of the legend are in one column.
_FEW_COLUMNS = 4

#: Height of a line of text, relative to the width of a column.
_LINE = 0.12

#: Height of a line of text, relative to the font size.
_SPACING = 1.3

#: Space on each side of a thumbnail, relative to the width of a column.
_GAP = 0.04

#: Maximum font size, in points.
_FONT_SIZE = 9


@dataclass(frozen=True)
class Tile:
    """A thumbnail, the lines of text below it, and the color of its frame."""

    pixels: np.ndarray
    lines: tuple[str, ...]
    color: str | None = None


def draw_gallery(
    ax: Any,
    caller: str,
    rows: Sequence[Sequence[Tile]],
    title: str,
    legend: dict[str, str],
) -> tuple[Any, list[Any], list[Any]]:
    """Draw thumbnails row by row, and return the axes, the images and the texts.

    `legend` has the meanings of the colors of frames, by color; those of colors that no
    frame has are left out.
    """
    n_columns = max(map(len, rows))
    n_lines = max(len(tile.lines) for row in rows for tile in row)
    height = 1 + _LINE * n_lines + 2 * _GAP
    figsize = (
        max(n_columns * _COLUMN, _NARROWEST),
        len(rows) * height * _COLUMN + _ABOVE_AND_BELOW,
    )
    ax = get_axes(ax, caller, figsize)
    placed = [
        (column, row * height, tile)
        for row, tiles in enumerate(rows)
        for column, tile in enumerate(tiles)
    ]
    ax.set_axis_off()
    images = [_draw_thumbnail(ax, *place) for place in placed]
    ax.set_xlim(0, n_columns)
    ax.set_ylim(len(rows) * height, 0)
    ax.set_aspect("equal")
    _draw_title(ax, title)
    used = {tile.color for row in rows for tile in row}
    legend = {color: text for color, text in legend.items() if color in used}
    if legend:
        _draw_legend(ax, legend, 1 if n_columns < _FEW_COLUMNS else len(legend))
    return ax, images, _draw_texts(ax, placed, n_lines)


def _draw_title(ax: Any, title: str) -> None:
    """Draw a title, wrapped to the width of the axes."""
    text = ax.set_title(title, fontsize=_FONT_SIZE + 1, parse_math=False)
    ax.figure.canvas.figure.draw_without_rendering()  # computes the layout
    # The thumbnails may fill only a part of the space that the layout gives the axes.
    width = ax.get_position(original=True).width * ax.figure.bbox.width
    needed = text.get_window_extent().width
    if needed > width:
        n_letters = int(0.9 * len(title) * width / needed)  # letters differ in width
        text.set_text(fill(title, max(n_letters, 1), break_long_words=False))


def _draw_thumbnail(ax: Any, left: float, top: float, tile: Tile) -> Any:
    from matplotlib.patches import Rectangle

    side = 1 - 2 * _GAP
    left, top = left + _GAP, top + _GAP
    image = ax.imshow(tile.pixels, extent=(left, left + side, top + side, top))
    color = tile.color or "lightgray"
    width = 2.5 if tile.color else 0.8
    frame = Rectangle((left, top), side, side, fill=False, color=color, linewidth=width)
    ax.add_patch(frame)
    return image


def _draw_legend(ax: Any, legend: dict[str, str], ncols: int) -> None:
    from matplotlib.patches import Patch

    ax.legend(
        handles=[
            Patch(facecolor="none", edgecolor=color, linewidth=2.5, label=label)
            for color, label in legend.items()
        ],
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        ncols=ncols,
        frameon=False,
        fontsize=_FONT_SIZE,
    )


def _draw_texts(
    ax: Any, placed: Sequence[tuple[float, float, Tile]], n_lines: int
) -> list[Any]:
    """Draw the lines below each thumbnail, shortened to its width."""
    figure = ax.figure.canvas.figure  # the figure that contains subfigures
    figure.draw_without_rendering()  # computes the layout
    (left, top), (right, bottom) = ax.transData.transform([(0, 0), (1, 1)])
    line = abs(top - bottom) * _LINE * 72 / figure.dpi
    font_size = min(line / _SPACING, _FONT_SIZE)
    texts = []
    for left_edge, top_edge, tile in placed:
        text = ax.text(
            left_edge + 0.5,
            top_edge + 1,
            "",
            fontsize=font_size,
            ha="center",
            va="top",
            linespacing=_SPACING,
            parse_math=False,
        )
        width = (right - left) * (1 - 2 * _GAP)
        text.set_text("\n".join(_shorten(text, each, width) for each in tile.lines))
        texts.append(text)
    return texts


def _shorten(text: Any, line: str, width: float) -> str:
    """Return a line that fits into a width in pixels; its middle may be cut.

    It is measured with `text`, which is changed.
    """
    shortened, n_kept = line, len(line)
    while n_kept > 2:
        text.set_text(shortened)
        measured = text.get_window_extent().width
        if measured <= width:
            break
        n_kept = min(n_kept - 1, int(n_kept * width / measured))
        head = max(n_kept, 2) // 2
        shortened = f"{line[:head]}…{line[len(line) - head :]}"
    return shortened

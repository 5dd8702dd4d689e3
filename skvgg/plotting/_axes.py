"""Axes for displays; matplotlib is imported only when something is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def check_axes(ax: Any, caller: str) -> None:
    """Raise an error unless matplotlib is there, and `ax` is its Axes or None."""
    try:
        import matplotlib.axes
    except ImportError as error:
        raise ImportError(
            f'{caller} needs matplotlib: pip install "skvgg[plotting]"'
        ) from error
    if ax is None or isinstance(ax, matplotlib.axes.Axes):
        return
    shape = getattr(ax, "shape", None)
    got = f"a {type(ax).__name__}" if shape is None else f"an array of shape {shape}"
    hint = "" if shape is None else " Pass one of them, such as axes.flat[0]."
    raise ValueError(f"{caller}: ax is {got}; expected one matplotlib Axes.{hint}")


def check_cmap(cmap: Any) -> None:
    """Raise an error unless `cmap` is a colormap, its name or None."""
    import matplotlib as mpl

    mpl.colormaps.get_cmap(cmap)


def get_axes(ax: Any, caller: str, figsize: tuple[float, float] | None = None) -> Any:
    """Return `ax`, or the axes of a new figure of a size in inches if it is None."""
    check_axes(ax, caller)
    if ax is not None:
        return ax
    from matplotlib import pyplot as plt

    return plt.subplots(figsize=figsize, layout="constrained")[1]


@contextmanager
def axes_to_draw_on(
    ax: Any, caller: str, figsize: tuple[float, float] | None = None
) -> Iterator[Any]:
    """Yield the axes of :func:`get_axes`; close a new figure if drawing fails."""
    axes = get_axes(ax, caller, figsize)
    try:
        yield axes
    except BaseException:
        if ax is None:
            from matplotlib import pyplot as plt

            plt.close(axes.figure)
        raise


def draw_ring(ax: Any, x: float, y: float | None, size: float, label: str) -> Any:
    """Draw a ring around the best point, and return its line."""
    style = {"markerfacecolor": "none", "markeredgecolor": "black"}
    return ax.plot(x, y, "o", markersize=size, label=label, **style)[0]

"""Axes for displays; matplotlib is imported only when something is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def check_matplotlib(caller: str) -> None:
    """Check that matplotlib is installed.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'{caller} needs matplotlib: pip install "skvgg[plotting]"'
        ) from error


def check_axes(ax: Any, caller: str) -> None:
    """Check that matplotlib is installed, and that `ax` is its Axes or None.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If `ax` is something else.
    """
    check_matplotlib(caller)
    from matplotlib.axes import Axes

    if ax is None or isinstance(ax, Axes):
        return
    shape = getattr(ax, "shape", None)
    got = f"a {type(ax).__name__}" if shape is None else f"an array of shape {shape}"
    hint = "" if shape is None else " Pass one of them, such as axes.flat[0]."
    raise ValueError(f"{caller}: ax is {got}; expected one matplotlib Axes.{hint}")


def check_cmap(cmap: Any) -> None:
    """Check that a parameter is a colormap, its name or None.

    Raises
    ------
    ValueError
        If there is no colormap of this name.
    TypeError
        If it is something else.
    """
    import matplotlib as mpl

    mpl.colormaps.get_cmap(cmap)


def get_axes(ax: Any, caller: str, figsize: tuple[float, float] | None = None) -> Any:
    """Return the axes to draw on: `ax`, or those of a new figure if it is None.

    Parameters
    ----------
    ax : matplotlib Axes or None
        Axes passed by the user.
    caller : str
        Name of the plotting function in error messages.
    figsize : tuple of (float, float) or None
        Width and height of a new figure in inches; None uses matplotlib's default.
    """
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

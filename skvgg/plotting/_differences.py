"""Gradients of arbitrary functions by central differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.utils import gen_batches

#: Number of coordinates per function call; limits memory.
_TOGETHER = 128


def difference_gradient(
    function: Callable[[np.ndarray], np.ndarray], x: np.ndarray
) -> np.ndarray:
    """Return the gradient at x of a function of points, in the rows of an array.

    The step is the cube root of the resolution of the function's output, which balances
    rounding and truncation errors. It is relative to the coordinate, or to the typical
    coordinate if that is larger.
    """
    kind = function(x[None]).dtype
    resolution = np.finfo(kind if kind.kind == "f" else np.float64).eps
    typical = np.sqrt(np.mean(x**2)) or 1.0
    steps = np.cbrt(resolution) * np.maximum(np.abs(x), typical)
    gradient = np.empty(len(x))
    for batch in gen_batches(len(x), _TOGETHER):
        moved = np.arange(batch.start, batch.stop)
        rows = np.arange(len(moved))
        above, below = (np.repeat(x[None], len(moved), axis=0) for _ in range(2))
        above[rows, moved] += steps[batch]
        below[rows, moved] -= steps[batch]
        rise = np.asarray(function(above), np.float64) - function(below)
        gradient[batch] = rise / (above[rows, moved] - below[rows, moved])
    return gradient

"""Whether the numbers in a network may be too large or too small for float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils import gen_batches

from skvgg._definition.architecture import CONV_NAMES, DENSE_NAMES
from skvgg._network.winograd import matrices
from skvgg._runtime.tensorflow import as_array

#: Preprocessed pixels are smaller, also with the preprocessing of uncommon weights.
_LARGEST_PIXEL = 1e4

#: Smaller sums may have terms that are zero in float32.
_SMALLEST_SUM = 1e-30

#: Rows of a kernel that are added up together, to avoid a copy of large ones.
_ROWS_TOGETHER = 2048


def may_leave_float32(parameters: Mapping[str, tuple[Any, Any]]) -> bool:
    """Return whether images could lead to numbers that are too large or too small.

    The bound follows from the weights: the outputs of a layer are at most its largest
    input times the sum of the absolute weights of a channel. It includes the
    intermediate numbers of Winograd's convolution.

    Parameters
    ----------
    parameters : mapping of str to (tensor, tensor)
        Kernel and bias of the loaded layers, without gaps from the first one.
    """
    inside = np.prod([np.abs(matrix).sum(axis=1).max() for matrix in matrices()]) ** 2
    largest, bound = float(np.finfo(np.float32).max), _LARGEST_PIXEL
    for name in (*CONV_NAMES, *DENSE_NAMES):
        if name not in parameters:
            break
        kernel, bias = map(as_array, parameters[name])
        sizes, positive = _sums(kernel.reshape(-1, kernel.shape[-1]))
        most = bound * sizes + float(np.abs(bias).max())
        if not inside * most < largest:  # or NaN
            return True
        if min(sizes, most) < _SMALLEST_SUM:
            return True
        # Only the first layer has negative inputs.
        is_first = name == CONV_NAMES[0]
        bound = most if is_first else bound * positive + float(np.abs(bias).max())
    return False


def _sums(kernel: np.ndarray) -> tuple[float, float]:
    """Return the largest sums over a column of absolute and of positive weights."""
    sizes, signed = np.zeros((2, kernel.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):
        for rows in gen_batches(len(kernel), _ROWS_TOGETHER):
            ones = np.ones(len(kernel[rows]), kernel.dtype)
            sizes += ones @ np.abs(kernel[rows])
            signed += ones @ kernel[rows]
        return float(sizes.max()), float((sizes + signed).max() / 2)

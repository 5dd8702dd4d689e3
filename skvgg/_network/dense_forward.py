"""Fully connected layers of a few rows, split over threads by columns.

:mod:`skvgg._network.dense_kernel` has the machine code. The order of each sum does not
depend on the number of rows or threads.
"""

from __future__ import annotations

import numpy as np

from skvgg._network.kernels import kernels
from skvgg._network.panels import PANEL_ROWS
from skvgg._network.workers import Workers, ranges
from skvgg._runtime.machine_code import empty


def multiply(x: np.ndarray, kernel: np.ndarray, workers: Workers) -> np.ndarray:
    """Return x @ kernel.

    Parameters
    ----------
    x : ndarray of shape (n, n_in), float32
    kernel : ndarray of shape (n_in, n_out), float32
        `n_out` is a multiple of the columns of a panel.
    workers : Workers

    Returns
    -------
    ndarray of shape (n, n_out), float32
    """
    n, n_in = x.shape
    n_out = kernel.shape[1]
    n_rows = -(-n // PANEL_ROWS) * PANEL_ROWS
    padded = np.zeros((n_rows, n_in), np.float32)
    padded[:n] = x
    y = empty((n_rows, n_out))
    y.fill(0)
    n_panels = n_out // kernels().n_columns

    def run(_: int, panels: tuple[int, int]) -> None:
        places = (array.ctypes.data for array in (padded, kernel, y))
        kernels().multiply(*places, n_rows, n_in, n_out, *panels)

    workers.run(run, ranges(n_panels, min(workers.n, n_panels)))
    return y[:n]

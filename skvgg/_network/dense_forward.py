"""Fully connected layers of a few rows, split over threads by columns.

The kernel of ``fc1`` has 411 MB and each of its numbers is used once per row, so the
product takes as long as reading it from memory. All rows of a call share one reading:
the kernel is read line by line, in memory order, and a block of 16 lines stays in the
cache of a core while it is multiplied with all rows, six at a time, because six rows
and a panel of columns fill the registers. Threads divide the columns and not the rows:
each then reads only its part of the kernel, and the order of a sum does not depend on
the number of rows or threads.

:mod:`skvgg._network.dense_kernel` has the machine code.
"""

from __future__ import annotations

import numpy as np

from skvgg._network.kernels import kernels
from skvgg._network.panels import PANEL_ROWS
from skvgg._network.thread_pool import ThreadPool, ranges
from skvgg._runtime.machine_code import empty


def multiply(x: np.ndarray, kernel: np.ndarray, pool: ThreadPool) -> np.ndarray:
    """Return x @ kernel, float32; `n_out` is a multiple of the columns of a panel."""
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

    pool.run(run, ranges(n_panels, min(pool.n, n_panels)))
    return y[:n]

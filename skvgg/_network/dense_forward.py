"""Fully connected layers of few rows, in machine code.

Their kernels are far larger than any cache (that of ``fc1`` is 411 MB), so the time is
that of reading it once, in the order in which it lies. Each number of the output is
summed in the same order whatever the number of rows and of threads, and in parts, so
that rounding errors do not add up along 25,088 numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise, product
from typing import Any

import numpy as np
from llvmlite import ir

from skvgg._network.workers import Workers
from skvgg._runtime.machine_code import Code, compile_functions, empty
from skvgg._runtime.processor import vectors

#: Rows of the output that stay in registers together.
_ROWS = 6

#: Lines of the kernel that are used up, for all rows and columns, before the next ones:
#: what stays in a core's own cache.
_LINES = 16


def multiply(x: np.ndarray, kernel: np.ndarray, workers: Workers) -> np.ndarray:
    """Return x @ kernel.

    Parameters
    ----------
    x : ndarray of shape (n, n_in), float32
    kernel : ndarray of shape (n_in, n_out), float32
        A number of columns that fills panels, as that of a convolution's channels.
    workers : Workers

    Returns
    -------
    ndarray of shape (n, n_out), float32
    """
    n, n_in = x.shape
    n_out = kernel.shape[1]
    n_rows = -(-n // _ROWS) * _ROWS
    padded = np.zeros((n_rows, n_in), np.float32)
    padded[:n] = x
    y = empty((n_rows, n_out))
    y.fill(0)
    function, n_columns = _compile()
    n_panels = n_out // n_columns
    n_parts = min(workers.n, n_panels)
    bounds = pairwise(n_panels * i // n_parts for i in range(n_parts + 1))

    def run(_: int, panels: tuple[int, int]) -> None:
        places = (array.ctypes.data for array in (padded, kernel, y))
        function(*places, n_rows, n_in, n_out, *panels)

    workers.run(run, [*bounds])
    return y[:n]


@cache
def _compile() -> tuple[Callable[..., None], int]:
    """Return the compiled function of :func:`_write`, and the columns of a panel."""
    width, n_registers = vectors()
    n_vectors = 4 if n_registers >= 32 else 2
    module = ir.Module()
    _write(module, width, n_vectors)
    return compile_functions(module)["multiply"], n_vectors * width


def _write(module: ir.Module, width: int, n_vectors: int) -> None:
    """Write y += x @ kernel, of some panels of columns."""
    code = Code(
        module,
        "multiply",
        ("x", "kernel", "y"),
        ("n_rows", "n_in", "n_out", "first_panel", "last_panel"),
        width,
    )
    a = code.arguments
    n_in, n_out = a["n_in"], a["n_out"]
    with (
        code.loop(0, n_in, _LINES) as first,
        code.loop(a["first_panel"], a["last_panel"]) as panel,
        code.loop(0, a["n_rows"], _ROWS) as row,
    ):
        last = code.smaller(code.add(first, _LINES), n_in)
        columns = code.multiply(panel, n_vectors * width)
        kernel = code.at(a["kernel"], columns)
        x = [
            code.at(a["x"], code.multiply(code.add(row, i), n_in)) for i in range(_ROWS)
        ]
        outputs = [
            code.at(
                code.at(a["y"], columns),
                code.add(code.multiply(code.add(row, i), n_out), j * width),
            )
            for i, j in product(range(_ROWS), range(n_vectors))
        ]

        def add_line(i: Any, sums: list[Any], kernel: Any = kernel, x: Any = x) -> list:
            line = code.at(kernel, code.multiply(i, n_out))
            factors = [code.load(code.at(line, j * width)) for j in range(n_vectors)]
            numbers = [code.load_one(code.at(of_row, i)) for of_row in x]
            pairs = product(numbers, factors)
            return [
                code.multiply_add(*pair, total)
                for pair, total in zip(pairs, sums, strict=True)
            ]

        zeros = [code.constant(0)] * len(outputs)
        sums = code.accumulate(first, last, zeros, add_line)
        for total, place in zip(sums, outputs, strict=True):
            code.store(code.sum_of(code.load(place), total), place)
    code.finish()

"""The product of a few rows and a large matrix, in machine code.

The matrices of the fully connected layers are far larger than any cache (that of
``fc1`` has 411 MB), so the time is that of reading them once, in the order in which
they lie.
"""

from __future__ import annotations

from llvmlite import ir

from skvgg._network.panels import (
    PANEL_ROWS,
    multiply_panel,
    panel_rows,
    panel_vectors,
)
from skvgg._runtime.machine_code import Code

#: Lines of the matrix that are used up, for all rows and columns, before the next ones:
#: what stays in a core's own cache.
_LINES = 16


def write_multiply(module: ir.Module, width: int, n_columns: int) -> None:
    """Write y += x @ kernel, of some panels of columns.

    The arguments are the addresses of x, the kernel and y; the rows of x and y (full
    panels), the numbers in a row of x and of y; the first panel and the one after the
    last. Sums are taken in parts of 16, so that rounding errors do not add up along
    25,088 numbers.
    """
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
        code.loop(0, a["n_rows"], PANEL_ROWS) as row,
    ):
        last = code.smaller(code.add(first, _LINES), n_in)
        to_panel = code.multiply(panel, n_columns)
        x = panel_rows(code, a["x"], row, n_in)
        y = panel_rows(code, code.at(a["y"], to_panel), row, n_out)
        factors = code.at(a["kernel"], to_panel)
        sums = multiply_panel(code, x, factors, n_out, first, last, n_columns)
        for total, place in zip(sums, panel_vectors(code, y, n_columns), strict=True):
            code.store(code.sum_of(code.load(place), total), place)
    code.finish()

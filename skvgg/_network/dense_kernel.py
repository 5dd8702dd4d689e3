"""The product of a few rows and a large matrix, in machine code.

The matrices of the fully connected layers are far larger than any cache (``fc1`` has
411 MB). So the time is that of reading them once, in memory order.
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

#: Lines of the matrix that are processed for all rows and columns before the next
#: ones. They stay in the cache of a core.
_LINES = 16


def write_multiply(module: ir.Module, width: int, n_columns: int) -> None:
    """Write y += x @ kernel, for a range of column panels.

    The arguments are the addresses of x, the kernel and y; the number of rows of x and
    y (full panels); the number of columns of x and of y; the first panel and the one
    after the last. Sums are computed in parts of 16, so that rounding errors do not
    accumulate over 25,088 terms.
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

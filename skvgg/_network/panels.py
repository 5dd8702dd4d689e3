"""Matrix products panel by panel, the core of all functions in machine code."""

from __future__ import annotations

from itertools import product
from typing import Any

from skvgg._runtime.machine_code import Code
from skvgg._runtime.processor import Vectors

#: Rows of a panel.
PANEL_ROWS = 6


def panel_columns(of: Vectors) -> int:
    """Return the number of columns of a panel that fits into registers.

    With six rows, it takes 24 of 32 registers, or 12 of 16.
    """
    return of.width * (4 if of.n_registers >= 32 else 2)


def panel_rows(code: Code, matrix: Any, row: Any, n_columns: Any) -> list[Any]:
    """Return pointers to the rows of a panel, in a matrix with `n_columns`."""
    places = [code.add(row, i) for i in range(PANEL_ROWS)]
    return [code.at(matrix, code.multiply(place, n_columns)) for place in places]


def panel_vectors(code: Code, rows: list[Any], n_columns: int) -> list[Any]:
    """Return pointers to the vectors of a panel, row by row."""
    return [code.at(row, i) for row in rows for i in range(0, n_columns, code.width)]


def multiply_panel(
    code: Code,
    rows: list[Any],
    factors: Any,
    to_next_line: Any,
    first: Any,
    last: Any,
    n_columns: int,
) -> list[Any]:
    """Write the product of six rows and a panel of columns; return its vectors.

    Parameters
    ----------
    code : Code
        The function to write.
    rows : list of pointers
        Pointers to the rows.
    factors : pointer
        Pointer to the first column in the first line.
    to_next_line : integer
        Distance between the lines of the factors, in values.
    first, last : integer
        Range of the sum.
    n_columns : int
        Result of :func:`panel_columns`.
    """
    n_vectors = n_columns // code.width

    def add_line(i: Any, sums: list[Any]) -> list[Any]:
        line = code.at(factors, code.multiply(i, to_next_line))
        vectors = [code.load(code.at(line, j * code.width)) for j in range(n_vectors)]
        numbers = [code.load_one(code.at(row, i)) for row in rows]
        return [
            code.multiply_add(*pair, total)
            for pair, total in zip(product(numbers, vectors), sums, strict=True)
        ]

    zeros = [code.constant(0)] * (len(rows) * n_vectors)
    return code.accumulate(first, last, zeros, add_line)

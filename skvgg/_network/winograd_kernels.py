"""Winograd's convolution of :mod:`skvgg._network.winograd`, in machine code.

Each block of tiles goes through all three steps (transform of the inputs, 36 matrix
products, transform of the outputs) before the next block starts, so that intermediate
results stay in a cache. The order of each sum does not depend on the number of images,
tiles and threads, so neither do the bits of the output. Values that are infinite, or
too large for the transforms, become NaN in all outputs of their tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
from llvmlite import ir

from skvgg._network.panels import (
    PANEL_ROWS,
    multiply_panel,
    panel_rows,
    panel_vectors,
)
from skvgg._network.winograd import KERNEL, SIDE, TILE, matrices
from skvgg._runtime.machine_code import Code

#: Number of matrix products in a convolution.
N_PRODUCTS = SIDE**2

#: Rows of B^T and G and columns of A^T: pairs for points p and -p, and all others.
_PAIRS, _ALONE = ((1, 2), (3, 4)), (0, 5)

#: Writes the product of a matrix and a vector of vectors, and returns it.
_Times = Callable[[Code, np.ndarray, Sequence[Any]], list[Any]]


def write_pack(module: ir.Module, width: int, n_columns: int) -> None:
    """Write a function that transforms and packs a kernel."""
    code = Code(module, "pack", ("kernel", "u"), ("n_in", "n_out"), width)
    a = code.arguments
    n_in, n_out = a["n_in"], a["n_out"]
    of_matrix = code.multiply(n_in, n_out)
    with (
        code.loop(0, n_out, n_columns) as panel,
        code.loop(0, n_in) as row,
        code.loop(0, n_columns, width) as column,
    ):
        offset = code.add(code.add(code.multiply(row, n_out), panel), column)
        start = code.at(a["kernel"], offset)
        g = _load_all(code, start, of_matrix, KERNEL**2)
        # Earlier panels have n_in values per column.
        offset = code.add(code.multiply(panel, n_in), code.multiply(row, n_columns))
        place = code.at(a["u"], code.add(offset, column))
        for i, vector in enumerate(_on_both_sides(code, matrices()[1], g, _by_rows)):
            code.store(vector, code.at(place, code.multiply(of_matrix, i)))
    code.finish()


def write_convolve(module: ir.Module, width: int, n_columns: int) -> None:
    """Write relu(conv(x) + bias), or its 2x2 max-pooling, for some tiles and channels.

    The arguments are

    - the addresses of x, the packed kernel u, the bias, the output y, buffers for the
      transformed inputs v and outputs m of a block, and n_in zeros;
    - the first tile, the one after the last, and the number of tiles in a block (a
      multiple of the rows of a panel);
    - the height and width of x, and the channels of x and y;
    - the first panel of the channels of y, and the one after the last;
    - 1 to pool, or 0.
    """
    code = Code(
        module,
        "convolve",
        ("x", "u", "bias", "y", "v", "m", "zeros"),
        (
            *("first", "last", "block", "height", "width", "n_in", "n_out"),
            *("first_panel", "last_panel", "pools"),
        ),
        width,
    )
    a = code.arguments
    with code.loop(a["first"], a["last"], a["block"]) as first:
        last = code.smaller(code.add(first, a["block"]), a["last"])
        _transform_inputs(code, first, last)
        _multiply(code, code.subtract(last, first), n_columns)
        with code.loop(0, a["pools"]):  # once or never
            _transform_outputs(code, first, last, n_columns, pools=True)
        with code.loop(a["pools"], 1):
            _transform_outputs(code, first, last, n_columns, pools=False)
    code.finish()


def _transform_inputs(code: Code, first: Any, last: Any) -> None:
    """Write B^T d B of the 6x6 inputs d of each tile to v."""
    a = code.arguments
    height, width, n_in = a["height"], a["width"], a["n_in"]
    to_next = code.multiply(a["block"], n_in)
    with code.loop(first, last) as tile:
        image, top, left = _corner(code, tile)
        rows = [code.add(top, i - 1) for i in range(SIDE)]
        columns = [code.add(left, i - 1) for i in range(SIDE)]
        inputs = []
        for row, column in product(rows, columns):
            is_inside = code.both(
                code.is_within(row, height), code.is_within(column, width)
            )
            pixel = _pixel(code, image, row, column, height, width)
            place = code.at(a["x"], code.multiply(pixel, n_in))
            inputs.append(code.choose(is_inside, place, a["zeros"]))
        of_tile = code.multiply(code.subtract(tile, first), n_in)
        with code.loop(0, n_in, code.width) as channel:
            d = [code.load(code.at(place, channel)) for place in inputs]
            start = code.at(a["v"], code.add(of_tile, channel))
            transformed = _on_both_sides(code, matrices()[2], d, _by_rows)
            for i, vector in enumerate(transformed):
                code.store(vector, code.at(start, code.multiply(to_next, i)))


def _multiply(code: Code, n_tiles: Any, n_columns: int) -> None:
    """Write the 36 products of v and u to m.

    Rows after the last tile only fill the last panel.
    """
    a = code.arguments
    n_in, n_out = a["n_in"], a["n_out"]
    of_panel = code.multiply(n_in, n_columns)
    with code.loop(0, N_PRODUCTS) as k:
        v = code.at(a["v"], code.multiply(k, code.multiply(a["block"], n_in)))
        u = code.at(a["u"], code.multiply(k, code.multiply(n_in, n_out)))
        m = code.at(a["m"], code.multiply(k, code.multiply(a["block"], n_out)))
        with code.loop(a["first_panel"], a["last_panel"]) as panel:
            factors = code.at(u, code.multiply(panel, of_panel))
            sums = code.at(m, code.multiply(panel, n_columns))
            with code.loop(0, n_tiles, PANEL_ROWS) as row:
                inputs = panel_rows(code, v, row, n_in)
                outputs = panel_rows(code, sums, row, n_out)
                vectors = multiply_panel(
                    code, inputs, factors, n_columns, 0, n_in, n_columns
                )
                places = panel_vectors(code, outputs, n_columns)
                for vector, place in zip(vectors, places, strict=True):
                    code.store(vector, place)


def _transform_outputs(
    code: Code, first: Any, last: Any, n_columns: int, *, pools: bool
) -> None:
    """Write A^T m A of each tile to y, with bias, ReLU and optional pooling."""
    a = code.arguments
    shrink = 2 if pools else 1
    height, width = (code.divide(a[name], shrink)[0] for name in ("height", "width"))
    n_out = a["n_out"]
    to_next = code.multiply(a["block"], n_out)
    first_channel = code.multiply(a["first_panel"], n_columns)
    last_channel = code.multiply(a["last_panel"], n_columns)
    with code.loop(first, last) as tile:
        image, top, left = _corner(code, tile)
        rows, columns = (
            [code.add(code.divide(start, shrink)[0], i) for i in range(TILE // shrink)]
            for start in (top, left)
        )
        outputs = []
        for row, column in product(rows, columns):
            is_inside = code.both(
                code.is_within(row, height), code.is_within(column, width)
            )
            pixel = _pixel(code, image, row, column, height, width)
            place = code.at(a["y"], code.multiply(pixel, n_out))
            # Outputs outside of the map go to v, which is no longer needed.
            outputs.append(code.choose(is_inside, place, a["v"]))
        of_tile = code.multiply(code.subtract(tile, first), n_out)
        with code.loop(first_channel, last_channel, code.width) as channel:
            start = code.at(a["m"], code.add(of_tile, channel))
            m = _load_all(code, start, to_next, N_PRODUCTS)
            numbers = _on_both_sides(code, matrices()[0], m, _by_columns)
            if pools:
                numbers = _maxima(code, numbers)
            bias = code.load(code.at(a["bias"], channel))
            for number, place in zip(numbers, outputs, strict=True):
                positive = code.maximum(code.sum_of(number, bias), code.constant(0))
                code.store(positive, code.at(place, channel))


def _corner(code: Code, tile: Any) -> tuple[Any, Any, Any]:
    """Return the image of a tile, and the row and column of its first output."""
    a = code.arguments
    n_rows, n_columns = (
        code.divide(code.add(a[name], TILE - 1), TILE)[0]
        for name in ("height", "width")
    )
    image, in_image = code.divide(tile, code.multiply(n_rows, n_columns))
    row, column = code.divide(in_image, n_columns)
    return image, code.multiply(row, TILE), code.multiply(column, TILE)


def _pixel(
    code: Code, image: Any, row: Any, column: Any, height: Any, width: Any
) -> Any:
    """Return the index of a pixel among the pixels of all images."""
    line = code.add(code.multiply(image, height), row)
    return code.add(code.multiply(line, width), column)


def _load_all(code: Code, start: Any, step: Any, n: int) -> list[Any]:
    """Return the `n` vectors at pointers that are `step` values apart."""
    return [code.load(code.at(start, code.multiply(step, i))) for i in range(n)]


def _on_both_sides(
    code: Code, matrix: np.ndarray, numbers: Sequence[Any], times: _Times
) -> list[Any]:
    """Return matrix @ numbers @ matrix.T, row by row, for a square of vectors."""
    side = matrix.shape[1]
    columns = [times(code, matrix, numbers[i::side]) for i in range(side)]
    rows = zip(*columns, strict=True)
    return [number for row in rows for number in times(code, matrix, row)]


def _by_rows(code: Code, matrix: np.ndarray, terms: Sequence[Any]) -> list[Any]:
    """Return the product of B^T or G and a vector of vectors.

    The rows of points p and -p differ only in the sign of the odd powers.
    """
    results: list[Any] = [None] * SIDE
    for i in _ALONE:
        results[i] = code.weighted_sum(matrix[i], terms)
    for i, j in _PAIRS:
        even = code.weighted_sum((matrix[i] + matrix[j]) / 2, terms)
        odd = code.weighted_sum((matrix[i] - matrix[j]) / 2, terms)
        results[i] = code.sum_of(even, odd)
        results[j] = code.difference_of(even, odd)
    return results


def _by_columns(code: Code, matrix: np.ndarray, terms: Sequence[Any]) -> list[Any]:
    """Return the product of A^T and a vector of vectors.

    The columns of points p and -p differ only in the sign of the odd powers, too.
    """
    columns = [matrix[:, i] for i in _ALONE]
    of_columns = [terms[i] for i in _ALONE]
    for i, j in _PAIRS:
        columns.append((matrix[:, i] + matrix[:, j]) / 2)
        of_columns.append(code.sum_of(terms[i], terms[j]))
        columns.append((matrix[:, i] - matrix[:, j]) / 2)
        of_columns.append(code.difference_of(terms[i], terms[j]))
    rows = np.stack(columns, axis=1)
    return [code.weighted_sum(row, of_columns) for row in rows]


def _maxima(code: Code, numbers: Sequence[Any]) -> list[Any]:
    """Return the 2x2 max-pooling of a tile of vectors."""
    pooled = []
    for row, column in product(range(0, TILE, 2), repeat=2):
        above = TILE * row + column
        below = above + TILE
        pairs = numbers[above : above + 2], numbers[below : below + 2]
        pooled.append(code.maximum(*(code.maximum(*pair) for pair in pairs)))
    return pooled

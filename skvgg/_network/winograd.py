"""Convolution with 3x3 kernels in fewer multiplications: Winograd's F(4x4, 3x3).

A tile of 4x4 outputs takes 36 multiplications per pair of channels instead of 144. The
6x6 inputs of the tile and the kernel are transformed, multiplied elementwise (summed
over channels: 36 matrix products), and transformed back. The method follows Lavin and
Gray, "Fast algorithms for convolutional neural networks" (CVPR 2016). The matrices are
computed here from :data:`POINTS` by the Cook-Toom construction.

The forward pass uses machine code for these steps; see
:mod:`skvgg._network.winograd_kernels`. The functions of tensors here have gradients.
They are written for XLA: stacked tensors are computed once and stored; all other
expressions are recomputed for each element that uses them, in one loop over memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from skvgg._runtime.tensorflow import import_tensorflow

#: Evaluation points of the polynomials; a sixth point is at infinity. They determine
#: the rounding error: with the common choice 0, +-1, +-2 it is 3.5 times as large in
#: block 5 of VGG19.
POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)

#: Side of an output tile, of a kernel, and of the input of a tile.
TILE, KERNEL = 4, 3
SIDE = TILE + KERNEL - 1


@cache
def matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (A^T, G, B^T), of shapes (4, 6), (6, 3) and (6, 6), float64.

    ``A^T ((G g) * (B^T d))`` are the 4 outputs of the 1-D correlation of a kernel
    g of size 3 with 6 inputs d.
    """
    points = np.array(POINTS)
    evaluate = np.vander(points, SIDE, increasing=True)
    infinity = np.eye(SIDE)[-1]
    others = [points[points != point] for point in points]
    bt = np.zeros((SIDE, SIDE))
    for row, roots in zip(bt, [*others, points], strict=True):
        row[: len(roots) + 1] = np.poly(roots)[::-1]
    scale = [np.prod(point - rest) for point, rest in zip(points, others, strict=True)]
    g = evaluate[:, :KERNEL] / np.array(scale)[:, None]
    at = evaluate[:, :TILE]
    return (
        np.vstack([at, infinity[-TILE:]]).T,
        np.vstack([g, infinity[-KERNEL:]]),
        bt,
    )


def transform_kernel(kernel: Any) -> list[Any]:
    """Return the 36 matrices of a transformed kernel, grouped by rows of G.

    Parameters
    ----------
    kernel : tensor of shape (3, 3, n_in, n_out)

    Returns
    -------
    list of 6 tensors of shape (6, n_in, n_out)
    """
    tf = import_tensorflow()
    g = matrices()[1]
    lines = _combine(g, tf.unstack(kernel))
    return [tf.stack(_combine(g, tf.unstack(line))) for line in lines]


def n_tiles(size: int) -> int:
    """Return the number of tiles that cover `size` pixels."""
    return -(-size // TILE)


def transformed_bytes(height: int, width: int, channels: int) -> int:
    """Return the size of a transformed map, in bytes."""
    return SIDE**2 * n_tiles(height) * n_tiles(width) * channels * np.float32().nbytes


def convolve(x: Any, u: Sequence[Any]) -> Any:
    """Return conv(x) with zero padding.

    Parameters
    ----------
    x : tensor of shape (n, height, width, n_in), float32
        All sizes must be static.
    u : sequence of 6 tensors of shape (6, n_in, n_out), float32
        Result of :func:`transform_kernel`. A single tensor would have to be split.

    Returns
    -------
    tensor of shape (n, height, width, n_out)
    """
    tf = import_tensorflow()
    _, height, width, _ = x.shape
    rows, columns = n_tiles(height), n_tiles(width)
    below, right = TILE * rows + 1 - height, TILE * columns + 1 - width
    x = tf.pad(x, [[0, 0], [1, below], [1, right], [0, 0]])
    bt = matrices()[2]
    lines = _combine(bt, _taps(x, 1, rows))
    products = [
        _multiply(_combine(bt, _taps(line, 2, columns)), of_line)
        for line, of_line in zip(lines, u, strict=True)
    ]
    return _transform_back(products)[:, :height, :width]


def _taps(x: Any, axis: int, n: int) -> list[Any]:
    """Return the first, second, ... and sixth inputs of `n` tiles along an axis."""
    before = (slice(None),) * axis
    stop = TILE * (n - 1) + 1
    return [x[(*before, slice(i, i + stop, TILE))] for i in range(SIDE)]


def _multiply(v: Sequence[Any], u: Any) -> list[Any]:
    """Return the product of each tensor of shape (*tiles, n_in) with its matrix."""
    tf = import_tensorflow()
    *tiles, n_in = v[0].shape
    products = tf.matmul(tf.stack([tf.reshape(t, [-1, n_in]) for t in v]), u)
    return [tf.reshape(product, [*tiles, -1]) for product in tf.unstack(products)]


def _transform_back(products: Sequence[Sequence[Any]]) -> Any:
    """Return A^T m A of all tiles m, joined into maps."""
    tf = import_tensorflow()
    at = matrices()[0]
    n, rows, columns, n_out = products[0][0].shape
    columns_of_tiles = zip(*products, strict=True)
    lines = [tf.stack(_combine(at, column), axis=2) for column in columns_of_tiles]
    parts = _combine(at, lines)  # each of shape (n, rows, 4, columns, n_out)
    y = tf.stack(parts, axis=4)
    return tf.reshape(y, [n, rows * TILE, columns * TILE, n_out])


def _combine(matrix: np.ndarray, terms: Sequence[Any]) -> list[Any]:
    """Return the product of a matrix and a vector of tensors."""
    return [_weighted_sum(coefficients, terms) for coefficients in matrix]


def _weighted_sum(coefficients: np.ndarray, terms: Sequence[Any]) -> Any:
    """Return the sum of terms times coefficients; zero coefficients are skipped."""
    total = None
    for coefficient, term in zip(coefficients, terms, strict=True):
        if coefficient:
            scaled = term if coefficient == 1 else term * np.float32(coefficient)
            total = scaled if total is None else total + scaled
    return total

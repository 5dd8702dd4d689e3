"""Convolution with 3x3 kernels in fewer multiplications: Winograd's F(4x4, 3x3).

A tile of 4x4 outputs takes 36 multiplications a pair of channels instead of 144: a
transform of the 6x6 inputs that it depends on, one of the kernel, a product number by
number (summed over channels: 36 matrix products) and a transform back. The method is
that of Lavin and Gray, "Fast algorithms for convolutional neural networks" (CVPR 2016);
the matrices are made here, from the points of :data:`POINTS`, by the construction of
Cook and Toom.

Pure functions of arrays and tensors; what is compiled, and when, is `_engines`' affair.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from skvgg._tensorflow import import_tensorflow

#: Where the polynomials are evaluated; a sixth point lies at infinity. Their size
#: decides the rounding error: with 0, +-1, +-2, the common choice, that of VGG19's
#: block 5 is 3.5 times as large.
POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)

#: Side of a tile of the output, of a kernel, and of the input that they need.
TILE, KERNEL = 4, 3
SIDE = TILE + KERNEL - 1


@cache
def matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (A^T, G, B^T), of shapes (4, 6), (6, 3) and (6, 6), float64.

    ``A^T ((G g) * (B^T d))`` are the 4 outputs of the 1-D correlation of a kernel
    g of 3 numbers with 6 inputs d.
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


def transform_kernel(kernel: np.ndarray) -> list[np.ndarray]:
    """Return the 36 matrices that stand for a kernel.

    Parameters
    ----------
    kernel : ndarray of shape (3, 3, n_in, n_out)

    Returns
    -------
    list of 36 ndarray of shape (n_in, n_out), float32
    """
    g = matrices()[1]
    u = np.einsum("ai,bj,ijck->abck", g, g, kernel, optimize=True)
    return list(u.reshape(SIDE * SIDE, *kernel.shape[2:]).astype(np.float32))


def n_tiles(size: int) -> int:
    """Return how many tiles cover `size` pixels."""
    return -(-size // TILE)


def convolve(x: Any, u: Sequence[Any], bias: Any, *, pools: bool) -> Any:
    """Return relu(conv(x) + bias), with zeros around x, or its 2x2 max-pooling.

    Meant to be compiled by XLA, for which the order of the steps is made: every stage
    is one loop over memory, and the barriers keep XLA from merging two of them and
    computing the first again for each element of the second.

    Parameters
    ----------
    x : tensor of shape (n, height, width, n_in), float32
        All sizes must be known.
    u : sequence of 36 tensors of shape (n_in, n_out), float32
        From :func:`transform_kernel`. One tensor would have to be cut first.
    bias : tensor of shape (n_out,), float32
    pools : bool
        Whether the output is reduced to the maxima of 2x2 pixels.

    Returns
    -------
    tensor of shape (n, height, width, n_out) or (n, height // 2, width // 2, n_out)
    """
    n, height, width, _ = x.shape
    tiles = n, n_tiles(height), n_tiles(width)
    products = [
        _product(v, weight, tiles)
        for v, weight in zip(_transform_input(x, tiles), u, strict=True)
    ]
    return _transform_output(products, bias, (height, width), pools)


def _transform_input(x: Any, tiles: tuple[int, int, int]) -> list[Any]:
    """Return B^T d B of all tiles d: 36 tensors of shape (*tiles, n_in)."""
    tf = import_tensorflow()
    bt = matrices()[2]
    _, height, width, _ = x.shape
    _, rows, columns = tiles
    below, right = TILE * rows + 1 - height, TILE * columns + 1 - width
    x = tf.pad(x, [[0, 0], [1, below], [1, right], [0, 0]])
    stop = TILE * (rows - 1) + 1, TILE * (columns - 1) + 1
    lines = [x[:, i : i + stop[0] : TILE] for i in range(SIDE)]
    lines = _barrier([_combine(bt[a], lines) for a in range(SIDE)])
    return [
        _combine(bt[b], [line[:, :, j : j + stop[1] : TILE] for j in range(SIDE)])
        for line in lines
        for b in range(SIDE)
    ]


def _product(v: Any, u: Any, tiles: tuple[int, int, int]) -> Any:
    tf = import_tensorflow()
    flat = tf.matmul(tf.reshape(v, [-1, v.shape[-1]]), u)
    return tf.reshape(flat, [*tiles, u.shape[-1]])


def _transform_output(
    products: Sequence[Any], bias: Any, size: tuple[int, int], pools: bool
) -> Any:
    """Return relu(A^T m A + bias) of all tiles m, put together, maybe pooled."""
    tf = import_tensorflow()
    at = matrices()[0]
    n, rows, columns, width = products[0].shape
    lines = _barrier(
        [
            tf.stack([_combine(at[a], products[b::SIDE]) for a in range(TILE)], axis=2)
            for b in range(SIDE)
        ]
    )
    # Each of shape (n, rows, 4, columns, width).
    parts = [_combine(at[b], lines) for b in range(TILE)]
    side = TILE
    if pools:
        side = TILE // 2
        parts = [tf.maximum(*parts[i : i + 2]) for i in range(0, TILE, 2)]
        parts = [tf.maximum(part[:, :, ::2], part[:, :, 1::2]) for part in parts]
        size = size[0] // 2, size[1] // 2
    parts = [tf.nn.relu(part + bias) for part in parts]
    y = tf.reshape(tf.stack(parts, axis=4), [n, rows * side, columns * side, width])
    return y[:, : size[0], : size[1]]


def _combine(coefficients: np.ndarray, terms: Sequence[Any]) -> Any:
    """Return the sum of terms times coefficients, without the zeros."""
    total = None
    for coefficient, term in zip(coefficients, terms, strict=True):
        if coefficient:
            scaled = term if coefficient == 1 else term * np.float32(coefficient)
            total = scaled if total is None else total + scaled
    return total


def _barrier(tensors: Sequence[Any]) -> list[Any]:
    """Return the tensors, computed and kept before anything that uses them."""
    from tensorflow.compiler.tf2xla.ops import gen_xla_ops

    return gen_xla_ops.xla_optimization_barrier(input=list(tensors))

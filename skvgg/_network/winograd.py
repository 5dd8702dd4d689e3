"""Convolution with 3x3 kernels in fewer multiplications: Winograd's F(4x4, 3x3).

A tile of 4x4 outputs takes 36 multiplications a pair of channels instead of 144: a
transform of the 6x6 inputs that it depends on, one of the kernel, a product number by
number (summed over channels: 36 matrix products) and a transform back. The method is
that of Lavin and Gray, "Fast algorithms for convolutional neural networks" (CVPR 2016);
the matrices are made here, from the points of :data:`POINTS`, by the construction of
Cook and Toom.

Pure functions of arrays and tensors; :mod:`skvgg._network.engines` decides what is
compiled, and when. They are written for XLA: a stack of tensors is computed once and
kept in memory; all else is computed again for each element that uses it, in one loop
over memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from skvgg._runtime.tensorflow import import_tensorflow

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
    """Return the 36 matrices that stand for a kernel, those of a row of G together.

    Parameters
    ----------
    kernel : ndarray of shape (3, 3, n_in, n_out)

    Returns
    -------
    list of 6 ndarray of shape (6, n_in, n_out), float32
    """
    g = matrices()[1]
    u = np.einsum("ai,bj,ijck->abck", g, g, kernel, optimize=True)
    return list(u.astype(np.float32))


def transform_variable(kernel: Any) -> list[Any]:
    """Return what :func:`transform_kernel` does, of a tensor, with a gradient."""
    tf = import_tensorflow()
    g = matrices()[1]
    lines = _combine(g, tf.unstack(kernel))
    return [tf.stack(_combine(g, tf.unstack(line))) for line in lines]


def n_tiles(size: int) -> int:
    """Return how many tiles cover `size` pixels."""
    return -(-size // TILE)


def transformed_bytes(height: int, width: int, channels: int) -> int:
    """Return how many bytes maps of so many pixels take once transformed."""
    return SIDE**2 * n_tiles(height) * n_tiles(width) * channels * np.float32().nbytes


def convolve(
    x: Any, u: Sequence[Any], bias: Any, *, pools: bool, rows: int | None = None
) -> Any:
    """Return relu(conv(x) + bias), with zeros around x, or its 2x2 max-pooling.

    Without a bias, return conv(x) alone, with neither bias nor ReLU.

    Parameters
    ----------
    x : tensor of shape (n, height, width, n_in), float32
        All sizes must be known.
    u : sequence of 6 tensors of shape (6, n_in, n_out), float32
        From :func:`transform_kernel`. One tensor would have to be cut first.
    bias : tensor of shape (n_out,), float32, or None
    pools : bool
        Whether the output is reduced to the maxima of 2x2 pixels.
    rows : int or None
        Rows of tiles of one image that go through all steps before the next ones do,
        so that what is between the steps stays in a small cache. None takes all rows of
        all images together.

    Returns
    -------
    tensor of shape (n, height, width, n_out) or (n, height // 2, width // 2, n_out)
    """
    tf = import_tensorflow()
    _, height, width, _ = x.shape
    part = partial(_convolve_part, u=u, bias=bias, pools=pools)
    stripe = height if rows is None else TILE * rows
    in_stripes = stripe < height - 1
    below = 1 if in_stripes else TILE * n_tiles(height) + 1 - height
    right = TILE * n_tiles(width) + 1 - width
    x = tf.pad(x, [[0, 0], [1, below], [1, right], [0, 0]])
    if not in_stripes:
        return part(x, size=(height, width))
    shrink = 2 if pools else 1
    shape = height // shrink, width // shrink, u[0].shape[-1]
    return _by_stripes(part, x, shape, stripe, shrink)


def _by_stripes(
    part: Callable[..., Any],
    x: Any,
    shape: tuple[int, int, int],
    stripe: int,
    shrink: int,
) -> Any:
    """Return what `part` makes of padded images, stripe by stripe.

    For example two images of 10 rows in stripes of 4: the stripes begin at rows 0, 4
    and 6 of the first image (the last one ends with it, so its first two rows are
    computed twice), then at 0, 4 and 6 of the second. The one at row 4 reads rows 4 to
    9 of the padded image, as a kernel of 3 wants a row above and one below, and gives
    rows 4 to 7 of the output, or rows 2 and 3 if pooling halves it.

    Parameters
    ----------
    part : callable
        Takes rows of an image, and the size of its output before pooling.
    x : tensor of shape (n, height + 2, at least width + 2, n_in)
    shape : tuple of int
        Height, width and channels of the output.
    stripe : int
        Rows of a stripe. The last one of an image ends with it, and may overlap the
        one before.
    shrink : int
        How much smaller the output is, from pooling.
    """
    tf = import_tensorflow()
    from tensorflow.compiler.tf2xla.python.xla import dynamic_update_slice

    n = x.shape[0]
    height, width = shape[0] * shrink, shape[1] * shrink
    last = height - stripe
    shape_of_inputs = 1, stripe + KERNEL - 1, *x.shape[2:]

    def after(image, top):
        ends = tf.cast(top == last, tf.int32)
        next_image = tf.minimum(image + ends, n - 1)
        return next_image, tf.minimum(top + stripe, last) * (1 - ends)

    # What a loop hands on to its next turn is kept in memory, too. So each turn cuts
    # out the inputs of the next one, from a place that the turn before has computed.
    def turn(n_left, place, next_place, inputs, y):
        outputs = part(inputs, size=(stripe, width))
        image, top = place
        y = dynamic_update_slice(y, outputs, [image, top // shrink, 0, 0])
        next_inputs = tf.slice(x, [*next_place, 0, 0], shape_of_inputs)
        return n_left - 1, next_place, after(*next_place), next_inputs, y

    state = (
        n * -(-height // stripe),
        (0, 0),
        (0, min(stripe, last)),
        x[:1, : shape_of_inputs[1]],
        tf.zeros([n, *shape]),
    )
    return tf.while_loop(lambda n_left, *_: n_left > 0, turn, state)[-1]


def _convolve_part(
    x: Any, u: Sequence[Any], bias: Any, pools: bool, size: tuple[int, int]
) -> Any:
    """Return the output, of a size before pooling, of images with their padding."""
    bt = matrices()[2]
    rows, columns = map(n_tiles, size)
    lines = _combine(bt, _taps(x, 1, rows))
    products = [
        _multiply(_combine(bt, _taps(line, 2, columns)), of_line)
        for line, of_line in zip(lines, u, strict=True)
    ]
    return _transform_back(products, bias, size, pools)


def _taps(x: Any, axis: int, n: int) -> list[Any]:
    """Return the first inputs of `n` tiles along an axis, their second ones, ..."""
    before = (slice(None),) * axis
    stop = TILE * (n - 1) + 1
    return [x[(*before, slice(i, i + stop, TILE))] for i in range(SIDE)]


def _multiply(v: Sequence[Any], u: Any) -> list[Any]:
    """Return the product of each tensor of shape (*tiles, n_in) with its matrix."""
    tf = import_tensorflow()
    *tiles, n_in = v[0].shape
    products = tf.matmul(tf.stack([tf.reshape(t, [-1, n_in]) for t in v]), u)
    return [tf.reshape(product, [*tiles, -1]) for product in tf.unstack(products)]


def _transform_back(
    products: Sequence[Sequence[Any]], bias: Any, size: tuple[int, int], pools: bool
) -> Any:
    """Return A^T m A of all tiles m, put together, maybe pooled; see `convolve`."""
    tf = import_tensorflow()
    at = matrices()[0]
    n, rows, columns, width = products[0][0].shape
    columns_of_tiles = zip(*products, strict=True)
    lines = [tf.stack(_combine(at, column), axis=2) for column in columns_of_tiles]
    parts = _combine(at, lines)  # each of shape (n, rows, 4, columns, width)
    side = TILE
    if pools:
        side = TILE // 2
        parts = [tf.maximum(*parts[i : i + 2]) for i in range(0, TILE, 2)]
        parts = [tf.maximum(part[:, :, ::2], part[:, :, 1::2]) for part in parts]
        size = size[0] // 2, size[1] // 2
    if bias is not None:
        parts = [tf.nn.relu(part + bias) for part in parts]
    y = tf.reshape(tf.stack(parts, axis=4), [n, rows * side, columns * side, width])
    return y[:, : size[0], : size[1]]


def _combine(matrix: np.ndarray, terms: Sequence[Any]) -> list[Any]:
    """Return the product of a matrix and a vector of tensors."""
    return [_weighted_sum(coefficients, terms) for coefficients in matrix]


def _weighted_sum(coefficients: np.ndarray, terms: Sequence[Any]) -> Any:
    """Return the sum of terms times coefficients, without the zeros."""
    total = None
    for coefficient, term in zip(coefficients, terms, strict=True):
        if coefficient:
            scaled = term if coefficient == 1 else term * np.float32(coefficient)
            total = scaled if total is None else total + scaled
    return total

"""Convolution with 3x3 kernels in fewer multiplications: Winograd's F(4x4, 3x3).

A tile of 4x4 outputs takes 36 multiplications per pair of channels instead of 144. The
6x6 inputs of the tile and the kernel are transformed, multiplied elementwise (summed
over channels: 36 matrix products), and transformed back. The method follows Lavin and
Gray, "Fast algorithms for convolutional neural networks" (CVPR 2016). The matrices are
computed here from :data:`POINTS` by the Cook-Toom construction.

Why this is faster, and how it is divided: the 36 products are ordinary products of
matrices with one row per tile and one column per channel, and take a quarter of the
multiplications. The transforms only add, but they read and write 36 / 16 = 2.25 times
the map. A transformed map of a whole image would leave the caches, and its transfer
would cost more than the multiplications saved. So the tiles of all images are numbered,
and a block of them that fits into the cache of a core goes through all three steps
before the next one. Each block reads the whole kernel. A kernel that is itself larger
than the caches makes blocks as large as itself worth while, and threads then divide its
channels, so that none reads all of it.

:mod:`skvgg._network.winograd_kernels` has these steps in machine code.
"""

from __future__ import annotations

from functools import cache

import numpy as np

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


def n_tiles(size: int) -> int:
    """Return the number of tiles that cover `size` pixels."""
    return -(-size // TILE)


def transformed_bytes(height: int, width: int, channels: int) -> int:
    """Return the size of a transformed map, in bytes."""
    return SIDE**2 * n_tiles(height) * n_tiles(width) * channels * np.float32().nbytes

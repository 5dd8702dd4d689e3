"""The Winograd convolution of a batch, split over threads.

:mod:`skvgg._network.winograd_kernels` has the machine code.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skvgg._network.kernels import kernels
from skvgg._network.panels import PANEL_ROWS
from skvgg._network.thread_pool import Part, ThreadPool, divide
from skvgg._network.winograd import n_tiles, transformed_bytes
from skvgg._network.winograd_kernels import N_PRODUCTS
from skvgg._runtime.machine_code import empty

#: Packed kernels up to this size in bytes stay in a shared cache.
_KERNEL_IN_CACHE = 16e6

#: Maximum size in bytes of the transformed inputs and outputs of a block of tiles,
#: which fit into the cache of a core.
_BLOCK_BYTES = 0.75e6

#: With fewer tiles per thread, threads divide the channels of a large kernel instead of
#: the tiles, so that each thread reads only a part of it.
_TILES_OF_A_THREAD = 64


class PackedKernel(NamedTuple):
    """Packed kernel and bias of a convolution.

    Attributes
    ----------
    u : ndarray of shape (36, n_out // n_columns, n_in, n_columns), float32
        The transformed kernel G g G^T in the order of reading: by products and panels
        of columns.
    bias : ndarray of shape (n_out,), float32
    """

    u: np.ndarray
    bias: np.ndarray

    @classmethod
    def of(cls, kernel: np.ndarray, bias: np.ndarray) -> PackedKernel:
        """Pack a kernel of shape (3, 3, n_in, n_out)."""
        kernel = np.ascontiguousarray(kernel)
        _, _, n_in, n_out = kernel.shape
        n_columns = kernels().n_columns
        u = empty((N_PRODUCTS, n_out // n_columns, n_in, n_columns))
        kernels().pack(kernel.ctypes.data, u.ctypes.data, n_in, n_out)
        return cls(u, np.ascontiguousarray(bias))


def convolve(
    x: np.ndarray, kernel: PackedKernel, pool: ThreadPool, *, pools: bool
) -> np.ndarray:
    """Return relu(conv(x) + bias) with zero padding, or its 2x2 max-pooling.

    Parameters
    ----------
    x : ndarray of shape (n, height, width, n_in), float32
    kernel : PackedKernel
    pool : ThreadPool
    pools : bool
        Whether to apply 2x2 max-pooling to the output.

    Returns
    -------
    ndarray of shape (n, height, width, n_out) or (n, height // 2, width // 2, n_out)
    """
    x = np.ascontiguousarray(x)
    n, height, width, n_in = x.shape
    n_out = len(kernel.bias)
    shrink = 2 if pools else 1
    y = empty((n, height // shrink, width // shrink, n_out))
    n_all = n * n_tiles(height) * n_tiles(width)
    parts = _divide(n_all, n_out, kernel.u.nbytes, pool.n)
    block = _tiles_of_a_block(parts[0], n_in, n_out, kernel.u.nbytes)
    zeros = np.zeros(n_in, np.float32)
    function = kernels().convolve

    def run(thread: int, part: Part) -> None:
        v, m = (
            pool.buffer(thread, name, N_PRODUCTS * block * channels)
            for name, channels in (("v", n_in), ("m", n_out))
        )
        arrays = x, kernel.u, kernel.bias, y, v, m, zeros
        function(
            *(array.ctypes.data for array in arrays),
            *part.rows,
            *(block, height, width, n_in, n_out),
            *part.panels,
            pools,
        )

    pool.run(run, parts)
    return y


def _divide(n_all: int, n_out: int, kernel_bytes: int, n_threads: int) -> list[Part]:
    """Divide `n_all` tiles into parts of similar size, one per thread."""
    n_panels = n_out // kernels().n_columns
    n_tile_parts, n_panel_parts = min(n_threads, n_all), 1
    if kernel_bytes > _KERNEL_IN_CACHE:
        n_tile_parts = min(max(1, n_all // _TILES_OF_A_THREAD), n_threads)
        n_panel_parts = min(n_panels, n_threads // n_tile_parts)
    return divide(n_all, n_tile_parts, n_panels, n_panel_parts)


def _tiles_of_a_block(part: Part, n_in: int, n_out: int, kernel_bytes: int) -> int:
    """Return the number of tiles that go through all steps together, in full panels.

    Each block reads the whole kernel. A kernel that is too large for the caches comes
    from main memory, so a block may then be as large as the kernel.
    """
    is_large = kernel_bytes > _KERNEL_IN_CACHE
    most_bytes = kernel_bytes if is_large else _BLOCK_BYTES
    most = max(1, int(most_bytes / transformed_bytes(1, 1, n_in + n_out)))
    n_of_part = part.rows[1] - part.rows[0] + 1  # other parts may have one more
    n_blocks = -(-n_of_part // most)
    n_panels = -(-n_of_part // (n_blocks * PANEL_ROWS))
    return n_panels * PANEL_ROWS

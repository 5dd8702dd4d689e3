"""Convolutions and fully connected layers in bfloat16, split over threads.

:mod:`skvgg._network.tile_kernels` has the machine code. Arrays of bfloat16 numbers have
the type uint16 here, because NumPy does not have bfloat16.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from skvgg._network.kernels import tile_functions
from skvgg._network.thread_pool import Part, ThreadPool, divide, ranges
from skvgg._network.tile_kernels import BLOCK, LINE, NOWHERE, PATCH_STEP, TILE
from skvgg._network.winograd import KERNEL
from skvgg._runtime.machine_code import empty
from skvgg._runtime.tile_code import TILE_ROWS, tile_settings

#: Maximum size in bytes of the copied inputs of a block of strips, half of the cache of
#: a core with these instructions.
_BLOCK_BYTES = 1e6

#: Strips per thread, so that all threads end at about the same time.
_STRIPS_OF_A_THREAD = 4

#: Minimum number of rows of a strip that is made smaller for this reason: the two rows
#: around a strip are copied, too.
_FEWEST_ROWS = 8

#: Packed kernels up to this size in bytes stay in the cache of a core.
_KERNEL_IN_CACHE = 1.5e6


class TiledKernel(NamedTuple):
    """Packed kernel and bias of a convolution.

    Attributes
    ----------
    values : ndarray of shape (n_out // 32, n_in // 32, 9, 2, 16, 16, 2), uint16
        The kernel in the order of reading: tiles of 16 pairs of input channels and 16
        output channels. For the first layer, the 27 inputs are one block of 32
        channels: shape (n_out // 32, 1, 1, 2, 16, 16, 2).
    bias : ndarray of shape (n_out,), float32
    """

    values: np.ndarray
    bias: np.ndarray

    @classmethod
    def of(cls, kernel: np.ndarray, bias: np.ndarray) -> TiledKernel:
        """Pack a kernel of shape (3, 3, n_in, n_out), uint16, and a float32 bias."""
        _, _, n_in, n_out = kernel.shape
        if n_in % BLOCK:  # the first layer
            n_in = BLOCK
            patch = np.zeros((BLOCK, n_out), kernel.dtype)
            for i, row in enumerate(kernel.reshape(KERNEL, -1, n_out)):
                patch[PATCH_STEP * i : PATCH_STEP * i + len(row)] = row
            kernel = patch
        shape = -1, n_in // BLOCK, TILE_ROWS, 2, n_out // BLOCK, 2, BLOCK // 2
        tiles = kernel.reshape(shape).transpose(4, 1, 0, 5, 2, 6, 3)
        return cls(np.ascontiguousarray(tiles), np.ascontiguousarray(bias))

    @property
    def n_in(self) -> int:
        """Number of input channels, in full blocks."""
        return self.values.shape[1] * BLOCK

    @property
    def is_small(self) -> bool:
        """Whether the kernel stays in the cache of a core."""
        return self.values.nbytes <= _KERNEL_IN_CACHE

    @property
    def is_first(self) -> bool:
        """Whether this is the kernel of the first layer."""
        return self.values.shape[2] == 1


class _Plan(NamedTuple):
    """The division of a convolution.

    Attributes
    ----------
    strip_rows : int
        Rows of a strip; the last one of an image may have fewer.
    n_strips : int
        Number of strips of all images.
    block : int
        Number of strips that are copied before they are multiplied.
    row_step : int
        Positions from a row of a strip to the next one.
    n_outputs : int
        Positions at which outputs of a strip are computed.
    n_positions : int
        Positions in the copy of a strip.
    """

    strip_rows: int
    n_strips: int
    block: int
    row_step: int
    n_outputs: int
    n_positions: int


def convolve(
    x: np.ndarray, kernel: TiledKernel, pool: ThreadPool, *, pools: bool
) -> np.ndarray:
    """Return relu(conv(x) + bias) with zero padding, or its 2x2 max-pooling.

    Sums and biases are float32; the output is rounded once.

    Parameters
    ----------
    x : ndarray of shape (n, height, width, n_in), uint16
    kernel : TiledKernel
    pool : ThreadPool
    pools : bool
        Whether to apply 2x2 max-pooling to the output.

    Returns
    -------
    ndarray of shape (n, height, width, n_out) or (n, height // 2, width // 2, n_out), \
            uint16
    """
    n, height, width, _ = x.shape
    n_in, n_out = kernel.n_in, len(kernel.bias)
    plan = _plan(n, height, width, kernel, pool.n)
    x = _with_zeros(x) if kernel.is_first else np.ascontiguousarray(x)
    shrink = 2 if pools else 1
    y = empty((n, height // shrink, width // shrink, n_out // 2)).view(np.uint16)
    places = _places(plan, width)
    zeros, settings = np.zeros(n_in, np.uint16), tile_settings()
    functions = tile_functions()
    function = functions.convolve_first if kernel.is_first else functions.convolve

    def run(thread: int, part: Part) -> None:
        strips, panels = part
        copies, whole, sums = (
            pool.buffer(thread, name, size)
            for name, size in (
                ("copies", plan.block * plan.n_positions * n_in // 2),
                ("whole", plan.n_outputs * LINE if pools else 1),
                ("sums", BLOCK * BLOCK),
            )
        )
        arrays = x, kernel.values, kernel.bias, y, copies, whole, sums
        addresses = [a.ctypes.data for a in (*arrays, places, zeros, settings)]
        function(
            *addresses,
            *(*strips, plan.block, plan.strip_rows, plan.n_positions),
            *(height, width, plan.row_step, n_in, n_out),
            *(*panels, pools),
        )

    pool.run(run, _divide(plan, kernel, pool.n))
    return y


def _plan(
    n: int, height: int, width: int, kernel: TiledKernel, n_threads: int
) -> _Plan:
    """Divide `n` maps into strips.

    The rows of a strip are even in number, so that pooling does not cross strips.
    """
    around = 0 if kernel.is_first else 1
    row_step = width + around
    row_bytes = row_step * kernel.n_in * np.uint16().nbytes
    n_strips = -(-height * row_bytes // int(_BLOCK_BYTES))
    if kernel.is_small:
        n_wanted = -(-_STRIPS_OF_A_THREAD * n_threads // n)
        n_strips = max(n_strips, min(n_wanted, height // _FEWEST_ROWS))
    strip_rows = -(-height // (2 * n_strips)) * 2
    n_strips = -(-height // strip_rows)
    n_outputs = -(-strip_rows * row_step // BLOCK) * BLOCK
    n_positions = n_outputs + around * (2 * row_step + 2) + 1
    strip_bytes = n_positions * kernel.n_in * np.uint16().nbytes
    block = max(1, min(int(_BLOCK_BYTES // strip_bytes), -(-n * n_strips // n_threads)))
    return _Plan(strip_rows, n * n_strips, block, row_step, n_outputs, n_positions)


def _divide(plan: _Plan, kernel: TiledKernel, n_threads: int) -> list[Part]:
    """Divide the strips into parts of similar size, one per thread.

    If a few strips share a large kernel, divide its channels instead, so that each
    thread reads only a part of it.
    """
    n_strips, n_panels = plan.n_strips, len(kernel.values)
    n_strip_parts, n_panel_parts = min(n_threads, n_strips), 1
    if not kernel.is_small and n_strips < _STRIPS_OF_A_THREAD * n_threads:
        n_strip_parts, n_panel_parts = 1, min(n_threads, n_panels)
        if n_strips % n_threads == 0:
            n_strip_parts, n_panel_parts = n_threads, 1
    return divide(n_strips, n_strip_parts, n_panels, n_panel_parts)


@lru_cache(maxsize=64)
def _places(plan: _Plan, width: int) -> np.ndarray:
    """Return the index of the pixel at each position of a strip; do not change it."""
    rows, columns = np.divmod(np.arange(plan.n_outputs), plan.row_step)
    exists = (columns < width) & (rows < plan.strip_rows)
    return np.where(exists, rows * width + columns, NOWHERE)


def _with_zeros(x: np.ndarray) -> np.ndarray:
    """Return images with zeros around each, and some after the last one."""
    n, height, width, n_channels = x.shape
    shape = n, height + KERNEL - 1, width + KERNEL - 1, n_channels
    n_numbers = int(np.prod(shape))
    numbers = np.zeros(n_numbers + 2 * BLOCK, x.dtype)
    padded = numbers[:n_numbers].reshape(shape)
    padded[:, 1:-1, 1:-1] = x
    return numbers


def multiply(x: np.ndarray, kernel: np.ndarray, pool: ThreadPool) -> np.ndarray:
    """Return x @ kernel.

    Parameters
    ----------
    x : ndarray of shape (n, n_in), uint16
    kernel : ndarray of shape (n_in, n_out), uint16
        Both sizes are multiples of 32.
    pool : ThreadPool

    Returns
    -------
    ndarray of shape (n, n_out), float32
    """
    n, n_in = x.shape
    n_out = kernel.shape[1]
    n_rows = -(-n // BLOCK) * BLOCK
    blocks = np.zeros((n_in // BLOCK, n_rows, BLOCK), np.uint16)
    blocks[:, :n] = x.reshape(n, -1, BLOCK).transpose(1, 0, 2)
    y = empty((n_rows, n_out))
    y.fill(0)
    settings = tile_settings()
    n_panels = n_out // BLOCK

    def run(thread: int, panels: tuple[int, int]) -> None:
        factors = pool.buffer(thread, "factors", 2 * TILE)
        arrays = blocks, kernel, y, factors, settings
        addresses = [array.ctypes.data for array in arrays]
        tile_functions().multiply(*addresses, n_rows, n_in, n_out, *panels)

    pool.run(run, ranges(n_panels, min(pool.n, n_panels)))
    return y[:n]

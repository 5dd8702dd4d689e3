"""The layers in bfloat16, by the matrix instructions of Intel's AMX, in machine code.

A convolution is a sum over the positions of the 3x3 kernel and over blocks of 32
channels. Each term is the product of 32 pixels by 32 input channels and 32 input
channels by 32 output channels: four products of tiles. The input is first copied to
blocks of 32 channels with zeros around the map, so that 16 neighboring pixels are a
tile for each position of the kernel.

The order of each sum does not depend on the number of images, strips and threads, so
neither do the bits of the output.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any, NamedTuple

from llvmlite import ir

from skvgg._network.winograd import KERNEL
from skvgg._runtime.tile_code import TILE_NUMBERS, TILE_ROWS, TileCode

#: Channels in a block, and rows (pixels or images) of a product: two tiles each.
BLOCK = 32

#: Size of 32 bfloat16 numbers and of a tile, in float32 values.
LINE = TILE_NUMBERS // 2
TILE = TILE_ROWS * LINE

#: Distance between the kernel's rows in the patches of the first layer, which has
#: three channels, in numbers: three pixels, and one number to keep pointers aligned.
PATCH_STEP = 10

#: Index of pixels that are computed but do not exist, between the rows of a map.
NOWHERE = 2**62

# The tiles in registers: sums, then rows, then columns.
_SUMS, _ROWS, _COLUMNS = ((0, 1), (2, 3)), (4, 5), (6, 7)


class _Strip(NamedTuple):
    """Some rows of an image, which are convolved together.

    Attributes
    ----------
    image : integer
        Index of the image.
    top : integer
        First row.
    n_rows : integer
        Number of rows; the last strip of an image may have fewer than the others.
    buffer : pointer
        Its copy of the input.
    """

    image: Any
    top: Any
    n_rows: Any
    buffer: Any


def write_tile_convolve(module: ir.Module, width: int, *, first_layer: bool) -> None:
    """Write relu(conv(x) + bias), or its 2x2 max-pooling, for some strips and channels.

    The arguments are

    - the addresses of x; the packed kernel; the bias; the output y; buffers for the
      copied inputs of a block of strips, for the output of a strip, and for 32 x 32
      sums; the index of the pixel at each position of a strip; `n_in` zeros; the
      settings of the tiles;
    - the first strip, the one after the last, the number of strips in a block, of
      rows in a strip, and of positions in its copy;
    - the height and width of x, the distance between its rows in a strip, and the
      channels of x and y;
    - the first block of the channels of y, and the one after the last;
    - 1 to pool, or 0.

    For the first layer, x has zeros around each image and after the last one, `n_in`
    is 32, and the function is called "tile_convolve_first".
    """
    code = TileCode(
        module,
        "tile_convolve_first" if first_layer else "tile_convolve",
        (
            *("x", "kernel", "bias", "y", "buffer", "whole", "sums"),
            *("places", "zeros", "settings"),
        ),
        (
            *("first", "last", "block", "strip_rows", "n_positions"),
            *("height", "width", "row_step", "n_in", "n_out"),
            *("first_panel", "last_panel", "pools"),
        ),
        width,
    )
    a = code.arguments
    code.use_tiles(a["settings"])
    copy = _copy_patches if first_layer else _copy_inputs
    side = 1 if first_layer else KERNEL
    with code.loop(a["first"], a["last"], a["block"]) as first:
        last = code.smaller(code.add(first, a["block"]), a["last"])
        with _each_strip(code, first, last) as strip:
            copy(code, strip)
        with (
            code.loop(a["first_panel"], a["last_panel"]) as panel,
            _each_strip(code, first, last) as strip,
        ):
            _convolve_strip(code, strip, panel, side)
            with code.loop(0, a["pools"]):  # once or never
                _pool_strip(code, strip, panel)
    code.release_tiles()
    code.finish()


@contextmanager
def _each_strip(code: TileCode, first: Any, last: Any) -> Iterator[_Strip]:
    """Write the ``with`` block for each strip of a block."""
    a = code.arguments
    height, strip_rows = a["height"], a["strip_rows"]
    n_strips, rest = code.divide(height, strip_rows)
    n_strips = code.choose(code.is_less(0, rest), code.add(n_strips, 1), n_strips)
    of_room = code.multiply(a["n_positions"], code.divide(a["n_in"], 2)[0])
    with code.loop(first, last) as index:
        image, in_image = code.divide(index, n_strips)
        top = code.multiply(in_image, strip_rows)
        n_rows = code.smaller(strip_rows, code.subtract(height, top))
        place = code.multiply(code.subtract(index, first), of_room)
        yield _Strip(image, top, n_rows, code.at(a["buffer"], place))


def _copy_inputs(code: TileCode, strip: _Strip) -> None:
    """Write the inputs of a strip to blocks of 32 channels, with zeros around them."""
    a = code.arguments
    width, row_step = a["width"], a["row_step"]
    to_next_pixel = code.divide(a["n_in"], 2)[0]
    to_next_block = code.multiply(a["n_positions"], LINE)
    zero = code.constant(0)
    n_blocks = code.divide(a["n_in"], BLOCK)[0]
    with code.loop(0, code.add(strip.n_rows, KERNEL - 1)) as i:
        row = code.subtract(code.add(strip.top, i), 1)
        is_inside = code.is_within(row, a["height"])
        pixel = code.multiply(
            code.add(code.multiply(strip.image, a["height"]), row), width
        )
        line = code.at(a["x"], code.multiply(pixel, to_next_pixel))
        line = code.choose(is_inside, line, a["zeros"])
        step = code.choose(is_inside, to_next_pixel, code.integer(0))
        buffer = code.at(strip.buffer, code.multiply(code.multiply(i, row_step), LINE))
        after = code.at(buffer, code.multiply(row_step, LINE))
        with code.loop(0, n_blocks) as block:
            to_block = code.multiply(block, to_next_block)
            for side in (buffer, after):
                for value in range(0, LINE, code.width):
                    code.store(zero, code.at(code.at(side, to_block), value))
        with code.loop(0, width) as column, code.loop(0, n_blocks) as block:
            source = code.at(line, code.multiply(column, step))
            source = code.at(source, code.multiply(block, LINE))
            place = code.at(buffer, code.multiply(code.add(column, 1), LINE))
            place = code.at(place, code.multiply(block, to_next_block))
            for value in range(0, LINE, code.width):
                code.store(code.load(code.at(source, value)), code.at(place, value))


def _copy_patches(code: TileCode, strip: _Strip) -> None:
    """Write the 27 inputs of each pixel of a strip; the kernel is zero for the rest.

    Rows of the kernel are written in turn. What is too much is overwritten by the
    next row or pixel, or goes to the spare position after the last pixel.
    """
    a = code.arguments
    n_channels = 3
    line = code.multiply(code.add(a["width"], KERNEL - 1), n_channels)
    of_image = code.multiply(code.add(a["height"], KERNEL - 1), line)
    image = code.at_half(a["x"], code.multiply(strip.image, of_image))
    n_numbers = 2 * code.width
    with code.loop(0, strip.n_rows) as i:
        row = code.at_half(image, code.multiply(code.add(strip.top, i), line))
        buffer = code.at(
            strip.buffer, code.multiply(code.multiply(i, a["row_step"]), LINE)
        )
        with code.loop(0, a["width"]) as column:
            source = code.at_half(row, code.multiply(column, n_channels))
            place = code.at(buffer, code.multiply(column, LINE))
            for j in range(KERNEL):
                of_row = code.at_half(source, code.multiply(line, j))
                to_row = code.at_half(place, PATCH_STEP * j)
                for number in range(0, TILE_NUMBERS - PATCH_STEP * j, n_numbers):
                    vector = code.load_unaligned(code.at_half(of_row, number))
                    code.store(vector, code.at_half(to_row, number))


def _convolve_strip(code: TileCode, strip: _Strip, panel: Any, side: int) -> None:
    """Write 32 channels of the output of a strip."""
    a = code.arguments
    row_step, n_out = a["row_step"], a["n_out"]
    n_blocks = code.divide(a["n_in"], BLOCK)[0]
    of_block = side**2 * 2 * TILE
    kernel = code.at(
        a["kernel"], code.multiply(panel, code.multiply(n_blocks, of_block))
    )
    n_pixels = code.multiply(strip.n_rows, a["width"])
    pixel = code.add(code.multiply(strip.image, a["height"]), strip.top)
    pixel = code.multiply(pixel, a["width"])
    n_values = code.divide(n_out, 2)[0]
    y = code.at(a["y"], code.multiply(pixel, n_values))
    y = code.at(y, code.multiply(panel, LINE))
    pools = code.is_less(0, a["pools"])
    bias = code.at(a["bias"], code.multiply(panel, BLOCK))
    offsets = range(0, BLOCK, code.width)
    biases = [code.load(code.at(bias, offset)) for offset in offsets]
    with code.loop(0, code.multiply(strip.n_rows, row_step), BLOCK) as position:
        for tile in _SUMS[0] + _SUMS[1]:
            code.clear_tile(tile)
        inputs = code.at(strip.buffer, code.multiply(position, LINE))
        with (
            code.loop(0, n_blocks) as block,
            code.loop(0, side) as row,
        ):
            to_block = code.multiply(block, a["n_positions"])
            start = code.add(to_block, code.multiply(row, row_step))
            start = code.at(inputs, code.multiply(start, LINE))
            index = code.add(code.multiply(block, side), row)
            factors = code.at(kernel, code.multiply(index, side * 2 * TILE))
            for column in range(side):
                rows = code.at(start, column * LINE)
                _multiply_add(code, rows, code.at(factors, column * 2 * TILE))
        _store_sums(code, a["sums"], BLOCK)
        for i in range(BLOCK):
            place = code.add(position, i)
            found = code.load_integer(code.at(a["places"], code.multiply(place, 2)))
            # Pixels that do not exist overwrite their own sums: half as many bytes, so
            # only sums that are already read.
            total = code.at(a["sums"], i * BLOCK)
            exists = code.is_within(found, n_pixels)
            target = code.at(y, code.multiply(found, n_values))
            target = code.choose(exists, target, total)
            whole = code.at(a["whole"], code.multiply(place, LINE))
            target = code.choose(pools, whole, target)
            for offset, of_offset in zip(offsets, biases, strict=True):
                vector = code.sum_of(code.load(code.at(total, offset)), of_offset)
                code.store_rounded(
                    code.positive_part(vector), code.at_half(target, offset)
                )


def _pool_strip(code: TileCode, strip: _Strip, panel: Any) -> None:
    """Write the 2x2 max-pooling of 32 channels of a strip."""
    a = code.arguments
    row_step = a["row_step"]
    height, width, top, n_rows = (
        code.divide(size, 2)[0]
        for size in (a["height"], a["width"], strip.top, strip.n_rows)
    )
    n_values = code.divide(a["n_out"], 2)[0]
    with code.loop(0, n_rows) as i, code.loop(0, width) as column:
        row = code.add(code.add(code.multiply(strip.image, height), top), i)
        pixel = code.add(code.multiply(row, width), column)
        place = code.at(a["y"], code.multiply(pixel, n_values))
        place = code.at(place, code.multiply(panel, LINE))
        position = code.add(code.multiply(i, row_step), column)
        above = code.at(a["whole"], code.multiply(position, 2 * LINE))
        below = code.at(above, code.multiply(row_step, LINE))
        for value in range(0, LINE, code.width):
            pairs = (
                [code.load(code.at(line, value + i * LINE)) for i in range(2)]
                for line in (above, below)
            )
            largest = (code.maximum_of_halves(*pair) for pair in pairs)
            code.store(code.maximum_of_halves(*largest), code.at(place, value))


def write_tile_multiply(module: ir.Module, width: int) -> None:
    """Write y += x @ kernel, for a range of blocks of 32 columns.

    The arguments are the addresses of x, in blocks of 32 lines of the kernel; the
    kernel; y, float32; a buffer for two tiles; the settings of the tiles; the number of
    rows of x and y, of columns of x, and of columns of y, all in full blocks; the
    first block of columns, and the one after the last.

    The kernel is far larger than any cache, so it is read once, in memory order.
    """
    code = TileCode(
        module,
        "tile_multiply",
        ("x", "kernel", "y", "factors", "settings"),
        ("n_rows", "n_in", "n_out", "first_panel", "last_panel"),
        width,
    )
    a = code.arguments
    n_rows, n_out = a["n_rows"], a["n_out"]
    n_values = code.divide(n_out, 2)[0]
    code.use_tiles(a["settings"])
    with (
        code.loop(0, code.divide(a["n_in"], BLOCK)[0]) as block,
        code.loop(a["first_panel"], a["last_panel"]) as panel,
    ):
        lines = code.at(a["kernel"], code.multiply(panel, LINE))
        lines = code.at(lines, code.multiply(code.multiply(block, BLOCK), n_values))
        for pair in range(TILE_ROWS):
            line = code.at(lines, code.multiply(n_values, 2 * pair))
            _store_pairs(code, line, n_values, code.at(a["factors"], pair * LINE))
        x = code.at(a["x"], code.multiply(code.multiply(block, n_rows), LINE))
        with code.loop(0, n_rows, BLOCK) as row:
            y = code.at(a["y"], code.multiply(row, n_out))
            y = code.at(y, code.multiply(panel, BLOCK))
            _load_sums(code, y, n_out)
            _multiply_add(code, code.at(x, code.multiply(row, LINE)), a["factors"])
            _store_sums(code, y, n_out)
    code.release_tiles()
    code.finish()


def _store_pairs(code: TileCode, line: Any, to_next: Any, place: Any) -> None:
    """Write a row of both tiles of the factors, from two lines of the kernel."""
    vectors: list[Any] = []
    for value in range(0, LINE, code.width):
        start = code.at(line, value)
        pair = code.load(start), code.load(code.at(start, to_next))
        vectors += code.in_pairs(*pair)
    values = range(0, LINE, code.width)
    for (tile, value), vector in zip(product(range(2), values), vectors, strict=True):
        code.store(vector, code.at(place, tile * TILE + value))


def _multiply_add(code: TileCode, rows: Any, columns: Any) -> None:
    """Write the products of 32 rows and 32 columns, and add them to the sums."""
    for i in range(2):
        code.load_tile(_ROWS[i], code.at(rows, i * TILE), LINE)
        code.load_tile(_COLUMNS[i], code.at(columns, i * TILE), LINE)
    for i, j in product(range(2), repeat=2):
        code.multiply_tiles(_SUMS[i][j], _ROWS[i], _COLUMNS[j])


def _load_sums(code: TileCode, place: Any, to_next_row: Any) -> None:
    for tile, start in _sums(code, place, to_next_row):
        code.load_tile(tile, start, to_next_row)


def _store_sums(code: TileCode, place: Any, to_next_row: Any) -> None:
    for tile, start in _sums(code, place, to_next_row):
        code.store_tile(tile, start, to_next_row)


def _sums(code: TileCode, place: Any, to_next_row: Any) -> Iterator[tuple[int, Any]]:
    """Yield the tiles of the sums and their places in a matrix."""
    for i, j in product(range(2), repeat=2):
        start = code.at(place, code.multiply(to_next_row, i * TILE_ROWS))
        yield _SUMS[i][j], code.at(start, j * TILE_ROWS)

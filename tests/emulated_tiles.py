"""Tiles in memory, for processors that do not have them."""

from functools import cache

import pytest
from llvmlite import ir

from skvgg._network import kernels, tile_kernels
from skvgg._runtime import processor
from skvgg._runtime.tile_code import TILE_ROWS, TileCode

VALUES = 16

_compile = kernels.compile_tile_functions.__wrapped__


class EmulatedTileCode(TileCode):
    """Computes what Intel's manual says, with vectors of any processor.

    A product of tiles adds the first numbers of the 16 pairs, adds the second numbers,
    and adds both sums to the total.
    """

    def use_tiles(self, settings):
        vectors = ir.VectorType(ir.FloatType(), VALUES)
        tiles = ir.ArrayType(vectors, 8 * TILE_ROWS)
        memory = self._builder.alloca(tiles)
        self._tiles = self._builder.bitcast(memory, ir.FloatType().as_pointer())

    def release_tiles(self):
        pass

    def _row(self, tile, row):
        start = self.multiply(self.add(row, tile * TILE_ROWS), VALUES)
        return self.at(self._tiles, start)

    def _copy(self, source, target):
        for value in range(0, VALUES, self.width):
            self.store(self.load(self.at(source, value)), self.at(target, value))

    def clear_tile(self, tile):
        with self.loop(0, TILE_ROWS) as row:
            for value in range(0, VALUES, self.width):
                self.store(self.constant(0), self.at(self._row(tile, row), value))

    def load_tile(self, tile, place, n_values):
        with self.loop(0, TILE_ROWS) as row:
            source = self.at(place, self.multiply(row, n_values))
            self._copy(source, self._row(tile, row))

    def store_tile(self, tile, place, n_values):
        with self.loop(0, TILE_ROWS) as row:
            target = self.at(place, self.multiply(row, n_values))
            self._copy(self._row(tile, row), target)

    def store_rounded(self, vector, place):
        builder = self._builder
        bits = ir.VectorType(ir.IntType(32), self.width)
        one, half, shift = (
            ir.Constant(bits, [number] * self.width) for number in (1, 0x7FFF, 16)
        )
        integers = builder.bitcast(vector, bits)
        is_odd = builder.and_(builder.lshr(integers, shift), one)
        rounded = builder.add(builder.add(integers, half), is_odd)
        halves = ir.VectorType(ir.IntType(16), self.width)
        numbers = builder.trunc(builder.lshr(rounded, shift), halves)
        builder.store(numbers, builder.bitcast(place, halves.as_pointer()), align=4)

    def multiply_tiles(self, total, a, b):
        builder = self._builder
        bits = ir.VectorType(ir.IntType(32), self.width)
        shift = ir.Constant(bits, [16] * self.width)
        mask = ir.Constant(bits, [0xFFFF0000] * self.width)

        def first_and_second(pairs):
            """Numbers of 16 bits are the upper halves of those of 32 bits."""
            integers = builder.bitcast(pairs, bits)
            shifted = builder.shl(integers, shift), builder.and_(integers, mask)
            return [builder.bitcast(some, self._vector) for some in shifted]

        with self.loop(0, TILE_ROWS) as row:
            for value in range(0, VALUES, self.width):

                def add(k, sums, row=row, value=value):
                    number = self.load_one(self.at(self._row(a, row), k))
                    columns = self.load(self.at(self._row(b, k), value))
                    pairs = map(first_and_second, (number, columns))
                    return list(map(self.multiply_add, *pairs, sums))

                sums = self.accumulate(0, TILE_ROWS, [self.constant(0)] * 2, add)
                place = self.at(self._row(total, row), value)
                self.store(self.sum_of(self.load(place), self.sum_of(*sums)), place)


@cache
def emulated_functions(width=None):
    """Compile the functions once a session; it takes some seconds."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(tile_kernels, "TileCode", EmulatedTileCode)
        if width is not None:
            some = processor.Vectors(width, 32)
            monkeypatch.setattr(kernels, "vectors", lambda: some)
        return _compile()


def emulate_tiles(monkeypatch):
    """Let skvgg find tiles on this processor."""
    found = processor.features() | {"amx-tile", "amx-bf16"}
    monkeypatch.setattr(processor, "features", lambda: found)
    monkeypatch.setattr(processor, "may_use_tiles", lambda: True)
    monkeypatch.setattr(processor, "has_tiles", lambda: True)
    monkeypatch.setattr(kernels, "compile_tile_functions", emulated_functions)

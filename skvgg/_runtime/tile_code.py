"""The matrix instructions of Intel's AMX, and numbers of 16 bits, for generated code.

A tile is a matrix of 16 rows of 64 bytes in one of eight registers. See chapter 3 of
Intel's "Architecture Instruction Set Extensions Programming Reference" (319433) for
the instructions and for the order of the numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from skvgg._runtime.machine_code import Code

#: Rows of a tile, and bfloat16 numbers or pairs of them in a row.
TILE_ROWS, TILE_NUMBERS = 16, 32

#: Bytes in a row of a tile.
_ROW_BYTES = 64

_BYTE, _HALF, _INT = ir.IntType(8), ir.IntType(16), ir.IntType(64)


class _BFloat(ir.Type):
    """The type of bfloat16 numbers, which llvmlite does not have."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


def tile_settings() -> np.ndarray:
    """Return the argument of :meth:`TileCode.use_tiles`: eight tiles of full size."""
    settings = np.zeros(64, np.uint8)
    settings[0] = 1  # the palette
    settings[16:32].view(np.uint16)[:] = _ROW_BYTES
    settings[48:56] = TILE_ROWS
    return settings


class TileCode(Code):
    """Write one function that uses tiles and bfloat16 numbers.

    Pointers still point to float32 values, so 32 bfloat16 numbers are 16 values.
    """

    # Tiles

    def use_tiles(self, settings: Any) -> None:
        """Set up the tiles of this thread, from a pointer to the settings."""
        self._call("llvm.x86.ldtilecfg", [self._address(settings)])

    def release_tiles(self) -> None:
        """Tell the processor that the tiles are no longer used."""
        self._call("llvm.x86.tilerelease", [])

    def clear_tile(self, tile: int) -> None:
        """Set a tile to zero."""
        self._call("llvm.x86.tilezero", [ir.Constant(_BYTE, tile)])

    def load_tile(self, tile: int, place: Any, n_values: Any) -> None:
        """Load a tile, with rows that are `n_values` float32 values apart."""
        self._move("llvm.x86.tileloadd64", tile, place, n_values)

    def store_tile(self, tile: int, place: Any, n_values: Any) -> None:
        """Write a tile, with rows that are `n_values` float32 values apart."""
        self._move("llvm.x86.tilestored64", tile, place, n_values)

    def multiply_tiles(self, total: int, a: int, b: int) -> None:
        """Add the product of two tiles of bfloat16 to a tile of float32.

        Row i of `a` has 32 numbers; row k of `b` has the numbers 2k and 2k + 1 of 16
        columns, in pairs.
        """
        numbers = [ir.Constant(_BYTE, tile) for tile in (total, a, b)]
        self._call("llvm.x86.tdpbf16ps", numbers)

    def _move(self, name: str, tile: int, place: Any, n_values: Any) -> None:
        step = self.multiply(n_values, np.float32().nbytes)
        self._call(name, [ir.Constant(_BYTE, tile), self._address(place), step])

    # Numbers of 16 bits

    def at_half(self, place: Any, offset: Any) -> Any:
        """Return a pointer moved by `offset` numbers of 16 bits."""
        halves = self._builder.bitcast(place, _HALF.as_pointer())
        moved = self._builder.gep(halves, [self.integer(offset)])
        return self._builder.bitcast(moved, place.type)

    def load_integer(self, place: Any) -> Any:
        """Return the integer of 64 bits at a pointer."""
        return self._builder.load(self._builder.bitcast(place, _INT.as_pointer()))

    def load_unaligned(self, place: Any) -> Any:
        """Return the vector at a pointer to numbers of 16 bits."""
        typed = self._builder.bitcast(place, self._vector.as_pointer())
        return self._builder.load(typed, align=_HALF.width // 8)

    def store_rounded(self, vector: Any, place: Any) -> None:
        """Write a vector as bfloat16 numbers, rounded to nearest even."""
        rounded = self._builder.fptrunc(vector, ir.VectorType(_BFloat(), self.width))
        halves = ir.VectorType(_HALF, self.width)
        typed = self._builder.bitcast(place, halves.as_pointer())
        self._builder.store(self._builder.bitcast(rounded, halves), typed, align=4)

    def positive_part(self, vector: Any) -> Any:
        """Return the maximum of a vector and +0; NaN where it is NaN."""
        zero = self.constant(0)
        is_positive = self._builder.fcmp_unordered(">", vector, zero)
        return self._builder.select(is_positive, vector, zero)

    def maximum_of_halves(self, a: Any, b: Any) -> Any:
        """Return the elementwise maximum of nonnegative bfloat16 numbers.

        Their order is that of their bits as integers; NaN is the largest.
        """
        halves = ir.VectorType(_HALF, 2 * self.width)
        a, b = (self._builder.bitcast(vector, halves) for vector in (a, b))
        is_larger = self._builder.icmp_unsigned(">", a, b)
        larger = self._builder.select(is_larger, a, b)
        return self._builder.bitcast(larger, self._vector)

    def in_pairs(self, a: Any, b: Any) -> tuple[Any, Any]:
        """Return the 16-bit numbers of two vectors in turn: a0, b0, a1, b1, ..."""
        n = 2 * self.width
        halves = ir.VectorType(_HALF, n)
        a, b = (self._builder.bitcast(vector, halves) for vector in (a, b))
        turns = [i // 2 + n * (i % 2) for i in range(2 * n)]
        indices = ir.VectorType(ir.IntType(32), n)
        first, second = (
            self._builder.shuffle_vector(a, b, ir.Constant(indices, order))
            for order in (turns[:n], turns[n:])
        )
        return (
            self._builder.bitcast(first, self._vector),
            self._builder.bitcast(second, self._vector),
        )

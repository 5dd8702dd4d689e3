"""Arrays as bytes, with what tells whether the bytes are still those."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np


class DamagedError(Exception):
    """What was read is not what was written."""


def row_id(key: bytes) -> int:
    return int.from_bytes(key[:8], "big", signed=True)


def encode(array: np.ndarray) -> tuple[str, bytes]:
    """Return dtype and shape as text, and the numbers as bytes."""
    array = np.asarray(array)
    if array.dtype.hasobject or array.dtype.names is not None:
        raise TypeError(
            f"Expected an array of numbers, booleans or text, got dtype {array.dtype}: "
            "the store keeps no Python objects."
        )
    return " ".join([array.dtype.str, *map(str, array.shape)]), array.tobytes()


def decode(row: tuple[Any, ...]) -> np.ndarray:
    key, crc, form, data = row[:4]
    sound = [isinstance(key, bytes), isinstance(form, str), isinstance(data, bytes)]
    if not all(sound) or checksum(key, form, data) != crc:
        raise DamagedError("a row is not what was stored")
    try:
        dtype, *shape = form.split()
        return np.frombuffer(data, dtype).reshape([int(side) for side in shape])
    except (SyntaxError, TypeError, ValueError) as error:
        raise DamagedError(f"a row is no array ({error})") from error


def checksum(key: bytes, form: str, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(key + form.encode()))

"""Encode arrays as bytes with a checksum, and decode them."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np


class DamagedError(Exception):
    """Stored bytes do not match their checksum."""


def row_id(key: bytes) -> int:
    return int.from_bytes(key[:8], "big", signed=True)


def encode(array: np.ndarray) -> tuple[str, bytes]:
    """Return dtype and shape as text, and the data as bytes."""
    array = np.asarray(array)
    if array.dtype.hasobject or array.dtype.names is not None:
        raise TypeError(
            f"Expected an array of numbers, booleans or text, got dtype {array.dtype}. "
            "The store cannot hold Python objects."
        )
    return " ".join([array.dtype.str, *map(str, array.shape)]), array.tobytes()


def decode(row: tuple[Any, ...]) -> np.ndarray:
    key, crc, form, data = row[:4]
    sound = [isinstance(key, bytes), isinstance(form, str), isinstance(data, bytes)]
    if not all(sound) or checksum(key, form, data) != crc:
        raise DamagedError("the checksum of a row does not match")
    try:
        dtype, *shape = form.split()
        return np.frombuffer(data, dtype).reshape([int(side) for side in shape])
    except Exception as error:  # NumPy raises various errors for dtypes as text
        raise DamagedError(f"a row is not an array ({error})") from error


def checksum(key: bytes, form: str, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(key + form.encode()))

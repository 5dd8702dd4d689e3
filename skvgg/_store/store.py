"""What a store is; a SQLite file and a Redis server are two of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np


class Entry(NamedTuple):
    """Metadata of a stored array.

    Parameters
    ----------
    id : int or bytes
        Identifier for the `delete` method of the store.
    size : int
        Size in bytes.
    used, stored : int
        Times in seconds since 1970; 0 if the store does not know.
    """

    id: Any
    size: int
    used: int
    stored: int = 0


class Store(Protocol):
    """Arrays by key, and the code of functions by the name of their group.

    Failures never reach a caller that reads or writes: unreadable arrays count as
    missing, arrays that cannot be written are not kept, and one warning says so. Only
    deletions and :meth:`entries` raise an OSError.
    """

    def get(self, keys: Iterable[bytes]) -> dict[bytes, np.ndarray]:
        """Return the stored arrays among `keys`, read-only, by key.

        Keys are hash digests of at least 16 bytes.
        """

    def put(self, arrays: Mapping[bytes, np.ndarray], group: str = "") -> None:
        """Store arrays of numbers, booleans or fixed-length text, by key.

        Raises
        ------
        TypeError
            If an array holds Python objects.
        """

    def entry(self, key: bytes) -> Entry | None:
        """Return the metadata of an array, without reading its data."""

    def entries(self) -> list[Entry]:
        """Return the metadata of all arrays."""

    def __len__(self) -> int: ...

    def usage(self) -> tuple[int, int]:
        """Return the number of arrays, and their size in bytes."""

    def delete(self, ids: Sequence[Any]) -> None:
        """Delete arrays by the ids of their entries."""

    def delete_keys(self, keys: Iterable[bytes]) -> None:
        """Delete arrays by key."""

    def delete_group(self, group: str) -> None:
        """Delete the arrays of a group and its code."""

    def clear(self) -> None:
        """Delete everything that skvgg stored."""

    def get_code(self, group: str) -> str | None:
        """Return the text stored by :meth:`put_code`, or None."""

    def put_code(self, group: str, code: str) -> None:
        """Store a text for a group."""

    def close(self) -> None:
        """Close files or connections; the next call opens them again."""

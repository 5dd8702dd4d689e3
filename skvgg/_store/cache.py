"""``memory=``: arrays by key, through joblib.Memory.

:mod:`skvgg._extraction.recipe` defines the keys.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np

from skvgg._store.backend import NAME, ArrayStoreBackend
from skvgg._store.store import Store
from skvgg._store.urls import is_url

#: Increase it when rows from older versions in joblib's own store must not be used.
#: joblib then drops them with a warning.
_VERSION = 1

#: joblib's name of the function whose results are the rows.
_GROUP = os.path.join("skvgg", "_store", "cache", "_stored")

#: Hits and misses of this process, by location of the memory.
_counts: dict[str | None, Counter[str]] = {}


class CacheInfo(NamedTuple):
    """Result of :meth:`skvgg.VGG19Features.cache_info`.

    Parameters
    ----------
    hits, misses : int
        Number of images in this process whose features were found in the cache, and
        of those that went through the network.
    entries, bytes : int
        Number of cached entries and their size, from all processes.
    """

    hits: int
    misses: int
    entries: int
    bytes: int


def absolute(memory: Any) -> Any:
    """Return a memory that does not depend on the working directory.

    Relative paths become absolute. URLs and paths that start with "~" are unchanged.
    """
    if isinstance(memory, str | os.PathLike):
        path = os.fspath(memory)
        return memory if _is_absolute(path) else os.path.abspath(path)
    location = memory.location if type(memory) is joblib.Memory else None
    if location is None or _is_absolute(location):
        return memory
    folder = os.path.abspath(location)
    return joblib.Memory(
        # joblib uses different folders for a str and a Path.
        folder if isinstance(location, str) else Path(folder),
        backend=memory.backend,
        mmap_mode=memory.mmap_mode,
        compress=memory.compress,
        verbose=memory._verbose,
        backend_options=memory.backend_options,
    )


def _is_absolute(path: str | os.PathLike[str]) -> bool:
    return is_url(path) or os.path.isabs(os.path.expanduser(path))


class Cache:
    """Cache arrays by key, across calls, processes and sessions.

    Parameters
    ----------
    memory : None, str, path-like, joblib.Memory or any object with its ``cache``
        Where to store arrays. None stores nothing. For a path or a URL, a
        :class:`joblib.Memory` with skvgg's store is used. Other memories are used
        as they are, with any store.
    """

    def __init__(self, memory: Any) -> None:
        self._backend: Any = None
        self._store: Store | None = None
        self._call: Any = None
        if memory is None:
            return
        if isinstance(memory, str | os.PathLike):
            memory = joblib.Memory(os.fspath(memory), backend=NAME, verbose=0)
        self._backend = getattr(memory, "store_backend", None)
        if isinstance(self._backend, ArrayStoreBackend):
            self._store = self._backend.store
        elif getattr(memory, "location", "") is not None:
            self._call = memory.cache(_stored)

    @property
    def keeps(self) -> bool:
        """Whether arrays are stored: not for None and ``joblib.Memory(None)``."""
        return self._store is not None or self._call is not None

    @property
    def counts(self) -> Counter[str]:
        """Hits and misses of this process; callers update them."""
        location = getattr(self._backend, "location", None)
        if location is not None and not is_url(location):
            location = os.path.abspath(location)
        return _counts.setdefault(location, Counter())

    @property
    def location(self) -> str | None:
        """The folder that holds the arrays, or None if they are not in a folder."""
        location = getattr(self._backend, "location", None)
        return None if location is None or is_url(location) else os.fspath(location)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """Return the stored arrays among `keys`, by key."""
        if self._store is not None:
            return self._store.get(keys)
        if self._call is None:
            return {}
        found = {}
        for key in keys:
            try:
                array = self._call(_Row(key.hex()))
            except _UnknownError:
                continue
            if isinstance(array, np.ndarray):
                found[key] = array
        return found

    def put(self, arrays: Mapping[bytes, np.ndarray]) -> None:
        """Store arrays."""
        if self._store is not None:
            self._store.put(arrays, group=_GROUP)
        elif self._call is not None:
            for key, array in arrays.items():
                # Not through joblib's look-up: something else may be under the key.
                self._call.call(_Row(key.hex(), array))

    def info(self) -> CacheInfo:
        """Return hits, misses, and number and size of the entries."""
        entries = size = 0
        if self._store is not None:
            entries, size = self._store.usage()
        elif self._backend is not None:
            items = self._backend.get_items()
            entries, size = len(items), sum(item.size for item in items)
        return CacheInfo(self.counts["hits"], self.counts["misses"], entries, size)

    def close(self) -> None:
        """Close the store's file or connections."""
        if self._store is not None:
            self._store.close()


class InMemory(Cache):
    """Cache arrays in the memory of this process.

    Attributes
    ----------
    arrays : dict of bytes to ndarray
        All of them, by key.
    """

    def __init__(self) -> None:
        super().__init__(None)
        self.arrays: dict[bytes, np.ndarray] = {}
        self._counts: Counter[str] = Counter()

    @property
    def counts(self) -> Counter[str]:
        """Hits and misses of this cache."""
        return self._counts

    def get(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """Return the stored arrays among `keys`, by key."""
        return {key: self.arrays[key] for key in keys if key in self.arrays}

    def put(self, arrays: Mapping[bytes, np.ndarray]) -> None:
        """Store arrays."""
        self.arrays.update(arrays)


class _UnknownError(Exception):
    """The array is not stored; raised so that joblib stores nothing."""


class _Row:
    """An array, or a request for one, that joblib hashes by its key only."""

    def __init__(self, key: str, array: np.ndarray | None = None) -> None:
        self.key, self.array = key, array

    def __reduce__(self) -> tuple[Any, ...]:
        return _Row, (self.key,)

    def __repr__(self) -> str:
        return f"_Row({self.key!r})"


class _Stored:
    """Return a row's array, which joblib stores.

    This is not a function because joblib compares the source of functions and would
    clear the store after each edit. For other objects it compares the ``repr``.
    """

    __name__ = "_stored"

    def __call__(self, row: _Row) -> np.ndarray:
        if row.array is None:
            raise _UnknownError(row.key)
        return row.array

    def __repr__(self) -> str:
        return f"skvgg's rows, version {_VERSION}"


_stored = _Stored()

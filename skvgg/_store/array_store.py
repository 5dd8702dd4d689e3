"""The public side of the store: arrays by key, even if the file is damaged."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from skvgg._store import sqlite
from skvgg._store.arrays import DamagedError, checksum, decode, encode, row_id
from skvgg._store.salvage import all_int
from skvgg._store.shared_file import SharedFile
from skvgg._store.store import Entry

_ENTRIES = "SELECT id, size, used, stored FROM entries"
#: Approximate size of an entry without its data, in bytes.
_OVERHEAD = 80
#: In seconds. Access times are precise to a day; otherwise every read would write.
_USED_PRECISION = 24 * 3600


class ArrayStore:
    """A :class:`Store` in a folder.

    Parameters
    ----------
    folder : str
        Created on the first write if it does not exist.
    """

    def __init__(self, folder: str) -> None:
        self._file = SharedFile(folder)

    def __getstate__(self) -> str:
        return self._file.folder

    def __setstate__(self, state: str) -> None:
        self._file = SharedFile(state)

    def close(self) -> None:
        """Close the file. The next call opens it again."""
        self._file.close()

    # Arrays

    def get(self, keys: Iterable[bytes]) -> dict[bytes, np.ndarray]:
        """Return the stored arrays among `keys`, read-only, by key."""
        return self._file.retry_if_repaired(self._get, list(keys))

    def _get(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        found: dict[bytes, np.ndarray] = {}
        with self._file.opened(writing=False) as connection:
            if connection is None:
                return found
            stale: list[int] = []
            broken = None
            a_day_ago = time.time() - _USED_PRECISION
            connection.execute("BEGIN")
            try:
                for key in keys:
                    try:
                        row = sqlite.select(connection, key)
                        if row is not None:
                            found[key] = decode(row)
                            if isinstance(row[4], int) and row[4] < a_day_ago:
                                stale.append(row_id(key))
                    except DamagedError as error:
                        self._file.warn_of_damage(error)
                    except sqlite.FAILURES as error:
                        if sqlite.is_passing(error):
                            raise
                        broken = error
            finally:
                sqlite.roll_back(connection)
            if broken is not None:
                self._file.repair(broken)
            elif stale and self._file.writable:
                sqlite.touch(connection, stale, int(time.time()))
        return found

    def put(self, arrays: Mapping[bytes, np.ndarray], group: str = "") -> None:
        """Store arrays in one transaction: all of them or none."""
        self._file.retry_if_repaired(self._put, arrays, group)

    def _put(self, arrays: Mapping[bytes, np.ndarray], group: str) -> None:
        if not arrays:
            return
        now = int(time.time())
        with self._file.opened(writing=True) as connection:
            if connection is None:
                return
            with sqlite.transaction(connection):
                number = sqlite.group_id(connection, group)
                for key, array in arrays.items():
                    form, data = encode(array)
                    item = (key, checksum(key, form, data), form, data)
                    size = len(data) + _OVERHEAD
                    sqlite.insert(connection, item, (number, size, now, now))

    def entry(self, key: bytes) -> Entry | None:
        """Return the metadata of an array, without reading its data."""
        entries = _to_entries(self._read(f"{_ENTRIES} WHERE id = ?", (row_id(key),)))
        return entries[0] if entries else None

    def entries(self) -> list[Entry]:
        """Return the metadata of all arrays."""
        rows = self._file.insist(lambda file: file.execute(_ENTRIES).fetchall())
        return _to_entries(rows or [])

    def __len__(self) -> int:
        rows = self._read("SELECT count(*) FROM entries")
        return rows[0][0] if rows else 0

    def nbytes(self) -> int:
        """Return the size of the store on disk, in bytes."""
        return self._file.nbytes()

    def usage(self) -> tuple[int, int]:
        """Return the number of arrays, and :meth:`nbytes`."""
        n_entries = len(self)
        self.close()  # merges everything into one file
        return n_entries, self.nbytes()

    # Deleting. All methods free the disk space, and raise an OSError if they fail.

    def delete(self, ids: Sequence[int]) -> None:
        """Delete arrays by the ids of their entries."""
        if ids:
            self._file.insist(lambda file: sqlite.delete(file, ids))

    def delete_keys(self, keys: Iterable[bytes]) -> None:
        """Delete arrays by key."""
        self.delete([*map(row_id, keys)])

    def delete_group(self, group: str) -> None:
        """Delete the arrays of a group and its code."""
        self._file.insist(lambda file: sqlite.delete_group(file, group))

    def clear(self) -> None:
        """Delete everything."""
        self._file.insist(sqlite.clear)
        self._file.remove_damaged()

    # The code of functions, for joblib

    def get_code(self, group: str) -> str | None:
        """Return the text stored by :meth:`put_code`, or None."""
        rows = self._read("SELECT code FROM groups WHERE name = ?", (group,))
        code = rows[0][0] if rows else None
        return code if isinstance(code, str) else None

    def put_code(self, group: str, code: str) -> None:
        """Store a text for a group."""
        with self._file.opened(writing=True) as connection:
            if connection is not None:
                sqlite.set_code(connection, group, code)

    def _read(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._file.opened(writing=False) as connection:
            if connection is not None:
                return connection.execute(query, values).fetchall()
        return []


def _to_entries(rows: Iterable[tuple[Any, ...]]) -> list[Entry]:
    return [Entry(*row) for row in rows if all_int(row)]

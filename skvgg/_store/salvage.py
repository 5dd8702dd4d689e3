"""Recover the readable rows of a damaged file."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from skvgg._store.arrays import DamagedError, decode, row_id
from skvgg._store.sqlite import (
    FAILURES,
    SELECT_ENTRY,
    SELECT_ITEM,
    Row,
    closed_on_failure,
)


def open_damaged(path: str) -> sqlite3.Connection:
    """Open a damaged SQLite file."""
    connection = sqlite3.connect(f"{Path(path).as_uri()}?mode=rw", uri=True)
    with closed_on_failure(connection):
        # Otherwise SQLite reads nothing from a truncated file.
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
    return connection


class Salvage:
    """The readable rows of a damaged file.

    Items whose entry or group is unreadable are dropped, because they could no longer
    be deleted with their group.

    Attributes
    ----------
    groups : list of (int, str)
        Numbers and names.
    """

    def __init__(self, source: sqlite3.Connection) -> None:
        self._source = source
        rows = _readable(source, "SELECT id, name FROM groups")
        self.groups = [row for row in rows if _has_types(row, int, str)]

    def items(self) -> Iterator[tuple[Row, Row]]:
        """Yield each item and its metadata, the arguments of :func:`insert`."""
        numbers = {number for number, _ in self.groups}
        for i in self._ids():
            for item in _readable(self._source, SELECT_ITEM, (i,)):
                with contextlib.suppress(DamagedError):
                    decode(item)
                    entry = (row_id(item[0]),)
                    for known in _readable(self._source, SELECT_ENTRY, entry):
                        if all_int(known) and known[0] in numbers:
                            yield item, known

    def _ids(self) -> list[int]:
        """Return the ids of items in either table, read from both ends."""
        ids = {
            i
            for query in ("SELECT id FROM items", "SELECT item FROM entries")
            for order in ("ASC", "DESC")
            for (i,) in _readable(self._source, f"{query} ORDER BY id {order}")
        }
        return sorted(i for i in ids if isinstance(i, int))


def _readable(
    source: sqlite3.Connection, query: str, values: Row = ()
) -> Iterator[Row]:
    """Yield the rows of a query up to the first damaged one."""
    with contextlib.suppress(*FAILURES):
        yield from source.execute(query, values)


def all_int(row: Row) -> bool:
    """Return whether all values of a row are integers."""
    return _has_types(row, *[int] * len(row))


def _has_types(row: Row, *types: type) -> bool:
    return all(map(isinstance, row, types))

"""The SQLite file of a store: its tables, and all statements that change them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from skvgg._store.arrays import row_id

#: Marks the file as a store of skvgg ("skvg" in ASCII).
APPLICATION_ID = 0x736B7667
#: A row of one of the tables.
Row = tuple[Any, ...]

#: Version of the layout of the file. Increase it when the layout changes.
LAYOUT_VERSION = 1

#: Items are appended, so pages are full and items stored together are adjacent. The
#: index by key and the metadata for joblib are in a table of their own. An entry's id
#: is the first 8 bytes of its key.
_SCHEMA = (
    "CREATE TABLE items(id INTEGER PRIMARY KEY, key BLOB, crc INTEGER, form TEXT, "
    "data BLOB)",
    "CREATE TABLE entries(id INTEGER PRIMARY KEY, item INTEGER, grp INTEGER, "
    "size INTEGER, stored INTEGER, used INTEGER)",
    "CREATE TABLE groups(id INTEGER PRIMARY KEY, name TEXT, code TEXT)",
)
#: In bytes.
_PAGE_SIZE = 8192
#: Errors raised by damaged files, which may hold invalid text or absurd lengths.
FAILURES = (sqlite3.Error, UnicodeDecodeError, OverflowError, MemoryError)
_PASSING = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOMEM,
)
#: Seconds to wait while another process writes.
_PATIENCE = 60

_SELECT = (
    "SELECT key, crc, form, data, used FROM entries JOIN items ON items.id = item "
    "WHERE entries.id = ?"
)
SELECT_ITEM = "SELECT key, crc, form, data FROM items WHERE id = ?"
SELECT_ENTRY = "SELECT grp, size, stored, used FROM entries WHERE id = ?"
_DELETE_ITEM = "DELETE FROM items WHERE id IN (SELECT item FROM entries WHERE id = ?)"
_INSERT_ITEM = "INSERT INTO items(key, crc, form, data) VALUES (?, ?, ?, ?)"
_INSERT_GROUP = "INSERT OR REPLACE INTO groups(id, name) VALUES (?, ?)"
_INSERT_ENTRY = "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?)"


def open_checked(uri: str, patient: bool) -> tuple[sqlite3.Connection, str | None]:
    """Open a file; return the connection, and why it cannot be used or None."""
    connection = _sqlite(uri, patient)
    with closed_on_failure(connection):
        return connection, _what_is_wrong(connection)


@contextlib.contextmanager
def closed_on_failure(connection: sqlite3.Connection) -> Iterator[None]:
    """Close a connection if the block fails."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _sqlite(uri: str, patient: bool = True) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri,
        uri=True,
        timeout=_PATIENCE if patient else 0,
        isolation_level=None,
        check_same_thread=False,
    )
    with closed_on_failure(connection):
        # Never run code from the schema of the file.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        # A system crash may lose the last rows, but never damages the file.
        connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def set_patience(connection: sqlite3.Connection, patient: bool) -> None:
    """Set whether statements wait for other processes."""
    milliseconds = int(1000 * _PATIENCE) if patient else 0
    connection.execute(f"PRAGMA busy_timeout = {milliseconds}").fetchall()


def _what_is_wrong(connection: sqlite3.Connection) -> str | None:
    """Return why a file is not a store that this version can use, or None."""
    if connection.execute("PRAGMA page_count").fetchone() == (0,):
        raise sqlite3.DatabaseError("the file is empty")
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        return "is not a skvgg store"
    if version > LAYOUT_VERSION:
        return (
            f"was created by a newer version of skvgg (layout {version}; this version "
            f"supports {LAYOUT_VERSION})"
        )
    schema = connection.execute("SELECT sql FROM sqlite_schema").fetchall()
    if {sql for (sql,) in schema} != set(_SCHEMA):
        return "has tables that skvgg did not create"
    return None


def make_file(
    path: str,
    groups: Iterable[tuple[int, str]] = (),
    items: Iterable[tuple[Row, Row]] = (),
) -> None:
    """Create a store unless it exists, with the given groups and items.

    It is written under another name first, so other processes never see an incomplete
    file.

    Parameters
    ----------
    path : str
        Path of the file.
    groups : iterable of (int, str)
        Numbers and names.
    items : iterable of (tuple, tuple)
        The arguments of :func:`insert`.
    """
    draft = f"{path}.{os.getpid()}-{threading.get_ident()}.draft"
    try:
        # SQLite would create the file with 0644, whatever the umask lets groups do.
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))
        with contextlib.closing(_sqlite(Path(draft).as_uri())) as connection:
            connection.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            with transaction(connection):
                for statement in _SCHEMA:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {LAYOUT_VERSION}")
                for group in groups:
                    connection.execute(_INSERT_GROUP, group)
                for item, known in items:
                    insert(connection, item, known)
        with contextlib.suppress(FileExistsError):
            _name_if_free(draft, path)
    finally:
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                os.unlink(draft + suffix)


def _name_if_free(draft: str, path: str) -> None:
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if os.path.exists(path):
            raise FileExistsError(path) from None
        os.rename(draft, path)


def select(connection: sqlite3.Connection, key: bytes) -> Row | None:
    """Return key, checksum, form, data and access time of an item, or None."""
    row = connection.execute(_SELECT, (row_id(key),)).fetchone()
    return row if row is not None and row[0] == key else None


def insert(connection: sqlite3.Connection, item: Row, known: Row) -> None:
    """Add an item and its entry, within a transaction.

    Parameters
    ----------
    connection : sqlite3.Connection
        Connection to the file.
    item : tuple of (bytes, int, str, bytes)
        Key, checksum, form, data.
    known : tuple of (int, int, int, int)
        Group, size, time stored, time used.
    """
    number = row_id(item[0])
    connection.execute(_DELETE_ITEM, (number,))
    rowid = connection.execute(_INSERT_ITEM, item).lastrowid
    connection.execute(_INSERT_ENTRY, (number, rowid, *known))


def touch(connection: sqlite3.Connection, ids: Iterable[int], now: int) -> None:
    """Update access times, unless another process is writing; never wait for it."""
    set_patience(connection, False)
    with contextlib.suppress(sqlite3.OperationalError), transaction(connection):
        connection.executemany(
            "UPDATE entries SET used = ? WHERE id = ?", [(now, i) for i in ids]
        )


def delete(connection: sqlite3.Connection, ids: Iterable[int]) -> None:
    """Delete items by the ids of their entries."""
    each = [(i,) for i in ids]
    with transaction(connection):
        connection.executemany(_DELETE_ITEM, each)
        connection.executemany("DELETE FROM entries WHERE id = ?", each)
    _shrink(connection)


def delete_group(connection: sqlite3.Connection, group: str) -> None:
    """Delete the items of a group and its code."""
    entries = "FROM entries WHERE grp IN (SELECT id FROM groups WHERE name = ?)"
    with transaction(connection):
        connection.execute(
            f"DELETE FROM items WHERE id IN (SELECT item {entries})", (group,)
        )
        connection.execute(f"DELETE {entries}", (group,))
        connection.execute("UPDATE groups SET code = NULL WHERE name = ?", (group,))
    _shrink(connection)


def clear(connection: sqlite3.Connection) -> None:
    """Delete everything."""
    with transaction(connection):
        for table in ("items", "entries", "groups"):
            connection.execute(f"DELETE FROM {table}")
    _shrink(connection)


def set_code(connection: sqlite3.Connection, group: str, code: str) -> None:
    """Store a text for a group."""
    with transaction(connection):
        connection.execute(
            "UPDATE groups SET code = ? WHERE id = ?",
            (code, group_id(connection, group)),
        )


def _shrink(connection: sqlite3.Connection) -> None:
    # The items are gone. If another process uses the file, their pages are used again.
    with contextlib.suppress(sqlite3.OperationalError):
        # A script runs to completion; as a statement it would free one page only.
        connection.executescript("PRAGMA incremental_vacuum")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def group_id(connection: sqlite3.Connection, name: str) -> int:
    """Return the number of a group; create the group if it is new."""
    query = "SELECT id FROM groups WHERE name = ?"
    row = connection.execute(query, (name,)).fetchone()
    if row is not None:
        return row[0]
    made = connection.execute("INSERT INTO groups(name) VALUES (?)", (name,)).lastrowid
    assert made is not None
    return made


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit all changes of the block, or none if it fails."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise


def roll_back(connection: sqlite3.Connection) -> None:
    """Roll back a transaction, unless SQLite has done so already."""
    if connection.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def close(connection: sqlite3.Connection, owner: int) -> None:
    """Close a connection, unless it was inherited by a fork."""
    if owner == os.getpid():
        connection.close()


def is_locked(error: Exception) -> bool:
    """Return whether another process held the file for too long."""
    code = getattr(error, "sqlite_errorcode", None)
    locked = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return code is not None and code & 0xFF in locked


def is_passing(error: Exception) -> bool:
    """Return whether an error is temporary rather than a sign of damage."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _PASSING

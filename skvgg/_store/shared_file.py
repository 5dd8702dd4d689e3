"""A SQLite file shared by several processes, and the handling of its failures."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any

from skvgg._runtime.warn import warn_once
from skvgg._store import sqlite
from skvgg._store.pause import is_paused, pause, resume
from skvgg._store.salvage import Salvage, open_damaged

#: Added to the name of a damaged file.
_DAMAGED = ".damaged"


class SharedFile:
    """The newest SQLite file of a folder.

    Parameters
    ----------
    folder : str
        Created on the first write if it does not exist.

    Attributes
    ----------
    writable : bool
        False after a write has failed.
    """

    def __init__(self, folder: str) -> None:
        self.folder = os.path.abspath(folder)
        self.writable = True
        self._readable = True
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._owner = 0
        self._generation = -1
        self._close: Any = None
        self._n_repaired = 0

    @contextlib.contextmanager
    def opened(self, *, writing: bool) -> Iterator[sqlite3.Connection | None]:
        """Yield the connection, or None if the file cannot be used.

        Failures of SQLite and of the disk end the block and become a warning. During a
        pause, nothing waits for other processes.

        Parameters
        ----------
        writing : bool
            Whether the caller will write. A missing file is created then.
        """
        with self._lock:
            connection = None
            places = self._places(writing)
            if self._readable and (self.writable or not writing):
                with self._warning_of_failures(writing):
                    patient = not any(map(is_paused, places))
                    connection = self._connect(writing, patient)
            with self._warning_of_failures(writing):
                yield connection
                if connection is not None:
                    for place in places:
                        resume(place)

    def insist(self, action: Callable[[sqlite3.Connection], Any]) -> Any:
        """Call a function with the connection, also during a pause.

        Returns
        -------
        object
            The result, or None if there is no file.

        Raises
        ------
        OSError
            If the file cannot be used.
        """
        with self._lock:
            try:
                connection = self._connect(False, True) if self._readable else None
                if connection is not None:
                    return action(connection)
                if self._newest() < 0:
                    return None
                raise OSError("it is not a store of this version of skvgg")
            except (OSError, *sqlite.FAILURES) as error:
                n_repaired = self._n_repaired
                if not isinstance(error, OSError | sqlite3.OperationalError):
                    self.repair(error)
                if self._n_repaired > n_repaired:
                    return self.insist(action)
                raise OSError(
                    f"The store in {self.folder!r} cannot be changed ({error}). "
                    "Nothing was deleted. If another process uses it, try again later."
                ) from error

    @contextlib.contextmanager
    def _warning_of_failures(self, writing: bool) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            if sqlite.is_locked(error):
                self._pause_access(error, start, writing)
            elif writing:
                self._stop_writing(str(error))
            else:
                self._stop_reading(error)
        except sqlite.FAILURES as error:
            self.repair(error)

    def retry_if_repaired(self, method: Callable[..., Any], *args: Any) -> Any:
        """Call a method, and call it again if the file was repaired meanwhile."""
        before = self._n_repaired
        result = method(*args)
        return method(*args) if self._n_repaired > before else result

    def close(self) -> None:
        """Close the file. The next call opens it again."""
        with self._lock:
            if self._connection is not None:
                self._close()
            self._connection = None

    def remove_damaged(self) -> None:
        """Delete the damaged files that were kept."""
        for path in Path(self.folder).glob(f"rows-*.sqlite3{_DAMAGED}*"):
            with contextlib.suppress(OSError):
                path.unlink()

    def nbytes(self) -> int:
        """Return the size of all files in bytes, also of those that are kept."""
        total = 0
        for path in Path(self.folder).glob("rows-*.sqlite3*"):
            with contextlib.suppress(OSError):
                total += path.stat().st_size
        return total

    def _places(self, writing: bool) -> list[Hashable]:
        """Return what may be paused; other processes that write can often be read."""
        return [self.folder, (self.folder, "writing")] if writing else [self.folder]

    def _connect(self, create: bool, patient: bool) -> sqlite3.Connection | None:
        if self._connection is not None and self._owner == os.getpid():
            sqlite.set_patience(self._connection, patient)
            return self._connection
        self._generation = self._newest()
        if self._generation < 0:
            if not create:
                return None
            os.makedirs(self.folder, exist_ok=True)
            _keep_out_of_git(self.folder)
            sqlite.make_file(self._path(0))
            self._generation = 0
        # A forked process must not use its parent's connection, so it opens its own.
        self._connection, self._owner = self._open(patient), os.getpid()
        self._close = weakref.finalize(
            self, sqlite.close, self._connection, self._owner
        )
        return self._connection if self._readable else None

    def _open(self, patient: bool) -> sqlite3.Connection:
        path = self._path(self._generation)
        uri = Path(path).as_uri()
        try:
            connection, problem = sqlite.open_checked(f"{uri}?mode=rw", patient)
        except sqlite3.OperationalError as error:
            if sqlite.is_locked(error):
                raise
            # SQLite cannot share a file in a read-only folder.
            uri = f"{uri}?mode=ro&immutable=1"
            connection, problem = sqlite.open_checked(uri, patient)
            self._stop_writing("it is read-only")
        if problem is not None:
            self._readable = False
            self._warn(
                f"{path!r} {problem}. It is not used, and no rows are stored. Use "
                "another folder for memory."
            )
        return connection

    def _path(self, generation: int) -> str:
        return os.path.join(self.folder, f"rows-{generation}.sqlite3")

    def _newest(self) -> int:
        try:
            names = os.listdir(self.folder)
        except (FileNotFoundError, NotADirectoryError):
            return -1
        matches = [re.fullmatch(r"rows-(\d+)\.sqlite3", name) for name in names]
        return max((int(match[1]) for match in matches if match), default=-1)

    # Failures

    def repair(self, damage: Exception) -> None:
        """Replace a damaged file with a new one that holds its readable rows."""
        if not self.writable or self._generation < 0:
            self.warn_of_damage(damage)
            return
        damaged = self._path(self._generation)
        self._warn(
            f"The store in {self.folder!r} is damaged ({damage}). Its readable rows "
            f"are copied to a new file; others are recomputed. The damaged file is "
            f"kept as {damaged + _DAMAGED!r} until you delete it or clear the store."
        )
        try:
            if self._newest() <= self._generation:  # no other process has repaired it
                with contextlib.closing(open_damaged(damaged)) as source:
                    salvage = Salvage(source)
                    sqlite.make_file(
                        self._path(self._generation + 1),
                        salvage.groups,
                        salvage.items(),
                    )
            self.close()
            self._n_repaired += 1
            for suffix in ("", "-wal", "-shm"):
                with contextlib.suppress(OSError):
                    os.rename(damaged + suffix, f"{damaged}{_DAMAGED}{suffix}")
        except (OSError, *sqlite.FAILURES) as error:
            self._stop_writing(f"it is damaged and cannot be repaired ({error})")

    def warn_of_damage(self, damage: Exception) -> None:
        """Warn that the store is damaged."""
        self._warn(
            f"The store in {self.folder!r} is damaged ({damage}). Damaged rows are "
            "dropped and recomputed."
        )

    def _stop_writing(self, reason: str) -> None:
        self.writable = False
        self._warn(
            f"The store in {self.folder!r} no longer accepts rows: {reason}. Results "
            "are correct, but new rows are not stored."
        )

    def _stop_reading(self, error: Exception) -> None:
        self._readable = False
        self._warn(
            f"The store in {self.folder!r} cannot be read ({error}). Results are "
            "correct, but all rows are recomputed."
        )

    def _pause_access(self, error: Exception, start: float, writing: bool) -> None:
        places = self._places(writing)
        if any(map(is_paused, places)):
            return
        pause(places[-1], start)
        self._warn(
            f"The store in {self.folder!r} has been locked by another process for "
            f"{time.monotonic() - start:.0f} seconds ({error}). Results are correct, "
            f"but rows are {'not stored' if writing else 'neither read nor stored'} "
            "until it is free.",
            problem=f"locked, {writing=}",
        )

    def _warn(self, message: str, problem: str | None = None) -> None:
        warn_once(self.folder, problem or message, message)


def _keep_out_of_git(folder: str) -> None:
    path = os.path.join(folder, ".gitignore")
    if not os.path.exists(path):
        with contextlib.suppress(OSError), open(path, "w", encoding="utf-8") as file:
            file.write("# Made by skvgg.\n*\n")

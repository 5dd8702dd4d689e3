"""The paths that belong to a feature file, and exclusive access to them."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skvgg._feature_file.durable import sync_folder

#: Errors for a full disk, an exceeded quota, or the maximum file size.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT}


class Paths:
    """The paths that belong to one feature file.

    Parameters
    ----------
    path : Path
        The complete file or folder.

    Attributes
    ----------
    part : Path
        The incomplete file or folder.
    journal : Path
        The journal, which is kept for checks and later calls.
    lock : Path
        The lock file, which exists while a process writes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part = path.with_name(f"{path.name}.part")
        self.journal = path.with_name(f"{path.name}.journal")
        self.lock = path.with_name(f"{path.name}.lock")

    def publish(self) -> None:
        """Give the complete file its final name, atomically."""
        _move(self.part, self.path)

    def reopen(self) -> None:
        """Undo :meth:`publish`, to write to the file again."""
        _move(self.path, self.part)


def _move(source: Path, target: Path) -> None:
    if os.path.lexists(target):
        raise FileExistsError(
            f"{str(source)!r} cannot be renamed: {str(target)!r} exists and would be "
            "overwritten. Move or delete it, and repeat the call."
        )
    os.replace(source, target)
    sync_folder(target.parent)


def check_folder(path: Path) -> None:
    """Check that files can be created in the folder of a path.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    PermissionError
        If the folder is not writable.
    """
    folder = path.parent
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{str(path)!r}: there is no folder {str(folder)!r}. Create it first. "
            "Nothing was computed."
        )
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if error.errno not in _FORBIDDEN:
            raise
        raise PermissionError(
            f"{str(path)!r}: the folder {str(folder)!r} is not writable "
            f"({os.strerror(error.errno)}). Get permission to write to "
            f"{str(folder.absolute())!r}, or choose another path. Nothing was computed."
        ) from error


@contextmanager
def locked(paths: Paths) -> Iterator[None]:
    """Lock the file against other processes, and check that it can be written.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    PermissionError
        If the folder is not writable.
    RuntimeError
        If another process is writing the file.
    """
    import filelock

    # filelock would mistake missing permission for another process.
    check_folder(paths.path)
    lock = filelock.FileLock(paths.lock)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise RuntimeError(
            f"{str(paths.path)!r} is being written by another process. Wait for it, "
            "or choose another path."
        ) from None
    try:
        yield
    finally:
        paths.lock.unlink(missing_ok=True)  # while this process holds it
        lock.release()


@contextmanager
def explaining_full_disk(paths: Paths, n_needed: int = 0) -> Iterator[None]:
    """Explain what to do when the disk is full; `n_needed` is 0 if it is unknown."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        free = shutil.disk_usage(paths.path.parent).free
        need = f"it needs {n_needed:,} bytes, and " if n_needed else ""
        raise OSError(
            f"{str(paths.path)!r}: the disk is full: {need}{free:,} bytes are free "
            f"({os.strerror(error.errno)}). Free disk space and repeat the call, or "
            "choose another path."
        ) from error

"""Where a file of rows and what belongs to it are, and who may write there."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skvgg._rows_file.durable import sync_folder

#: What a system says where a disk, a quota or a limit of file sizes is reached.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT}


class Places:
    """The paths that belong to one file of rows.

    Parameters
    ----------
    path : Path
        The file, or folder, that is there once all rows are.

    Attributes
    ----------
    part : Path
        The same while it grows.
    journal : Path
        Which chunks are there; it stays, for checks and later calls.
    lock : Path
        Exists while a process writes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part = path.with_name(f"{path.name}.part")
        self.journal = path.with_name(f"{path.name}.journal")
        self.lock = path.with_name(f"{path.name}.lock")

    def publish(self) -> None:
        """Give the file its name, in one step."""
        os.replace(self.part, self.path)
        sync_folder(self.path.parent)

    def reopen(self) -> None:
        """Take that back, to write to it again."""
        os.replace(self.path, self.part)
        sync_folder(self.path.parent)

    def remove_part(self) -> None:
        """Remove what is left of a file whose journal is lost."""
        if self.part.is_dir():
            shutil.rmtree(self.part)
        else:
            self.part.unlink(missing_ok=True)


@contextmanager
def alone(places: Places) -> Iterator[None]:
    """Keep other processes from writing the same file; see that this one may.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    PermissionError
        If it may not be written to.
    RuntimeError
        If another process writes the file.
    """
    import filelock

    folder = places.path.parent
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{str(places.path)!r}: there is no folder {str(folder)!r}. Make it first."
        )
    with _naming_folder(folder), tempfile.TemporaryFile(dir=folder):
        pass  # filelock would take what forbids it for another process
    lock = filelock.FileLock(places.lock)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise RuntimeError(
            f"{str(places.path)!r} is being written by another process. Wait for it, "
            "or choose another path."
        ) from None
    try:
        yield
    finally:
        places.lock.unlink(missing_ok=True)  # while it is held, so nobody else's
        lock.release()


@contextmanager
def _naming_folder(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FORBIDDEN:
            raise
        raise PermissionError(
            f"no permission to write in the folder {str(folder.absolute())!r} "
            f"({os.strerror(error.errno)}). Choose another path for the rows. Nothing "
            "was computed."
        ) from error


@contextmanager
def telling_of_disk(places: Places, kept: str, n_needed: int = 0) -> Iterator[None]:
    """Say what to do where the disk is full.

    Parameters
    ----------
    places : Places
        Where it was written.
    kept : str
        What has been computed and is kept, as a sentence.
    n_needed : int
        Bytes that the file needs, if that is known.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        free = shutil.disk_usage(places.path.parent).free
        need = f"it needs {n_needed:,} bytes, and " if n_needed else ""
        raise OSError(
            f"{str(places.path)!r}: the disk is full: {need}{free:,} bytes are free "
            f"({os.strerror(error.errno)}). {kept} Make room and call the same again, "
            "or choose another path."
        ) from error

"""Writes that have reached the disk when they return."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def write_whole(path: Path, data: Any) -> None:
    """Write a file completely or not at all.

    Parameters
    ----------
    path : Path
        Path of the file. An existing file is replaced.
    data : bytes-like
        Content of the file.
    """
    scratch = path.with_name(f".{path.name}.tmp")
    with scratch.open("wb") as file:
        file.write(data)
        sync(file)
    os.replace(scratch, path)
    sync_folder(path.parent)


def sync(file: Any) -> None:
    """Wait until all data written to an open file is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_file(path: Path) -> None:
    """Wait until a file written by other code is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the entries of a folder are on the disk, if the system supports it."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

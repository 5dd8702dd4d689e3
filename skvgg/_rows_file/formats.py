"""What all formats of files of rows offer, and which there are."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

#: The class of each suffix. Modules are imported where they are used.
FORMATS = {
    ".npy": ("skvgg._rows_file.npy", "NpyFormat"),
    ".parquet": ("skvgg._rows_file.parquet", "ParquetFormat"),
    ".zarr": ("skvgg._rows_file.zarr", "ZarrFormat"),
}


@dataclass(frozen=True)
class Layout:
    """The rows of a file and how they are cut into chunks.

    Attributes
    ----------
    n_rows, n_features : int
        The shape.
    dtype : dtype
        Of all numbers.
    chunk_size : int
        Rows of a chunk; the last has the rest.
    """

    n_rows: int
    n_features: int
    dtype: np.dtype
    chunk_size: int

    @property
    def n_chunks(self) -> int:
        """How many chunks there are."""
        return -(-self.n_rows // self.chunk_size)

    @property
    def nbytes(self) -> int:
        """What the numbers take, in bytes."""
        return self.n_rows * self.n_features * self.dtype.itemsize

    def rows_of(self, index: int) -> range:
        """Return the rows of a chunk."""
        start = index * self.chunk_size
        return range(start, min(start + self.chunk_size, self.n_rows))

    def shape_of(self, index: int) -> tuple[int, int]:
        """Return the shape of a chunk."""
        return len(self.rows_of(index)), self.n_features


class RowsFormat(ABC):
    """Rows on the disk, a chunk at a time.

    Parameters
    ----------
    path : Path
        The file or folder, whether it is complete or growing.
    layout : Layout
        What it holds.
    names : sequence of str
        Names of the features; needed for writing only.
    """

    #: The package that reads and writes it, and the extra that installs it.
    package: ClassVar[str | None] = None
    extra: ClassVar[str] = ""
    #: Whether :meth:`create` reserves all the room.
    reserves: ClassVar[bool] = False

    def __init__(self, path: Path, layout: Layout, names: Sequence[str] = ()) -> None:
        self.path = path
        self.layout = layout
        self.names = names

    @abstractmethod
    def create(self) -> None:
        """Make the file, without rows."""

    @abstractmethod
    def is_made(self) -> bool:
        """Return whether :meth:`create` has been here, and its work is undamaged."""

    @abstractmethod
    def has(self, index: int) -> bool:
        """Return whether a chunk seems to be there, as far as that is cheap to see."""

    @abstractmethod
    def write(self, index: int, rows: np.ndarray) -> None:
        """Put the rows of a chunk onto the disk."""

    @abstractmethod
    def read(self, index: int) -> np.ndarray:
        """Return the rows of a chunk.

        Raises
        ------
        Exception
            Whatever the format's package raises, if they cannot be read.
        """


def format_of(path: Path) -> type[RowsFormat]:
    """Return the class of a path's suffix.

    Raises
    ------
    ValueError
        If the suffix is of no format.
    ImportError
        If the format's package is not installed.
    """
    if path.suffix not in FORMATS:
        raise ValueError(
            f"{str(path)!r} has the suffix {path.suffix!r}; expected one of "
            f"{', '.join(FORMATS)}, which is the format of the file."
        )
    module, name = FORMATS[path.suffix]
    chosen = getattr(importlib.import_module(module), name)
    if chosen.package is not None:
        try:
            importlib.import_module(chosen.package)
        except ImportError as error:
            raise ImportError(
                f"{path.suffix} files need the package {chosen.package} "
                f"({error}): pip install 'skvgg[{chosen.extra}]'. .npy files need none."
            ) from error
    return chosen

"""What a file format is, and how the rows of a file are split into chunks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np


@dataclass(frozen=True)
class Layout:
    """The rows of a file and how they are split into chunks.

    Attributes
    ----------
    n_rows, n_features : int
        Shape of the rows.
    dtype : dtype
        Data type of the rows.
    chunk_size : int
        Number of rows per chunk; the last chunk may have fewer.
    """

    n_rows: int
    n_features: int
    dtype: np.dtype
    chunk_size: int

    @property
    def n_chunks(self) -> int:
        """The number of chunks."""
        return -(-self.n_rows // self.chunk_size)

    @property
    def nbytes(self) -> int:
        """The size of the rows, in bytes."""
        return self.n_rows * self.n_features * self.dtype.itemsize

    def rows_of(self, index: int) -> range:
        """Return the rows of a chunk."""
        start = index * self.chunk_size
        return range(start, min(start + self.chunk_size, self.n_rows))

    def shape_of(self, index: int) -> tuple[int, int]:
        """Return the shape of a chunk."""
        return len(self.rows_of(index)), self.n_features


class FileFormat(ABC):
    """Rows on the disk, read and written one chunk at a time.

    Parameters
    ----------
    path : Path
        The complete or incomplete file or folder.
    layout : Layout
        Shape, data type and chunks of the rows.
    names : sequence of str
        Names of the features; only needed for writing.
    """

    #: The package that reads and writes the format, and the extra that installs it.
    package: ClassVar[str | None] = None
    extra: ClassVar[str] = ""
    #: Whether :meth:`create` reserves the disk space.
    reserves: ClassVar[bool] = False

    def __init__(self, path: Path, layout: Layout, names: Sequence[str] = ()) -> None:
        self.path = path
        self.layout = layout
        self.names = names

    @abstractmethod
    def create(self) -> None:
        """Create the file without rows. An empty file of this format is replaced."""

    @abstractmethod
    def problem(self) -> str | None:
        """Return what is wrong with the result of :meth:`create`, or None."""

    @abstractmethod
    def has(self, index: int) -> bool:
        """Return whether a chunk seems to exist, as far as this is cheap to check."""

    @abstractmethod
    def write(self, index: int, rows: np.ndarray) -> None:
        """Write the rows of a chunk to the disk."""

    @abstractmethod
    def read(self, index: int) -> np.ndarray:
        """Return the rows of a chunk.

        Raises
        ------
        Exception
            Any error of the format's package, if the rows cannot be read.
        """

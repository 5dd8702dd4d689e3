"""Parquet: a folder with one file per chunk, read as one table."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from skvgg._feature_file.base import FileFormat
from skvgg._feature_file.durable import sync_folder, write_whole


class ParquetFormat(FileFormat):
    """A folder of files whose names sort in the order of the rows."""

    package = "pyarrow.parquet"
    extra = "parquet"

    def create(self) -> None:
        """Create the folder."""
        self.path.mkdir(exist_ok=True)
        sync_folder(self.path.parent)

    def problem(self) -> str | None:
        """Return what is wrong with the folder, or None."""
        return None if self.path.is_dir() else "it is not a folder that can be read"

    def has(self, index: int) -> bool:
        """Return whether the chunk's file exists."""
        return self._file(index).is_file()

    def write(self, index: int, rows: np.ndarray) -> None:
        """Write the chunk's file."""
        import pyarrow as pa
        from pyarrow import parquet

        columns = [pa.array(column) for column in np.ascontiguousarray(rows.T)]
        stream = pa.BufferOutputStream()
        parquet.write_table(
            pa.table(columns, names=list(self.names)),
            stream,
            # With thousands of columns, the cost per column dominates.
            compression="snappy",
            use_dictionary=False,  # floats rarely repeat
            write_statistics=False,
            store_schema=False,  # Parquet's own schema is sufficient
        )
        write_whole(self._file(index), stream.getvalue())

    def read(self, index: int) -> np.ndarray:
        """Return the rows of a chunk."""
        from pyarrow import parquet

        with parquet.ParquetFile(self._file(index)) as file:
            table = file.read()
        return np.stack([column.to_numpy() for column in table.columns], axis=1)

    def _file(self, index: int) -> Path:
        return self.path / f"part-{index:08d}.parquet"

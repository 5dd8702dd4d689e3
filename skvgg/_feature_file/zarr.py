"""Zarr arrays, with version 3 of the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from skvgg._feature_file.base import FileFormat
from skvgg._feature_file.durable import sync_file, sync_folder

#: Otherwise Zarr omits chunks of zeros, and they would seem to be missing.
_CONFIG = {"array.write_empty_chunks": True}


class ZarrFormat(FileFormat):
    """An array whose chunks are whole rows; ``feature_names`` is an attribute."""

    package = "zarr"
    extra = "zarr"

    def create(self) -> None:
        """Create the folder and the metadata of the array."""
        import zarr

        layout = self.layout
        zarr.create_array(
            str(self.path),
            shape=(layout.n_rows, layout.n_features),
            chunks=(min(layout.chunk_size, layout.n_rows), layout.n_features),
            dtype=layout.dtype,
            fill_value=0,
            attributes={"feature_names": list(self.names)},
            overwrite=True,
        )
        sync_file(self.path / "zarr.json")
        sync_folder(self.path.parent)

    def problem(self) -> str | None:
        """Return what is wrong with the metadata, or None."""
        import zarr

        try:
            array: Any = zarr.open_array(str(self.path), mode="r")
        except Exception as error:  # damaged metadata raises various errors
            return f"'zarr.json' cannot be read ({error})"
        layout = self.layout
        expected = (layout.n_rows, layout.n_features), layout.dtype
        if (array.shape, array.dtype) != expected:
            return f"its shape and dtype are {array.shape}, {array.dtype}"
        return None

    def has(self, index: int) -> bool:
        """Return whether the chunk's file exists."""
        return self._file(index).is_file()

    def write(self, index: int, rows: np.ndarray) -> None:
        """Write the chunk's file."""
        import zarr

        with zarr.config.set(_CONFIG):  # arrays keep the setting from opening
            array: Any = zarr.open_array(str(self.path), mode="r+")
        array[self._slice(index)] = rows
        sync_file(self._file(index))

    def read(self, index: int) -> np.ndarray:
        """Return the rows of a chunk."""
        import zarr

        array: Any = zarr.open_array(str(self.path), mode="r")
        return np.asarray(array[self._slice(index)])

    def _slice(self, index: int) -> slice:
        rows = self.layout.rows_of(index)
        return slice(rows.start, rows.stop)

    def _file(self, index: int) -> Path:
        return self.path / "c" / str(index) / "0"

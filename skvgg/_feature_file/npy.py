"""NumPy's format, which can be read as a memory map."""

from __future__ import annotations

import errno
import io
import os

import numpy as np
from numpy.lib import format as npy

from skvgg._feature_file.base import FileFormat
from skvgg._feature_file.durable import sync

#: Errors of systems that cannot reserve disk space.
_CANNOT_RESERVE = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}


class NpyFormat(FileFormat):
    """One file. Its disk space is reserved at the start."""

    reserves = True

    def create(self) -> None:
        """Write the header and reserve disk space for the rows."""
        header = self._header()
        n_bytes = len(header) + self.layout.nbytes
        try:
            with self.path.open("wb") as file:
                file.write(header)
                file.flush()
                _reserve(file.fileno(), n_bytes)
                sync(file)
        except OSError:
            self.path.unlink(missing_ok=True)
            raise

    def problem(self) -> str | None:
        """Return what is wrong with the header or the length, or None."""
        header = self._header()
        n_expected = len(header) + self.layout.nbytes
        try:
            with self.path.open("rb") as file:
                n_bytes = os.fstat(file.fileno()).st_size
                is_right = file.read(len(header)) == header
        except OSError as error:
            return f"it cannot be read ({error.strerror})"
        if n_bytes != n_expected:
            return f"it has {n_bytes:,} bytes instead of {n_expected:,}"
        return None if is_right else "it does not begin with the header of its rows"

    def has(self, index: int) -> bool:
        """Return True: the space of each chunk is reserved."""
        return True

    def write(self, index: int, rows: np.ndarray) -> None:
        """Write the rows of a chunk.

        Not through a memory map, where a full disk would kill the process.
        """
        with self.path.open("rb+") as file:
            file.seek(self._offset(index))
            file.write(np.ascontiguousarray(rows).data)
            sync(file)

    def read(self, index: int) -> np.ndarray:
        """Return a copy of the rows of a chunk."""
        shape = self.layout.shape_of(index)
        numbers = np.fromfile(
            self.path,
            self.layout.dtype,
            shape[0] * shape[1],
            offset=self._offset(index),
        )
        return numbers.reshape(shape)

    def _header(self) -> bytes:
        layout = self.layout
        header = {
            "descr": npy.dtype_to_descr(layout.dtype),
            "fortran_order": False,
            "shape": (layout.n_rows, layout.n_features),
        }
        stream = io.BytesIO()
        npy.write_array_header_1_0(stream, header)
        return stream.getvalue()

    def _offset(self, index: int) -> int:
        width = self.layout.n_features * self.layout.dtype.itemsize
        return len(self._header()) + self.layout.rows_of(index).start * width


def _reserve(descriptor: int, n_bytes: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, n_bytes)
            return
        except OSError as error:
            if error.errno not in _CANNOT_RESERVE:
                raise
    os.truncate(descriptor, n_bytes)

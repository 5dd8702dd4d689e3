"""Keras 3's ``.keras`` files: a zip file with the weights as HDF5 in it."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skvgg.weights import _hdf5
from skvgg.weights._base import FileArrays, Reader
from skvgg.weights._npz import members

_WEIGHTS = "model.weights.h5"


def matches(path: Path) -> bool:
    """Return whether `path` is a zip file with the weights of a Keras model."""
    return _WEIGHTS in members(path)


@contextmanager
def layers(path: Path, names: list[str]) -> Iterator[FileArrays]:
    """Open a file, and find the layers in `names` that it has."""
    # HDF5 needs a file that it can seek in.
    with tempfile.TemporaryDirectory(prefix="skvgg-") as folder:
        copy = Path(folder, _WEIGHTS)
        with (
            zipfile.ZipFile(path) as file,
            file.open(_WEIGHTS) as member,
            copy.open("wb") as target,
        ):
            shutil.copyfileobj(member, target)
        with _hdf5.layers(copy, names) as found:
            yield found


READER = Reader(matches, layers)

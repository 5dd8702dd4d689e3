"""TensorFlow checkpoints, as written by TFLearn's ``DNN.save``.

Layers have the names of Keras' VGG19, with ``W`` and ``b`` for kernel and bias. The
fully connected layers have either Keras' names or the default names of TFLearn. The
graph of the network is not needed.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from skvgg._definition.architecture import DENSE_NAMES
from skvgg._runtime.tensorflow import import_tensorflow
from skvgg.weights._base import FileArray, FileArrays, Reader, last_bytes

#: The last bytes of an index, which is a table of LevelDB.
_MAGIC = bytes.fromhex("57fb808b247547db")

#: TFLearn's default names of the fully connected layers.
_TFLEARN_DENSE_NAMES = dict(
    zip(DENSE_NAMES, ("FullyConnected", "FullyConnected_1"), strict=True)
)


def matches(path: Path) -> bool:
    """Return whether `path` is the prefix or a file of a checkpoint.

    A file is one by its content, or by its name if it is part of the data; so another
    file beside an index is not mistaken for its checkpoint.
    """
    if path.suffix.startswith(".data-") or not path.is_file():
        return _index_file(path).is_file()
    return path.suffix == ".index" and last_bytes(path, len(_MAGIC)) == _MAGIC


def may_match(path: Path) -> bool:
    """Return whether the name of `path` can be that of a checkpoint."""
    return path != _prefix(path) or not path.is_file()


def files(path: Path) -> list[Path]:
    """Return the files that make up the weights at `path`."""
    index = _index_file(path)
    return [index, *sorted(index.parent.glob(f"{glob.escape(index.stem)}.data-*"))]


@contextmanager
def layers(path: Path, names: list[str]) -> Iterator[FileArrays]:
    """Open a file, and find the layers in `names` that it has."""
    reader = import_tensorflow().train.load_checkpoint(str(_prefix(path)))
    shapes, dtypes = (
        reader.get_variable_to_shape_map(),
        reader.get_variable_to_dtype_map(),
    )

    def array(name: str) -> FileArray:
        dtype = np.dtype(dtypes[name].as_numpy_dtype)
        read = partial(reader.get_tensor, name)
        return FileArray(name, tuple(shapes[name]), dtype, read)

    yield {
        name: (array(f"{stored}/W"), array(f"{stored}/b"))
        for name in names
        for stored in (_TFLEARN_DENSE_NAMES.get(name), name)
        if f"{stored}/W" in shapes and f"{stored}/b" in shapes
    }


def _prefix(path: Path) -> Path:
    if path.suffix == ".index":
        return path.with_suffix("")
    if path.suffix.startswith(".data-"):
        return path.with_suffix("")
    return path


def _index_file(path: Path) -> Path:
    prefix = _prefix(path)
    return prefix.with_name(f"{prefix.name}.index")


READER = Reader(matches, layers, files=files)

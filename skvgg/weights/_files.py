"""Weights in files: find the format, and compute fingerprints."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from skvgg._definition.preprocessing import CAFFE, Preprocessing
from skvgg.weights import _checkpoint, _hdf5, _matconvnet, _npz, _safetensors
from skvgg.weights._base import Identity, Source, Weights, check_parameters, first_bytes

#: Readers of files by the name of their format, tried in this order.
FORMATS = {
    "Keras HDF5": _hdf5,
    "TensorFlow checkpoint": _checkpoint,
    "safetensors": _safetensors,
    "MatConvNet .mat": _matconvnet,
    "skvgg .npz": _npz,
}


class FileSource(Source):
    """A file in one of the :data:`FORMATS`.

    Parameters
    ----------
    path : path
        Path of the file, or prefix of a checkpoint.
    """

    takes_reading = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        if not self._path.name:  # "", "." and "/"
            raise ValueError(
                f"weights={os.fspath(path)!r} is not a file name. Expected 'imagenet', "
                "'hed', None, or the path of a file."
            )

    def __getstate__(self) -> dict[str, Any]:
        # A pickle may be loaded in another working directory.
        return {"_path": self._path.absolute()}

    def anchored(self) -> FileSource:
        """Return the source with an absolute path."""
        return FileSource(self._path.absolute())

    def check(self) -> None:
        """Raise an error if the file does not exist or its format is unknown."""
        _find_reader(self._path)

    def identify(self) -> Identity:
        """Return path, size, ``st_mtime`` and ``st_ctime``, without opening the file.

        Programs cannot set ``st_ctime``, so a replaced file is noticed even if its
        modification time is the same.
        """
        return identify_file(self._path)

    def fingerprint(self) -> str:
        """Return a digest of the file, read once per process unless it changes."""
        return fingerprint_of_file(self._path, b"file", self.identify())

    def load(self, shapes: Mapping[str, tuple[int, ...]], verbose: int = 0) -> Weights:
        """Read the layers in `shapes`."""
        weights = _read(self._path, list(shapes))
        check_parameters(weights, shapes)
        return weights


def identify_file(path: Path) -> Identity:
    """Return path, size, ``st_mtime`` and ``st_ctime`` of the files at `path`."""
    path = path.absolute()
    stats = [file.stat() for file in _files(path)]
    times = ((stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats)
    return (str(path), *times)


@lru_cache(maxsize=8)
def fingerprint_of_file(path: Path, kind: bytes, identity: Identity) -> str:
    """Return a digest of the content of a file and of the kind of its weights.

    The file is read again when `identity` changes.
    """
    del identity
    digest = hashlib.sha256(kind)
    for file in _files(path):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _files(path: Path) -> list[Path]:
    """Return the files that make up the weights at `path`, without opening them."""
    if _checkpoint.matches(path):
        return _checkpoint.files(path)
    if not path.exists():
        raise FileNotFoundError(
            f"weights={str(path)!r}: no such file (looked in {os.getcwd()!r}). "
            "Expected 'imagenet', 'hed', None, or the path of a file; pass TensorFlow "
            "checkpoints without '.index'."
        )
    return [path]


def _find_reader(path: Path) -> ModuleType:
    _files(path)  # raises if the file does not exist
    for reader in FORMATS.values():
        if reader.matches(path):
            return reader
    raise ValueError(
        _refuse_pickle(path)
        or f"weights={str(path)!r}: unknown file format. Expected one of the formats "
        f"{', '.join(FORMATS)}."
    )


def _refuse_pickle(path: Path) -> str | None:
    """Return an error message if the file may contain a pickle, else None."""
    start = first_bytes(path, 6)
    is_torch = any(name.endswith("data.pkl") for name in _npz.members(path))
    if start[:1] == b"\x80" or is_torch:
        return (
            f"weights={str(path)!r}: this is a pickle, as written by torch.save, and "
            "loading a pickle can run code. If you trust it, convert it once: "
            "safetensors.torch.save_file(torch.load(path, weights_only=True), "
            "'vgg19.safetensors')."
        )
    if start == b"\x93NUMPY":
        return (
            f"weights={str(path)!r}: a .npy file contains one array or a pickle. Save "
            "the layers with skvgg.weights.save('vgg19.npz', parameters)."
        )
    return None


def _preprocessing_of(reader: Any, path: Path) -> Preprocessing:
    if hasattr(reader, "preprocessing_in"):
        return reader.preprocessing_in(path)
    return getattr(reader, "PREPROCESSING", CAFFE)


def _read(path: Path, names: list[str]) -> Weights:
    reader = _find_reader(path)
    try:
        parameters = reader.read(path, names)
        preprocessing = _preprocessing_of(reader, path)
    except ImportError:
        raise
    except Exception as error:  # h5py and TensorFlow raise various errors
        raise ValueError(
            f"weights={str(path)!r}: cannot be read ({error}). The file may be "
            "truncated; download it again."
        ) from error
    return Weights(parameters, repr(str(path)), preprocessing)

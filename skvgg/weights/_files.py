"""Weights in files: find the format, and compute fingerprints."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from skvgg._runtime.special_files import kind_of_special_file
from skvgg.weights import _checkpoint, _hdf5, _keras, _matconvnet, _npz, _safetensors
from skvgg.weights._base import (
    Identity,
    Reader,
    Source,
    Weights,
    check_parameters,
    first_bytes,
    naming_errors,
    read_layers,
)

#: Nanoseconds; the times of change of a file are multiples of 1 to 10 ms.
_TICK = 20_000_000

#: Readers of files by the name of their format, tried in this order.
FORMATS = {
    "Keras HDF5": _hdf5.READER,
    "Keras .keras": _keras.READER,
    "TensorFlow checkpoint": _checkpoint.READER,
    "safetensors": _safetensors.READER,
    "MatConvNet .mat": _matconvnet.READER,
    "skvgg .npz": _npz.READER,
}


class FileSource(Source):
    """A file in one of the :data:`FORMATS`.

    Parameters
    ----------
    path : path
        Path of the file, or prefix of a checkpoint.
    identity : tuple or None
        If given, the source is pinned to files of this identity.
    """

    takes_reading = True

    def __init__(
        self, path: str | os.PathLike[str], identity: Identity | None = None
    ) -> None:
        self._path = Path(path)
        self._identity = identity
        if not self._path.name:  # "", "." and "/"
            raise ValueError(
                f"weights={os.fspath(path)!r} is not a file name. Expected 'imagenet', "
                "'hed', None, or the path of a file."
            )

    def __getstate__(self) -> dict[str, Any]:
        # A pickle may be loaded in another working directory.
        return {"_path": self._path.absolute(), "_identity": None}

    def absolute(self) -> FileSource:
        """Return the source with an absolute path, not pinned."""
        return FileSource(self._path.absolute())

    def pinned(self) -> FileSource:
        """Return the source, bound to the file as it is now."""
        return FileSource(self._path, self.identify())

    def check(self) -> None:
        """Raise an error if the file does not exist or its format is unknown."""
        _find_reader(self._path)

    def identify(self) -> Identity:
        """Return what :func:`identify_file` returns; a pinned source what it did."""
        return self._identity or identify_file(self._path)

    def fingerprint(self) -> str:
        """Return a digest of the file, read once per process unless it changes."""
        return fingerprint_of_file(self._path, b"file", self.identify())

    def load(self, shapes: Mapping[str, tuple[int, ...]], verbose: int = 0) -> Weights:
        """Read the layers in `shapes`."""
        with unchanged(self._path, self.identify()):
            reader, source = _find_reader(self._path), repr(str(self._path))
            parameters = read_layers(reader, self._path, shapes, source)
            with naming_errors(source):
                preprocessing = reader.preprocessing_in(self._path)
        weights = Weights(parameters, source, preprocessing)
        check_parameters(weights, shapes)
        return weights


def identify_file(path: Path) -> Identity:
    """Return path, device, inode, size and times of change of the files at `path`.

    A file replaced by another one, or changed in place, has another identity: programs
    cannot set ``st_ctime``. Its clock may stand still for some milliseconds, so this
    waits until a file that has just changed is older than that. No file is opened.
    """
    path = path.absolute()
    files = _files_by_name(path)
    stats = [file.stat() for file in files]
    youngest = max(stat.st_ctime_ns for stat in stats)
    if 0 <= time.time_ns() - youngest < _TICK:
        time.sleep(_TICK / 1e9)
        stats = [file.stat() for file in files]
    return (str(path), *map(_identity_of, stats))


def _identity_of(stat: os.stat_result) -> tuple[int, ...]:
    times = stat.st_mtime_ns, stat.st_ctime_ns
    return (stat.st_dev, stat.st_ino, stat.st_size, *times)


@contextmanager
def unchanged(path: Path, identity: Identity) -> Iterator[None]:
    """Raise an error if the files at `path` have another identity at the end."""
    try:
        yield
    except Exception as error:
        _check_identity(path, identity, error)
        raise
    _check_identity(path, identity, None)


def _check_identity(path: Path, identity: Identity, error: Exception | None) -> None:
    try:
        found = identify_file(path)
    except OSError:  # deleted
        found = ()
    if found != identity:
        raise ValueError(
            f"weights={str(path)!r} changed while they were being used. Try again when "
            "the file is complete."
        ) from error


@lru_cache(maxsize=8)
def fingerprint_of_file(path: Path, kind: bytes, identity: Identity) -> str:
    """Return a digest of the content of a file and of the kind of its weights.

    The file is read again when `identity` changes.
    """
    digest = hashlib.sha256(kind)
    with unchanged(path, identity):
        for file in _files(path):
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _files(path: Path) -> list[Path]:
    """Return the files that make up the weights at `path`: those that are loaded."""
    reader = _reader_of(path)
    return reader.files(path) if reader is not None else [path]


def _files_by_name(path: Path) -> list[Path]:
    """Return the files of :func:`_files`, and perhaps others, without opening any."""
    if not _checkpoint.may_match(path):
        return [path]
    files = {file for file in (path, *_checkpoint.files(path)) if file.is_file()}
    if not files:
        _find_reader(path)  # raises an error
    return sorted(files)


def _reader_of(path: Path) -> Reader | None:
    """Return the reader of a file's format, or None if it is unknown."""
    for reader in FORMATS.values():
        if reader.matches(path):
            return reader
    if not path.exists():
        raise FileNotFoundError(
            f"weights={str(path)!r}: no such file (looked in {os.getcwd()!r}). "
            "Expected 'imagenet', 'hed', None, or the path of a file; pass TensorFlow "
            "checkpoints without '.index'."
        )
    kind = kind_of_special_file(path)
    if kind is not None:
        raise ValueError(
            f"weights={str(path)!r} is a {kind}; expected a file. Copy the weights to "
            "a file first."
        )
    return None


def _find_reader(path: Path) -> Reader:
    reader = _reader_of(path)
    if reader is None:
        raise ValueError(
            _refuse_pickle(path)
            or f"weights={str(path)!r}: unknown file format. Expected one of the "
            f"formats {', '.join(FORMATS)}."
        )
    return reader


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

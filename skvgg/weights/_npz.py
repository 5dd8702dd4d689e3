"""The ``.npz`` files written by :func:`save`."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from skvgg._definition.architecture import (
    CONV_NAMES,
    DENSE_NAMES,
    PRETRAINED_IMAGE_SIZE,
    parameter_shapes,
)
from skvgg._definition.preprocessing import PREPROCESSINGS, Preprocessing
from skvgg.weights._base import (
    FileArray,
    FileArrays,
    LayerArrays,
    Reader,
    RefusedError,
    Source,
)

_PREPROCESSING = "preprocessing"


def matches(path: Path) -> bool:
    """Return whether `path` is a zip file that contains the kernel of a layer."""
    return any(name.endswith("/kernel.npy") for name in members(path))


def members(path: Path) -> list[str]:
    """Return the names of the members of a zip file; none for other files."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return []
    try:
        with zipfile.ZipFile(path) as file:
            return file.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return []


@contextmanager
def layers(path: Path, names: list[str]) -> Iterator[FileArrays]:
    """Open a file, and find the layers in `names` that it has."""
    with zipfile.ZipFile(path) as file:
        stored = set(file.namelist())
        yield {
            name: (_array(file, f"{name}/kernel"), _array(file, f"{name}/bias"))
            for name in names
            if f"{name}/kernel.npy" in stored
        }


def _array(file: zipfile.ZipFile, name: str) -> FileArray:
    """Return an array of a file, after reading only its header."""
    with file.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read_header(member)

    def read() -> np.ndarray:
        with file.open(f"{name}.npy") as member:
            return np.lib.format.read_array(member, allow_pickle=False)

    return FileArray(name, shape, dtype, read)


def preprocessing_in(path: Path) -> Preprocessing:
    """Return the preprocessing passed to :func:`save`."""
    with zipfile.ZipFile(path) as file:
        if f"{_PREPROCESSING}.npy" not in file.namelist():
            raise RefusedError(
                f"{_PREPROCESSING!r} is missing. Write the file with "
                "skvgg.weights.save(path, parameters, preprocessing='caffe')."
            )
        stored = _array(file, _PREPROCESSING)
        if stored.dtype.kind != "U" or stored.shape != ():
            raise RefusedError(
                f"{_PREPROCESSING!r} has shape {stored.shape} and dtype "
                f"{stored.dtype}; expected one text."
            )
        text = str(stored.read())
    if text in PREPROCESSINGS:
        return PREPROCESSINGS[text]
    try:
        return Preprocessing(**json.loads(text))
    except (TypeError, ValueError, OverflowError) as error:
        raise RefusedError(
            f"{_PREPROCESSING}={text!r:.200} is unknown ({error}); expected one of "
            f"{', '.join(PREPROCESSINGS)}, or JSON with the fields channels, divisor, "
            "mean and std."
        ) from error


def save(
    path: str | os.PathLike[str],
    parameters: LayerArrays | Source,
    preprocessing: str = "caffe",
) -> None:
    """Save weights to a file for ``VGG19Features(weights=path)``.

    Parameters
    ----------
    path : path
        Path of the file, usually with the extension ``.npz``. An existing file is
        replaced in one step; an error leaves it unchanged.
    parameters : mapping of str to (ndarray, ndarray), or Source
        Either the kernel and bias of each layer, or fine-tuned weights such as
        ``model.features_.weights``. Kernels have shape (3, 3, input channels, output
        channels) or (input features, units); fc1 expects its inputs in the order
        (height, width, channel). Of fine-tuned weights, all convolutions, the
        preprocessing and any trained fully connected layers are saved.
    preprocessing : {"caffe", "torch", "none"}, default="caffe"
        The preprocessing that the weights were trained with.
        ``preprocessing="auto"`` then selects it. Ignored for a Source, which has its
        own.

    Raises
    ------
    ValueError
        If `preprocessing` is unknown.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skvgg import VGG19Features, weights
    >>> from skvgg._definition.architecture import parameter_shapes
    >>> shapes = parameter_shapes(["block5_pool"], (224, 224))
    >>> path = Path(tempfile.mkdtemp()) / "random.npz"
    >>> weights.save(path, weights.load(None, shapes, seed=0).parameters)
    >>> features = VGG19Features(path, layer="block5_pool")
    """
    if preprocessing not in PREPROCESSINGS:
        raise ValueError(
            f"preprocessing={preprocessing!r} is unknown; expected one of "
            f"{', '.join(PREPROCESSINGS)}."
        )
    if isinstance(parameters, Source):
        parameters, preprocessing = _read_source(parameters)
    arrays: dict[str, Any] = {_PREPROCESSING: np.array(preprocessing)}
    for name, (kernel, bias) in parameters.items():
        arrays[f"{name}/kernel"] = np.asarray(kernel, np.float32)
        arrays[f"{name}/bias"] = np.asarray(bias, np.float32)
    path = Path(path)
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    try:
        with draft.open("wb") as file:
            np.savez(file, **arrays)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _read_source(source: Source) -> tuple[LayerArrays, str]:
    """Return the layers of a source, and its preprocessing as text."""
    size = (PRETRAINED_IMAGE_SIZE, PRETRAINED_IMAGE_SIZE)
    # Trained fully connected layers would be lost otherwise.
    parameters: LayerArrays = getattr(source, "parameters", {})
    trained = [name for name in parameters if name in DENSE_NAMES]
    shapes = parameter_shapes([*CONV_NAMES, *trained], size)
    if "fc1" in trained:  # may be of another image size, if the base is random
        shapes["fc1"] = parameters["fc1"][0].shape
    loaded = source.load(shapes)
    for name, preprocessing in PREPROCESSINGS.items():
        if preprocessing == loaded.preprocessing:
            return loaded.parameters, name
    return loaded.parameters, json.dumps(asdict(loaded.preprocessing))


READER = Reader(matches, layers, preprocessing_in)

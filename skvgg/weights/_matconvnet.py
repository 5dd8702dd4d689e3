"""MatConvNet's ``imagenet-vgg-verydeep-19.mat``, read by SciPy.

The file has a list of layers, each with a name (``conv1_1`` to ``conv5_4``, ``fc6``,
``fc7``) and weights. MatConvNet's fully connected layers are convolutions over the
whole map. Its images are RGB minus the mean of the training images.

Kernels are read as (height, width, in, out), because the network runs on MATLAB images,
whose first axis is the height. (The manual of ``vl_nnconv`` names the width first, and
some ports transpose the kernels; users who compared both found this order better.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from skvgg._definition.architecture import CONV_NAMES
from skvgg._definition.preprocessing import Preprocessing
from skvgg.weights._apart import layers_apart
from skvgg.weights._base import FileArray, FileArrays, Reader, RefusedError, first_bytes

#: Caffe's means in the order red, green, blue; ``meta.normalization.averageImage``.
PREPROCESSING = Preprocessing("RGB", mean=(123.68, 116.779, 103.939))

_MOST_LAYERS = 1000

_NAMES = {
    name.replace("block", "conv").replace("_conv", "_"): name for name in CONV_NAMES
} | {"fc6": "fc1", "fc7": "fc2"}


def matches(path: Path) -> bool:
    """Return whether `path` is a MATLAB file of version 5 to 7."""
    return first_bytes(path, 10) == b"MATLAB 5.0"


def layers(path: Path, names: list[str]) -> AbstractContextManager[FileArrays]:
    """Open a file, and find the layers in `names` that it has.

    SciPy's reader may crash on a damaged file, so it runs in another process.
    """
    return layers_apart(__name__, path, names)


@contextmanager
def layers_here(path: Path, names: list[str]) -> Iterator[FileArrays]:
    """Do the same in this process."""
    from scipy.io import loadmat, whosmat

    sizes = {name: math.prod(shape) for name, shape, _ in whosmat(path)}
    if "layers" not in sizes:
        raise RefusedError(
            "the variable 'layers' of MatConvNet's networks is missing. Is it another "
            "network?"
        )
    if sizes["layers"] > _MOST_LAYERS:  # SciPy would allocate memory for all of them
        raise ValueError(
            f"it claims to have {sizes['layers']} layers, expected at most "
            f"{_MOST_LAYERS}"
        )
    content = loadmat(
        path, variable_names=["layers"], struct_as_record=False, squeeze_me=True
    )
    found = {}
    for layer in np.atleast_1d(content["layers"]):
        name = _NAMES.get(str(getattr(layer, "name", "")), "")
        if name in names:
            kernel, bias = map(np.asarray, _weights_of(layer))
            if name.startswith("fc"):
                kernel = kernel.reshape(-1, kernel.shape[-1])
            found[name] = (
                _array(f"{layer.name} (filters)", kernel),
                _array(f"{layer.name} (biases)", bias.ravel()),
            )
    yield found


def _array(name: str, array: np.ndarray) -> FileArray:
    return FileArray(name, array.shape, array.dtype, lambda: array)


def _weights_of(layer: Any) -> tuple[Any, Any]:
    """Return filters and biases of a layer in a newer or older file."""
    if hasattr(layer, "weights"):
        return tuple(layer.weights)
    return layer.filters, layer.biases


READER = Reader(matches, layers, lambda path: PREPROCESSING)

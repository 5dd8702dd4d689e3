"""Safetensors files of VGG19 from torchvision and timm.

Both number all layers of ``features`` in order: convolutions, ReLUs and poolings. The
fully connected layers are ``classifier.0`` and ``classifier.3`` in torchvision, and
``pre_logits.fc1`` and ``pre_logits.fc2`` in timm.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from skvgg._definition.architecture import BLOCKS, DENSE_NAMES, LAYERS
from skvgg._definition.preprocessing import TORCH
from skvgg.weights._base import FileArray, FileArrays, Reader, RefusedError, first_bytes

_DENSE = {
    "fc1": ("classifier.0", "pre_logits.fc1"),
    "fc2": ("classifier.3", "pre_logits.fc2"),
}
_CHANNELS = BLOCKS[-1][0]

#: Dtypes by their names in the format. BF16 is read as the dtype of ml_dtypes, which
#: TensorFlow brings.
_DTYPES = {
    name: np.dtype(dtype)
    for name, dtype in (("F64", "f8"), ("F32", "f4"), ("F16", "f2"), ("BF16", "f4"))
}


def matches(path: Path) -> bool:
    """Return whether `path` starts with the length of a JSON header and the header."""
    start = first_bytes(path, 9)
    length = int.from_bytes(start[:8], "little")
    return start[8:] == b"{" and length < path.stat().st_size


@contextmanager
def layers(path: Path, names: list[str]) -> Iterator[FileArrays]:
    """Open a file, and find the layers in `names` that it has."""
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise ImportError(
            f"weights={str(path)!r} needs the package safetensors: "
            "pip install safetensors"
        ) from error
    with safe_open(path, framework="numpy") as file:
        keys = set(file.keys())
        if "features.1.running_mean" in keys:
            raise RefusedError(
                "it has batch normalization, which VGG19 does not have. Use the file "
                "without it (vgg19 instead of vgg19_bn)."
            )
        yield {
            name: (_kernel(file, f"{prefix}.weight", name), _bias(file, prefix))
            for name, prefix in _prefixes(keys)
            if name in names and f"{prefix}.bias" in keys
        }


def _kernel(file: Any, key: str, name: str) -> FileArray:
    """Return a kernel, in our order."""
    stored = _array(file, key)
    shape = stored.shape
    if name in DENSE_NAMES:
        ours = (math.prod(shape[1:]), *shape[:1])
        return stored._replace(
            shape=ours, read=lambda: _dense_kernel(stored.read(), name)
        )
    if len(shape) != 4:
        return stored
    ours = (*shape[2:], shape[1], shape[0])
    return stored._replace(shape=ours, read=lambda: _conv_kernel(stored.read()))


def _bias(file: Any, prefix: str) -> FileArray:
    return _array(file, f"{prefix}.bias")


def _array(file: Any, key: str) -> FileArray:
    entry = file.get_slice(key)
    dtype = _DTYPES.get(entry.get_dtype())
    if dtype is None:
        raise RefusedError(
            f"{key!r} has dtype {entry.get_dtype()}; expected one of "
            f"{', '.join(_DTYPES)}. Convert it: tensor.float()."
        )
    return FileArray(key, tuple(entry.get_shape()), dtype, lambda: file.get_tensor(key))


def _prefixes(keys: set[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of our layer names and theirs."""
    number = 0
    for layer in LAYERS:
        if layer.kind == "conv":
            if f"features.{number}.weight" in keys:
                yield layer.name, f"features.{number}"
            number += 2  # past the ReLU
        elif layer.kind == "pool":
            number += 1
    for name, prefixes in _DENSE.items():
        for prefix in prefixes:
            if f"{prefix}.weight" in keys:
                yield name, prefix


def _conv_kernel(weight: np.ndarray) -> np.ndarray:
    """(out, in, height, width) -> (height, width, in, out)."""
    return weight.transpose(2, 3, 1, 0)


def _dense_kernel(weight: np.ndarray, name: str) -> np.ndarray:
    """(out, in) -> (in, out), with the inputs of fc1 in our order.

    PyTorch flattens (channel, height, width); TensorFlow flattens (height, width,
    channel).
    """
    weight = weight.reshape(weight.shape[0], -1)
    side = round((weight.shape[1] / _CHANNELS) ** 0.5)
    if name == "fc1" and side**2 * _CHANNELS == weight.shape[1]:
        maps = weight.reshape(-1, _CHANNELS, side, side)
        weight = maps.transpose(0, 2, 3, 1).reshape(len(weight), -1)
    return np.ascontiguousarray(weight.T)


READER = Reader(matches, layers, lambda path: TORCH)

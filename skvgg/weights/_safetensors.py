"""Safetensors files of VGG19 from torchvision and timm.

Both number all layers of ``features`` in order: convolutions, ReLUs and poolings. The
fully connected layers are ``classifier.0`` and ``classifier.3`` in torchvision, and
``pre_logits.fc1`` and ``pre_logits.fc2`` in timm.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from skvgg._definition.architecture import BLOCKS, DENSE_NAMES, LAYERS
from skvgg._definition.preprocessing import TORCH
from skvgg.weights._base import LayerArrays, first_bytes

PREPROCESSING = TORCH

_DENSE = {
    "fc1": ("classifier.0", "pre_logits.fc1"),
    "fc2": ("classifier.3", "pre_logits.fc2"),
}
_CHANNELS = BLOCKS[-1][0]


def matches(path: Path) -> bool:
    """Return whether `path` starts with the length of a JSON header and the header."""
    start = first_bytes(path, 9)
    length = int.from_bytes(start[:8], "little")
    return start[8:] == b"{" and length < path.stat().st_size


def read(path: Path, names: list[str]) -> LayerArrays:
    """Return kernel and bias of the layers in `names` that the file has."""
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise ImportError(
            f"weights={str(path)!r} needs the package safetensors: "
            "pip install safetensors"
        ) from error
    parameters = {}
    with safe_open(path, framework="numpy") as file:
        keys = set(file.keys())
        if "features.1.running_mean" in keys:
            raise ValueError("it has batch normalization, which VGG19 does not have")
        for name, prefix in _prefixes(keys):
            if name in names and f"{prefix}.bias" in keys:
                weight = file.get_tensor(f"{prefix}.weight").astype(np.float32)
                bias = file.get_tensor(f"{prefix}.bias").astype(np.float32)
                is_dense = name in DENSE_NAMES
                parameters[name] = (
                    _dense_kernel(weight, name) if is_dense else _conv_kernel(weight),
                    bias,
                )
    return parameters


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
    return weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight


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

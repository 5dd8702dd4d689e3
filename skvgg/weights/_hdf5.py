"""HDF5 files of all versions of Keras: ``.h5`` and ``.weights.h5``.

There are two layouts. Up to Keras 2, each layer is a group with an attribute
``weight_names``. Since Keras 3, it is a group ``vars`` with the members 0 and 1 and, in
newer versions, the name of the layer as an attribute. Both are found at any depth, so a
VGG19 within another model is found too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from skvgg._definition.architecture import CONV_NAMES, DENSE_NAMES
from skvgg.weights._base import LayerArrays, first_bytes

_MAGIC = b"\x89HDF\r\n\x1a\n"


def matches(path: Path) -> bool:
    """Return whether `path` is an HDF5 file."""
    return first_bytes(path, len(_MAGIC)) == _MAGIC


def read(path: Path, names: list[str]) -> LayerArrays:
    """Return kernel and bias of the layers in `names` that the file has."""
    import h5py

    with h5py.File(path, "r") as file:
        found: dict[str, tuple[Any, Any]] = {}
        file.visititems(lambda _, item: found.update(_layers_of(item)))
        return {
            name: (_to_array(found[name][0]), _to_array(found[name][1]))
            for name in names
            if name in found
        }


def _to_array(dataset: Any) -> np.ndarray:
    return np.asarray(dataset, dtype=np.float32)


def _layers_of(item: Any) -> dict[str, tuple[Any, Any]]:
    """Return the layers whose weights are in `item`, usually none or one."""
    if "weight_names" in item.attrs:
        return _keras2_layers(item)
    if item.name.endswith("/vars") and "1" in item:
        return {_keras3_name(item): (item["0"], item["1"])}
    return {}


def _keras2_layers(group: Any) -> dict[str, tuple[Any, Any]]:
    names = [
        name.decode() if isinstance(name, bytes) else str(name)
        for name in group.attrs["weight_names"]
    ]
    pairs = list(zip(names[::2], names[1::2], strict=False))
    if len(pairs) == 1:  # the member may have any name: 'block1_conv1_W_1:0'
        return {_basename(group.name): (group[names[0]], group[names[1]])}
    return {
        kernel.rsplit("/", 2)[-2]: (group[kernel], group[bias])
        for kernel, bias in pairs
        if "/" in kernel
    }


def _keras3_name(group: Any) -> str:
    if "name" in group.attrs:
        return str(group.attrs["name"])
    kind, _, number = _basename(group.parent.name).partition("_")
    table = {"conv2d": CONV_NAMES, "dense": DENSE_NAMES}.get(kind, ())
    index = int(number) if number.isdigit() else 0
    return table[index] if index < len(table) else group.name


def _basename(name: str) -> str:
    return name.rsplit("/", 1)[-1]

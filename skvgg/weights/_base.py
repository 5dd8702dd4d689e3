"""What every source of weights gives, and the check that all of them pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skvgg._definition.architecture import CONV_NAMES, WITHOUT_DENSE
from skvgg._definition.preprocessing import CAFFE, Preprocessing

#: Kernel and bias of each layer; kernels as (3, 3, in, out) or (in, out).
LayerArrays = Mapping[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Weights:
    """The parameters of a VGG19 and the preprocessing that they were trained with."""

    parameters: LayerArrays
    #: What an error calls them.
    source: str
    preprocessing: Preprocessing = CAFFE


def first_bytes(path: Path, n: int) -> bytes:
    """Return how a file starts; nothing if there is no such file."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(n)


def check_parameters(weights: Weights, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise a ValueError that names the first layer that is not VGG19's."""
    for name, shape in shapes.items():
        if name not in weights.parameters:
            raise ValueError(_missing(weights, name))
        kernel, bias = weights.parameters[name]
        for what, array, expected in (
            ("kernel", kernel, shape),
            ("bias", bias, shape[-1:]),
        ):
            if array.shape != expected:
                raise ValueError(
                    f"weights={weights.source}: the {what} of layer {name!r} has shape "
                    f"{array.shape}, expected {expected}. Is it another network?"
                )
            if not np.isfinite(array).all():
                raise ValueError(
                    f"weights={weights.source}: the {what} of layer {name!r} holds NaN "
                    "or infinity. The file is damaged; fetch it again."
                )


def _missing(weights: Weights, name: str) -> str:
    if name not in CONV_NAMES and all(
        conv in weights.parameters for conv in CONV_NAMES
    ):
        return (
            f"weights={weights.source} end before the fully connected layer {name!r}. "
            "Choose weights that have it, or earlier layers: "
            f"VGG19Features({weights.source}, {WITHOUT_DENSE})"
        )
    found = ", ".join(weights.parameters) or "none"
    return (
        f"weights={weights.source} are not those of a VGG19: no layer {name!r} (layers "
        f"found: {found}). Is it another network?"
    )

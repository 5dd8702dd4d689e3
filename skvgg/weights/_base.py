"""What every source of weights gives, and the check that all of them pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skvgg._definition.architecture import CONV_NAMES, WITHOUT_DENSE
from skvgg._definition.preprocessing import CAFFE, Preprocessing

#: What tells weights apart without reading them; hashable.
Identity = tuple[Any, ...]

#: Kernel and bias of each layer; kernels as (3, 3, in, out) or (in, out).
LayerArrays = Mapping[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Weights:
    """The parameters of a VGG19 and the preprocessing that they were trained with."""

    parameters: LayerArrays
    #: What an error calls them.
    source: str
    preprocessing: Preprocessing = CAFFE

    def __repr__(self) -> str:
        return (
            f"Weights(<{len(self.parameters)} layers>, source={self.source!r}, "
            f"preprocessing={self.preprocessing!r})"
        )


class Source(ABC):
    """Where weights come from.

    Attributes
    ----------
    has_dense : bool
        Whether there may be fully connected layers.
    fits_any_size : bool
        Whether the fully connected layers are made for any size of images.
    takes_reading : bool
        Whether :meth:`fingerprint` has to read a file, so that its result is worth
        keeping.
    """

    has_dense: bool = True
    fits_any_size: bool = False
    takes_reading: bool = False

    def anchored(self) -> Source:
        """Return the same source, whatever the working directory will be."""
        return self

    @abstractmethod
    def check(self) -> None:
        """Raise if the weights cannot be had, as far as that is cheap to find out."""

    @abstractmethod
    def identify(self) -> Identity:
        """Return what tells the weights apart without reading them."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return what tells the content of the weights: equal only if they are."""

    @abstractmethod
    def load(self, shapes: Mapping[str, tuple[int, ...]], verbose: int = 0) -> Weights:
        """Return the layers in `shapes`, all of them checked.

        Parameters
        ----------
        shapes : mapping of str to tuple of int
            The layers wanted and the shapes of their kernels.
        verbose : int, default=0
            1 shows the progress of a download.
        """


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

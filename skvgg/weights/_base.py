"""The base class of weight sources, and the checks that all weights pass."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

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

    def absolute(self) -> Source:
        """Return the source, independent of the working directory and not pinned."""
        return self

    def pinned(self) -> Source:
        """Return the source, bound to its files as they are now.

        Its fingerprint and its layers belong together: both raise an error if a file
        has changed in the meantime. A pinned source is for one call.
        """
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


def last_bytes(path: Path, n: int) -> bytes:
    """Return the last `n` bytes of a file; none if it is shorter or does not exist."""
    if not path.is_file() or path.stat().st_size < n:
        return b""
    with path.open("rb") as file:
        file.seek(-n, os.SEEK_END)
        return file.read()


class FileArray(NamedTuple):
    """An array in a file, not read yet."""

    #: Its name in the file.
    name: str
    #: Its shape, in the order of the network.
    shape: tuple[int, ...]
    dtype: np.dtype
    #: Reads it, in the order of the network.
    read: Callable[[], Any]


#: Kernel and bias of each layer in a file.
FileArrays = Mapping[str, tuple[FileArray, FileArray]]


class Reader(NamedTuple):
    """What reads a file format.

    Attributes
    ----------
    matches : callable
        Returns whether a path is of this format, by its content.
    layers : callable
        Opens a file, and finds those of some layers that it has.
    preprocessing_in : callable
        Returns the preprocessing that the weights of a file were trained with.
    files : callable
        Returns the files that make up the weights at a path.
    """

    matches: Callable[[Path], bool]
    layers: Callable[[Path, list[str]], AbstractContextManager[FileArrays]]
    preprocessing_in: Callable[[Path], Preprocessing] = lambda path: CAFFE
    files: Callable[[Path], list[Path]] = lambda path: [path]


class RefusedError(ValueError):
    """A file is not damaged, but its content is not accepted."""


@contextmanager
def naming_errors(source: str) -> Iterator[None]:
    """Turn the errors of readers and their libraries into errors that name the file."""
    try:
        yield
    except ImportError:
        raise
    except RefusedError as error:
        raise ValueError(f"weights={source}: {error}") from error
    except Exception as error:  # h5py and TensorFlow raise various errors
        reason = str(error) or type(error).__name__
        raise ValueError(
            f"weights={source}: cannot be read ({reason}). The file may be truncated; "
            "download it again."
        ) from error


def read_layers(
    reader: Reader, path: Path, shapes: Mapping[str, tuple[int, ...]], source: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return kernel and bias of the layers in `shapes` that a file has, as float32.

    Shapes and dtypes are checked before arrays are read.
    """
    parameters = {}
    with ExitStack() as stack:
        with naming_errors(source):
            found = stack.enter_context(reader.layers(path, list(shapes)))
        for name, shape in shapes.items():
            if name in found:
                kernel, bias = found[name]
                parameters[name] = (
                    _read(kernel, source, f"the kernel of layer {name!r}", shape),
                    _read(bias, source, f"the bias of layer {name!r}", shape[-1:]),
                )
    return parameters


def _read(
    array: FileArray, source: str, what: str, shape: tuple[int, ...]
) -> np.ndarray:
    if array.dtype.kind not in "buif":
        raise ValueError(
            f"weights={source}: {what} ({array.name!r} in the file) has dtype "
            f"{array.dtype}; expected real numbers."
        )
    _check_shape(array.shape, source, what, shape)
    with naming_errors(source), np.errstate(over="ignore"):
        values = np.asarray(array.read(), np.float32)
    _check_shape(values.shape, source, what, shape)
    _check_finite(values, source, what)
    return values


def check_parameters(weights: Weights, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise a ValueError that names the first layer that does not fit VGG19."""
    for name, shape in shapes.items():
        if name not in weights.parameters:
            raise ValueError(_missing(weights, name))
        kernel, bias = weights.parameters[name]
        for what, array, expected in (
            (f"the kernel of layer {name!r}", kernel, shape),
            (f"the bias of layer {name!r}", bias, shape[-1:]),
        ):
            _check_shape(array.shape, weights.source, what, expected)
            _check_finite(array, weights.source, what)


def _check_shape(
    shape: tuple[int, ...], source: str, what: str, expected: tuple[int, ...]
) -> None:
    if shape != expected:
        raise ValueError(
            f"weights={source}: {what} has shape {shape}, expected {expected}. Is it "
            "another network?"
        )


def _check_finite(array: np.ndarray, source: str, what: str) -> None:
    if not np.isfinite(array).all():
        raise ValueError(
            f"weights={source}: {what} contains NaN, infinity, or values that float32 "
            "cannot hold. The file is damaged; download it again."
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

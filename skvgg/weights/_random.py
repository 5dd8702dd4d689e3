"""He-normal random weights, the baseline of every pretrained network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from skvgg._definition.architecture import CONV_NAMES, DENSE_NAMES
from skvgg.weights._base import Identity, Source, Weights

#: Raise it when the same seed gives other weights.
VERSION = 1


class RandomSource(Source):
    """Weights drawn with a seed; None stands for one that is not known yet."""

    fits_any_size = True

    def __init__(self, seed: int | None) -> None:
        self._seed = seed

    def check(self) -> None:
        """Do nothing: they can always be had."""

    def identify(self) -> Identity:
        """Return the seed."""
        return (None, self._seed)

    def fingerprint(self) -> str:
        """Return the seed and the version of the drawing."""
        return f"random {self._seed} {VERSION}"

    def load(self, shapes: Mapping[str, tuple[int, ...]], verbose: int = 0) -> Weights:
        """Draw the layers in `shapes`."""
        if self._seed is None:
            raise ValueError("Random weights need a seed; pass an int.")
        return _draw(shapes, self._seed)


def _draw(shapes: Mapping[str, tuple[int, ...]], seed: int) -> Weights:
    """Draw kernels from N(0, 2 / fan_in); biases are zero.

    The deviation is that of He et al., "Delving deep into rectifiers" (ICCV
    2015), equation 10. Each layer has a stream of its own, so a layer's
    weights do not depend on which others are drawn.
    """
    parameters = {}
    for name, shape in shapes.items():
        stream = (*CONV_NAMES, *DENSE_NAMES).index(name)
        kernel = np.random.default_rng([seed, stream]).standard_normal(
            shape, np.float32
        )
        kernel *= np.sqrt(2 / np.prod(shape[:-1]), dtype=np.float32)
        parameters[name] = (kernel, np.zeros(shape[-1], np.float32))
    return Weights(parameters, source=f"None (random, seed {seed})")

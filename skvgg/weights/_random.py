"""He-normal random weights, a baseline for pretrained networks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from skvgg._definition.architecture import CONV_NAMES, DENSE_NAMES
from skvgg.weights._base import Identity, Source, Weights

#: Increase it when the same seed gives different weights.
VERSION = 1


class RandomSource(Source):
    """Weights drawn with a seed; None means that the seed is not known yet."""

    fits_any_size = True

    def __init__(self, seed: int | None) -> None:
        self._seed = seed

    def check(self) -> None:
        """Do nothing: random weights are always available."""

    def identify(self) -> Identity:
        """Return the seed."""
        return (None, self._seed)

    def fingerprint(self) -> str:
        """Return the seed and the version of the random weights."""
        return f"random {self._seed} {VERSION}"

    def load(self, shapes: Mapping[str, tuple[int, ...]], verbose: int = 0) -> Weights:
        """Draw the layers in `shapes`."""
        if self._seed is None:
            raise ValueError("Random weights need a seed; pass an int.")
        return _draw(shapes, self._seed)


def _draw(shapes: Mapping[str, tuple[int, ...]], seed: int) -> Weights:
    """Draw kernels from N(0, 2 / fan_in); biases are zero.

    The standard deviation follows He et al., "Delving deep into rectifiers" (ICCV
    2015), equation 10. Each layer has its own random stream, so its weights do not
    depend on the other layers.
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

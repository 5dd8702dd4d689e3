"""He-normal random weights, the baseline of every pretrained network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from skvgg._definition.architecture import CONV_NAMES, DENSE_NAMES
from skvgg.weights._base import Weights

#: Raise it when the same seed gives other weights.
VERSION = 1


def load(shapes: Mapping[str, tuple[int, ...]], seed: int) -> Weights:
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

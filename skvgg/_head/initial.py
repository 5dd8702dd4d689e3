"""Initial weights of a dense network: TFLearn's distribution, drawn with NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from skvgg._head.forward import Parameters
from skvgg._runtime.threads import threads

#: Standard deviation of TFLearn's initial weights, ``truncated_normal``, truncated at
#: two standard deviations (``tflearn/initializations.py``).
_DEVIATION = 0.02

#: Number of weights drawn from one stream of random numbers.
_DRAWN_TOGETHER = 2**18


def initial_parameters(sizes: Sequence[int], seed: int) -> Parameters:
    """Draw the weights of layers of the given sizes; biases are zero.

    Each block of weights has its own random stream, so the result does not depend on
    the number of threads.
    """
    weights = [np.empty(shape, np.float32) for shape in pairwise(sizes)]
    blocks = [
        block
        for weight in weights
        for block in np.split(
            weight.reshape(-1), range(_DRAWN_TOGETHER, weight.size, _DRAWN_TOGETHER)
        )
    ]
    streams = np.random.SeedSequence(seed).spawn(len(blocks))
    with threads() as pool:
        list(pool.map(_fill_truncated_normal, blocks, streams))
    return weights, [np.zeros(n, np.float32) for n in sizes[1:]]


def _fill_truncated_normal(block: np.ndarray, stream: np.random.SeedSequence) -> None:
    """Draw normal numbers; redraw those beyond two standard deviations."""
    rng = np.random.Generator(np.random.SFC64(stream))
    rng.standard_normal(dtype=np.float32, out=block)
    beyond = np.flatnonzero(np.abs(block) > 2)
    while len(beyond):
        block[beyond] = rng.standard_normal(len(beyond), np.float32)
        beyond = beyond[np.abs(block[beyond]) > 2]
    block *= _DEVIATION

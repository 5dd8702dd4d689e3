"""Initial weights of a dense network: TFLearn's distribution, drawn in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from skvgg._head.dense import Parameters
from skvgg._runtime.threads import threads

#: Deviation of TFLearn's initial weights, ``truncated_normal``, cut off at two
#: deviations (``tflearn/initializations.py``).
_DEVIATION = 0.02

#: Weights that one stream of random numbers draws.
_DRAWN_TOGETHER = 2**18


def initial_parameters(sizes: Sequence[int], seed: int) -> Parameters:
    """Draw the weights of layers of these sizes; biases are zero.

    They are drawn in blocks, each with a stream of its own, so that several
    threads can work and the result does not depend on how many.
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
    """Draw normal numbers, again where they lie beyond two deviations."""
    rng = np.random.Generator(np.random.SFC64(stream))
    rng.standard_normal(dtype=np.float32, out=block)
    beyond = np.flatnonzero(np.abs(block) > 2)
    while len(beyond):
        block[beyond] = rng.standard_normal(len(beyond), np.float32)
        beyond = beyond[np.abs(block[beyond]) > 2]
    block *= _DEVIATION

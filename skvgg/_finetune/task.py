"""The data of a fit, and its learning rates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skvgg._extraction.settings import Settings
from skvgg._finetune.plan import Plan
from skvgg._finetune.stored import Batches, Stored
from skvgg._head import training
from skvgg._head.standardization import Scaling
from skvgg._head.targets import Targets
from skvgg.weights import Source

#: Fraction of all steps in which the learning rate rises to its maximum, at most one
#: epoch.
_WARM_UP = 0.1


@dataclass(frozen=True)
class Task:
    """The data of a fit.

    Attributes
    ----------
    plan : Plan
        Which layers are frozen and which are trained.
    settings : Settings
        Settings of the pass through the frozen layers.
    source : Source
        Initial weights.
    fingerprint : str
        Fingerprint of the initial weights.
    stored : Stored
        Outputs of the frozen layers.
    rows : list of list of ndarray
        For each view and output, the rows of all images.
    train, validation : ndarray of int
        Indices of training and validation images.
    targets : Targets
        Encoding of the targets.
    Y : ndarray of shape (n, n_outputs)
        Encoded targets of all images.
    w : ndarray of shape (n,), float32
        Weights of all images, with a mean of 1 over `train`.
    """

    plan: Plan
    settings: Settings
    source: Source
    fingerprint: str
    stored: Stored
    rows: list[list[np.ndarray]]
    train: np.ndarray
    validation: np.ndarray
    targets: Targets
    Y: np.ndarray
    w: np.ndarray

    def samples(
        self,
        images: np.ndarray,
        scaling: Scaling,
        rng: np.random.RandomState | None = None,
    ) -> training.Samples:
        """Return samples for training, or for evaluation without `rng`.

        Parameters
        ----------
        images : ndarray of int
            Indices of the images.
        scaling : Scaling
            Standardization of the targets of the head.
        rng : RandomState or None
            Draws the view of each image in each epoch. None uses the first view.
        """
        Y = self.Y[images]
        if scaling.outputs is not None:
            Y = scaling.outputs(Y)
        X = Batches(self.stored, images, self._frozen_rows, rng)
        return training.Samples(X, Y.astype(np.float32), self.w[images])

    @cached_property
    def _frozen_rows(self) -> list[np.ndarray]:
        """The rows of the frozen outputs of all images, for each view."""
        outputs, frozen = self.plan.outputs, self.plan.frozen_outputs
        none = np.empty((len(self.Y), 0), np.float32)
        blocks = []
        for rows in self.rows:
            by_output = dict(zip(outputs, rows, strict=True))
            blocks.append(np.hstack([none, *(by_output[output] for output in frozen)]))
        return blocks


def warm_up_and_fall(n_steps: int, n_batches: int) -> Iterator[float]:
    """Yield factors of the learning rate: linear warm-up, then cosine decay."""
    n_up = max(1, min(n_batches, round(_WARM_UP * n_steps)))
    for step in range(n_steps):
        if step < n_up:
            yield (step + 1) / n_up
        else:
            done = (step - n_up + 1) / (n_steps - n_up + 1)
            yield (1 + math.cos(math.pi * done)) / 2

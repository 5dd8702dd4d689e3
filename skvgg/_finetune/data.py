"""The training data of fine-tuning: outputs of frozen layers, and encoded targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.utils import check_consistent_length

from skvgg._extraction.views import View
from skvgg._finetune.frozen import Network
from skvgg._finetune.stored import Batches, Stored
from skvgg._head import training
from skvgg._head.checks import NO_WEIGHT, check_weights, class_weights
from skvgg._head.standardization import Scaling
from skvgg._head.targets import Targets
from skvgg._head.training import Samples
from skvgg._images import as_images
from skvgg._store.cache import Cache


@dataclass(frozen=True)
class TrainingData:
    """The data of a fit.

    Attributes
    ----------
    network : Network
        The network before training.
    stored : Stored
        Outputs of the frozen layers, for each view of all images.
    targets : Targets
        Encoding of the targets.
    Y : ndarray of shape (n, n_outputs)
        Encoded targets of all images.
    w : ndarray of shape (n,), float32
        Weights of all images, with a mean of 1 over `train`.
    train, validation : ndarray of int
        Indices of training and validation images.
    """

    network: Network
    stored: Stored
    targets: Targets
    Y: np.ndarray
    w: np.ndarray
    train: np.ndarray
    validation: np.ndarray

    def features_of_view(self, view: int) -> Samples:
        """Return the inputs of the head for a view of the training images."""
        X = np.hstack(self._rows[view])[self.train]
        return Samples(X, self.Y[self.train], self.w[self.train])

    def features_of_all_views(self) -> Samples:
        """Return the same for all views, the images themselves first."""
        views = [self.features_of_view(view) for view in range(self.stored.n_views)]
        X = np.concatenate([view.X for view in views])
        Y = np.tile(views[0].Y, (len(views), 1))
        return Samples(X, Y, np.tile(views[0].w, len(views)))

    @cached_property
    def _rows(self) -> list[list[np.ndarray]]:
        """For each view and output, the rows of all images."""
        return [self.stored.rows(view) for view in range(self.stored.n_views)]

    def samples(
        self,
        images: np.ndarray,
        scaling: Scaling,
        rng: np.random.RandomState | None = None,
    ) -> Samples:
        """Return some of the images for training, or for evaluation without `rng`.

        `scaling` standardizes their targets; `rng` draws the view of each image in each
        epoch.
        """
        Y = self.Y[images]
        if scaling.outputs is not None:
            Y = scaling.outputs(Y)
        X = Batches(self.stored, images, self._frozen_rows, rng)
        return Samples(X, Y.astype(np.float32), self.w[images])

    @cached_property
    def _frozen_rows(self) -> list[np.ndarray]:
        """The rows of the frozen outputs of all images, for each view."""
        outputs, frozen = self.network.plan.outputs, self.network.plan.frozen_outputs
        none = np.empty((len(self.Y), 0), np.float32)
        blocks = []
        for rows in self._rows:
            by_output = dict(zip(outputs, rows, strict=True))
            blocks.append(np.hstack([none, *(by_output[output] for output in frozen)]))
        return blocks


def prepare(
    estimator: Any,
    network: Network,
    X: Any,
    y: np.ndarray,
    sample_weight: Any,
    targets: Targets,
    views: Sequence[View | None],
    cache: Cache,
) -> TrainingData:
    """Check the data of a fit, and run the images through the frozen layers."""
    images = as_images(X, None, check_items=True)
    check_consistent_length(images, y)
    w = check_weights(sample_weight, images).copy()  # it may be the user's array
    # Images of weight zero are ignored, but not their classes.
    given = np.flatnonzero(w)
    encoded = targets.encode(y[given])
    Y = np.zeros((len(y), encoded.shape[1]), encoded.dtype)
    Y[given] = encoded
    class_weight = getattr(estimator, "class_weight", None)
    w[given] *= class_weights(class_weight, y[given], targets)
    kept = np.flatnonzero(w)
    if not len(kept):
        raise ValueError(NO_WEIGHT)
    train, validation = _split(estimator, kept, targets.strata(Y[kept]))
    return TrainingData(
        network=network,
        stored=network.run(estimator, images, views, cache),
        targets=targets,
        Y=Y,
        w=(w / w[train].mean()).astype(np.float32),
        train=train,
        validation=validation,
    )


def _split(
    estimator: Any, kept: np.ndarray, strata: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    if not estimator.early_stopping or estimator.trainable is None:
        return kept, kept[:0]
    rng = np.random.RandomState(estimator.seed_)
    fraction = estimator.validation_fraction
    train, validation = training.split(strata, len(kept), fraction, rng)
    if not len(validation):
        raise ValueError(
            f"early_stopping=True needs validation samples, but "
            f"validation_fraction={fraction:g} of {len(kept)} leaves none. Raise "
            "it, or set early_stopping=False."
        )
    return kept[train], kept[validation]

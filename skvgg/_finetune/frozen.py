"""What fine-tuning asks of the extraction.

This is the only module of fine-tuning that runs images through frozen layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skvgg._definition.architecture import DENSE_NAMES
from skvgg._extraction.extraction import Extraction, extraction_of
from skvgg._extraction.fitted_weights import source_of, weights_fingerprint
from skvgg._extraction.network_pass import MAP_DTYPE, TrainedOn
from skvgg._extraction.settings import Settings, expand_layers
from skvgg._extraction.views import View
from skvgg._finetune.plan import Plan, shape_of_map
from skvgg._finetune.stored import Stored, check_disk
from skvgg._head.checks import check_hidden_layer_sizes
from skvgg._images import Images
from skvgg._network.precision import computed_in
from skvgg._store.cache import Cache
from skvgg.features import VGG19Features
from skvgg.weights import Source, TunedWeights, as_source
from skvgg.weights._random import RandomSource


@dataclass(frozen=True)
class Network:
    """The network before training.

    Attributes
    ----------
    features : VGG19Features
        A transformer with the estimator's parameters and these weights.
    settings : Settings
        The checked parameters.
    source : Source
        The weights, pinned.
    fingerprint : str
        Their fingerprint.
    plan : Plan
        Which layers are frozen and which are trained.
    """

    features: VGG19Features
    settings: Settings
    source: Source
    fingerprint: str
    plan: Plan

    @property
    def trained_on(self) -> TrainedOn | None:
        """The maps that the trained layers start from."""
        start = self.plan.start_layer
        return None if start is None else TrainedOn(start, self.fingerprint)

    def run(
        self, owner: Any, images: Images, views: Sequence[View | None], cache: Cache
    ) -> Stored:
        """Compute the outputs of all views of all images that are not in the cache.

        The frozen layers stay in memory as long as `owner` and its clones do.
        """
        settings, plan, shape = self.settings, self.plan, None
        if plan.map_output is not None:
            settings = replace(settings, outputs=(plan.map_output, *plan.outputs))
            shape = shape_of_map(plan, settings.image_size)
            is_half = plan.map_output.is_map
            n_bytes = np.dtype(MAP_DTYPE if is_half else np.float32).itemsize
            n_bytes = 1 if plan.start_layer is None else n_bytes  # pixels
            n_maps = len(images) * len(views)
            check_disk(cache, n_maps * math.prod(shape) * n_bytes)
        extraction = Extraction(
            settings,
            self.source,
            self.fingerprint,
            computed_in(settings.precision),
            tuple(views),
            MAP_DTYPE,
        )
        return Stored(cache, extraction.keys(images, cache, owner), shape)


def open_network(estimator: Any, features: VGG19Features, cache: Cache) -> Network:
    """Check the parameters of an estimator together, and its weights.

    `features` has the parameters of the estimator, and the weights to start from.
    """
    expand_layers(estimator.layer, "layer")
    source = as_source(features.weights, estimator.seed_).absolute()
    settings = Settings.of(features, source)
    if not source.has_dense and estimator.trainable in DENSE_NAMES:
        raise ValueError(
            f"The weights (weights='hed', or tuned from them) have no fully connected "
            f"layers, got trainable={estimator.trainable!r}. Choose a block, such as "
            "trainable='block5', or other weights."
        )
    plan = Plan.of(estimator.trainable, settings.outputs)
    check_hidden_layer_sizes(estimator.head)
    source.check()
    source = source.pinned()
    fingerprint = weights_fingerprint(source, cache)
    return Network(features, settings, source, fingerprint, plan)


def check_continues(estimator: Any, features: VGG19Features) -> None:
    """Raise if the last fit had other weights or features, or another head."""
    last_source = as_source(estimator.features_.weights)
    began_with = _before_tuning(last_source)
    given = _before_tuning(as_source(estimator.weights, estimator.seed_).absolute())
    # Random weights stay those of the last fit, with any seed.
    is_random = isinstance(began_with, RandomSource) and estimator.weights is None
    if not is_random and given.identify() != began_with.identify():
        raise ValueError(
            f"warm_start=True continues the last fit, whose weights were not "
            f"{estimator.weights!r}. Set warm_start=False to start from scratch."
        )
    for name, before, now in (
        (
            "outputs of layers",
            _named(Settings.of(estimator.features_, last_source)),
            _named(Settings.of(features, last_source)),
        ),
        (
            "hidden layers of the head",
            tuple(len(b) for b in estimator.head_.intercepts_[:-1]),
            check_hidden_layer_sizes(estimator.head),
        ),
    ):
        if before != now:
            raise ValueError(
                f"warm_start=True continues the last fit, which had the {name} "
                f"{before}; now they would be {now}. Set warm_start=False to start "
                "from scratch."
            )


def rows_of_views(
    features: VGG19Features,
    images: Images,
    views: Sequence[View | None],
    trained_on: TrainedOn | None,
) -> np.ndarray:
    """Return the inputs of the head for each view of images.

    Returns
    -------
    ndarray of shape (n_views, n_images, n_features), float32
    """
    source = source_of(features)
    settings = Settings.of(features, source)
    with closing(Cache(features.memory)) as cache:
        extraction = extraction_of(
            features, settings, source, cache, tuple(views), trained_on
        )
        return extraction.rows(images, cache, features, averages=False)


def _before_tuning(source: Source) -> Source:
    return source.base if isinstance(source, TunedWeights) else source


def _named(settings: Settings) -> tuple[tuple[str, int], ...]:
    """Return the names and lengths of outputs, in their order."""
    return tuple((o.name, settings.n_features_of(o)) for o in settings.outputs)

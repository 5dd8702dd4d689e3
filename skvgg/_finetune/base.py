"""Base class of the fine-tuned classifier and regressor."""

from __future__ import annotations

import os
from abc import ABCMeta, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any, ClassVar, Self, get_args

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from sklearn.utils.validation import check_is_fitted

from skvgg._definition.architecture import POOLINGS, STAGES, PoolingLike
from skvgg._definition.vocabulary import (
    Flips,
    Interpolation,
    PreprocessingName,
    Resize,
    TrainingPrecision,
)
from skvgg._extraction.views import View, make_views
from skvgg._finetune.data import TrainingData, prepare
from skvgg._finetune.frozen import check_continues, open_network, rows_of_views
from skvgg._finetune.heads import fit_hidden_layers, fit_linear_head, linear_loss
from skvgg._finetune.stored import opened_cache
from skvgg._finetune.tune import tune
from skvgg._head.base import BaseTFLearnMLP
from skvgg._head.checks import check_hidden_layer_sizes
from skvgg._head.fitted import all_or_nothing, store_best
from skvgg._head.forward import DenseLayers
from skvgg._head.targets import learn_targets, targets_of
from skvgg._head.training import History, warn_of_nothing_learned
from skvgg._images import as_images
from skvgg._network.registry import share
from skvgg._runtime.progress import progress_bar, sharing
from skvgg._runtime.seed import draw_seed
from skvgg._store.cache import absolute
from skvgg._typing import (
    Augment,
    ImagesLike,
    LayerLike,
    MemoryLike,
    RandomState,
    fit_context,
)
from skvgg.features import VGG19Features
from skvgg.weights import Source, WeightsLike


class BaseVGG19(BaseEstimator, metaclass=ABCMeta):
    """A VGG19 with a head; first the head is trained, then also the layers below."""

    features_: VGG19Features
    head_: BaseTFLearnMLP
    history_: History
    loss_curve_: list[float]
    n_iter_: int
    seed_: int

    #: The class of the head.
    _make_head: ClassVar[type[BaseTFLearnMLP]]

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "weights": [str, os.PathLike, Source, None],
        "trainable": [str, None],
        "head": ["array-like", Interval(Integral, 1, None, closed="left")],
        "layer": [str, list, tuple, np.ndarray],
        "pooling": [StrOptions(set(POOLINGS)), list, tuple, None],
        "image_size": [Interval(Integral, 1, None, closed="left"), list, tuple],
        "resize": [StrOptions(set(get_args(Resize)))],
        "interpolation": [StrOptions(set(get_args(Interpolation)))],
        "preprocessing": [StrOptions(set(get_args(PreprocessingName)))],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "layer_decay": [Interval(Real, 0, 1, closed="right")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "augment": [StrOptions({*get_args(Flips), "crop"}), callable, None],
        "n_views": [Interval(Integral, 2, None, closed="left")],
        "average_views": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {np.inf}),
        ],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "memory": [str, os.PathLike, HasMethods("cache"), None],
        "precision": [StrOptions(set(get_args(TrainingPrecision)))],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        weights: WeightsLike = "imagenet",
        *,
        trainable: str | None = "block5",
        head: ArrayLike = (),
        layer: LayerLike = "stages",
        pooling: PoolingLike = "avg",
        image_size: int | Sequence[int] = 224,
        resize: Resize = "stretch",
        interpolation: Interpolation = "bilinear",
        preprocessing: PreprocessingName = "auto",
        max_iter: int = 10,
        learning_rate_init: float = 1e-4,
        layer_decay: float = 0.75,
        weight_decay: float = 0.0,
        dropout: float = 0.0,
        batch_size: int = 32,
        augment: Augment = None,
        n_views: int = 4,
        average_views: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: float = 3,
        tol: float = 1e-4,
        warm_start: bool = False,
        memory: MemoryLike = None,
        precision: TrainingPrecision = "float32",
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.weights = weights
        self.trainable = trainable
        self.head = head
        self.layer = layer
        self.pooling = pooling
        self.image_size = image_size
        self.resize = resize
        self.interpolation = interpolation
        self.preprocessing = preprocessing
        self.max_iter = max_iter
        self.learning_rate_init = learning_rate_init
        self.layer_decay = layer_decay
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.batch_size = batch_size
        self.augment = augment
        self.n_views = n_views
        self.average_views = average_views
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.memory = memory
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    @abstractmethod
    def _check_targets(self, y: Any) -> np.ndarray:
        """Return y as an array, or raise."""

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: ImagesLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train the head, then the head and the layers from `trainable` upwards.

        Parameters
        ----------
        X : images
            As in :meth:`skvgg.VGG19Features.transform`: paths, bytes, PIL images,
            or arrays.
        y : array-like of shape (n_samples,)
            Targets. (The regressor also supports the shape (n_samples, n_outputs).)
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the images; only their ratios matter. None means
            equal weights.

        Returns
        -------
        estimator
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter, an image or a target is invalid, or if training diverges.
            The estimator then keeps the state of its last fit.
        FileNotFoundError
            If the weights file or an image file does not exist.
        OSError
            If `memory` has no space for the maps.

        Warns
        -----
        :class:`~sklearn.exceptions.ConvergenceWarning`
            If the loss is not below that of the best constant prediction.
        UserWarning
            If the maps take more than 10 GB, or if a class has only one image.
        """
        with all_or_nothing(self):
            continues = self.warm_start and hasattr(self, "head_")
            y = self._check_targets(y)
            self.seed_ = draw_seed(self.random_state)
            with opened_cache(self.memory) as cache, self._progress(len(y)):
                features = self._make_features(continues)
                network = open_network(self, features, cache)
                keeps_head = continues and self.trainable is not None
                targets = targets_of(self) if keeps_head else learn_targets(self, y)
                views = self._views()
                data = prepare(
                    self, network, X, y, sample_weight, targets, views, cache
                )
                if not keeps_head:
                    self._fit_head(data)
                self._tune(data)
            self.__dict__ |= targets.attributes()
        return self

    @contextmanager
    def _progress(self, n_images: int) -> Iterator[None]:
        """Show one progress bar for the whole fit, in images."""
        n_passes = len(self._views()) + (self.max_iter if self.trainable else 0)
        total = n_passes * n_images
        with (
            progress_bar(total=total, unit="image", disable=not self.verbose) as bar,
            sharing(bar, total),
        ):
            yield

    def _views(self) -> tuple[View | None, ...]:
        return make_views(self.augment, self.n_views, self.seed_)

    def _make_features(self, continues: bool) -> VGG19Features:
        """Return a transformer with these parameters, and the weights to start from."""
        if self.average_views and not isinstance(self.augment, str):
            raise ValueError(
                f"average_views=True averages over the views of augment, which is "
                f"{self.augment!r}; set it to one of "
                f"{', '.join([*get_args(Flips), 'crop'])}."
            )
        stages = isinstance(self.layer, str) and self.layer == "stages"
        features = VGG19Features(
            self.features_.weights if continues else self.weights,
            layer=STAGES if stages else self.layer,
            pooling=self.pooling,
            image_size=self.image_size,
            resize=self.resize,
            interpolation=self.interpolation,
            preprocessing=self.preprocessing,
            memory=self.memory,
            precision=self.precision,
            random_state=self.seed_,
            verbose=self.verbose,
        )
        if continues:
            check_continues(self, features)
        return features

    def _fit_head(self, data: TrainingData) -> None:
        """Fit the head on fixed features; store it and its penalties."""
        rows, hidden = data.features_of_all_views(), check_hidden_layer_sizes(self.head)
        if hidden:
            self.head_ = self._make_head(
                hidden_layer_sizes=hidden,
                activation="relu",
                optimizer="adam",
                dropout=self.dropout,
                random_state=self.seed_,
            )
            self._penalties = fit_hidden_layers(self.head_, rows, data.targets)
            return
        self.head_ = self._make_head(())
        self._penalties = fit_linear_head(
            self.head_, rows, len(data.train), data.targets, self.seed_
        )

    def _tune(self, data: TrainingData) -> None:
        """Train the layers that are not frozen, if any; store the network."""
        network = data.network
        self._trained_on = network.trained_on
        if self.trainable is None:
            self.features_ = network.features.set_params(
                weights=network.source.absolute()
            )
            self.features_.weights_fingerprint_ = network.fingerprint
            self.history_, stopping = {}, None
            self._warn_if_head_learned_nothing(data)
        else:
            tuned = tune(self, data, DenseLayers.of(self.head_), self._penalties)
            self.features_ = network.features.set_params(weights=tuned.weights)
            self.head_.coefs_, self.head_.intercepts_ = tuned.head
            self.history_, stopping = tuned.history, tuned.stopping
        store_best(self, stopping)
        self.loss_curve_ = self.history_.get("loss", [])
        self.n_iter_ = len(self.loss_curve_)

    def _warn_if_head_learned_nothing(self, data: TrainingData) -> None:
        """Warn about a linear head; other heads warn in their fit."""
        if check_hidden_layer_sizes(self.head):
            return
        rows, targets = data.features_of_view(0), data.targets
        loss, output = linear_loss(self.head_, rows)
        if not targets.is_learned(loss, rows.Y, output, rows.w):
            baseline = targets.baseline_loss(rows.Y, rows.w)
            remedies = ["other layers", "other weights"]
            warn_of_nothing_learned(self, loss, baseline, remedies)

    # Predicting

    def averaged_views(self) -> tuple[View | None, ...]:
        """Return the views over which predictions are averaged; None is the image."""
        check_is_fitted(self)
        if self.average_views and isinstance(self.augment, str):
            return self._views()
        return (None,)

    def _outputs(self, X: Any, method: str) -> np.ndarray:
        """Return the output of a method of the head, averaged over views."""
        check_is_fitted(self)
        images = as_images(X, None, check_items=True)
        views = self.averaged_views()
        blocks = rows_of_views(self.features_, images, views, self._trained_on)
        outputs = [getattr(self.head_, method)(rows) for rows in blocks]
        return outputs[0] if len(outputs) == 1 else np.mean(outputs, axis=0)

    def to_features(
        self, layer: LayerLike | None = None, *, pooling: PoolingLike = "avg"
    ) -> VGG19Features:
        """Return a transformer with the fine-tuned layers.

        Parameters
        ----------
        layer : str or sequence of str, default=None
            Layers, as in :class:`skvgg.VGG19Features`. None means the layers and
            pooling of the head's inputs.
        pooling : {"avg", "max"} or None, default="avg"
            Pooling, if `layer` is given.

        Returns
        -------
        VGG19Features
            A transformer with the other parameters of this estimator.
        """
        check_is_fitted(self)
        features = clone(self.features_)
        if layer is not None:
            features.set_params(layer=layer, pooling=pooling)
        return features

    # scikit-learn API

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state["memory"] = absolute(state["memory"])
        return state

    def __sklearn_clone__(self) -> Self:
        clone = super().__sklearn_clone__()
        share(self, clone)
        return clone

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "head_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        return tags

"""Base class of the fine-tuned classifier and regressor."""

from __future__ import annotations

import math
import os
import tempfile
from abc import ABCMeta, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self, get_args

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_consistent_length
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from sklearn.utils.validation import check_is_fitted
from tqdm import tqdm

from skvgg._definition.architecture import (
    DENSE_NAMES,
    POOLINGS,
    STAGES,
    PoolingLike,
    parameter_shapes,
)
from skvgg._definition.preprocessing import PREPROCESSINGS, Preprocessing
from skvgg._definition.vocabulary import (
    Flips,
    Interpolation,
    PreprocessingName,
    Resize,
    TrainingPrecision,
)
from skvgg._extraction.job import MAP_DTYPE, Job, TrainedOn
from skvgg._extraction.recipe import weights_fingerprint
from skvgg._extraction.settings import Settings, expand_layers
from skvgg._extraction.views import View, make_views
from skvgg._finetune.heads import few_threads, linear_loss
from skvgg._finetune.plan import Plan, shape_of_map
from skvgg._finetune.stored import Stored, check_disk
from skvgg._finetune.task import Task, warm_up_and_fall
from skvgg._finetune.tuner import HeadSpec, Tuner, TuningSpec
from skvgg._head import training
from skvgg._head.base import (
    BaseTFLearnMLP,
    all_or_nothing,
    check_hidden_layer_sizes,
    check_weights,
    get_learned,
    keep_best,
    set_learned,
)
from skvgg._head.persistence import pack_function, unpack_callbacks
from skvgg._head.targets import Figures, Targets
from skvgg._images import Images, as_images
from skvgg._network.precision import computed_in, tensor_float_32
from skvgg._network.registry import share
from skvgg._runtime.progress import progress_bar
from skvgg._runtime.seed import draw_seed
from skvgg._runtime.tensorflow import eagerly
from skvgg._runtime.warn import warn
from skvgg._store.cache import Cache, absolute
from skvgg._typing import (
    Augment,
    ImagesLike,
    LayerLike,
    MemoryLike,
    RandomState,
    fit_context,
)
from skvgg.features import VGG19Features
from skvgg.weights import Source, TunedWeights, WeightsLike, as_source
from skvgg.weights._random import RandomSource


class BaseVGG19(BaseEstimator, metaclass=ABCMeta):
    """A VGG19 with a head; first the head is trained, then also the layers below."""

    features_: VGG19Features
    head_: BaseTFLearnMLP
    history_: training.History
    loss_curve_: list[float]
    n_iter_: int
    seed_: int
    best_validation_score_: float
    best_epoch_: int
    _trained_on: TrainedOn | None

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

    # For subclasses

    @abstractmethod
    def _learn_targets(self, y: np.ndarray) -> Targets:
        """Return the encoding of the targets y."""

    @abstractmethod
    def _get_targets(self) -> Targets:
        """Return the encoding of the targets of the last fit."""

    @abstractmethod
    def _keep_targets(self, targets: Any) -> None:
        """Store the encoding of the targets as fitted attributes."""

    @abstractmethod
    def _check_targets(self, y: Any) -> np.ndarray:
        """Return y as an array, or raise."""

    def _class_weights(self, y: np.ndarray, targets: Any) -> np.ndarray | float:
        """Return the class weight of each image; `targets` encode y."""
        return 1.0

    @abstractmethod
    def _fit_linear(
        self, X: np.ndarray, Y: np.ndarray, w: np.ndarray, first: int, targets: Any
    ) -> tuple[BaseTFLearnMLP, list[float]]:
        """Return a fitted head without hidden layers, and its penalties."""

    @abstractmethod
    def _make_head(self, **params: Any) -> BaseTFLearnMLP:
        """Return a head that TFLearn trains."""

    @abstractmethod
    def _to_labels(self, Y: np.ndarray, targets: Any) -> np.ndarray:
        """Return the targets y for encoded targets Y."""

    # Fitting

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
            with self._opened_cache() as (cache, folder), self._bar(len(y)) as bar:
                self.seed_ = draw_seed(self.random_state)
                task = self._prepare(X, y, sample_weight, cache, folder, bar, continues)
                if not continues or self.trainable is None:
                    self._fit_head(task)
                self._tune(task, bar)
            self._keep_targets(task.targets)
        return self

    @contextmanager
    def _opened_cache(self) -> Iterator[tuple[Cache, str | None]]:
        """Open `memory`, or a temporary cache for this fit; yield it and its folder."""
        with closing(Cache(self.memory)) as cache:
            if cache.keeps:
                yield cache, cache.location
                return
        with (
            tempfile.TemporaryDirectory(prefix="skvgg-") as folder,
            closing(Cache(folder)) as cache,
        ):
            yield cache, folder

    def _bar(self, n_images: int) -> tqdm:
        """Return a progress bar for the whole fit, in images."""
        n_passes = len(self._views(0)) + (self.max_iter if self.trainable else 0)
        return progress_bar(
            total=n_passes * n_images, unit="image", disable=not self.verbose
        )

    def _views(self, seed: int) -> tuple[View | None, ...]:
        return make_views(self.augment, self.n_views, seed)

    def _make_features(self, weights: Any) -> VGG19Features:
        """Return a transformer with the given weights and these parameters."""
        stages = isinstance(self.layer, str) and self.layer == "stages"
        return VGG19Features(
            weights,
            layer=STAGES if stages else self.layer,
            pooling=self.pooling,
            image_size=self.image_size,
            resize=self.resize,
            interpolation=self.interpolation,
            preprocessing=self.preprocessing,
            memory=self.memory,
            precision=self.precision,
            random_state=getattr(self, "seed_", None),
            verbose=self.verbose,
        )

    def _prepare(
        self,
        X: Any,
        y: np.ndarray,
        sample_weight: Any,
        cache: Cache,
        folder: str | None,
        bar: tqdm,
        continues: bool,
    ) -> Task:
        """Check all inputs, and run the images through the frozen layers."""
        weights = self.features_.weights if continues else self.weights
        expand_layers(self.layer, "layer")
        features = self._make_features(weights)
        features._validate_params()
        source = as_source(weights, self.seed_).absolute()
        settings = Settings.of(features, source)
        if continues:
            self._check_goes_on(settings)
        _check_has_layer(source, self.trainable)
        plan = Plan.of(self.trainable, settings.outputs)
        check_hidden_layer_sizes(self.head)
        if self.average_views and not isinstance(self.augment, str):
            raise ValueError(
                f"average_views=True averages over the views of augment, which is "
                f"{self.augment!r}; set it to one of "
                f"{', '.join([*get_args(Flips), 'crop'])}."
            )
        source.check()
        source = source.pinned()
        images = as_images(X, None, check_items=True)
        check_consistent_length(images, y)
        w = check_weights(sample_weight, images).copy()  # it may be the user's array
        goes_on = continues and self.trainable is not None
        targets = self._get_targets() if goes_on else self._learn_targets(y)
        # Images of weight zero are ignored, but not their classes.
        given = np.flatnonzero(w)
        encoded = targets.encode(y[given])
        Y = np.zeros((len(y), encoded.shape[1]), encoded.dtype)
        Y[given] = encoded
        w[given] *= self._class_weights(y[given], targets)
        kept = np.flatnonzero(w)
        if not len(kept):
            raise ValueError(
                "sample_weight is zero for all samples (with class_weight applied), "
                "so there is nothing to learn from."
            )
        train, validation = self._split(kept, Y, targets)
        w = (w / w[train].mean()).astype(np.float32)
        fingerprint = weights_fingerprint(source, cache)
        stored = self._store(
            images, settings, plan, source, fingerprint, cache, folder, bar
        )
        rows = [stored.rows(view) for view in range(stored.n_views)]
        return Task(
            plan,
            settings,
            source,
            fingerprint,
            stored,
            rows,
            train,
            validation,
            targets,
            Y,
            w,
        )

    def _check_goes_on(self, settings: Settings) -> None:
        """Raise if the last fit had other weights or features, or another head."""
        began_with = _before_tuning(as_source(self.features_.weights))
        given = _before_tuning(as_source(self.weights, self.seed_).absolute())
        # Random weights stay those of the last fit, with any seed.
        is_random = isinstance(began_with, RandomSource) and self.weights is None
        if not is_random and given.identify() != began_with.identify():
            raise ValueError(
                f"warm_start=True continues the last fit, whose weights were not "
                f"{self.weights!r}. Set warm_start=False to start from scratch."
            )
        last = Settings.of(self.features_, as_source(self.features_.weights))
        hidden = check_hidden_layer_sizes(self.head)
        trained = tuple(len(b) for b in self.head_.intercepts_[:-1])
        for name, before, now in (
            ("outputs of layers", _named(last), _named(settings)),
            ("hidden layers of the head", trained, hidden),
        ):
            if before != now:
                raise ValueError(
                    f"warm_start=True continues the last fit, which had the {name} "
                    f"{before}; now they would be {now}. Set warm_start=False to start "
                    "from scratch."
                )

    def _split(
        self, kept: np.ndarray, Y: np.ndarray, targets: Targets
    ) -> tuple[np.ndarray, np.ndarray]:
        if not self.early_stopping or self.trainable is None:
            return kept, kept[:0]
        rng = np.random.RandomState(self.seed_)
        fraction = self.validation_fraction
        strata = targets.strata(Y[kept])
        train, validation = training.split(strata, len(kept), fraction, rng)
        if not len(validation):
            raise ValueError(
                f"early_stopping=True needs validation samples, but "
                f"validation_fraction={fraction:g} of {len(kept)} leaves none. Raise "
                "it, or set early_stopping=False."
            )
        return kept[train], kept[validation]

    def _store(
        self,
        images: Images,
        settings: Settings,
        plan: Plan,
        source: Source,
        fingerprint: str,
        cache: Cache,
        folder: str | None,
        bar: tqdm,
    ) -> Stored:
        """Compute the outputs of all views of all images that are not in the cache."""
        views = self._views(self.seed_)
        shape = None
        if plan.map_output is not None:
            settings = replace(settings, outputs=(plan.map_output, *plan.outputs))
            shape = shape_of_map(plan, settings.image_size)
            is_half = plan.map_output.is_map
            n_bytes = np.dtype(MAP_DTYPE if is_half else np.float32).itemsize
            n_bytes = 1 if plan.start_layer is None else n_bytes  # pixels
            n_maps = len(images) * len(views)
            check_disk(folder, n_maps * math.prod(shape) * n_bytes, cache)
        keys = []
        for view in views:
            job = Job(
                self,
                settings,
                source,
                cache,
                fingerprint,
                view=view,
                map_dtype=MAP_DTYPE,
                bar=bar,
            )
            keys.append(job.keys(images))
        return Stored(cache, keys, shape)

    # The head

    def _fit_head(self, task: Task) -> None:
        """Fit the head on fixed features; store it and its penalties."""
        blocks = [np.hstack(rows)[task.train] for rows in task.rows]
        X = np.concatenate(blocks)
        n_views, first = len(blocks), len(task.train)
        Y, w = (
            np.tile(task.Y[task.train], (n_views, 1)),
            np.tile(task.w[task.train], n_views),
        )
        hidden = check_hidden_layer_sizes(self.head)
        if not hidden:
            with few_threads(X.size):
                head = self._fit_linear(X, Y, w, first, task.targets)
            self.head_, self._penalties = head
            return
        self.head_ = self._make_head(
            hidden_layer_sizes=hidden,
            activation="relu",
            optimizer="adam",
            dropout=self.dropout,
            random_state=self.seed_,
        )
        labels = self._to_labels(Y, task.targets)
        self.head_._fit(X, labels, w, continues=False, targets=task.targets)
        self._penalties = [*[self.head_.weight_decay] * len(hidden), 0.0]

    # The layers below it

    def _tune(self, task: Task, bar: tqdm) -> None:
        """Train the layers that are not frozen, and store the result."""
        self.history_, self.loss_curve_, self.n_iter_ = {}, [], 0
        self._trained_on = None
        if task.plan.start_layer is not None:
            self._trained_on = TrainedOn(task.plan.start_layer, task.fingerprint)
        keep_best(self, None)
        if not task.plan.trained:
            self.features_ = self._make_features(task.source.absolute())
            self.features_.weights_fingerprint_ = task.fingerprint
            self._warn_if_head_learned_nothing(task)
            return
        with eagerly(), tensor_float_32(self.precision == "tensorfloat32"):
            self._train_layers(task, bar)

    def _train_layers(self, task: Task, bar: tqdm) -> None:
        """Train some layers together with the head."""
        targets = task.targets
        scaling, head_parameters = get_learned(self.head_)
        assert scaling.inputs is not None
        if scaling.outputs is not None:
            targets = targets.scaled(scaling.outputs.scale)
        image_size = task.settings.image_size
        shapes = parameter_shapes([o.layer for o in task.plan.outputs], image_size)
        loaded = task.source.load({name: shapes[name] for name in task.plan.trained})
        preprocessing = PREPROCESSINGS.get(self.preprocessing, loaded.preprocessing)
        tuner = Tuner(
            task.plan,
            loaded.parameters,
            head_parameters,
            HeadSpec(
                self.head_.activation,
                targets.out_activation,
                scaling.inputs.mean,
                scaling.inputs.scale,
                self._penalties,
            ),
            TuningSpec(
                float(self.learning_rate_init),
                float(self.layer_decay),
                float(self.weight_decay),
                float(self.dropout),
                computed_in(self.precision),
                self.seed_,
            ),
            preprocessing,
            image_size,
        )
        rng = np.random.RandomState(self.seed_)
        samples = task.samples(task.train, scaling, rng)
        stopping, validation = None, None
        if self.early_stopping:
            validation = task.samples(task.validation, scaling)
            targets.check_score(validation.Y, validation.w)
            stopping = training.EarlyStopping(
                f"val_{targets.score_name}", self.n_iter_no_change, self.tol
            )
            # Keeps the initial layers if training only makes them worse.
            loss, output = tuner.evaluate(validation.X, validation.Y, validation.w)
            seen = targets.figures(loss, validation.Y, output, validation.w)
            stopping.should_stop(0, {stopping.monitor: seen[targets.score_name]}, tuner)

        def move_on(epoch: int, figures: Figures) -> None:
            bar.set_postfix({name: f"{figure:.3f}" for name, figure in figures.items()})
            bar.update(len(task.Y))

        n_batches = -(-len(samples) // self.batch_size)
        self.history_ = training.train(
            tuner,
            samples,
            validation,
            epochs=range(1, self.max_iter + 1),
            batch_size=self.batch_size,
            describe=targets.figures,
            early_stopping=stopping,
            callbacks=[move_on],
            rng=rng,
            verbose=0,
            rate_factors=warm_up_and_fall(self.max_iter * n_batches, n_batches),
        )
        if stopping is not None and stopping.best_parameters is not None:
            tuner.set_parameters(stopping.best_parameters)
            keep_best(self, stopping)
        plain = task.samples(task.train, scaling)
        self._warn_if_nothing_learned(plain, tuner, targets)
        layers, head_parameters = tuner.get_parameters()
        _check_finite(layers, head_parameters)
        set_learned(self.head_, scaling, head_parameters, targets)
        self.loss_curve_ = self.history_["loss"]
        self.n_iter_ = len(self.loss_curve_)
        self._keep_layers(task, layers, preprocessing)

    def _warn_if_nothing_learned(
        self, samples: training.Samples, tuner: Tuner, targets: Targets
    ) -> None:
        guessing = targets.guessing_loss(samples.Y, samples.w)
        last = {name: figures[-1] for name, figures in self.history_.items()}
        # The loss of regression depends on the units of y.
        is_clear = last["r2"] > 0.1 if "r2" in last else last["loss"] < 0.9 * guessing
        if is_clear:
            return  # despite dropout; saves another pass
        loss, output = tuner.evaluate(samples.X, samples.Y, samples.w)
        if not targets.is_learned(loss, samples.Y, output, samples.w):
            rate = f"a smaller learning_rate_init than {self.learning_rate_init:g}"
            self._say_nothing_learned(loss, guessing, f"{rate}, trainable=None")

    def _warn_if_head_learned_nothing(self, task: Task) -> None:
        """Do the same for a linear head; other heads warn in their fit."""
        if check_hidden_layer_sizes(self.head):
            return
        Y, w = task.Y[task.train], task.w[task.train]
        loss, output = linear_loss(
            self.head_, np.hstack(task.rows[0])[task.train], Y, w
        )
        if not task.targets.is_learned(loss, Y, output, w):
            guessing = task.targets.guessing_loss(Y, w)
            self._say_nothing_learned(loss, guessing, "other layers")

    def _say_nothing_learned(self, loss: float, guessing: float, remedy: str) -> None:
        warn(
            f"{type(self).__name__} learned nothing, or hardly anything: its loss on "
            f"the training images is {loss:.4g}, and that of the best constant "
            f"prediction is {guessing:.4g}. Try {remedy}, or other weights.",
            ConvergenceWarning,
        )

    def _keep_layers(
        self,
        task: Task,
        layers: dict[str, tuple[np.ndarray, np.ndarray]],
        preprocessing: Preprocessing,
    ) -> None:
        base = task.source.absolute()
        if isinstance(base, TunedWeights):
            tuned = base.changed(layers, preprocessing)
        else:
            tuned = TunedWeights(base, task.fingerprint, layers, preprocessing)
        self.features_ = self._make_features(tuned)

    # Predicting

    def averaged_views(self) -> tuple[View | None, ...]:
        """Return the views over which predictions are averaged; None is the image."""
        check_is_fitted(self)
        if self.average_views and isinstance(self.augment, str):
            return self._views(self.seed_)
        return (None,)

    def _outputs(self, X: Any, method: str) -> np.ndarray:
        """Return the output of a method of the head, averaged over views."""
        check_is_fitted(self)
        images = as_images(X, None, check_items=True)
        views = self.averaged_views()
        rows = self.features_._transform_views(images, views, self._trained_on)
        outputs = [getattr(self.head_, method)(some) for some in rows]
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
        state["augment"] = pack_function(state["augment"], "augment")
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = {**state, "augment": unpack_callbacks(state["augment"])}
        super().__setstate__(state)

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


def _before_tuning(source: Source) -> Source:
    return source.base if isinstance(source, TunedWeights) else source


def _check_has_layer(source: Source, trainable: str | None) -> None:
    """Raise if it is known that the weights lack the first layer to train."""
    if not source.has_dense and trainable in DENSE_NAMES:
        raise ValueError(
            f"The weights (weights='hed', or tuned from them) have no fully connected "
            f"layers, got trainable={trainable!r}. Choose a block, such as "
            "trainable='block5', or other weights."
        )


def _named(settings: Settings) -> tuple[tuple[str, int], ...]:
    """Return the names and lengths of outputs, in their order."""
    return tuple((o.name, settings.n_features_of(o)) for o in settings.outputs)


def _check_finite(
    layers: dict[str, tuple[np.ndarray, np.ndarray]], head_parameters: Any
) -> None:
    arrays = [*head_parameters[0], *head_parameters[1]]
    arrays += [array for pair in layers.values() for array in pair]
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError(
            "The training diverged in its last step: the learned weights are not "
            "finite. Try a smaller learning_rate_init."
        )

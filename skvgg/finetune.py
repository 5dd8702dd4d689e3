"""A VGG19 that is fine-tuned on images, for classes and for numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import column_or_1d, compute_sample_weight
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_y

from skvgg._finetune.base import BaseVGG19
from skvgg._finetune.heads import fit_linear_classifier, fit_linear_regressor
from skvgg._head.targets import ClassTargets, NumberTargets, Targets
from skvgg._images import Interpolation, Resize
from skvgg._typing import (
    Augment,
    ClassWeight,
    ImagesLike,
    LayerLike,
    MemoryLike,
    PoolingLike,
    PreprocessingName,
    RandomState,
    TrainingPrecision,
)
from skvgg.mlp import TFLearnMLPClassifier, TFLearnMLPRegressor, check_class_weight
from skvgg.weights import WeightsLike

__all__ = ["VGG19Classifier", "VGG19Regressor"]


class VGG19Classifier(ClassifierMixin, BaseVGG19):
    """Fine-tune a VGG19 on labelled images.

    A head is trained on the features that the network gives; then, starting from that
    head, the network's last layers are trained with it. With very few images the first
    phase alone (``trainable=None``) is as good and far faster.

    Parameters
    ----------
    weights : {"imagenet", "hed"}, path, Source or None, default="imagenet"
        Where the network's weights come from, as in :class:`VGG19Features`.
    trainable : str or None, default="block5"
        From where on layers are trained: a block ("block1" to "block5"), a layer
        ("block4_conv3", "fc1"), "all" (the same as "block1"), or None for the head
        alone. The layers below stay as they are.
    head : array-like of int, default=()
        Units of each hidden layer of the head. An empty one makes a logistic
        regression whose penalty is chosen by cross-validation.
        Hidden layers are those of :class:`TFLearnMLPClassifier` with
        ``activation="relu"`` and ``optimizer="adam"``.
    layer : str or sequence of str, default="stages"
        Layers whose outputs the head takes, side by side. "stages" stands for
        "block1_pool" to "block5_pool". Those below `trainable` stay as they are.
    pooling : {"avg", "max"}, sequence of these or None, default="avg"
        How outputs with height and width are reduced to a number a channel, or to two
        of them, ("avg", "max").
    image_size : int or (int, int), default=224
        Side, or height and width, in pixels to which images are brought.
    resize : {"stretch", "crop", "pad"}, default="stretch"
        How, as in :class:`VGG19Features`.
    interpolation : {"nearest", "box", "bilinear", "hamming", "bicubic", \
"lanczos"}, default="bilinear"
        Pillow's filter of that resampling.
    preprocessing : {"auto", "caffe", "torch", "none"}, default="auto"
        What is done to the pixels, as in :class:`VGG19Features`.
    max_iter : int, default=10
        Epochs of the second phase: how often each image is used.
    learning_rate_init : float, default=1e-4
        Adam's learning rate for the head and for the uppermost trained block, at its
        largest: it rises to that in the first tenth of the steps and then falls to
        zero by a cosine.
    layer_decay : float, default=0.75
        What the learning rate of each block is multiplied by, as compared with the
        block above, in (0, 1].
    weight_decay : float, default=0.0
        Share of the trained kernels, times their learning rate, that each step takes
        off.
    dropout : float, default=0.0
        Share of what each layer of the head takes that is set to zero at random in
        the second phase, in [0, 1), and of what each hidden layer gives in the first.
    batch_size : int, default=32
        Images a step.
    augment : {"flip", "flips", "crop"}, callable or None, default=None
        Views of each image to learn from, besides the image itself: its mirror image;
        that and both upside down ("flips", four views in all, for images that have no
        up and down); or `n_views` - 1 seeded crops of at least half of its area. Or
        a callable that takes pixels of shape (height, width, 3), uint8, and a
        :class:`numpy.random.Generator`, and returns such pixels. The views of an
        image are fixed, so that each goes through the frozen layers once.
    n_views : int, default=4
        Views of each image with "crop" and a callable, the image itself among them.
    average_views : bool, default=False
        Whether predictions are means over the views of "flip", "flips" or "crop".
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, {label: weight}, 0 or more, by which `sample_weight` is
        multiplied. "balanced" makes them inversely proportional to the classes'
        frequencies.
    early_stopping : bool, default=False
        Hold out `validation_fraction` of the images, stop when the accuracy on them
        has not grown by `tol` in `n_iter_no_change` epochs, and keep the weights of
        the best epoch, which may be those that the second phase began with.
    validation_fraction : float, default=0.1
        Share of the images that is held out, within each class in proportion. Unused
        without `early_stopping`, and without a second phase (``trainable=None``).
    n_iter_no_change : int or inf, default=3
        Epochs without an improvement that end the training.
    tol : float, default=1e-4
        What an improvement is at least.
    warm_start : bool, default=False
        Whether `fit` goes on from the layers and the head of the last fit. The first
        phase is then left out, and the optimizer starts anew.
    memory : str, path-like, :class:`joblib.Memory` or None, default=None
        Where what the frozen layers give is kept, and the features of images that
        are predicted, as in :class:`VGG19Features`: other fits, folds and sessions
        find it there. A map of "block4_pool" takes 0.2 MB an image at 224 pixels.
        None keeps maps in a temporary folder for the length of a fit.
    precision : {"float32", "tensorfloat32", "bfloat16"}, default="float32"
        What the layers compute in, as in :class:`VGG19Features`; weights and their
        updates are float32 in any case. On CPUs with AMX, "bfloat16" trains several
        times as fast; on others it means "float32". (The small gradients of training
        would be zero in "float16".)
    random_state : int, RandomState instance or None, default=None
        Seed of random weights, of the views, the order of the images, the images held
        out, and the dropout. With an int, fits are identical to the last bit on one
        machine.
    verbose : int, default=0
        1 shows one progress bar over all passes of images.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    features_ : VGG19Features
        The network with the trained layers, up to what the head takes.
    head_ : TFLearnMLPClassifier
        The head, for features as they come. (`predict` begins with maps rounded as in
        the training, so that it differs from the head on the features of `features_`
        by that rounding.)
    history_ : dict of str to list of float
        For each epoch of the second phase "loss" and "accuracy" on the images trained
        on, before each step; "val_loss" and "val_accuracy" on those held out.
    loss_curve_ : list of float
        The same as ``history_["loss"]``.
    best_validation_score_ : float
        Score of the weights that were kept; only with `early_stopping`.
    n_iter_ : int
        Epochs of the second phase.
    seed_ : int
        The seed that `random_state` stood for.

    See Also
    --------
    VGG19Regressor : The same for numbers.
    VGG19Features : The features alone, for any estimator of scikit-learn.

    Notes
    -----
    Training is in two phases, head first: a head that starts from random weights
    would change the layers below it before it knows in what direction [1]_. The first
    phase fits the head on features that do not change, to convergence: a logistic
    regression by L-BFGS on standardized features, or the dense layers of `head`. The
    second trains it and the layers from `trainable` up, with Adam and with the
    penalty of the first phase on the head's weights.

    Each view of an image goes through the frozen layers once. What comes out is
    stored in float16; epochs, folds and later fits read it.

    A pickle holds the trained layers, the head, and the fingerprint of the weights
    below; where it is loaded, it needs those weights and refuses others.

    References
    ----------
    .. [1] A. Kumar et al., "Fine-tuning can distort pretrained features and
       underperform out-of-distribution", ICLR 2022.

    Examples
    --------
    >>> import numpy as np
    from numpy.typing import ArrayLike
    >>> from sklearn.datasets import load_digits
    >>> from skvgg import VGG19Classifier
    >>> digits = load_digits(n_class=2)
    >>> images = (digits.images[:40] * 255 / 16).astype(np.uint8)
    >>> clf = VGG19Classifier(
    ...     None, layer="block2_pool", trainable="block2", image_size=32, max_iter=2,
    ...     random_state=0,
    ... )
    >>> clf.fit(images, digits.target[:40]).score(images, digits.target[:40]) > 0.9
    True
    """

    classes_: np.ndarray

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseVGG19._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
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
        class_weight: ClassWeight = None,
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
        super().__init__(
            weights=weights,
            trainable=trainable,
            head=head,
            layer=layer,
            pooling=pooling,
            image_size=image_size,
            resize=resize,
            interpolation=interpolation,
            preprocessing=preprocessing,
            max_iter=max_iter,
            learning_rate_init=learning_rate_init,
            layer_decay=layer_decay,
            weight_decay=weight_decay,
            dropout=dropout,
            batch_size=batch_size,
            augment=augment,
            n_views=n_views,
            average_views=average_views,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            tol=tol,
            warm_start=warm_start,
            memory=memory,
            precision=precision,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_weight = class_weight

    def predict(self, X: ImagesLike) -> np.ndarray:
        """Return the most probable class of each image.

        Parameters
        ----------
        X : images
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels out of `classes_`.
        """
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def predict_proba(self, X: ImagesLike) -> np.ndarray:
        """Return the probability of each class.

        Parameters
        ----------
        X : images
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float32
            In the order of `classes_`; each row sums to 1.
        """
        return self._outputs(X, "predict_proba")

    def predict_log_proba(self, X: ImagesLike) -> np.ndarray:
        """Return the logarithm of the probability of each class.

        Parameters
        ----------
        X : images
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float32
            In the order of `classes_`.
        """
        if self._averages():
            with np.errstate(divide="ignore"):
                return np.log(self.predict_proba(X))
        return self._outputs(X, "predict_log_proba")

    def _check_targets(self, y: Any) -> np.ndarray:
        y = _check_y(column_or_1d(y, warn=True), estimator=self)
        check_classification_targets(y)
        return y

    def _learn_targets(self, y: np.ndarray) -> ClassTargets:
        return ClassTargets(np.unique(y))

    def _get_targets(self) -> ClassTargets:
        return ClassTargets(self.classes_)

    def _keep_targets(self, targets: Any) -> None:
        self.classes_ = targets.classes

    def _class_weights(self, y: np.ndarray) -> np.ndarray | float:
        if self.class_weight is None:
            return 1.0
        if isinstance(self.class_weight, dict):
            check_class_weight(self.class_weight)
        return compute_sample_weight(self.class_weight, y)

    def _fit_linear(
        self, X: np.ndarray, Y: np.ndarray, w: np.ndarray, first: int, targets: Any
    ) -> tuple[TFLearnMLPClassifier, list[float]]:
        y = self._to_labels(Y, targets)
        return fit_linear_classifier(X, y, w, first, targets, self.seed_)

    def _make_head(self, **params: Any) -> TFLearnMLPClassifier:
        return TFLearnMLPClassifier(**params)

    def _to_labels(self, Y: np.ndarray, targets: Any) -> np.ndarray:
        return targets.decode(Y)


class VGG19Regressor(RegressorMixin, BaseVGG19):
    """Fine-tune a VGG19 on images with numbers.

    As :class:`VGG19Classifier`, with linear outputs and the mean square of
    standardized targets as its loss.

    Parameters
    ----------
    weights : {"imagenet", "hed"}, path, Source or None, default="imagenet"
        Where the network's weights come from, as in :class:`VGG19Features`.
    trainable : str or None, default="block5"
        From where on layers are trained: a block ("block1" to "block5"), a layer
        ("block4_conv3", "fc1"), "all" (the same as "block1"), or None for the head
        alone. The layers below stay as they are.
    head : array-like of int, default=()
        Units of each hidden layer of the head. An empty one makes a ridge
        regression whose penalty is chosen by cross-validation.
        Hidden layers are those of :class:`TFLearnMLPRegressor` with
        ``activation="relu"`` and ``optimizer="adam"``.
    layer : str or sequence of str, default="stages"
        Layers whose outputs the head takes, side by side. "stages" stands for
        "block1_pool" to "block5_pool". Those below `trainable` stay as they are.
    pooling : {"avg", "max"}, sequence of these or None, default="avg"
        How outputs with height and width are reduced to a number a channel, or to two
        of them, ("avg", "max").
    image_size : int or (int, int), default=224
        Side, or height and width, in pixels to which images are brought.
    resize : {"stretch", "crop", "pad"}, default="stretch"
        How, as in :class:`VGG19Features`.
    interpolation : {"nearest", "box", "bilinear", "hamming", "bicubic", \
"lanczos"}, default="bilinear"
        Pillow's filter of that resampling.
    preprocessing : {"auto", "caffe", "torch", "none"}, default="auto"
        What is done to the pixels, as in :class:`VGG19Features`.
    max_iter : int, default=10
        Epochs of the second phase: how often each image is used.
    learning_rate_init : float, default=1e-4
        Adam's learning rate for the head and for the uppermost trained block, at its
        largest: it rises to that in the first tenth of the steps and then falls to
        zero by a cosine.
    layer_decay : float, default=0.75
        What the learning rate of each block is multiplied by, as compared with the
        block above, in (0, 1].
    weight_decay : float, default=0.0
        Share of the trained kernels, times their learning rate, that each step takes
        off.
    dropout : float, default=0.0
        Share of what each layer of the head takes that is set to zero at random in
        the second phase, in [0, 1), and of what each hidden layer gives in the first.
    batch_size : int, default=32
        Images a step.
    augment : {"flip", "flips", "crop"}, callable or None, default=None
        Views of each image to learn from, besides the image itself: its mirror image;
        that and both upside down ("flips", four views in all, for images that have no
        up and down); or `n_views` - 1 seeded crops of at least half of its area. Or
        a callable that takes pixels of shape (height, width, 3), uint8, and a
        :class:`numpy.random.Generator`, and returns such pixels. The views of an
        image are fixed, so that each goes through the frozen layers once.
    n_views : int, default=4
        Views of each image with "crop" and a callable, the image itself among them.
    average_views : bool, default=False
        Whether predictions are means over the views of "flip", "flips" or "crop".
    early_stopping : bool, default=False
        Hold out `validation_fraction` of the images, stop when R2 on them
        has not grown by `tol` in `n_iter_no_change` epochs, and keep the weights of
        the best epoch, which may be those that the second phase began with.
    validation_fraction : float, default=0.1
        Share of the images that is held out. Unused without `early_stopping`, and
        without a second phase (``trainable=None``).
    n_iter_no_change : int or inf, default=3
        Epochs without an improvement that end the training.
    tol : float, default=1e-4
        What an improvement is at least.
    warm_start : bool, default=False
        Whether `fit` goes on from the layers and the head of the last fit. The first
        phase is then left out, and the optimizer starts anew.
    memory : str, path-like, :class:`joblib.Memory` or None, default=None
        Where what the frozen layers give is kept, and the features of images that
        are predicted, as in :class:`VGG19Features`: other fits, folds and sessions
        find it there. A map of "block4_pool" takes 0.2 MB an image at 224 pixels.
        None keeps maps in a temporary folder for the length of a fit.
    precision : {"float32", "tensorfloat32", "bfloat16"}, default="float32"
        What the layers compute in, as in :class:`VGG19Features`; weights and their
        updates are float32 in any case. On CPUs with AMX, "bfloat16" trains several
        times as fast; on others it means "float32". (The small gradients of training
        would be zero in "float16".)
    random_state : int, RandomState instance or None, default=None
        Seed of random weights, of the views, the order of the images, the images held
        out, and the dropout. With an int, fits are identical to the last bit on one
        machine.
    verbose : int, default=0
        1 shows one progress bar over all passes of images.

    Attributes
    ----------
    n_outputs_ : int
        Number of targets.
    features_ : VGG19Features
        The network with the trained layers, up to what the head takes.
    head_ : TFLearnMLPRegressor
        The head, for features as they come. (`predict` begins with maps rounded as in
        the training, so that it differs from the head on the features of `features_`
        by that rounding.)
    history_ : dict of str to list of float
        For each epoch of the second phase "loss" and "r2" on the images trained
        on, before each step; "val_loss" and "val_r2" on those held out.
    loss_curve_ : list of float
        The same as ``history_["loss"]``.
    best_validation_score_ : float
        Score of the weights that were kept; only with `early_stopping`.
    n_iter_ : int
        Epochs of the second phase.
    seed_ : int
        The seed that `random_state` stood for.

    See Also
    --------
    VGG19Classifier : The same for classes.

    Notes
    -----
    Training is in two phases, head first: a head that starts from random weights
    would change the layers below it before it knows in what direction [1]_. The first
    phase fits the head on features that do not change, to convergence: a ridge
    regression on standardized features, or the dense layers of `head`. The second
    trains it and the layers from `trainable` up, with Adam and with the
    penalty of the first phase on the head's weights.

    Each view of an image goes through the frozen layers once. What comes out is
    stored in float16; epochs, folds and later fits read it.

    A pickle holds the trained layers, the head, and the fingerprint of the weights
    below; where it is loaded, it needs those weights and refuses others.

    References
    ----------
    .. [1] A. Kumar et al., "Fine-tuning can distort pretrained features and
       underperform out-of-distribution", ICLR 2022.

    Examples
    --------
    >>> import numpy as np
    from numpy.typing import ArrayLike
    >>> from skvgg import VGG19Regressor
    >>> rng = np.random.default_rng(0)
    >>> brightness = rng.uniform(0, 255, 40)
    >>> images = np.ones((40, 32, 32, 3)) * brightness[:, None, None, None]
    >>> reg = VGG19Regressor(
    ...     None, layer="block2_pool", trainable="block2", image_size=32, max_iter=2,
    ...     random_state=0,
    ... )
    >>> reg = reg.fit(images.astype(np.uint8), brightness)
    >>> reg.score(images.astype(np.uint8), brightness) > 0.9
    True
    """

    n_outputs_: int

    def predict(self, X: ImagesLike) -> np.ndarray:
        """Return the predicted targets of each image.

        Parameters
        ----------
        X : images
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs), float64
            In the form that y had.
        """
        return self._outputs(X, "predict")

    def _check_targets(self, y: Any) -> np.ndarray:
        y = _check_y(y, multi_output=True, y_numeric=True, estimator=self)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return y

    def _learn_targets(self, y: np.ndarray) -> NumberTargets:
        return NumberTargets(None if y.ndim == 1 else y.shape[1])

    def _get_targets(self) -> NumberTargets:
        return NumberTargets(None if self._y_is_1d else self.n_outputs_)

    def _keep_targets(self, targets: Any) -> None:
        self._y_is_1d = targets.n_outputs is None
        self.n_outputs_ = targets.n_outputs or 1

    def _fit_linear(
        self, X: np.ndarray, Y: np.ndarray, w: np.ndarray, first: int, targets: Any
    ) -> tuple[TFLearnMLPRegressor, list[float]]:
        return fit_linear_regressor(X, Y, w, first, targets, self.seed_)

    def _make_head(self, **params: Any) -> TFLearnMLPRegressor:
        return TFLearnMLPRegressor(**params)

    def _to_labels(self, Y: np.ndarray, targets: Targets) -> np.ndarray:
        return Y[:, 0] if Y.shape[1] == 1 else Y

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

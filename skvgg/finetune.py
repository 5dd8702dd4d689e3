"""Estimators that fine-tune VGG19: a classifier and a regressor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_y

from skvgg._definition.architecture import PoolingLike
from skvgg._definition.vocabulary import (
    Interpolation,
    PreprocessingName,
    Resize,
    TrainingPrecision,
)
from skvgg._finetune.base import BaseVGG19
from skvgg._typing import (
    Augment,
    ClassWeight,
    ImagesLike,
    LayerLike,
    MemoryLike,
    RandomState,
)
from skvgg.mlp import TFLearnMLPClassifier, TFLearnMLPRegressor
from skvgg.weights import WeightsLike

__all__ = ["VGG19Classifier", "VGG19Regressor"]


class VGG19Classifier(ClassifierMixin, BaseVGG19):
    """Classifier that fine-tunes VGG19 on labeled images.

    Training first fits a head on the features of the network, then trains the last
    layers of the network together with the head. With very few images, the first phase
    alone (``trainable=None``) is as good and much faster.

    Parameters
    ----------
    weights : {"imagenet", "hed"}, path, Source or None, default="imagenet"
        The weights of the network, as in :class:`VGG19Features`.
    trainable : str or None, default="block5"
        The first trainable block ("block1" to "block5") or layer (such as
        "block4_conv3" or "fc1"), "all" (same as "block1"), or None to train only the
        head. The layers below are frozen.
    head : array-like of int, default=()
        Number of units of each hidden layer of the head. If empty, the head is a
        logistic regression whose penalty is chosen by cross-validation. Otherwise it is
        a :class:`TFLearnMLPClassifier` with ``activation="relu"`` and
        ``optimizer="adam"``.
    layer : str or sequence of str, default="stages"
        Layers whose concatenated outputs are the input of the head. "stages" stands for
        "block1_pool" to "block5_pool". Layers below `trainable` are frozen.
    pooling : {"avg", "max"}, sequence of these or None, default="avg"
        Global pooling of outputs that have a height and a width: one number per
        channel, or two with ("avg", "max").
    image_size : int or (int, int), default=224
        Side length, or height and width, in pixels to which images are resized.
    resize : {"stretch", "crop", "pad"}, default="stretch"
        How to resize images whose aspect ratio differs, as in :class:`VGG19Features`.
    interpolation : {"nearest", "box", "bilinear", "hamming", "bicubic", \
"lanczos"}, default="bilinear"
        Pillow's resampling filter.
    preprocessing : {"auto", "caffe", "torch", "none"}, default="auto"
        How pixels are normalized, as in :class:`VGG19Features`.
    max_iter : int, default=10
        Number of epochs of the second phase (how many times each image is used).
    learning_rate_init : float, default=1e-4
        Maximum learning rate of Adam for the head and the topmost trained block. The
        learning rate rises to it during the first tenth of the steps and then follows a
        cosine decay to zero.
    layer_decay : float, default=0.75
        Ratio of the learning rate of each block to that of the block above, in (0, 1].
    weight_decay : float, default=0.0
        Decoupled weight decay: each step reduces the trained kernels by this fraction
        times their learning rate.
    dropout : float, default=0.0
        Dropout rate of the head, in [0, 1): for the outputs of its hidden layers in the
        first phase, and for the inputs of all its layers in the second.
    batch_size : int, default=32
        Number of images per step.
    augment : {"flip", "flips", "crop"}, callable or None, default=None
        Additional views of each image to train on. "flip" adds its mirror image;
        "flips" also adds both upside down (four views in total, for images without a
        natural orientation); "crop" adds `n_views` - 1 seeded crops of at least half of
        its area. A callable takes pixels of shape (height, width, 3), uint8, and a
        :class:`numpy.random.Generator`, and returns pixels of the same shape and dtype.
        The views of an image are fixed, so each goes through the frozen layers once.
        A lambda can be pickled with cloudpickle only.
    n_views : int, default=4
        Number of views of each image with "crop" or a callable, including the image
        itself.
    average_views : bool, default=False
        Whether to average predictions over the views of "flip", "flips" or "crop".
    class_weight : dict, "balanced" or None, default=None
        Class weights {label: weight}, 0 or more, by which `sample_weight` is
        multiplied. "balanced" uses weights inversely proportional to the class
        frequencies.
    early_stopping : bool, default=False
        Whether to hold out `validation_fraction` of the images, to stop training when
        the accuracy on them has not improved by `tol` for `n_iter_no_change` epochs,
        and to keep the weights of the best epoch. These may be the weights at the start
        of the second phase.
    validation_fraction : float, default=0.1
        Fraction of the images to hold out, stratified by class. Unused without
        `early_stopping` and without a second phase (``trainable=None``).
    n_iter_no_change : int or inf, default=3
        Number of epochs without improvement after which training stops.
    tol : float, default=1e-4
        Minimum increase of the score that counts as an improvement.
    warm_start : bool, default=False
        Whether `fit` continues from the layers and the head of the last fit. It then
        skips the first phase and resets the optimizer. With ``trainable=None``, it fits
        the head again, on the layers of the last fit.
    memory : str, path-like, :class:`joblib.Memory` or None, default=None
        Where to cache the outputs of the frozen layers and the features of predicted
        images, as in :class:`VGG19Features`, for reuse in other fits, folds and
        sessions. A map of "block4_pool" takes 0.2 MB per image at 224 pixels. None
        keeps maps in a temporary folder during the fit.
    precision : {"float32", "tensorfloat32", "bfloat16"}, default="float32"
        Precision of the layers' computations, as in :class:`VGG19Features`; weights and
        their updates are float32 in any case. On CPUs with AMX, "bfloat16" trains
        several times as fast; on others it means "float32". ("float16" is not available
        because small gradients would underflow to zero.)
    random_state : int, RandomState instance or None, default=None
        Seed of random weights, the views, the order of the images, the validation
        split, and the dropout. With an int, fits on one machine are bit-for-bit
        identical.
    verbose : int, default=0
        1 shows one progress bar for all passes over the images.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, including those whose images all have a weight of zero.
    features_ : VGG19Features
        The network with the trained layers, up to the inputs of the head.
    head_ : TFLearnMLPClassifier
        The head, which takes unscaled features. (`predict` rounds maps as in training,
        so its results differ by rounding from those of `head_` on the features of
        `features_`.)
    history_ : dict of str to list of float
        For each epoch of the second phase, "loss" and "accuracy" on the training
        images, before each step; "val_loss" and "val_accuracy" on the images held out.
    loss_curve_ : list of float
        Same as ``history_["loss"]``.
    best_validation_score_ : float
        Score of the weights that were kept. Only with `early_stopping`.
    best_epoch_ : int
        Number of the epoch whose weights were kept, starting at 1; 0 for the weights
        at the start of the second phase. Only with `early_stopping`.
    n_iter_ : int
        Number of epochs of the second phase.
    seed_ : int
        The seed drawn from `random_state`.

    See Also
    --------
    VGG19Regressor : The corresponding regressor.
    VGG19Features : The features alone, for any scikit-learn estimator.

    Notes
    -----
    Training has two phases. A randomly initialized head would distort the layers below
    it, so the head is trained first [1]_. The first phase fits the head on fixed
    features until convergence: a logistic regression with L-BFGS on standardized
    features, or the dense layers of `head`. The second phase trains the head and the
    layers from `trainable` upwards with Adam, with the penalty of the first phase on
    the head's weights.

    Each view of an image goes through the frozen layers once. The outputs are stored in
    float16 and reused by all epochs, folds and later fits.

    A pickle contains the trained layers, the head, and the fingerprint of the frozen
    weights. Where it is loaded, the same frozen weights must be available; other
    weights are rejected.

    References
    ----------
    .. [1] A. Kumar et al., "Fine-tuning can distort pretrained features and
       underperform out-of-distribution", ICLR 2022.

    Examples
    --------
    >>> import numpy as np
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

    _make_head = TFLearnMLPClassifier

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
            Class labels.
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
        ndarray of shape (n_samples, n_classes), float64
            Probabilities in the order of `classes_`; each row sums to 1.
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
        ndarray of shape (n_samples, n_classes), float64
            Log-probabilities in the order of `classes_`.
        """
        if len(self.averaged_views()) > 1:
            with np.errstate(divide="ignore"):
                return np.log(self.predict_proba(X))
        return self._outputs(X, "predict_log_proba")

    def _check_targets(self, y: Any) -> np.ndarray:
        y = _check_y(column_or_1d(y, warn=True), estimator=self)
        check_classification_targets(y)
        return y


class VGG19Regressor(RegressorMixin, BaseVGG19):
    """Regressor that fine-tunes VGG19 on images with numeric targets.

    Like :class:`VGG19Classifier`, with linear outputs and the mean squared error of
    standardized targets as the loss.

    Parameters
    ----------
    weights : {"imagenet", "hed"}, path, Source or None, default="imagenet"
        The weights of the network, as in :class:`VGG19Features`.
    trainable : str or None, default="block5"
        As in :class:`VGG19Classifier`.
    head : array-like of int, default=()
        Number of units of each hidden layer of the head. If empty, the head is a ridge
        regression whose penalty is chosen by cross-validation. Otherwise it is a
        :class:`TFLearnMLPRegressor` with ``activation="relu"`` and
        ``optimizer="adam"``.
    layer : str or sequence of str, default="stages"
        As in :class:`VGG19Classifier`.
    pooling : {"avg", "max"}, sequence of these or None, default="avg"
        As in :class:`VGG19Classifier`.
    image_size : int or (int, int), default=224
        Side length, or height and width, in pixels to which images are resized.
    resize : {"stretch", "crop", "pad"}, default="stretch"
        How to resize images whose aspect ratio differs, as in :class:`VGG19Features`.
    interpolation : {"nearest", "box", "bilinear", "hamming", "bicubic", \
"lanczos"}, default="bilinear"
        Pillow's resampling filter.
    preprocessing : {"auto", "caffe", "torch", "none"}, default="auto"
        How pixels are normalized, as in :class:`VGG19Features`.
    max_iter : int, default=10
        Number of epochs of the second phase (how many times each image is used).
    learning_rate_init : float, default=1e-4
        As in :class:`VGG19Classifier`.
    layer_decay : float, default=0.75
        Ratio of the learning rate of each block to that of the block above, in (0, 1].
    weight_decay : float, default=0.0
        As in :class:`VGG19Classifier`.
    dropout : float, default=0.0
        As in :class:`VGG19Classifier`.
    batch_size : int, default=32
        Number of images per step.
    augment : {"flip", "flips", "crop"}, callable or None, default=None
        As in :class:`VGG19Classifier`.
    n_views : int, default=4
        As in :class:`VGG19Classifier`.
    average_views : bool, default=False
        Whether to average predictions over the views of "flip", "flips" or "crop".
    early_stopping : bool, default=False
        Whether to hold out `validation_fraction` of the images, to stop training when
        R2 on them has not improved by `tol` for `n_iter_no_change` epochs, and to keep
        the weights of the best epoch. These may be the weights at the start of the
        second phase.
    validation_fraction : float, default=0.1
        Fraction of the images to hold out. Unused without `early_stopping` and without
        a second phase (``trainable=None``).
    n_iter_no_change : int or inf, default=3
        Number of epochs without improvement after which training stops.
    tol : float, default=1e-4
        Minimum increase of the score that counts as an improvement.
    warm_start : bool, default=False
        As in :class:`VGG19Classifier`.
    memory : str, path-like, :class:`joblib.Memory` or None, default=None
        As in :class:`VGG19Classifier`.
    precision : {"float32", "tensorfloat32", "bfloat16"}, default="float32"
        As in :class:`VGG19Classifier`.
    random_state : int, RandomState instance or None, default=None
        Seed of random weights, the views, the order of the images, the validation
        split, and the dropout. With an int, fits on one machine are bit-for-bit
        identical.
    verbose : int, default=0
        1 shows one progress bar for all passes over the images.

    Attributes
    ----------
    n_outputs_ : int
        Number of targets.
    features_ : VGG19Features
        The network with the trained layers, up to the inputs of the head.
    head_ : TFLearnMLPRegressor
        The head, which takes unscaled features. (`predict` rounds maps as in training,
        so its results differ by rounding from those of `head_` on the features of
        `features_`.)
    history_ : dict of str to list of float
        For each epoch of the second phase, "loss" and "r2" on the training images,
        before each step; "val_loss" and "val_r2" on the images held out.
    loss_curve_ : list of float
        Same as ``history_["loss"]``.
    best_validation_score_ : float
        Score of the weights that were kept. Only with `early_stopping`.
    best_epoch_ : int
        Number of the epoch whose weights were kept, starting at 1; 0 for the weights
        at the start of the second phase. Only with `early_stopping`.
    n_iter_ : int
        Number of epochs of the second phase.
    seed_ : int
        The seed drawn from `random_state`.

    See Also
    --------
    VGG19Classifier : The corresponding classifier.

    Notes
    -----
    The training is that of :class:`VGG19Classifier`: the first phase fits a ridge
    regression on standardized features, or the dense layers of `head`; the second phase
    trains the head and the layers from `trainable` upwards. What is stored and what a
    pickle contains are the same, too.

    Examples
    --------
    >>> import numpy as np
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

    _make_head = TFLearnMLPRegressor

    def predict(self, X: ImagesLike) -> np.ndarray:
        """Return the predicted targets of each image.

        Parameters
        ----------
        X : images
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs), float64
            Predictions, with the same number of dimensions as y in `fit`.
        """
        return self._outputs(X, "predict")

    def _check_targets(self, y: Any) -> np.ndarray:
        y = _check_y(y, multi_output=True, y_numeric=True, estimator=self)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return y

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

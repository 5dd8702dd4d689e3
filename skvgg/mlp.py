"""Dense heads for classification and regression: TFLearn trains, NumPy predicts."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import type_of_target

from skvgg._head.base import BaseTFLearnMLP
from skvgg._head.targets import ClassTargets, MultilabelTargets, targets_of
from skvgg._typing import (
    Activation,
    Callbacks,
    ClassWeight,
    MatrixLike,
    RandomState,
    fit_context,
)

__all__ = ["TFLearnMLPClassifier", "TFLearnMLPRegressor"]


class TFLearnMLPClassifier(ClassifierMixin, BaseTFLearnMLP):
    """Multi-layer perceptron classifier trained with TFLearn.

    The defaults are a recipe for VGG19 features: two hidden tanh layers with L2 penalty
    and dropout, softmax, cross-entropy, gradient descent. They also work for other
    features of any scale, because each feature is standardized.

    The learned weights are plain NumPy arrays, so a fitted classifier predicts without
    TensorFlow and its pickle contains only arrays.

    Parameters
    ----------
    hidden_layer_sizes : array-like of int, default=(4096, 512)
        Number of units of each hidden layer. If empty, the model is a softmax
        regression.
    activation : {"identity", "logistic", "tanh", "relu"}, default="tanh"
        Activation of the hidden layers.
    standardize : bool, default=True
        Whether to standardize the features: subtract the mean of each and divide by its
        standard deviation, both weighted and over the training samples; then multiply
        all of them by one number, at most 12, that gives the rows a root mean square
        length of 64, that of 4096 standardized features, for which the recipe was made.
        (With fewer than 29 features, rows are shorter.) Sparse X is not centered.
        Constant features get weights of zero. `predict` does the same in float64, so
        features may be far from zero, and `coefs_` apply to standardized features.
        `warm_start` and `partial_fit` keep the means and standard deviations of the
        first call, so its samples should be typical. False leaves features unchanged. A
        head without hidden layers gets standardized features that are not multiplied
        further.
    weight_decay : float, default=0.001
        Strength w of the L2 penalty: w / 2 * sum(W ** 2) is added to the loss for the
        weights W of each hidden layer, without intercepts.
        (:class:`~sklearn.neural_network.MLPClassifier` divides its `alpha` by the batch
        size; this class does not.)
    dropout : float, default=0.2
        Fraction of the outputs of each hidden layer that is randomly set to zero in
        training, in [0, 1).
    optimizer : str or tflearn.optimizers.Optimizer, default="sgd"
        "sgd", "momentum", "nesterov", "adam", "rmsprop", "adagrad", "adadelta", "ftrl"
        or "proximaladagrad": TFLearn's optimizer with its default parameters. Or an
        optimizer object of TFLearn (see :func:`skvgg.import_tflearn`), which has its
        own learning rate and decay.
    learning_rate_init : float or "auto", default="auto"
        Learning rate of the first step. "auto" is 0.1 for "sgd", as in the
        recipe, 0.01 for "momentum" and "nesterov", 0.001 for "adam" and
        "rmsprop", 0.01 for "adagrad" and "proximaladagrad", 1.0 for "adadelta"
        and 0.1 for "ftrl".
    decay_rate : float, default=0.96
        The learning rate of step i is
        ``learning_rate_init * decay_rate ** (i / decay_steps)``.
    decay_steps : int, default=1000
        Number of steps in which the learning rate is multiplied by `decay_rate`.
    cooldown_fraction : float or "auto", default="auto"
        Fraction of the steps of `max_iter` epochs, in [0, 1], at the end of training in
        which the learning rate also falls linearly to zero. "auto" is 0.5; it is 0 with
        ``standardize=False``, as in the original recipe, and with `warm_start`, because
        the length of the training is then unknown. Has no effect in `partial_fit` or on
        optimizer objects.
    max_iter : int, default=20
        Number of epochs (how many times each training sample is used).
    batch_size : int, default=64
        Number of samples per step.
    validation_fraction : float or "auto", default="auto"
        Fraction of the samples, in [0, 1), to hold out from training and to report in
        `history_`. The split is stratified by class; a class with a single sample is
        used for training. "auto" is 0.1 with `early_stopping` and 0 without.
    metric : str, default="accuracy"
        The metric in `history_` (besides the loss) that `early_stopping` monitors:
        "accuracy", or "top_<k>_accuracy" (such as "top_3_accuracy"), the fraction of
        samples whose class is among the k most probable. `score` always returns the
        accuracy. Multilabel targets support only "accuracy".
    class_weight : dict, "balanced" or None, default=None
        Class weights {label: weight}, 0 or more, by which `sample_weight` is
        multiplied. "balanced" uses weights inversely proportional to the class
        frequencies. Not supported for multilabel targets.
    early_stopping : bool, default=False
        Whether to stop training when the validation score has not improved by `tol` for
        `n_iter_no_change` epochs, and to keep the weights of the best epoch.
    n_iter_no_change : int or inf, default=10
        Number of epochs without improvement after which training stops.
    tol : float, default=1e-4
        Minimum increase of the score that counts as an improvement.
    warm_start : bool, default=False
        Whether `fit` continues from the end of the last fit: from its weights, its step
        (and so its learning rate) and its optimizer state. (The state takes as much
        memory as the weights, or twice as much with "adam", also in pickles. It is kept
        only if `warm_start` was set at the end of the last fit.)
    callbacks : callable, list of callable or None, default=None
        Called after each epoch with the epoch number, starting at 1, and a dict of the
        values of `history_` for that epoch. Training stops if one returns a true value.
        In `partial_fit`, the number counts the epochs of all calls. A lambda can
        be pickled with cloudpickle only.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights, the dropout, the validation split and the order of
        the samples. With an int, fits on one machine are bit-for-bit identical. None
        draws a seed from the operating system.
    verbose : int, default=0
        1 shows a progress bar for the epochs.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, including those whose samples all have a weight of zero. For
        multilabel targets, the `classes` of `partial_fit`, or the indices of the
        labels.
    multilabel_ : bool
        Whether the targets were multilabel.
    coefs_ : list of ndarray, float32
        Weights of each layer, of shape (inputs, outputs). Those of the first layer
        apply to ``(X - feature_mean_) / feature_scale_``.
    intercepts_ : list of ndarray, float32
        Intercepts of each layer, of shape (outputs,).
    feature_mean_ : ndarray of shape (`n_features_in_`,) or None
        Mean subtracted from each feature. None if ``standardize=False``.
    feature_scale_ : ndarray of shape (`n_features_in_`,) or float
        Scale by which each feature was divided; infinite for constant features. 1.0 if
        ``standardize=False``.
    learning_rate_init_ : float
        Learning rate of the first step.
    history_ : dict of str to list of float
        For each epoch, "loss" and "accuracy" (or another `metric`) on the training
        samples, with dropout, before each step. If there are validation samples, also
        "val_loss" and "val_accuracy" on them after the epoch. Losses are mean
        cross-entropies in nats, without the L2 penalty.
    loss_curve_ : list of float
        Same as ``history_["loss"]``.
    best_validation_score_ : float
        Validation score of the epoch whose weights were kept. Only with
        `early_stopping`.
    best_epoch_ : int
        Number of this epoch in `history_`, starting at 1. Only with `early_stopping`.
    n_iter_ : int
        Number of epochs of the last `fit`, or of all `partial_fit` calls.
    n_steps_ : int
        Number of steps since the weights were initialized.
    seed_ : int
        The seed drawn from `random_state`.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features seen in `fit`, if all are strings.

    See Also
    --------
    VGG19Features : The features that this head is made for.
    TFLearnMLPRegressor : The corresponding regressor.
    sklearn.neural_network.MLPClassifier : scikit-learn's equivalent.

    Notes
    -----
    For multilabel targets (an indicator matrix) the outputs are independent
    sigmoids, trained with binary cross-entropy.

    As TFLearn does by default, gradients are clipped to a global norm of 5, and weights
    are initialized from a truncated normal distribution with standard deviation 0.02.

    `fit` emits a :class:`~sklearn.exceptions.ConvergenceWarning` if the loss on the
    training samples is not at least 0.1 % below that of always predicting the class
    frequencies, or if it is less than 10 % below and the accuracy does not exceed that
    of always predicting the most frequent class.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvgg import TFLearnMLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = TFLearnMLPClassifier((32,), dropout=0, max_iter=60, random_state=0)
    >>> clf.fit(X, y).score(X, y) > 0.9
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseTFLearnMLP._parameter_constraints,
        "metric": [str],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        hidden_layer_sizes: ArrayLike = (4096, 512),
        activation: Activation = "tanh",
        *,
        standardize: bool = True,
        weight_decay: float = 0.001,
        dropout: float = 0.2,
        optimizer: Any = "sgd",
        learning_rate_init: float | Literal["auto"] = "auto",
        decay_rate: float = 0.96,
        decay_steps: int = 1000,
        cooldown_fraction: float | Literal["auto"] = "auto",
        max_iter: int = 20,
        batch_size: int = 64,
        validation_fraction: float | Literal["auto"] = "auto",
        metric: str = "accuracy",
        class_weight: ClassWeight = None,
        early_stopping: bool = False,
        n_iter_no_change: float = 10,
        tol: float = 1e-4,
        warm_start: bool = False,
        callbacks: Callbacks = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            standardize=standardize,
            weight_decay=weight_decay,
            dropout=dropout,
            optimizer=optimizer,
            learning_rate_init=learning_rate_init,
            decay_rate=decay_rate,
            decay_steps=decay_steps,
            cooldown_fraction=cooldown_fraction,
            max_iter=max_iter,
            batch_size=batch_size,
            validation_fraction=validation_fraction,
            early_stopping=early_stopping,
            n_iter_no_change=n_iter_no_change,
            tol=tol,
            warm_start=warm_start,
            callbacks=callbacks,
            random_state=random_state,
            verbose=verbose,
        )
        self.metric = metric
        self.class_weight = class_weight

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: MatrixLike,
        y: MatrixLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train for one epoch on the given samples, continuing from the last call.

        There is no validation split and no early stopping. The optimizer state is kept
        between calls and in pickles.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Class labels, or an indicator matrix.
        classes : array-like of shape (n_classes,), default=None
            All classes that can occur in any call; for multilabel targets, the label
            of each column. Required in the first call, unless the targets are
            multilabel, whose labels are then 0, 1, ...
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative sample weights. Unlike in `fit`, they are not divided by their
            mean, so that weights are comparable between calls. Their mean should be
            about 1.

        Returns
        -------
        TFLearnMLPClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If `classes` is missing or changes, if y has a class that is not in
            `classes`, or for the same reasons as in `fit`.
        """
        continues = hasattr(self, "coefs_")
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' is not supported by partial_fit, which does "
                "not see all samples. Pass the weights as a dict {label: weight}."
            )
        targets = targets_of(self) if continues else None
        is_multilabel = (
            isinstance(targets, MultilabelTargets)
            if continues
            else type_of_target(y).startswith("multilabel")
        )
        if classes is not None:
            given = _check_classes(classes, is_multilabel)
            if targets is None:
                kind = MultilabelTargets if is_multilabel else ClassTargets
                targets = kind(given, self.metric)
            elif not np.array_equal(given, targets.classes):
                raise ValueError(
                    f"classes={given.tolist()} is not the same as on the "
                    f"last call to partial_fit: {targets.classes.tolist()}."
                )
        elif not continues and not is_multilabel:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        return self._partial_fit(X, y, sample_weight, targets)

    def predict_proba(self, X: MatrixLike) -> np.ndarray:
        """Return the probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
            Probabilities in the order of `classes_`. Rows sum to 1, except for
            multilabel targets, where each label has its own probability.
        """
        return self._outputs(X)

    def predict_log_proba(self, X: MatrixLike) -> np.ndarray:
        """Return the logarithm of the probability of each class.

        It is computed directly, so it is finite even where the probability would round
        to zero.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
            Log-probabilities in the order of `classes_`.
        """
        return self._outputs(X, log=True)

    def predict(self, X: MatrixLike) -> np.ndarray:
        """Return the most probable class of each sample.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            Class labels, or an indicator matrix.
        """
        return self._decode(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _check_classes(classes: ArrayLike, is_multilabel: bool) -> np.ndarray:
    """Return the classes sorted, or the labels of columns in their order."""
    unique = np.unique(classes)
    if not is_multilabel:
        return unique
    labels = np.asarray(classes)
    if labels.shape != unique.shape:
        raise ValueError(
            f"classes={labels.tolist()}; expected the label of each column of y, all "
            "different."
        )
    return labels


class TFLearnMLPRegressor(RegressorMixin, BaseTFLearnMLP):
    """Multi-layer perceptron regressor trained with TFLearn.

    The network of :class:`TFLearnMLPClassifier` with linear outputs and mean squared
    error as the loss. Supports one or several targets.

    Parameters
    ----------
    hidden_layer_sizes : array-like of int, default=(4096, 512)
        Number of units of each hidden layer. If empty, the model is a linear
        regression.
    activation : {"identity", "logistic", "tanh", "relu"}, default="tanh"
        Activation of the hidden layers.
    standardize : bool, default=True
        Whether to standardize the features as :class:`TFLearnMLPClassifier` does, and
        each target by its mean and standard deviation. `predict` does the same in
        float64, so features and targets may be far from zero. `coefs_` apply to
        standardized features and targets.
    weight_decay : float, default=0.001
        As in :class:`TFLearnMLPClassifier`.
    dropout : float, default=0.2
        As in :class:`TFLearnMLPClassifier`.
    optimizer : str or tflearn.optimizers.Optimizer, default="sgd"
        As in :class:`TFLearnMLPClassifier`.
    learning_rate_init : float or "auto", default="auto"
        Learning rate of the first step. "auto" is 0.01 for "sgd", 0.001 for
        "momentum" and "nesterov", and as in :class:`TFLearnMLPClassifier` for the
        others. (Gradients of the squared error grow with the error, so the classifier's
        rates are too large.)
    decay_rate : float, default=0.96
        Factor by which the learning rate is multiplied in `decay_steps`.
    decay_steps : int, default=1000
        Number of steps in which the learning rate is multiplied by `decay_rate`.
    cooldown_fraction : float or "auto", default="auto"
        As in :class:`TFLearnMLPClassifier`.
    max_iter : int, default=20
        Number of epochs (how many times each training sample is used).
    batch_size : int, default=64
        Number of samples per step.
    validation_fraction : float or "auto", default="auto"
        Fraction of the samples, in [0, 1), to hold out from training. "auto"
        is 0.1 with `early_stopping` and 0 without.
    early_stopping : bool, default=False
        Whether to stop training when R2 on the validation samples has not improved by
        `tol` for `n_iter_no_change` epochs, and to keep the weights of the best epoch.
        Needs at least two validation samples with different targets.
    n_iter_no_change : int or inf, default=10
        Number of epochs without improvement after which training stops.
    tol : float, default=1e-4
        Minimum increase of the score that counts as an improvement.
    warm_start : bool, default=False
        Whether `fit` continues from the end of the last fit.
    callbacks : callable, list of callable or None, default=None
        As in :class:`TFLearnMLPClassifier`.
    random_state : int, RandomState instance or None, default=None
        Seed of all random numbers. None draws a seed from the operating system.
    verbose : int, default=0
        1 shows a progress bar for the epochs.

    Attributes
    ----------
    coefs_ : list of ndarray, float32
        Weights of each layer, of shape (inputs, outputs). Those of the first layer
        apply to ``(X - feature_mean_) / feature_scale_``.
    intercepts_ : list of ndarray, float32
        Intercepts of each layer, of shape (outputs,). The network returns
        ``(y - target_mean_) / target_scale_``.
    feature_mean_, feature_scale_ : ndarray of shape (`n_features_in_`,)
        Mean subtracted from each feature, and scale by which it was divided. None and
        1.0 if ``standardize=False``.
    target_mean_, target_scale_ : ndarray of shape (`n_outputs_`,)
        The same for the targets.
    learning_rate_init_ : float
        Learning rate of the first step.
    history_ : dict of str to list of float
        For each epoch, "loss", the mean squared error in the units of y, and "r2" on
        the training samples; "val_loss" and "val_r2" on the validation samples.
    loss_curve_ : list of float
        Same as ``history_["loss"]``.
    best_validation_score_ : float
        R2 of the epoch whose weights were kept. Only with `early_stopping`.
    best_epoch_ : int
        Number of this epoch in `history_`, starting at 1. Only with `early_stopping`.
    n_iter_ : int
        Number of epochs of the last `fit`, or of all `partial_fit` calls.
    n_steps_ : int
        Number of steps since the weights were initialized.
    seed_ : int
        The seed drawn from `random_state`.
    n_outputs_ : int
        Number of targets.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features seen in `fit`, if all are strings.

    See Also
    --------
    TFLearnMLPClassifier : The corresponding classifier.
    sklearn.neural_network.MLPRegressor : scikit-learn's equivalent.

    Notes
    -----
    `fit` emits a :class:`~sklearn.exceptions.ConvergenceWarning` if the loss on the
    training samples is not at least 0.1 % below that of always predicting the mean.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skvgg import TFLearnMLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = TFLearnMLPRegressor(random_state=0).fit(X[:300], y[:300])
    >>> reg.score(X[300:], y[300:]) > 0.4
    True
    """

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train for one epoch on the given samples, continuing from the last call.

        There is no validation split and no early stopping. The optimizer state is kept
        between calls and in pickles.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative sample weights. Unlike in `fit`, they are not divided by their
            mean, so that weights are comparable between calls. Their mean should be
            about 1.

        Returns
        -------
        TFLearnMLPRegressor
            The fitted regressor.
        """
        targets = targets_of(self) if hasattr(self, "coefs_") else None
        return self._partial_fit(X, y, sample_weight, targets)

    def predict(self, X: MatrixLike) -> np.ndarray:
        """Return the predicted targets of each sample.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs), float64
            Predictions, with the same number of dimensions as y in `fit`.
        """
        return self._decode(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

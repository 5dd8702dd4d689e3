"""A dense head that TFLearn trains and NumPy runs, for classes and for numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from numbers import Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import compute_sample_weight
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from skvgg._head.base import BaseTFLearnMLP
from skvgg._head.standardization import Scaling, Standardization
from skvgg._head.targets import ClassTargets, MultilabelTargets, NumberTargets
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

    The defaults are a recipe for the features of VGG19: two hidden tanh layers
    with L2 penalty and dropout, softmax, cross-entropy, gradient descent. They
    learn on other features as well, of any scale: each is standardized.

    What was learned is kept as plain NumPy arrays, so a fitted classifier
    predicts without TensorFlow and its pickle holds nothing but arrays.

    Parameters
    ----------
    hidden_layer_sizes : array-like of int, default=(4096, 512)
        Units of each hidden layer. An empty one makes a softmax regression.
    activation : {"identity", "logistic", "tanh", "relu"}, default="tanh"
        Activation of the hidden layers.
    standardize : bool, default=True
        Subtract the mean of each feature and divide by its standard deviation,
        both over the samples trained on, with their weights; then multiply all
        by one number that brings the rows to a length of 64 (root mean square),
        that of 4096 standardized features, for which the recipe was made. Sparse
        X is not centred.
        Features that do not vary get weights of zero. When the training ends,
        this is folded into the first layer, so `coefs_` take features as they
        come. With `warm_start` and `partial_fit`, the means and deviations of
        the first call are kept: its samples should be typical. False leaves
        features as they are. A head without hidden layers is given standardized
        features, whatever the length of the rows.
    weight_decay : float, default=0.001
        Strength w of the L2 penalty: w / 2 * sum(W ** 2) is added to the loss
        for each hidden layer's weights W, without its intercepts. (The `alpha`
        of :class:`~sklearn.neural_network.MLPClassifier` is divided by the size
        of the batch; this one is not.)
    dropout : float, default=0.2
        Share of each hidden layer's outputs that is set to zero at random in
        training, in [0, 1).
    optimizer : str or tflearn.optimizers.Optimizer, default="sgd"
        "sgd", "momentum", "nesterov", "adam", "rmsprop", "adagrad", "adadelta",
        "ftrl" or "proximaladagrad", TFLearn's with its default parameters; or one of
        TFLearn's optimizers (see :func:`skvgg.import_tflearn`), which brings a
        learning rate and decay of its own.
    learning_rate_init : float or "auto", default="auto"
        Learning rate of the first step. "auto" is 0.1 for "sgd", as in the
        recipe, 0.01 for "momentum" and "nesterov", 0.001 for "adam" and
        "rmsprop", 0.01 for "adagrad" and "proximaladagrad", 1.0 for "adadelta"
        and 0.1 for "ftrl".
    decay_rate : float, default=0.96
        The rate of step i is
        ``learning_rate_init * decay_rate ** (i / decay_steps)``.
    decay_steps : int, default=1000
        Steps in which the learning rate falls by `decay_rate`.
    cooldown_fraction : float or "auto", default="auto"
        Share of the steps of `max_iter` epochs, in [0, 1], at the end, in which the
        learning rate also falls to zero, linearly. "auto" is 0.5, and 0 with
        ``standardize=False``, which is exactly the recipe, and with `warm_start`,
        as it is not known then how long the training goes on. Has no effect in
        `partial_fit`, nor on an optimizer that is not given by name.
    max_iter : int, default=20
        Epochs: how often each training row is used.
    batch_size : int, default=64
        Samples a step.
    validation_fraction : float or "auto", default="auto"
        Share of the rows, in [0, 1), that is not trained on but watched in
        `history_`. It is drawn within each class in proportion; a class with a
        single row is trained on. "auto" is 0.1 with `early_stopping` and 0
        without.
    metric : str, default="accuracy"
        What `history_` has beside the loss and what `early_stopping` goes by:
        "accuracy", or "top_<k>_accuracy" ("top_3_accuracy"), the share of rows
        whose class is among the k most probable. `score` is the accuracy always.
        Multilabel targets have "accuracy" only.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, {label: weight}, 0 or more, by which
        `sample_weight` is multiplied. "balanced" makes them inversely
        proportional to the classes' frequencies. Not for multilabel targets.
    early_stopping : bool, default=False
        Stop when the validation score has not grown by `tol` in
        `n_iter_no_change` epochs, and keep the weights of the best epoch.
    n_iter_no_change : int or inf, default=10
        Epochs without an improvement that end the training.
    tol : float, default=1e-4
        What an improvement is at least.
    warm_start : bool, default=False
        Whether `fit` goes on from where the last fit ended: its weights, its
        step, so its learning rate, and what the optimizer remembers. (That
        takes as much memory as the weights, or twice as much with "adam", in
        pickles too. It is kept if `warm_start` was set when the last fit ended.)
    callbacks : callable, list of callable or None, default=None
        Called after each epoch with the number of the epoch, from 1, and a dict of
        its figures, those of `history_`. A true result ends the training. In
        `partial_fit` the epochs of all calls are counted. Lambdas and local
        functions are pickled by value.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights, the dropout, the validation rows and the
        order of the rows. With an int, fits are identical to the last bit on
        one machine. None draws a seed from the operating system.
    verbose : int, default=0
        1 shows one progress bar over the epochs.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels; for multilabel targets the indices of the labels.
    multilabel_ : bool
        Whether the targets were multilabel.
    coefs_ : list of ndarray, float32
        Weights of each layer, of shape (inputs, outputs).
    intercepts_ : list of ndarray, float32
        Intercepts of each layer, of shape (outputs,).
    feature_mean_ : ndarray of shape (`n_features_in_`,) or None
        What was subtracted from each feature; None if ``standardize=False``.
    feature_scale_ : ndarray of shape (`n_features_in_`,) or float
        What each feature was divided by then, infinite for those that do not
        vary; 1.0 if ``standardize=False``.
    learning_rate_init_ : float
        Learning rate of the first step.
    history_ : dict of str to list of float
        For each epoch "loss" and "accuracy" (or the other `metric`) on the rows
        trained on, with dropout, before each step; and "val_loss" and
        "val_accuracy" on the validation rows, if there are any, after the epoch.
        Losses are mean cross-entropies in nats, without the L2 penalty.
    loss_curve_ : list of float
        The same as ``history_["loss"]``.
    best_validation_score_ : float
        Score of the epoch whose weights were kept; only with `early_stopping`.
    n_iter_ : int
        Epochs trained in the last `fit`; all of them with `partial_fit`.
    n_steps_ : int
        Steps taken since the weights were drawn.
    seed_ : int
        The seed that `random_state` stood for.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features seen in `fit`, if they were all strings.

    See Also
    --------
    VGG19Features : The features that it was made for.
    TFLearnMLPRegressor : The same for numbers.
    sklearn.neural_network.MLPClassifier : scikit-learn's own.

    Notes
    -----
    For multilabel targets (an indicator matrix) the outputs are independent
    sigmoids, trained with binary cross-entropy.

    Gradients are clipped to a global norm of 5 and weights start from a
    truncated normal distribution of deviation 0.02, TFLearn's defaults.

    After `fit`, a :class:`~sklearn.exceptions.ConvergenceWarning` says if the loss
    on the samples trained on is not 0.1 % below that of always predicting the
    frequencies of the classes, or not 10 % below while the labels are not right
    more often than the most frequent one.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvgg import TFLearnMLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = TFLearnMLPClassifier((32,), dropout=0, max_iter=60, random_state=0)
    >>> clf.fit(X, y).score(X, y) > 0.9
    True
    """

    #: The recipe's for plain gradient descent; a tenth of it with a momentum of 0.9,
    #: whose steps add up to ten times their size; for the others what their authors,
    #: or those who implemented them, recommend.
    _learning_rates: ClassVar[dict[str, float]] = {
        "sgd": 0.1,
        "momentum": 0.01,
        "nesterov": 0.01,
        "adam": 0.001,
        "rmsprop": 0.001,
        "adagrad": 0.01,
        "adadelta": 1.0,
        "ftrl": 0.1,
        "proximaladagrad": 0.01,
    }

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
        """Train one epoch on these rows, going on from the last call.

        Nothing is held out, nothing stops early. What the optimizer remembers is
        kept from call to call, and in pickles.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Class labels, or indicators of labels.
        classes : array-like of shape (n_classes,), default=None
            All classes that any call will have; for multilabel targets one for each
            column. Needed in the first call, unless the targets are multilabel.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, not negative. Other than in `fit`, they are not
            divided by their mean, so that the weights of several calls compare:
            give them a mean of about 1.

        Returns
        -------
        TFLearnMLPClassifier
            The classifier itself.

        Raises
        ------
        ValueError
            If `classes` is missing or changes, y has a class that is not among
            them, or for any of the reasons that `fit` has.
        """
        continues = hasattr(self, "coefs_")
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' is not supported by partial_fit, which does "
                "not see all rows. Pass the weights as a dict {label: weight}."
            )
        targets: Any = None
        is_multilabel = type_of_target(y).startswith("multilabel")
        if classes is not None:
            classes = np.unique(classes)
            if continues and not np.array_equal(classes, self.classes_):
                raise ValueError(
                    f"classes={classes.tolist()} is not the same as on the "
                    f"last call to partial_fit: {self.classes_.tolist()}."
                )
            if not continues and is_multilabel:
                targets = MultilabelTargets(len(classes), self.metric)
            elif not continues:
                targets = ClassTargets(classes, self.metric)
        elif not continues and not is_multilabel:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        return self._fit(
            X, y, sample_weight, targets=targets, continues=continues, one_epoch=True
        )

    def predict_proba(self, X: MatrixLike) -> np.ndarray:
        """Return the probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float32
            In the order of `classes_`. Each row sums to 1, unless the targets
            are multilabel: then each label has its own probability.
        """
        return self._outputs(X)

    def predict_log_proba(self, X: MatrixLike) -> np.ndarray:
        """Return the logarithm of the probability of each class.

        It is computed without the probability itself, so it is finite where that
        would be rounded to zero.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float32
            In the order of `classes_`.
        """
        return self._outputs(X, log=True)

    def predict(self, X: MatrixLike) -> np.ndarray:
        """Return the most probable class of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            Labels out of `classes_`, or indicators of the labels.
        """
        return self._decode(X)

    def _learn_targets(self, y: np.ndarray) -> ClassTargets | MultilabelTargets:
        check_classification_targets(y)
        if y.ndim == 2:
            if type_of_target(y) != "multilabel-indicator":
                raise ValueError(
                    f"y has shape {y.shape} and more than zeros and ones; expected one "
                    "label a row, or an indicator matrix of labels."
                )
            return MultilabelTargets(y.shape[1], self.metric)
        return ClassTargets(np.unique(y), self.metric)

    def _get_targets(self) -> ClassTargets | MultilabelTargets:
        if self.multilabel_:
            return MultilabelTargets(len(self.classes_), self.metric)
        return ClassTargets(self.classes_, self.metric)

    def _set_targets(self, targets: Any) -> None:
        self.multilabel_ = isinstance(targets, MultilabelTargets)
        self.classes_ = (
            np.arange(targets.n_labels) if self.multilabel_ else targets.classes
        )

    def _class_weights(self, y: np.ndarray) -> np.ndarray | float:
        if self.class_weight is None:
            return 1.0
        if y.ndim == 2:
            raise ValueError("class_weight is not for multilabel targets; use None.")
        if isinstance(self.class_weight, dict):
            check_class_weight(self.class_weight)
        return compute_sample_weight(self.class_weight, y)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def check_class_weight(class_weight: Mapping[Any, float]) -> None:
    """Raise a ValueError if a weight is no finite number, 0 or more."""
    for label, weight in class_weight.items():
        if not isinstance(weight, Real) or not 0 <= float(weight) < np.inf:
            raise ValueError(
                f"class_weight[{label!r}] is {weight!r}; expected a finite number, 0 "
                "or more."
            )


class TFLearnMLPRegressor(RegressorMixin, BaseTFLearnMLP):
    """Multi-layer perceptron regressor trained with TFLearn.

    The network of :class:`TFLearnMLPClassifier` with linear outputs and the mean
    square as its loss, for one or several targets.

    Parameters
    ----------
    hidden_layer_sizes : array-like of int, default=(4096, 512)
        Units of each hidden layer. An empty one makes a linear regression.
    activation : {"identity", "logistic", "tanh", "relu"}, default="tanh"
        Activation of the hidden layers.
    standardize : bool, default=True
        Standardize the features as :class:`TFLearnMLPClassifier` does, and each
        target by its mean and standard deviation. This is folded into the first
        and the last layer when the training ends, so `coefs_` take features and
        give targets in their own units.
    weight_decay : float, default=0.001
        Strength w of the L2 penalty w / 2 * sum(W ** 2) on each hidden layer's
        weights W.
    dropout : float, default=0.2
        Share of each hidden layer's outputs set to zero in training, in [0, 1).
    optimizer : str or tflearn.optimizers.Optimizer, default="sgd"
        As in :class:`TFLearnMLPClassifier`.
    learning_rate_init : float or "auto", default="auto"
        Learning rate of the first step. "auto" is 0.01 for "sgd", 0.001 for
        "momentum" and "nesterov", and as in :class:`TFLearnMLPClassifier` for the
        others. (Gradients of the mean square grow with the error, so the
        classifier's rates are too large.)
    decay_rate : float, default=0.96
        What the learning rate falls by in `decay_steps`.
    decay_steps : int, default=1000
        Steps in which the learning rate falls by `decay_rate`.
    cooldown_fraction : float or "auto", default="auto"
        As in :class:`TFLearnMLPClassifier`.
    max_iter : int, default=20
        Epochs: how often each training row is used.
    batch_size : int, default=64
        Samples a step.
    validation_fraction : float or "auto", default="auto"
        Share of the rows, in [0, 1), that is not trained on but watched. "auto"
        is 0.1 with `early_stopping` and 0 without.
    early_stopping : bool, default=False
        Stop when R2 on the validation rows has not grown by `tol` in
        `n_iter_no_change` epochs, and keep the weights of the best epoch. Needs at
        least two validation rows on which the targets vary.
    n_iter_no_change : int or inf, default=10
        Epochs without an improvement that end the training.
    tol : float, default=1e-4
        What an improvement is at least.
    warm_start : bool, default=False
        Whether `fit` goes on from where the last fit ended.
    callbacks : callable, list of callable or None, default=None
        As in :class:`TFLearnMLPClassifier`.
    random_state : int, RandomState instance or None, default=None
        Seed of all that is random. None draws it from the operating system.
    verbose : int, default=0
        1 shows one progress bar over the epochs.

    Attributes
    ----------
    coefs_ : list of ndarray, float32
        Weights of each layer, of shape (inputs, outputs).
    intercepts_ : list of ndarray, float32
        Intercepts of each layer, of shape (outputs,). The last ones are float64
        with ``standardize=True``, as targets may lie far from zero.
    feature_mean_, feature_scale_ : ndarray of shape (`n_features_in_`,)
        What was subtracted from each feature, and what it was divided by; None
        and 1.0 if ``standardize=False``.
    target_mean_, target_scale_ : ndarray of shape (`n_outputs_`,)
        The same of the targets.
    learning_rate_init_ : float
        Learning rate of the first step.
    history_ : dict of str to list of float
        For each epoch "loss", the mean square in the units of y, and "r2", on the
        rows trained on; "val_loss" and "val_r2" on the validation rows.
    loss_curve_ : list of float
        The same as ``history_["loss"]``.
    best_validation_score_ : float
        R2 of the epoch whose weights were kept; only with `early_stopping`.
    n_iter_ : int
        Epochs trained in the last `fit`; all of them with `partial_fit`.
    n_steps_ : int
        Steps taken since the weights were drawn.
    seed_ : int
        The seed that `random_state` stood for.
    n_outputs_ : int
        Number of targets.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features seen in `fit`, if they were all strings.

    See Also
    --------
    TFLearnMLPClassifier : The same for classes.
    sklearn.neural_network.MLPRegressor : scikit-learn's own.

    Notes
    -----
    After `fit`, a :class:`~sklearn.exceptions.ConvergenceWarning` says if the loss
    on the samples trained on is not 0.1 % below that of always predicting the mean.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skvgg import TFLearnMLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = TFLearnMLPRegressor(random_state=0).fit(X[:300], y[:300])
    >>> reg.score(X[300:], y[300:]) > 0.4
    True
    """

    #: As for classes, but for the optimizers whose steps are as large as the gradient:
    #: that of the mean square grows with the error, and at the recipe's rate, which is
    #: one for classes, the training diverges.
    _learning_rates: ClassVar[dict[str, float]] = {
        **TFLearnMLPClassifier._learning_rates,
        "sgd": 0.01,
        "momentum": 0.001,
        "nesterov": 0.001,
    }

    target_mean_: np.ndarray | None
    target_scale_: Any

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train one epoch on these rows, going on from the last call.

        Nothing is held out, nothing stops early. What the optimizer remembers is
        kept from call to call, and in pickles.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, not negative. Other than in `fit`, they are not
            divided by their mean, so that the weights of several calls compare:
            give them a mean of about 1.

        Returns
        -------
        TFLearnMLPRegressor
            The regressor itself.
        """
        continues = hasattr(self, "coefs_")
        return self._fit(X, y, sample_weight, continues=continues, one_epoch=True)

    def predict(self, X: MatrixLike) -> np.ndarray:
        """Return the predicted targets of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs), float64
            In the form that y had.
        """
        return self._decode(X)

    def _learn_targets(self, y: np.ndarray) -> NumberTargets:
        return NumberTargets(None if y.ndim == 1 else y.shape[1])

    def _get_targets(self) -> NumberTargets:
        return NumberTargets(None if self._y_is_1d else self.n_outputs_)

    def _set_targets(self, targets: Any) -> None:
        self._y_is_1d = targets.n_outputs is None
        self.n_outputs_ = targets.n_outputs or 1

    def _learn_scaling(self, rows: Any, may_grow: bool) -> Scaling:
        scaling = super()._learn_scaling(rows, may_grow)
        if not self.standardize:
            return scaling
        outputs = Standardization.of(rows.Y, rows.w).with_constants()
        return replace(scaling, outputs=outputs)

    def _keep_scaling(self, scaling: Scaling) -> None:
        super()._keep_scaling(scaling)
        outputs = scaling.outputs
        self.target_mean_ = None if outputs is None else outputs.mean
        self.target_scale_ = 1.0 if outputs is None else outputs.scale

    def _get_scaling(self) -> Scaling:
        scaling = super()._get_scaling()
        if self.target_mean_ is None:
            return scaling
        outputs = Standardization(self.target_mean_, self.target_scale_)
        return replace(scaling, outputs=outputs)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

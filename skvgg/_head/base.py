"""Base class of the TFLearn classifier and regressor."""

from __future__ import annotations

from abc import ABCMeta
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from skvgg._head.checks import check_validation, check_weights, class_weights
from skvgg._head.fitted import all_or_nothing
from skvgg._head.fitting import fit_head, weighted
from skvgg._head.forward import HIDDEN_ACTIVATIONS, DenseLayers
from skvgg._head.optimizers import LEARNING_RATES, pack_optimizer, unpack_optimizer
from skvgg._head.targets import Targets, learn_targets, targets_of
from skvgg._head.training import History, Samples
from skvgg._typing import (
    Activation,
    Callbacks,
    MatrixLike,
    RandomState,
    fit_context,
)


class BaseTFLearnMLP(BaseEstimator, metaclass=ABCMeta):
    """A dense network that is trained with TFLearn and predicts with NumPy.

    Subclasses define `partial_fit`, and what they return as predictions.
    """

    coefs_: list[np.ndarray]
    intercepts_: list[np.ndarray]
    n_features_in_: int
    history_: History
    n_iter_: int
    n_steps_: int

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "hidden_layer_sizes": [
            "array-like",
            Interval(Integral, 1, None, closed="left"),
        ],
        "activation": [StrOptions(set(HIDDEN_ACTIVATIONS))],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "standardize": ["boolean"],
        "optimizer": [StrOptions(set(LEARNING_RATES)), HasMethods("get_tensor")],
        "learning_rate_init": [
            StrOptions({"auto"}),
            Interval(Real, 0, None, closed="neither"),
        ],
        "decay_rate": [Interval(Real, 0, 1, closed="right")],
        "decay_steps": [Interval(Integral, 1, None, closed="left")],
        "cooldown_fraction": [
            StrOptions({"auto"}),
            Interval(Real, 0, 1, closed="both"),
        ],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "validation_fraction": [
            StrOptions({"auto"}),
            Interval(Real, 0, 1, closed="left"),
        ],
        "early_stopping": ["boolean"],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {np.inf}),
        ],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "callbacks": [callable, list, tuple, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
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
        early_stopping: bool = False,
        n_iter_no_change: float = 10,
        tol: float = 1e-4,
        warm_start: bool = False,
        callbacks: Callbacks = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.standardize = standardize
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.optimizer = optimizer
        self.learning_rate_init = learning_rate_init
        self.decay_rate = decay_rate
        self.decay_steps = decay_steps
        self.cooldown_fraction = cooldown_fraction
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: MatrixLike,
        y: MatrixLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: MatrixLike | None = None,
        y_val: MatrixLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Train the network.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features. They are standardized in float64; the network gets float32.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative sample weights. They are divided by their mean, so only their
            ratios matter. Samples of weight zero are ignored, but not their classes.
            None means equal weights.
        X_val : {array-like, sparse matrix} of shape (n_val, n_features), default=None
            Validation samples, used instead of a `validation_fraction` of X.
        y_val : array-like of shape (n_val,) or (n_val, n_outputs), default=None
            Targets of the validation samples.
        sample_weight_val : array-like of shape (n_val,), default=None
            Weights in the validation loss and score, also divided by their mean. Class
            weights do not apply to them.

        Returns
        -------
        estimator
            The fitted estimator.

        Raises
        ------
        ValueError
            If X, y or the weights have a wrong shape or contain NaN or infinity, if a
            weight is negative or all weights are zero, if ``early_stopping=True`` and
            there are too few validation samples, or if training diverges. The estimator
            then keeps the state of its last fit.

        Warns
        -----
        :class:`~sklearn.exceptions.ConvergenceWarning`
            If the loss on the training samples is not below that of the best constant
            prediction.
        """
        continues = self.warm_start and hasattr(self, "coefs_")
        check_validation(X_val, y_val, sample_weight_val)
        targets = targets_of(self) if continues else None
        validation = None
        with all_or_nothing(self):
            rows, targets = self._encode(X, y, sample_weight, targets, not continues)
            if X_val is not None:
                validation = self._encode_val(X_val, y_val, sample_weight_val, targets)
            rows = weighted(rows)
            fit_head(self, rows, targets, validation=validation, continues=continues)
        return self

    def _partial_fit(
        self, X: Any, y: Any, sample_weight: Any, targets: Targets | None
    ) -> Self:
        """Train for one epoch; `targets` encode y, or are learned in the first call."""
        continues = hasattr(self, "coefs_")
        with all_or_nothing(self):
            rows, targets = self._encode(X, y, sample_weight, targets, not continues)
            if rows.w.any() or not continues:  # not only classes without weight
                rows = weighted(rows)
                fit_head(self, rows, targets, continues=continues, one_epoch=True)
        return self

    def _encode(
        self, X: Any, y: Any, sample_weight: Any, targets: Targets | None, reset: bool
    ) -> tuple[Samples, Targets]:
        """Return the samples whose `sample_weight` is not zero, and the encoding.

        The weights of the samples are multiplied by those of their classes.
        """
        X, y = self._check_data(X, y, reset=reset)
        w = check_weights(sample_weight, X)
        targets = targets or learn_targets(self, y)
        rows = weighted(Samples(X, y, w))
        class_weight = getattr(self, "class_weight", None)
        Y = targets.encode(rows.Y)
        w = rows.w * class_weights(class_weight, rows.Y, targets)
        return Samples(rows.X, Y, w), targets

    def _encode_val(self, X: Any, y: Any, sample_weight: Any, targets: Any) -> Samples:
        try:
            X, y = self._check_data(X, y, reset=False)
            Y = targets.encode(y)
        except ValueError as error:
            raise ValueError(f"X_val or y_val: {error}") from error
        w = check_weights(sample_weight, X, "sample_weight_val")
        if not w.any():
            raise ValueError("sample_weight_val is zero for all samples.")
        return Samples(X, Y, w)

    def _check_data(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, np.ndarray]:
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            dtype=self._dtypes,
            multi_output=True,
            reset=reset,
        )
        if issparse(y):
            y = y.toarray()
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    @property
    def _dtypes(self) -> Any:
        """The types of X: float32 for the network, unless it is standardized before."""
        return [np.float64, np.float32] if self.standardize else np.float32

    # Predicting

    def _outputs(self, X: MatrixLike, *, log: bool = False) -> np.ndarray:
        """Return the outputs of the network, or their logarithms, in float64."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=self._dtypes, reset=False)
        activation = targets_of(self).out_activation
        return DenseLayers.of(self).outputs(X, activation, log=log)

    def _decode(self, X: MatrixLike) -> np.ndarray:
        outputs = self._outputs(X)
        return targets_of(self).decode(outputs)

    # scikit-learn API

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        return {**state, "optimizer": pack_optimizer(self.optimizer)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        optimizer = unpack_optimizer(state["optimizer"])
        super().__setstate__({**state, "optimizer": optimizer})

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

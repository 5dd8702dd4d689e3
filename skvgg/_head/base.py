"""Base class of the TFLearn classifier and regressor."""

from __future__ import annotations

import inspect
import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import column_or_1d, gen_batches
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    validate_data,
)

from skvgg._head import training
from skvgg._head.dense import OPTIMIZERS, DenseNetwork, NetworkSpec, Parameters
from skvgg._head.initial import initial_parameters
from skvgg._head.persistence import (
    pack_callbacks,
    pack_optimizer,
    release,
    unpack_callbacks,
    unpack_optimizer,
)
from skvgg._head.standardization import Scaling, Standardization
from skvgg._head.targets import Figures, Targets
from skvgg._runtime.seed import MAX_SEED, draw_seed
from skvgg._runtime.warn import warn
from skvgg._typing import (
    Activation,
    Callbacks,
    MatrixLike,
    RandomState,
    fit_context,
)
from skvgg._version import __version__

#: NumPy versions of :data:`skvgg._head.dense.ACTIVATIONS`, and the logarithms of those
#: that give probabilities.
_NUMPY_ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda x: x,
    "logistic": expit,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "softmax": lambda x: softmax(x, axis=1),
    "log logistic": log_expit,
    "log softmax": lambda x: log_softmax(x, axis=1),
}

#: Attributes of heads that were fitted before `standardize` existed.
_NOT_STANDARDIZED: dict[str, Any] = {
    "standardize": False,
    "feature_mean_": None,
    "feature_scale_": 1.0,
    "target_mean_": None,
    "target_scale_": 1.0,
    "_optimizer_slots": {},
}

#: The value of ``cooldown_fraction="auto"``; docs/defaults.rst describes its effect.
_COOLDOWN = 0.5

#: Number of samples that are predicted together; limits the memory of hidden layers.
_PREDICTION_BATCH = 1024

#: Number of weights that are converted to float64 together, 256 MB.
_CONVERTED_TOGETHER = 2**25


class BaseTFLearnMLP(BaseEstimator, metaclass=ABCMeta):
    """A dense network that is trained with TFLearn and predicts with NumPy.

    Subclasses define the encoding and the score of targets, the output layer, and
    `predict`.
    """

    coefs_: list[np.ndarray]
    intercepts_: list[np.ndarray]
    n_features_in_: int
    history_: training.History
    n_iter_: int
    n_steps_: int
    feature_mean_: np.ndarray | None
    feature_scale_: Any
    _optimizer_slots: dict[str, np.ndarray]
    best_validation_score_: float
    best_epoch_: int

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "hidden_layer_sizes": [
            "array-like",
            Interval(Integral, 1, None, closed="left"),
        ],
        "activation": [StrOptions({"identity", "logistic", "tanh", "relu"})],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "standardize": ["boolean"],
        "optimizer": [StrOptions(set(OPTIMIZERS)), HasMethods("get_tensor")],
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

    # For subclasses

    #: Learning rates for "auto", by the name of the optimizer.
    _learning_rates: ClassVar[dict[str, float]]

    @abstractmethod
    def _learn_targets(self, y: np.ndarray) -> Targets:
        """Return the encoding of the targets y."""

    @abstractmethod
    def _get_targets(self) -> Targets:
        """Return the encoding of the targets of the last fit."""

    @abstractmethod
    def _set_targets(self, targets: Targets) -> None:
        """Store the encoding of the targets as fitted attributes."""

    def _class_weights(self, y: np.ndarray, targets: Any) -> np.ndarray | float:
        """Return the class weight of each sample; `targets` encode y."""
        return 1.0

    # Fitting

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
        if (X_val is None) != (y_val is None):
            given, missing = ("y_val", "X_val") if X_val is None else ("X_val", "y_val")
            raise ValueError(
                f"{given} was passed without {missing}; pass both or neither."
            )
        if X_val is None and sample_weight_val is not None:
            raise ValueError("sample_weight_val was passed without X_val and y_val.")
        validation = None if X_val is None else (X_val, y_val, sample_weight_val)
        return self._fit(X, y, sample_weight, validation, continues=continues)

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None,
        validation: Any = None,
        *,
        continues: bool,
        targets: Targets | None = None,
        one_epoch: bool = False,
    ) -> Self:
        """Check the inputs, encode the targets and train; see :meth:`_train`."""
        with all_or_nothing(self):
            X, y = self._validate(X, y, reset=not continues)
            weights = check_weights(sample_weight, X)
            if targets is None:
                targets = self._get_targets() if continues else self._learn_targets(y)
            X, y, weights = _drop_weightless(X, y, weights)
            Y = targets.encode(y)
            weights = weights * self._class_weights(y, targets)
            if one_epoch and continues and not weights.any():
                return self  # a batch of nothing but classes without weight
            X, Y, weights = _drop_weightless(X, Y, weights)
            if not one_epoch:
                weights = weights / weights.mean()
            rows = training.Samples(X, Y, weights.astype(np.float32))
            if validation is not None:
                X_val, y_val, weights = validation
                validation = self._encode_validation(X_val, y_val, weights, targets)
            self._train(
                rows, validation, targets, continues=continues, one_epoch=one_epoch
            )
        return self

    def _encode_validation(
        self, X: Any, y: Any, sample_weight: Any, targets: Targets
    ) -> training.Samples:
        try:
            X, y = self._validate(X, y, reset=False)
            Y = targets.encode(y)
        except ValueError as error:
            raise ValueError(f"X_val or y_val: {error}") from error
        weights = check_weights(sample_weight, X, "sample_weight_val")
        if not weights.any():
            raise ValueError("sample_weight_val is zero for all samples.")
        return training.Samples(X, Y, (weights / weights.mean()).astype(np.float32))

    def _train(
        self,
        rows: training.Samples,
        validation: training.Samples | None,
        targets: Targets,
        *,
        continues: bool,
        one_epoch: bool,
    ) -> None:
        """Train and set the fitted attributes.

        `continues` starts from the end of the last fit. `one_epoch` is for
        `partial_fit`: no validation split, no early stopping.
        """
        n_steps = self.n_steps_ if continues else 0
        seed = self._next_seed() if continues else draw_seed(self.random_state)
        rng = np.random.RandomState(seed)
        if validation is None and not one_epoch:
            rows, validation = self._hold_out(rows, targets, rng)
        stopping = self._early_stopping(validation, targets) if not one_epoch else None
        if continues:
            scaling, start = self._last_state(rows)
            slots = self._optimizer_slots
        else:
            scaling, start = self._first_state(rows, seed, may_grow=one_epoch)
            slots = {}
        rows = scaling.apply(rows)
        if validation is not None:
            validation = scaling.apply(validation)
        if scaling.outputs is not None:
            targets = targets.scaled(scaling.outputs.scale)
        n_before = self.n_iter_ if continues and one_epoch else 0
        n_epochs = 1 if one_epoch else self.max_iter
        spec = self._network_spec(targets)
        with DenseNetwork(spec, start, n_steps, seed, slots) as network:
            history = training.train(
                network,
                rows,
                validation,
                epochs=range(n_before + 1, n_before + n_epochs + 1),
                batch_size=self.batch_size,
                describe=targets.figures,
                early_stopping=stopping,
                callbacks=self._check_callbacks(),
                rng=rng,
                verbose=self.verbose,
                rate_factors=training.cool_down(
                    n_epochs * self._n_batches(rows), self._cooldown_fraction(one_epoch)
                ),
            )
            if stopping is not None and stopping.best_parameters is not None:
                network.set_parameters(stopping.best_parameters)
            learned = network.get_parameters()
            _check_finite(learned)
            if not one_epoch:
                self._warn_if_nothing_learned(network, rows, targets)
            # The optimizer state takes up to twice the size of the weights, and only
            # continued training needs it.
            goes_on = one_epoch or self.warm_start
            self._optimizer_slots = network.get_slots() if goes_on else {}
        keep_best(self, stopping, len(self.history_["loss"]) if continues else 0)
        self._keep_learned(scaling, learned, targets)
        self._keep_history(history, continues)
        self.learning_rate_init_ = spec.learning_rate
        self.n_iter_ = n_before + len(history["loss"])
        self.n_steps_ = n_steps + len(history["loss"]) * self._n_batches(rows)
        if not continues:
            self.seed_ = seed

    def _keep_learned(
        self, scaling: Scaling, learned: Parameters, targets: Targets
    ) -> None:
        self._keep_scaling(scaling)
        self._set_targets(targets)
        self.coefs_, self.intercepts_ = map(list, learned)

    def _keep_history(self, history: training.History, continues: bool) -> None:
        before = self.history_ if continues else {"loss": []}
        # Epochs without a measurement get NaN.
        gaps = [[np.nan] * len(figures["loss"]) for figures in (before, history)]
        self.history_ = {
            name: [*before.get(name, gaps[0]), *history.get(name, gaps[1])]
            for name in {**before, **history}
        }
        self.loss_curve_ = self.history_["loss"]

    def _validate(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, np.ndarray]:
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

    # Initial state

    def _next_seed(self) -> int:
        """Return the seed for continuing after the steps taken."""
        sequence = np.random.SeedSequence([self.seed_, self.n_steps_])
        return int(sequence.generate_state(1)[0]) % MAX_SEED

    def _first_state(
        self, rows: training.Samples, seed: int, *, may_grow: bool
    ) -> tuple[Scaling, Parameters]:
        """Return the scaling for these samples, and initial parameters.

        Constant features are left out and have weights of zero: nothing can be learned
        from them. With `may_grow`, later calls bring more samples in which they may
        vary, so they are kept.
        """
        scaling = self._learn_scaling(rows, may_grow)
        parameters = initial_parameters(self._layer_sizes(rows), seed)
        if scaling.inputs is not None:
            parameters[0][0][np.isinf(scaling.inputs.scale)] = 0
        return scaling, parameters

    def _last_state(self, rows: training.Samples) -> tuple[Scaling, Parameters]:
        """Return the scaling and the parameters of the last fit."""
        trained = [self.n_features_in_, *(len(b) for b in self.intercepts_)]
        sizes = self._layer_sizes(rows)
        if trained != sizes:
            raise ValueError(
                f"The last fit trained a network with layers of {trained} units; now "
                f"they would be {sizes}. Set warm_start=False to start from scratch."
            )
        if self.standardize == (self.feature_mean_ is None):
            raise ValueError(
                f"standardize={self.standardize} differs from the last fit, which "
                "this one continues. Set warm_start=False to start from scratch."
            )
        return self._get_scaling(), (self.coefs_, self.intercepts_)

    def _layer_sizes(self, rows: training.Samples) -> list[int]:
        hidden = check_hidden_layer_sizes(self.hidden_layer_sizes)
        return [rows.X.shape[1], *hidden, rows.Y.shape[1]]

    # Standardization

    @property
    def _dtypes(self) -> Any:
        """The types of X: float32 for the network, unless it is standardized before."""
        return [np.float64, np.float32] if self.standardize else np.float32

    def _learn_scaling(self, rows: training.Samples, may_grow: bool) -> Scaling:
        """Return the scaling of the features; the regressor adds the targets."""
        if not self.standardize:
            return Scaling()
        inputs = Standardization.of(rows.X, rows.w)
        if may_grow:
            if np.isinf(inputs.scale).all():
                warn(
                    "All features are constant in the first call of "
                    f"{type(self).__name__}.partial_fit, whose means and standard "
                    "deviations later calls keep. Start with more samples that are "
                    "typical of the data.",
                    ConvergenceWarning,
                )
            inputs = inputs.with_constants()
        if len(self._layer_sizes(rows)) > 2:
            # Linear models do not need it: rows of this length need a smaller learning
            # rate.
            inputs = inputs.to_row_length(rows.X, rows.w)
        return Scaling(inputs)

    def _keep_scaling(self, scaling: Scaling) -> None:
        inputs = scaling.inputs
        self.feature_mean_ = None if inputs is None else inputs.mean
        self.feature_scale_ = 1.0 if inputs is None else inputs.scale

    def _get_scaling(self) -> Scaling:
        if self.feature_mean_ is None:
            return Scaling()
        return Scaling(inputs=Standardization(self.feature_mean_, self.feature_scale_))

    # After training

    def _warn_if_nothing_learned(
        self, network: DenseNetwork, rows: training.Samples, targets: Targets
    ) -> None:
        """Compare the training loss with that of the best constant prediction."""
        loss, output = network.evaluate(rows.X, rows.Y, rows.w)
        if targets.is_learned(loss, rows.Y, output, rows.w):
            return
        guessing = targets.guessing_loss(rows.Y, rows.w)
        rate = self._learning_rate()
        remedies = [
            f"a smaller learning_rate_init than {rate:g}",
            f"a larger max_iter than {self.max_iter}",
        ]
        if not self.standardize:
            remedies.insert(0, "standardize=True")
        warn(
            f"{type(self).__name__} learned nothing, or hardly anything: its loss on "
            f"the training samples is {loss:.4g}, and that of the best constant "
            f"prediction is {guessing:.4g}. Try {', '.join(remedies)}, or other "
            "features.",
            ConvergenceWarning,
        )

    def _hold_out(
        self, rows: training.Samples, targets: Targets, rng: np.random.RandomState
    ) -> tuple[training.Samples, training.Samples | None]:
        fraction = self._fraction_held_out()
        if not fraction:
            return rows, None
        train, validation = training.split(
            targets.strata(rows.Y), len(rows), fraction, rng
        )
        if not len(validation):
            return rows, None
        return rows[train], rows[validation]

    def _fraction_held_out(self) -> float:
        if self.validation_fraction != "auto":
            return self.validation_fraction
        return 0.1 if self.early_stopping else 0.0

    def _early_stopping(
        self, validation: training.Samples | None, targets: Targets
    ) -> training.EarlyStopping | None:
        if not self.early_stopping:
            return None
        if validation is None:
            raise ValueError(
                "early_stopping=True needs validation samples, but "
                f"validation_fraction={self._fraction_held_out():g} of so few samples "
                "leaves none. Raise it, or pass X_val and y_val to fit."
            )
        targets.check_score(validation.Y, validation.w)
        monitor = f"val_{targets.score_name}"
        return training.EarlyStopping(monitor, self.n_iter_no_change, self.tol)

    def _check_callbacks(self) -> list[Callable[[int, Figures], Any]]:
        if self.callbacks is None:
            return []
        callbacks = [self.callbacks] if callable(self.callbacks) else [*self.callbacks]
        for i, callback in enumerate(callbacks):
            if not callable(callback):
                raise ValueError(
                    f"callbacks[{i}] is a {type(callback).__name__}; expected a "
                    "callable that takes the epoch number and a dict of metrics."
                )
        return callbacks

    def _network_spec(self, targets: Targets) -> NetworkSpec:
        return NetworkSpec(
            activation=self.activation,
            out_activation=targets.out_activation,
            # TensorFlow derives the dtype of its constants from these.
            weight_decay=float(self.weight_decay),
            dropout=float(self.dropout),
            optimizer=self.optimizer,
            learning_rate=self._learning_rate(),
            decay_rate=float(self.decay_rate),
            decay_steps=float(self.decay_steps),
        )

    def _n_batches(self, rows: training.Samples) -> int:
        return -(-len(rows) // self.batch_size)

    def _cooldown_fraction(self, one_epoch: bool) -> float:
        """Return the fraction of steps in which the rate falls to zero."""
        if one_epoch:  # the total number of epochs is unknown
            return 0.0
        if self.cooldown_fraction != "auto":
            return float(self.cooldown_fraction)
        return _COOLDOWN if self.standardize and not self.warm_start else 0.0

    def _learning_rate(self) -> float:
        """Return the learning rate of the first step."""
        if not isinstance(self.optimizer, str):
            rate = getattr(self.optimizer, "learning_rate", None)
            if isinstance(self.optimizer, type) or rate is None:
                raise ValueError(
                    f"optimizer={self.optimizer!r} is neither the name of an optimizer "
                    "nor an object such as tflearn.Adam(learning_rate=0.001)."
                )
            return float(rate)
        if self.learning_rate_init == "auto":
            return self._learning_rates[self.optimizer]
        return float(self.learning_rate_init)

    # Predicting

    def _outputs(self, X: MatrixLike, *, log: bool = False) -> np.ndarray:
        """Return the outputs of the network, or their logarithms, in float64.

        NumPy computes them. In float64, results depend neither on the other samples nor
        on the order of sums, and the rounding of probabilities does not matter.
        """
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=self._dtypes, reset=False)
        scaling = self._get_scaling()
        out = ("log " if log else "") + self._get_targets().out_activation
        outputs = []
        for rows in gen_batches(X.shape[0], _PREDICTION_BATCH):
            x = X[rows] if scaling.inputs is None else scaling.inputs(X[rows])
            outputs.append(self._forward(x, out))
        output = np.concatenate(outputs)
        return output if scaling.outputs is None else scaling.outputs.undo(output)

    def _decode(self, X: MatrixLike) -> np.ndarray:
        outputs = self._outputs(X)
        return self._get_targets().decode(outputs)

    def _forward(self, x: Any, out_activation: str) -> np.ndarray:
        hidden = _NUMPY_ACTIVATIONS[self.activation]
        for coef, intercept in zip(
            self.coefs_[:-1], self.intercepts_[:-1], strict=True
        ):
            x = hidden(_times(x, coef) + intercept)
        return _NUMPY_ACTIVATIONS[out_activation](
            _times(x, self.coefs_[-1]) + self.intercepts_[-1]
        )

    # Pickling

    def __getstate__(self) -> dict[str, Any]:
        return {
            **super().__getstate__(),
            "optimizer": pack_optimizer(self.optimizer),
            "callbacks": pack_callbacks(self.callbacks),
            "_skvgg_version": __version__,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        version = state.pop("_skvgg_version", "unknown")
        if release(version) > release(__version__):
            warnings.warn(
                f"This {type(self).__name__} was pickled by skvgg {version}, and the "
                f"installed skvgg {__version__} may read it wrongly. Update "
                "skvgg.",
                UserWarning,
                stacklevel=2,
            )
        # Parameters that the pickling version did not have: their defaults keep its
        # behavior.
        for name, parameter in inspect.signature(type(self)).parameters.items():
            state.setdefault(name, parameter.default)
        if "coefs_" in state and "feature_mean_" not in state:
            state.update(_NOT_STANDARDIZED)
        state["optimizer"] = unpack_optimizer(state["optimizer"])
        state["callbacks"] = unpack_callbacks(state["callbacks"])
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def set_learned(
    head: BaseTFLearnMLP, scaling: Scaling, parameters: Parameters, targets: Targets
) -> None:
    """Set the fitted attributes of a head from parameters learned elsewhere.

    Parameters
    ----------
    head : TFLearnMLPClassifier or TFLearnMLPRegressor
        The head; modified in place.
    scaling : Scaling
        Scaling of features and targets.
    parameters : tuple of (list of ndarray, list of ndarray)
        Weights and biases of each layer, for scaled features and targets.
    targets : Targets
        Encoding of the targets.
    """
    head._keep_learned(scaling, parameters, targets)
    head.n_features_in_ = len(head.coefs_[0])


def get_learned(head: BaseTFLearnMLP) -> tuple[Scaling, Parameters]:
    """Return the scaling and the parameters of a head, see :func:`set_learned`."""
    return head._get_scaling(), (head.coefs_, head.intercepts_)


@contextmanager
def all_or_nothing(estimator: BaseEstimator) -> Iterator[None]:
    """Restore the state of an estimator if its fit fails."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def keep_best(
    estimator: Any, stopping: training.EarlyStopping | None, n_before: int = 0
) -> None:
    """Set the attributes of early stopping, or remove those of an earlier fit.

    Parameters
    ----------
    estimator : estimator
        A dense head, or a fine-tuned estimator.
    stopping : EarlyStopping or None
        The early stopping of this fit; None without it.
    n_before : int, default=0
        Number of epochs of earlier fits that this one continues.
    """
    for name in ("best_validation_score_", "best_epoch_"):
        if hasattr(estimator, name):
            delattr(estimator, name)
    if stopping is not None:
        estimator.best_validation_score_ = stopping.best_score
        estimator.best_epoch_ = n_before + stopping.best_epoch


def check_hidden_layer_sizes(sizes: ArrayLike) -> tuple[int, ...]:
    given = np.atleast_1d(np.asarray(sizes, dtype=object)).tolist()
    whole = all(isinstance(n, Integral) and not isinstance(n, bool) for n in given)
    if not whole or min(given, default=1) < 1:
        raise ValueError(
            f"hidden_layer_sizes={sizes!r} must be a sequence of positive integers."
        )
    return tuple(map(int, given))


def check_weights(
    sample_weight: ArrayLike | None, X: Any, name: str = "sample_weight"
) -> np.ndarray:
    """Return weights as float64; raise a ValueError if one is negative."""
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64)
    if (weights < 0).any():
        index = int(np.argmax(weights < 0))
        raise ValueError(
            f"Negative values in data passed to `{name}`: {name}[{index}] is "
            f"{weights[index]:g}, expected 0 or more."
        )
    return weights


def _drop_weightless(
    X: Any, y: Any, weights: np.ndarray
) -> tuple[Any, np.ndarray, np.ndarray]:
    """Return the samples whose weights are not zero."""
    if weights.all():
        return X, y, weights
    if not weights.any():
        raise ValueError(
            "sample_weight is zero for all samples (with class_weight applied), so "
            "there is nothing to learn from."
        )
    kept = np.flatnonzero(weights)
    return X[kept], y[kept], weights[kept]


def _times(x: Any, coef: np.ndarray) -> np.ndarray:
    """Return x @ coef in float64, converting large coef part by part."""
    product = np.zeros((x.shape[0], coef.shape[1]))
    for part in gen_batches(len(coef), max(1, _CONVERTED_TOGETHER // coef.shape[1])):
        product += x[:, part] @ coef[part].astype(np.float64)
    return product


def _check_finite(parameters: Parameters) -> None:
    """Raise if the squares of the parameters, as in the penalty, are not finite."""
    weights, biases = parameters
    with np.errstate(over="ignore", invalid="ignore"):
        squares = [np.vdot(array, array) for array in [*weights, *biases]]
    if not np.isfinite(squares).all():
        raise ValueError(
            "The training diverged in its last step: the learned weights are too large "
            "for float32, or not finite. Try a smaller learning_rate_init, or "
            "standardize=True if it is off."
        )

"""TFLearnMLPClassifier: a dense head that TFLearn trains and NumPy runs."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from tqdm.auto import tqdm

from skvgg._seed import draw_seed
from skvgg._tflearn import ACTIVATIONS, DenseNetwork, NetworkSpec

__all__ = ["TFLearnMLPClassifier"]

#: The functions of :data:`skvgg._tflearn.ACTIVATIONS` in NumPy.
_NUMPY_ACTIVATIONS = {
    "identity": lambda x: x,
    "logistic": expit,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
}


class TFLearnMLPClassifier(ClassifierMixin, BaseEstimator):
    """Multi-layer perceptron classifier trained with TFLearn.

    The defaults are a recipe for the features of VGG19: two hidden tanh layers
    with L2 penalty and dropout, softmax, cross-entropy, gradient descent.

    What was learned is kept as plain NumPy arrays, so a fitted classifier
    predicts without TensorFlow and its pickle holds nothing but arrays.

    Parameters
    ----------
    hidden_layer_sizes : array-like of int, default=(4096, 512)
        Units of each hidden layer. An empty one makes a softmax regression.
    activation : {"identity", "logistic", "tanh", "relu"}, default="tanh"
        Activation of the hidden layers.
    weight_decay : float, default=0.001
        Strength w of the L2 penalty: w / 2 * sum(W ** 2) is added to the loss
        for each hidden layer's weights W, without its intercepts. (The `alpha`
        of :class:`~sklearn.neural_network.MLPClassifier` is divided by the size
        of the batch; this one is not.)
    dropout : float, default=0.2
        Share of each hidden layer's outputs that is set to zero at random in
        training, in [0, 1).
    learning_rate_init : float, default=0.1
        Learning rate of the first step.
    decay_rate : float, default=0.96
        The rate of step i is
        ``learning_rate_init * decay_rate ** (i / decay_steps)``.
    decay_steps : int, default=1000
        Steps in which the learning rate falls by `decay_rate`.
    max_iter : int, default=20
        Epochs: how often each training row is used.
    batch_size : int, default=64
        Rows a step.
    validation_fraction : float, default=0.1
        Share of the rows, in [0, 1), that is not trained on but watched in
        `history_`. It is drawn within each class in proportion; a class with a
        single row is trained on.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights, the dropout, the validation rows and the
        order of the rows. With an int, fits are identical to the last bit on
        one machine. None draws a seed from the operating system.
    verbose : int, default=0
        1 shows one progress bar over the epochs.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    coefs_ : list of ndarray, float32
        Weights of each layer, of shape (inputs, outputs).
    intercepts_ : list of ndarray, float32
        Intercepts of each layer, of shape (outputs,).
    history_ : dict of str to list of float
        For each epoch "loss" and "accuracy" on the rows trained on, with
        dropout, before each step; and "val_loss" and "val_accuracy" on the
        validation rows, if there are any, after the epoch. Losses are mean
        cross-entropies in nats, without the L2 penalty.
    n_iter_ : int
        Epochs trained.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features seen in `fit`, if they were all strings.

    See Also
    --------
    VGG19Features : The features that it was made for.
    sklearn.neural_network.MLPClassifier : scikit-learn's own.

    Notes
    -----
    Gradients are clipped to a global norm of 5 and weights start from a
    truncated normal distribution of deviation 0.02, TFLearn's defaults. Inputs
    are used as they are: features of very different scale are better put
    through a :class:`~sklearn.preprocessing.StandardScaler` first.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skvgg import TFLearnMLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> head = TFLearnMLPClassifier((32,), dropout=0, max_iter=60, random_state=0)
    >>> clf = make_pipeline(StandardScaler(), head).fit(X, y)
    >>> clf.score(X, y) > 0.9
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        "hidden_layer_sizes": [
            "array-like",
            Interval(Integral, 1, None, closed="left"),
        ],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "decay_rate": [Interval(Real, 0, 1, closed="right")],
        "decay_steps": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        hidden_layer_sizes=(4096, 512),
        activation="tanh",
        *,
        weight_decay=0.001,
        dropout=0.2,
        learning_rate_init=0.1,
        decay_rate=0.96,
        decay_steps=1000,
        max_iter=20,
        batch_size=64,
        validation_fraction=0.1,
        random_state=None,
        verbose=0,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.learning_rate_init = learning_rate_init
        self.decay_rate = decay_rate
        self.decay_steps = decay_steps
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features, used as float32.
        y : array-like of shape (n_samples,)
            Class labels.

        Returns
        -------
        TFLearnMLPClassifier
            The fitted classifier itself.

        Raises
        ------
        ValueError
            If X or y has a wrong shape or holds NaN or infinity, if y has less
            than two classes, or if the training diverges.
        """
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        classes, labels = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                f"y has 1 class, {classes.tolist()[0]!r}; TFLearnMLPClassifier needs 2 "
                "or more."
            )
        seed = draw_seed(self.random_state)
        rng = np.random.RandomState(seed)
        train, validation = _split(labels, self.validation_fraction, rng)
        spec = self._network_spec(X.shape[1], len(classes), seed)
        with DenseNetwork(spec) as network:
            history = self._train(network, X, labels, train, validation, rng)
            self.coefs_, self.intercepts_ = network.get_weights()
        self.classes_ = classes
        self.history_ = history
        self.n_iter_ = len(history["loss"])
        return self

    def predict_proba(self, X):
        """Return the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float32
            In the order of `classes_`; each row sums to 1.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        activation = _NUMPY_ACTIVATIONS[self.activation]
        for coef, intercept in zip(
            self.coefs_[:-1], self.intercepts_[:-1], strict=True
        ):
            X = activation(X @ coef + intercept)
        return softmax(X @ self.coefs_[-1] + self.intercepts_[-1], axis=1)

    def predict(self, X):
        """Return the most probable class of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels out of `classes_`.
        """
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def _network_spec(self, n_features: int, n_classes: int, seed: int) -> NetworkSpec:
        return NetworkSpec(
            n_features=n_features,
            n_outputs=n_classes,
            hidden_layer_sizes=_check_hidden_layer_sizes(self.hidden_layer_sizes),
            activation=self.activation,
            # TensorFlow takes the type of its constants from these.
            weight_decay=float(self.weight_decay),
            dropout=float(self.dropout),
            learning_rate=float(self.learning_rate_init),
            decay_rate=float(self.decay_rate),
            decay_steps=float(self.decay_steps),
            seed=seed,
        )

    def _train(
        self,
        network: DenseNetwork,
        X: np.ndarray,
        labels: np.ndarray,
        train: np.ndarray,
        validation: np.ndarray,
        rng: np.random.RandomState,
    ) -> dict[str, list[float]]:
        """Train for `max_iter` epochs and return `history_`."""
        targets = np.eye(labels.max() + 1, dtype=np.float32)[labels]
        names = ["loss", "accuracy", "val_loss", "val_accuracy"]
        history: dict[str, list[float]] = {
            name: [] for name in (names if len(validation) else names[:2])
        }
        epochs = range(1, self.max_iter + 1)
        with tqdm(epochs, unit="epoch", disable=not self.verbose) as bar:
            for epoch in bar:
                batches = list(_batches(rng.permutation(train), self.batch_size))
                steps = network.train_epoch(X, targets, batches)
                losses, outputs = zip(*steps, strict=True)
                sizes = [len(batch) for batch in batches]
                values = [
                    float(np.average(losses, weights=sizes)),
                    _accuracy(np.concatenate(outputs), labels[np.concatenate(batches)]),
                ]
                if len(validation):
                    output = network.predict(X[validation])
                    values += [
                        _log_loss(output, labels[validation]),
                        _accuracy(output, labels[validation]),
                    ]
                _check_finite(values, epoch, self.learning_rate_init)
                for series, value in zip(history.values(), values, strict=True):
                    series.append(value)
                bar.set_postfix({k: f"{v[-1]:.3f}" for k, v in history.items()})
        return history


def _check_hidden_layer_sizes(sizes) -> tuple[int, ...]:
    sizes = tuple(np.atleast_1d(sizes).tolist())
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ValueError(
            f"hidden_layer_sizes={sizes} must be a sequence of positive integers."
        )
    return sizes


def _split(
    labels: np.ndarray, fraction: float, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the training and of the validation rows.

    The validation rows are picked at equal distances from all rows in random
    order, sorted by class: so each class has its share, to within one row, and
    none is ever emptied. That works for any number of rows a class, where
    scikit-learn's stratified splitters refuse classes with few.
    """
    counts = np.bincount(labels)
    shuffled = rng.permutation(len(labels))
    candidates = shuffled[counts[labels[shuffled]] > 1]
    candidates = candidates[np.argsort(labels[candidates], kind="stable")]
    n_validation = min(int(fraction * len(labels)), len(candidates) // 2)
    distance = len(candidates) / max(n_validation, 1)
    picks = ((np.arange(n_validation) + rng.uniform()) * distance).astype(int)
    validation = candidates[picks]
    return np.setdiff1d(np.arange(len(labels)), validation), validation


def _batches(rows: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), batch_size):
        yield rows[start : start + batch_size]


def _accuracy(output: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(output.argmax(axis=1) == labels))


def _log_loss(output: np.ndarray, labels: np.ndarray) -> float:
    probability = output[np.arange(len(labels)), labels]
    smallest = np.finfo(output.dtype).tiny
    return float(-np.mean(np.log(np.maximum(probability, smallest))))


def _check_finite(values: list[float], epoch: int, learning_rate_init: float) -> None:
    if not np.all(np.isfinite(values)):
        raise ValueError(
            f"The training diverged in epoch {epoch}: its loss is not finite. Try a "
            f"learning_rate_init smaller than {learning_rate_init:g}, or scale the "
            "features, for instance with StandardScaler."
        )

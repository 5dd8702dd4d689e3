"""The training loop: batches, history, early stopping, callbacks, progress.

It works on arrays and trainable networks, and does not depend on estimators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import gen_batches

from skvgg._head.targets import Metrics, Targets
from skvgg._runtime.progress import progress_bar
from skvgg._runtime.warn import warn

#: The loss and the score of each epoch, on the training and validation samples.
History = dict[str, list[float]]


@dataclass(frozen=True)
class Samples:
    """Inputs, targets and weights of samples."""

    X: Any
    Y: np.ndarray
    w: np.ndarray

    def __len__(self) -> int:
        return len(self.Y)

    def __getitem__(self, rows: np.ndarray) -> Samples:
        return Samples(self.X[rows], self.Y[rows], self.w[rows])


class Trainable(Protocol):
    """Interface of trainable networks, such as :class:`skvgg._head.dense.DenseNetwork`.

    The type of the parameters is up to the network.
    """

    def train_epoch(
        self,
        X: Any,
        Y: np.ndarray,
        w: np.ndarray,
        batches: Iterable[np.ndarray],
        rate_factors: Iterable[float],
    ) -> Iterator[tuple[float, np.ndarray]]:
        """Take one step per batch; yield the loss and the outputs before each step."""

    def evaluate(
        self, X: Any, Y: np.ndarray, w: np.ndarray
    ) -> tuple[float, np.ndarray]:
        """Return the loss and the outputs."""

    def get_parameters(self) -> Any:
        """Return copies of the parameters."""

    def set_parameters(self, parameters: Any) -> None:
        """Restore the parameters that :meth:`get_parameters` returned."""


@dataclass
class EarlyStopping:
    """Stops when the validation score no longer improves, and keeps the best epoch.

    Attributes
    ----------
    monitor : str
        Name of the score in the metrics.
    n_iter_no_change : int or inf
        Number of epochs without improvement after which training stops.
    tol : float
        Minimum increase of the score that counts as an improvement.
    best_epoch : int
        The epoch of the best score, the first one in a tie.
    """

    monitor: str
    n_iter_no_change: float
    tol: float
    best_score: float = -np.inf
    best_epoch: int = 0
    best_parameters: Any = None
    _n_bad: int = field(default=0, init=False)

    @classmethod
    def of(cls, estimator: Any, validation: Samples, targets: Targets) -> EarlyStopping:
        """Return the early stopping of an estimator, or raise if it has no score."""
        targets.check_score(validation.Y, validation.w)
        monitor = f"val_{targets.score_name}"
        return cls(monitor, estimator.n_iter_no_change, estimator.tol)

    def should_stop(self, epoch: int, metrics: Metrics, network: Trainable) -> bool:
        """Record the score of an epoch; return whether to stop."""
        score = metrics[self.monitor]
        self._n_bad = 0 if score > self.best_score + self.tol else self._n_bad + 1
        if score > self.best_score:
            self.best_score = score
            self.best_epoch = epoch
            self.best_parameters = network.get_parameters()
        return self._n_bad >= self.n_iter_no_change


def train(
    network: Trainable,
    rows: Samples,
    validation: Samples | None,
    *,
    targets: Targets,
    epochs: range,
    batch_size: int,
    early_stopping: EarlyStopping | None,
    callbacks: Sequence[Callable[[int, Metrics], Any]],
    rng: np.random.RandomState,
    verbose: int,
    rate_factors: Iterator[float],
) -> History:
    """Train for some epochs and return their history.

    The history has the metrics of `targets` for the training samples, and those of the
    validation samples as "val_...". Training stops early if a callback, which gets the
    epoch number and its metrics, returns a true value. With early stopping (which needs
    validation samples), the network gets the parameters of the best epoch.
    `rate_factors` are the factors of the learning rate in each step.

    Raises
    ------
    ValueError
        If a loss is not finite. The message names the epoch.
    """
    history: History = {}
    with progress_bar(epochs, unit="epoch", disable=not verbose) as bar:
        for epoch in bar:
            metrics = _one_epoch(network, rows, targets, batch_size, rng, rate_factors)
            if validation is not None:
                metrics |= validate(network, validation, targets)
            _check_finite(metrics, epoch)
            for name, value in metrics.items():
                history.setdefault(name, []).append(value)
            bar.set_postfix({name: f"{value:.3f}" for name, value in metrics.items()})
            stops = [callback(epoch, dict(metrics)) for callback in callbacks]
            if early_stopping is not None:
                stops.append(early_stopping.should_stop(epoch, metrics, network))
            if any(stops):
                break
    if early_stopping is not None and early_stopping.best_parameters is not None:
        network.set_parameters(early_stopping.best_parameters)
    return history


def validate(network: Trainable, validation: Samples, targets: Targets) -> Metrics:
    """Return the metrics of validation samples, named "val_..."."""
    Y, w = validation.Y, validation.w
    loss, output = network.evaluate(validation.X, Y, w)
    metrics = targets.metrics(loss, Y, output, w)
    return {f"val_{name}": value for name, value in metrics.items()}


def _one_epoch(
    network: Trainable,
    rows: Samples,
    targets: Targets,
    batch_size: int,
    rng: np.random.RandomState,
    rate_factors: Iterator[float],
) -> Metrics:
    order = rng.permutation(len(rows))
    batches = [order[part] for part in gen_batches(len(order), batch_size)]
    losses, outputs = [], []
    for loss, output in network.train_epoch(
        rows.X, rows.Y, rows.w, batches, rate_factors
    ):
        losses.append(loss * len(output))
        outputs.append(output)
    loss = float(np.sum(losses) / len(rows))
    output = np.concatenate(outputs)
    return targets.metrics(loss, rows.Y[order], output, rows.w[order])


def cool_down(n_steps: int, fraction: float) -> Iterator[float]:
    """Yield the factor of the learning rate of each step.

    In a fraction of the steps, at the end, the rate falls linearly to zero.
    """
    n_falling = fraction * n_steps
    for n_left in range(n_steps, 0, -1):
        yield min(1.0, n_left / n_falling) if n_falling else 1.0


def _check_finite(metrics: Metrics, epoch: int) -> None:
    if not all(np.isfinite(metrics[name]) for name in metrics if "loss" in name):
        raise ValueError(
            f"The training diverged in epoch {epoch}: its loss is not finite. Try a "
            "smaller learning_rate_init, or standardize=True if it is off."
        )


def check_learned(arrays: Iterable[np.ndarray], remedies: str) -> None:
    """Raise if the squares of parameters, as in the penalty, are not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = [np.vdot(array, array) for array in arrays]
    if not np.isfinite(squares).all():
        raise ValueError(
            "The training diverged in its last step: the learned weights are too large "
            f"for float32, or not finite. Try {remedies}."
        )


def warn_of_nothing_learned(
    estimator: Any, loss: float, baseline: float, remedies: Sequence[str]
) -> None:
    """Warn that the loss is not below that of the best constant prediction."""
    warn(
        f"{type(estimator).__name__} learned nothing, or hardly anything: its loss on "
        f"the training samples is {loss:.4g}, and that of the best constant "
        f"prediction is {baseline:.4g}. Try {', '.join(remedies[:-1])}, or "
        f"{remedies[-1]}.",
        ConvergenceWarning,
    )


def split(
    labels: np.ndarray | None, n: int, fraction: float, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the training and of the validation samples.

    The samples are shuffled and sorted by label, and validation samples are picked at
    equal distances. Each label keeps its proportion to within one sample, and no label
    loses all its training samples. This works for any number of samples per label,
    whereas scikit-learn's stratified splitters reject labels with few samples.

    Labels are ints; None means no stratification. The number of validation samples is
    rounded down.
    """
    if labels is None:
        labels = np.zeros(n, int)
    counts = np.bincount(labels)
    shuffled = rng.permutation(n)
    candidates = shuffled[counts[labels[shuffled]] > 1]
    candidates = candidates[np.argsort(labels[candidates], kind="stable")]
    n_validation = min(int(fraction * n), len(candidates) // 2)
    distance = len(candidates) / max(n_validation, 1)
    picks = ((np.arange(n_validation) + rng.uniform()) * distance).astype(int)
    validation = candidates[picks]
    return np.setdiff1d(np.arange(n), validation), validation

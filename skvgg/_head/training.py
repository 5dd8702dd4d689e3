"""The training loop: batches, history, early stopping, callbacks, progress.

It works on arrays and trainable networks, and does not depend on estimators.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from sklearn.utils import gen_batches

from skvgg._head.targets import Figures
from skvgg._runtime.progress import progress_bar

#: Takes the network's loss, targets, outputs and sample weights.
Describe = Callable[[float, np.ndarray, np.ndarray, np.ndarray], Figures]

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

    Parameters
    ----------
    monitor : str
        Name of the score to monitor.
    n_iter_no_change : int or inf
        Number of epochs without improvement after which training stops.
    tol : float
        Minimum increase of the score that counts as an improvement.

    Attributes
    ----------
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

    def should_stop(self, epoch: int, figures: Figures, network: Trainable) -> bool:
        """Record the score of an epoch; return whether to stop."""
        score = figures[self.monitor]
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
    epochs: range,
    batch_size: int,
    describe: Describe,
    early_stopping: EarlyStopping | None,
    callbacks: Sequence[Callable[[int, Figures], Any]],
    rng: np.random.RandomState,
    verbose: int,
    rate_factors: Iterator[float] | None = None,
) -> History:
    """Train for some epochs and return their history.

    Parameters
    ----------
    network : Trainable
        The network; modified in place.
    rows, validation : Samples
        Training and validation samples.
    epochs : range
        Epoch numbers; early stopping may end before the last.
    batch_size : int
        Number of samples per step.
    describe : callable
        Returns the loss and the score for the history.
    early_stopping : EarlyStopping or None
        Requires `validation`.
    callbacks : sequence of callable
        Called with the epoch number and its metrics; training stops if one returns a
        true value.
    rng : RandomState
        For the order of the samples.
    verbose : int
        Whether to show a progress bar.
    rate_factors : iterator of float or None
        Factor of the learning rate in each step; None for a factor of 1.

    Returns
    -------
    dict of str to list of float
        Metrics of the training samples, and those of the validation samples as
        "val_...".

    Raises
    ------
    ValueError
        If a loss is not finite. The message names the epoch.
    """
    history: History = {}
    rate_factors = rate_factors or itertools.repeat(1.0)
    with progress_bar(epochs, unit="epoch", disable=not verbose) as bar:
        for epoch in bar:
            figures = _one_epoch(network, rows, batch_size, describe, rng, rate_factors)
            if validation is not None:
                Y, w = validation.Y, validation.w
                loss, output = network.evaluate(validation.X, Y, w)
                seen = describe(loss, Y, output, w)
                figures |= {f"val_{name}": figure for name, figure in seen.items()}
            _check_finite(figures, epoch)
            for name, figure in figures.items():
                history.setdefault(name, []).append(figure)
            bar.set_postfix({name: f"{figure:.3f}" for name, figure in figures.items()})
            stops = [callback(epoch, dict(figures)) for callback in callbacks]
            if early_stopping is not None:
                stops.append(early_stopping.should_stop(epoch, figures, network))
            if any(stops):
                break
    return history


def _one_epoch(
    network: Trainable,
    rows: Samples,
    batch_size: int,
    describe: Describe,
    rng: np.random.RandomState,
    rate_factors: Iterator[float],
) -> Figures:
    order = rng.permutation(len(rows))
    batches = [order[part] for part in gen_batches(len(order), batch_size)]
    losses, outputs = [], []
    for loss, output in network.train_epoch(
        rows.X, rows.Y, rows.w, batches, rate_factors
    ):
        losses.append(loss * len(output))
        outputs.append(output)
    loss = float(np.sum(losses) / len(rows))
    return describe(loss, rows.Y[order], np.concatenate(outputs), rows.w[order])


def cool_down(n_steps: int, fraction: float) -> Iterator[float]:
    """Yield the factor of the learning rate of each step.

    Parameters
    ----------
    n_steps : int
        Total number of steps.
    fraction : float
        Fraction of the steps, at the end, in which the rate falls linearly to zero.
    """
    n_falling = fraction * n_steps
    for n_left in range(n_steps, 0, -1):
        yield min(1.0, n_left / n_falling) if n_falling else 1.0


def _check_finite(figures: Figures, epoch: int) -> None:
    if not all(np.isfinite(figures[name]) for name in figures if "loss" in name):
        raise ValueError(
            f"The training diverged in epoch {epoch}: its loss is not finite. Try a "
            "smaller learning_rate_init, or standardize=True if it is off."
        )


def split(
    labels: np.ndarray | None, n: int, fraction: float, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the training and of the validation samples.

    The samples are shuffled and sorted by label, and validation samples are picked at
    equal distances. Each label keeps its proportion to within one sample, and no label
    loses all its training samples. This works for any number of samples per label,
    whereas scikit-learn's stratified splitters reject labels with few samples.

    Parameters
    ----------
    labels : ndarray of shape (n,), int, or None
        Labels to stratify by; None for no stratification.
    n : int
        Number of samples.
    fraction : float
        Fraction of validation samples, rounded down.
    rng : RandomState
        For the random choice.
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

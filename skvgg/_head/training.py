"""The epochs: batches, history, early stopping, callbacks, progress.

Works on arrays and on what can be trained; knows nothing of classes and estimators.
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

#: Takes the network's loss, targets, outputs and row weights.
Describe = Callable[[float, np.ndarray, np.ndarray, np.ndarray], Figures]

#: For each epoch the loss and the score, on the training and validation rows.
History = dict[str, list[float]]


@dataclass(frozen=True)
class Samples:
    """Inputs, targets and weights of the same rows."""

    X: Any
    Y: np.ndarray
    w: np.ndarray

    def __len__(self) -> int:
        return len(self.Y)

    def __getitem__(self, rows: np.ndarray) -> Samples:
        return Samples(self.X[rows], self.Y[rows], self.w[rows])


class Trainable(Protocol):
    """A network as the epochs see it: :class:`skvgg._head.dense.DenseNetwork`'s form.

    What the parameters are is for the network to know.
    """

    def train_epoch(
        self,
        X: Any,
        Y: np.ndarray,
        w: np.ndarray,
        batches: Iterable[np.ndarray],
        rate_factors: Iterable[float],
    ) -> Iterator[tuple[float, np.ndarray]]:
        """Take one step a batch; yield the loss and the outputs before each."""

    def evaluate(
        self, X: Any, Y: np.ndarray, w: np.ndarray
    ) -> tuple[float, np.ndarray]:
        """Return the loss and the outputs."""

    def get_parameters(self) -> Any:
        """Return copies of what was learned."""

    def set_parameters(self, parameters: Any) -> None:
        """Put back what :meth:`get_parameters` returned."""


@dataclass
class EarlyStopping:
    """Stops when the validation score no longer grows, and remembers the best.

    Parameters
    ----------
    monitor : str
        Name of the score among the figures of an epoch.
    n_iter_no_change : int or inf
        Epochs without an improvement after which to stop.
    tol : float
        What a score has to grow by to be an improvement.
    """

    monitor: str
    n_iter_no_change: float
    tol: float
    best_score: float = -np.inf
    best_parameters: Any = None
    _n_bad: int = field(default=0, init=False)

    def should_stop(self, figures: Figures, network: Trainable) -> bool:
        """Take note of an epoch's score; return whether it was the last."""
        score = figures[self.monitor]
        self._n_bad = 0 if score > self.best_score + self.tol else self._n_bad + 1
        if score > self.best_score:
            self.best_score = score
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
    """Train for some epochs and return what happened in each.

    Parameters
    ----------
    network : Trainable
        Is changed.
    rows, validation : Samples
        Those learned from, and those only looked at.
    epochs : range
        Numbers of the epochs, at most.
    batch_size : int
        Samples a step.
    describe : callable
        Returns what the history says of rows.
    early_stopping : EarlyStopping or None
        Needs `validation`.
    callbacks : sequence of callable
        Each is given the number of the epoch and its figures; a true result ends
        the training.
    rng : RandomState
        For the order of the rows.
    verbose : int
        Whether to show a progress bar.
    rate_factors : iterator of float or None
        What the learning rate is multiplied by in each step; None for nothing.

    Returns
    -------
    dict of str to list of float
        The figures of the rows, and those of the validation rows as "val_...".

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
                stops.append(early_stopping.should_stop(figures, network))
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
    """Yield what the learning rate is multiplied by, step by step.

    Parameters
    ----------
    n_steps : int
        All steps.
    fraction : float
        Share of the steps, at the end, in which the rate falls to zero, linearly.
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
    """Return the indices of the training and of the validation rows.

    The validation rows are picked at equal distances from all rows in random
    order, sorted by label: so each label has its share, to within one row, and
    none is ever emptied. That works for any number of rows a label, where
    scikit-learn's stratified splitters refuse labels with few.

    Parameters
    ----------
    labels : ndarray of shape (n,), int, or None
        What to keep the proportions of; None for nothing.
    n : int
        Samples.
    fraction : float
        Share of the validation rows, rounded down.
    rng : RandomState
        For the choice.
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

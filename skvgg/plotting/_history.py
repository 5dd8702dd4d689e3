"""Loss and score over the epochs of a fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skvgg._images import is_whole
from skvgg.plotting._axes import check_axes, draw_ring, get_axes
from skvgg.plotting._pipeline import last_step

_LOSS, _SCORE = "tab:blue", "tab:orange"

#: Distance between axes and legend in inches, which leaves room for the axis label.
_BELOW = 0.5


class HistoryDisplay:
    """Training and validation loss and score over the epochs.

    It is recommended to use :meth:`from_estimator` to create a display. All parameters
    are stored as attributes, histories as float64 arrays.

    Parameters
    ----------
    histories : dict of str to dict of str to list of float
        The stages of training by name, in order: at least one. Each stage has one value
        per epoch for "loss", a score such as "accuracy", and with validation samples
        "val_loss" and "val_accuracy".
    best_validation_score : float, default=None
        Validation score of the restored weights, if training stopped early. None
        uses the score of the best epoch.
    best_epoch : int, default=None
        The epoch of the last stage whose weights were restored, starting at 1; 0 for
        weights from before the first epoch. None uses the first epoch with
        `best_validation_score`, or with the best score if this is also None.

    Attributes
    ----------
    score_name : str or None
        "accuracy", "r2", "top_3_accuracy", ...; None if there is no score.
    best_epoch : int or None
        The epoch of the last stage whose weights were restored, or else the first one
        with the best validation score; 0 for weights from before the first epoch. None
        without validation samples.
    best_score : float or None
        Validation score of the best epoch.
    ax_ : matplotlib Axes
        Axes with the losses.
    score_ax_ : matplotlib Axes or None
        Axes with the scores, over the same epochs.
    figure_ : matplotlib Figure
        Figure containing the axes.
    lines_ : dict of str to list of matplotlib Line2D
        The lines of "loss", "val_loss", ..., one per stage.
    best_line_ : matplotlib Line2D or None
        The marker of the best epoch.

    See Also
    --------
    sklearn.model_selection.LearningCurveDisplay : Scores by the number of samples.
    skvgg.TFLearnMLPClassifier : Has the attribute `history_`.

    Notes
    -----
    Training losses and scores are measured before each step, and validation losses and
    scores after each epoch. So the validation curves are one epoch ahead.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_iris
    >>> from skvgg import TFLearnMLPClassifier
    >>> from skvgg.plotting import HistoryDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> head = TFLearnMLPClassifier(
    ...     (8,), max_iter=5, validation_fraction=0.2, random_state=0
    ... )
    >>> display = HistoryDisplay.from_estimator(head.fit(X, y))
    >>> display.score_name, len(display.histories["head"]["val_accuracy"])
    ('accuracy', 5)
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        histories: Mapping[str, Mapping[str, Sequence[float]]],
        *,
        best_validation_score: float | None = None,
        best_epoch: int | None = None,
    ) -> None:
        _check_histories(histories)
        self.histories = {
            str(stage): {
                name: np.asarray(values, dtype=np.float64)
                for name, values in history.items()
            }
            for stage, history in histories.items()
        }
        self.best_validation_score = best_validation_score
        self._best_epoch = _check_epoch(best_epoch, len(self._last["loss"]))

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> HistoryDisplay:
        """Plot the history of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            A fitted :class:`~skvgg.TFLearnMLPClassifier`,
            :class:`~skvgg.TFLearnMLPRegressor`, :class:`~skvgg.VGG19Classifier` or
            :class:`~skvgg.VGG19Regressor`; a pipeline with one as its last step; or a
            search over one of these. For the VGG19 estimators, a head with hidden
            layers is a separate stage.
        ax : matplotlib Axes, default=None
            Axes object to plot on. If None, a new figure and axes are created.

        Returns
        -------
        HistoryDisplay

        Raises
        ------
        ValueError
            If `estimator` is of another type, or its fit had no epochs.
        sklearn.exceptions.NotFittedError
            If `estimator` is not fitted.
        ImportError
            If matplotlib is not installed.
        """
        check_axes(ax, f"{cls.__name__}.from_estimator")
        check_is_fitted(estimator)
        last = last_step(estimator)
        if not hasattr(last, "history_"):
            raise ValueError(
                f"{type(last).__name__} has no history_. Expected a fitted "
                "TFLearnMLPClassifier, TFLearnMLPRegressor, VGG19Classifier or "
                "VGG19Regressor, or a pipeline with one as its last step."
            )
        histories = _stages_of(last)
        if not histories:
            raise ValueError(
                f"The fit of {type(last).__name__} had no epochs: with trainable=None "
                "and no hidden layers, the head is fitted without gradient descent."
            )
        return cls(
            histories,
            best_validation_score=getattr(last, "best_validation_score_", None),
            best_epoch=getattr(last, "best_epoch_", None),
        ).plot(ax)

    @property
    def score_name(self) -> str | None:
        names = (name for name in self._last if not name.startswith("val_"))
        return next((name for name in names if name != "loss"), None)

    @property
    def best_epoch(self) -> int | None:
        scores = self._validation_scores
        if scores is None:
            return None
        if self._best_epoch is not None:
            return self._best_epoch
        if self.best_validation_score is None:
            return int(np.nanargmax(scores)) + 1
        kept = np.flatnonzero(scores == self.best_validation_score)
        return int(kept[0]) + 1 if len(kept) else 0

    @property
    def best_score(self) -> float | None:
        epoch, scores = self.best_epoch, self._validation_scores
        if epoch is None or scores is None:
            return None
        return float(scores[epoch - 1]) if epoch else self.best_validation_score

    @property
    def _last(self) -> dict[str, np.ndarray]:
        return self.histories[next(reversed(self.histories))]

    @property
    def _validation_scores(self) -> np.ndarray | None:
        scores = self._last.get(f"val_{self.score_name}")
        return None if scores is None or np.isnan(scores).all() else scores

    def plot(self, ax: Any = None) -> HistoryDisplay:
        """Plot losses and scores over the epochs, and mark the best epoch.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes object to plot on. If None, a new figure and axes are created.

        Returns
        -------
        HistoryDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        self.ax_ = get_axes(ax, f"{type(self).__name__}.plot")
        self.figure_ = self.ax_.figure
        score = self.score_name
        self.score_ax_ = self.ax_.twinx() if score else None
        self.lines_: dict[str, list[Any]] = {}
        self._draw_lines(self.ax_, "loss", _LOSS)
        self.ax_.set_xlabel("Epoch")
        self.ax_.set_ylabel("Loss")
        self.ax_.xaxis.get_major_locator().set_params(integer=True)
        if self.score_ax_ is not None and score is not None:
            self._draw_lines(self.score_ax_, score, _SCORE)
            self.score_ax_.set_ylabel(score.replace("_", " ").capitalize())
        self._draw_stages()
        self.best_line_ = self._draw_best()
        self._draw_legend()
        return self

    @property
    def _starts(self) -> list[int]:
        """The number of epochs before each stage."""
        lengths = [len(history["loss"]) for history in self.histories.values()]
        return [0, *np.cumsum(lengths)[:-1].tolist()]

    def _draw_lines(self, ax: Any, name: str, color: str) -> None:
        look = {"color": color, "marker": "o", "markersize": 3}
        stages = list(zip(self._starts, self.histories.values(), strict=True))
        for key, style in ((name, "-"), (f"val_{name}", "--")):
            lines = []
            for start, history in stages:
                if key in history:
                    epochs = start + 1 + np.arange(len(history[key]))
                    lines += ax.plot(
                        epochs, history[key], style, label=_label_of(key), **look
                    )
            if lines:
                self.lines_[key] = lines

    def _draw_stages(self) -> None:
        """Draw the start and the name of each stage."""
        stages = zip(self._starts[1:], pairwise(self.histories), strict=True)
        for start, (before, after) in stages:
            self.ax_.axvline(start + 0.5, color="gray", linewidth=1)
            for text, side in ((f"← {before}  ", "right"), (f"  {after} →", "left")):
                self.ax_.annotate(
                    text,
                    (start + 0.5, 1),
                    xytext=(0, 4),
                    xycoords=self.ax_.get_xaxis_transform(),
                    textcoords="offset points",
                    ha=side,
                    fontsize=9,
                    parse_math=False,
                )

    def _draw_best(self) -> Any:
        epoch, score = self.best_epoch, self.best_score
        if epoch is None or self.score_ax_ is None:
            return None
        stage = f" of {next(reversed(self.histories))}" if self._starts[1:] else ""
        self.ax_.set_title(
            f"best: epoch {epoch}{stage}, {_label_of(f'val_{self.score_name}')} "
            f"{score:.3f}",
            pad=20 if stage else None,
            fontsize=11,
            parse_math=False,
        )
        place = self._starts[-1] + epoch
        return draw_ring(self.score_ax_, place, score, 12, "best epoch")

    def _draw_legend(self) -> None:
        from matplotlib.transforms import ScaledTranslation

        firsts: Sequence[Any] = [lines[0] for lines in self.lines_.values()]
        handles = [*firsts, *([self.best_line_] if self.best_line_ else [])]
        below = ScaledTranslation(0, -_BELOW, self.figure_.dpi_scale_trans)
        self.ax_.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(0.5, 0),
            bbox_transform=self.ax_.transAxes + below,
            ncols=min(len(handles), 3),
            frameon=False,
            fontsize=9,
        )


def _check_histories(histories: Any) -> None:
    """Raise an error unless there is a stage, and each has losses."""
    stages = list(histories.values()) if isinstance(histories, Mapping) else []
    if not stages or not all(isinstance(s, Mapping) and "loss" in s for s in stages):
        raise ValueError(
            f"histories={histories!r:.200}; expected at least one stage by name, and "
            'for each a dict with "loss", such as {"head": head.history_}.'
        )


def _check_epoch(epoch: Any, n_epochs: int) -> int | None:
    if epoch is None:
        return None
    if not is_whole(epoch) or not 0 <= epoch <= n_epochs:
        raise ValueError(
            f"best_epoch={epoch!r}; expected the number of an epoch of the last stage, "
            f"1 to {n_epochs}, or 0 for weights from before the first epoch."
        )
    return int(epoch)


def _label_of(name: str) -> str:
    if name.startswith("val_"):
        return f"validation {name.removeprefix('val_').replace('_', ' ')}"
    return name.replace("_", " ")


def _stages_of(estimator: Any) -> Mapping[str, Mapping[str, Sequence[float]]]:
    """Return the histories of an estimator that have epochs, by stage."""
    stages = {"head": estimator.history_}
    if hasattr(estimator, "head_"):
        stages = {
            "head": getattr(estimator.head_, "history_", {}),
            str(estimator.trainable): estimator.history_,
        }
    return {name: history for name, history in stages.items() if history.get("loss")}

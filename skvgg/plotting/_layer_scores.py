"""Display of the scores of layers and poolings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skvgg._definition.architecture import Output, PoolingName
from skvgg._extraction.settings import expand_layers
from skvgg.plotting._axes import check_axes, draw_ring, get_axes
from skvgg.plotting._layer_search import check_poolings, score_layers
from skvgg.plotting._pipeline import split_pipeline

#: Offset between the points of two poolings, so that error bars do not overlap. The
#: ticks of layers are 1 apart.
_OFFSET = 0.08


class LayerScoreDisplay:
    """Cross-validated scores of layers of VGG19 and poolings.

    It is recommended to use :meth:`from_estimator` to create a display. All parameters
    are stored as attributes: `scores` as a float64 array, `layers` and `poolings` as
    tuples.

    Parameters
    ----------
    scores : array-like of shape (n_layers, n_poolings, n_folds)
        The score of each fold. A layer without height and width has the same scores
        for each pooling.
    layers : sequence of str
        Names of the layers.
    poolings : sequence of str
        "avg", "max" or both.
    step : str, default="vgg19features"
        Name of the pipeline step that is a :class:`~skvgg.VGG19Features`.
    score_name : str, default="Score"
        Name of the score in the axis label.

    Attributes
    ----------
    mean_scores, std_scores : ndarray of shape (n_layers, n_poolings), float64
        Mean and standard deviation over the folds.
    best_layer : str
        The layer with the highest mean score; the first one in a tie.
    best_pooling : str or None
        The pooling of the best layer; None for a layer without height and width.
    best_score : float
        Mean score of the best layer and pooling.
    best_params : dict of str to str or None
        Best layer and pooling as parameters for `set_params` of the pipeline.
    ax_ : matplotlib Axes
        Axes with the scores.
    figure_ : matplotlib Figure
        Figure containing the axes.
    errorbars_ : list of matplotlib ErrorbarContainer
        One per pooling.
    best_line_ : matplotlib Line2D
        The marker of the best layer and pooling.

    See Also
    --------
    sklearn.model_selection.ValidationCurveDisplay : Scores over a parameter.
    skvgg.VGG19Features : With its parameter `memory_layers`, a grid search over layers
        is as fast.

    Notes
    -----
    The best score of many candidates is optimistic. Evaluate the pipeline with
    `best_params` on images that are not in X.

    Examples
    --------
    >>> import numpy as np
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skvgg import VGG19Features
    >>> from skvgg.plotting import LayerScoreDisplay
    >>> rng = np.random.default_rng(0)
    >>> images = rng.integers(0, 256, (12, 32, 32, 3), dtype="uint8")
    >>> y = np.repeat(["dark", "light"], 6)
    >>> images[y == "dark"] //= 2
    >>> features = VGG19Features(None, image_size=32, random_state=0)
    >>> model = make_pipeline(features, StandardScaler(), LogisticRegression())
    >>> display = LayerScoreDisplay.from_estimator(
    ...     model, images, y, layers=["block1_pool", "block2_pool"], cv=3
    ... )
    >>> display.scores.shape
    (2, 2, 3)
    >>> model = model.set_params(**display.best_params)
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        *,
        scores: ArrayLike,
        layers: Iterable[str],
        poolings: Iterable[PoolingName],
        step: str = "vgg19features",
        score_name: str = "Score",
    ) -> None:
        self.scores = np.asarray(scores, dtype=np.float64)
        self.layers = tuple(layers)
        self.poolings = tuple(poolings)
        self.step = step
        self.score_name = score_name

    @classmethod
    def from_estimator(
        cls,
        pipeline: Any,
        X: Any,
        y: Any = None,
        *,
        layers: str | Sequence[str] = "stages",
        poolings: PoolingName | Sequence[PoolingName] = ("avg", "max"),
        groups: Any = None,
        cv: Any = 5,
        scoring: Any = None,
        n_jobs: int | None = None,
        params: Mapping[str, Any] | None = None,
        error_score: Any = np.nan,
        score_name: str | None = None,
        ax: Any = None,
        errorbar_kw: Mapping[str, Any] | None = None,
    ) -> LayerScoreDisplay:
        """Score a pipeline for each layer and pooling, and plot the scores.

        Each image goes through the network at most once. Features in the `memory` of
        the transformer are not recomputed. All layers and poolings are scored on the
        same folds.

        Parameters
        ----------
        pipeline : Pipeline
            A pipeline whose first step is a :class:`~skvgg.VGG19Features` and whose
            other steps use its features. The `layer` and `pooling` of the first step
            are ignored. The pipeline is cloned and need not be fitted.
        X : images
            Images as in :meth:`skvgg.VGG19Features.transform`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Targets. Clusterers and the like need none.
        layers : "stages" or sequence of str, default="stages"
            Layers to score. "stages" means "block1_pool" to "block5_pool". "flatten",
            "fc1" and "fc2" are scored without pooling.
        poolings : sequence of {"avg", "max"}, default=("avg", "max")
            Poolings for layers with height and width.
        groups, cv, scoring, n_jobs, params, error_score
            As in :func:`sklearn.model_selection.cross_val_score`. `params` are passed
            to the steps after the transformer. Random splits are drawn once. With
            metadata routing, `groups` are among the `params`.
        score_name : str, default=None
            Name of the score in the axis label. None uses the name of `scoring`, such
            as "Negative log loss" for "neg_log_loss".
        ax : matplotlib Axes, default=None
            Axes object to plot on. If None, a new figure and axes are created.
        errorbar_kw : dict, default=None
            Keyword arguments for :meth:`matplotlib.axes.Axes.errorbar`.

        Returns
        -------
        LayerScoreDisplay

        Raises
        ------
        ValueError
            If `pipeline` does not start with a :class:`~skvgg.VGG19Features`, or if
            layers or poolings are unknown or missing in the weights, y is missing, or
            another parameter is invalid.
        ImportError
            If matplotlib is not installed.
        """
        check_axes(ax, f"{cls.__name__}.from_estimator")
        layers, poolings = expand_layers(layers, "layers"), check_poolings(poolings)
        step, _, _ = split_pipeline(pipeline)
        scores = score_layers(
            pipeline,
            X,
            y,
            layers,
            poolings,
            groups=groups,
            cv=cv,
            scoring=scoring,
            n_jobs=n_jobs,
            params=params,
            error_score=error_score,
        )
        display = cls(
            scores=scores,
            layers=layers,
            poolings=poolings,
            step=step,
            score_name=score_name or _name_of(scoring),
        )
        return display.plot(ax, errorbar_kw=errorbar_kw)

    @property
    def mean_scores(self) -> np.ndarray:
        return self.scores.mean(axis=2)

    @property
    def std_scores(self) -> np.ndarray:
        return self.scores.std(axis=2)

    @property
    def best_layer(self) -> str:
        return self.layers[self._best[0]]

    @property
    def best_pooling(self) -> str | None:
        return Output.of(self.best_layer, self.poolings[self._best[1]]).pooling

    @property
    def best_score(self) -> float:
        return float(self.mean_scores[self._best])

    @property
    def best_params(self) -> dict[str, str | None]:
        return {
            f"{self.step}__layer": self.best_layer,
            f"{self.step}__pooling": self.best_pooling,
        }

    @property
    def _best(self) -> tuple[int, int]:
        means = np.where(np.isnan(self.mean_scores), -np.inf, self.mean_scores)
        layer, pooling = np.unravel_index(means.argmax(), means.shape)
        return int(layer), int(pooling)

    def plot(
        self, ax: Any = None, *, errorbar_kw: Mapping[str, Any] | None = None
    ) -> LayerScoreDisplay:
        """Plot the mean and standard deviation of the scores for each layer.

        An error bar extends one standard deviation over the folds in each direction, as
        in scikit-learn's displays. It may reach beyond the range of the score, such as
        above an accuracy of 1.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes object to plot on. If None, a new figure and axes are created.
        errorbar_kw : dict, default=None
            Keyword arguments for :meth:`matplotlib.axes.Axes.errorbar`.

        Returns
        -------
        LayerScoreDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        self.ax_ = get_axes(ax, f"{type(self).__name__}.plot")
        self.figure_ = self.ax_.figure
        places = np.arange(len(self.layers))
        middle = (len(self.poolings) - 1) / 2
        offsets = [_OFFSET * (i - middle) for i in range(len(self.poolings))]
        style = {"marker": "o", "capsize": 3, **(errorbar_kw or {})}
        self.errorbars_ = [
            self.ax_.errorbar(places + offset, mean, std, label=pooling, **style)
            for offset, mean, std, pooling in zip(
                offsets,
                self.mean_scores.T,
                self.std_scores.T,
                self.poolings,
                strict=True,
            )
        ]
        layer, pooling = self._best
        place = layer + offsets[pooling]
        self.best_line_ = draw_ring(self.ax_, place, self.best_score, 14, "best")
        self.ax_.set_xticks(places, self.layers, rotation=30, ha="right")
        self.ax_.set_ylabel(self.score_name)
        self.ax_.set_title(self._describe_best())
        self.ax_.legend()
        return self

    def _describe_best(self) -> str:
        what = ", ".join(filter(None, (self.best_layer, self.best_pooling)))
        deviation = self.std_scores[self._best]
        return f"best: {what}, {self.best_score:.3f} ± {deviation:.3f}"


def _name_of(scoring: Any) -> str:
    """Return the name of a score, formatted as in scikit-learn's displays."""
    name = scoring if isinstance(scoring, str) else getattr(scoring, "__name__", None)
    if name is None:
        return "Score"
    if name.startswith("neg_"):
        name = f"Negative {name.removeprefix('neg_')}"
    return name.replace("_", " ").capitalize()

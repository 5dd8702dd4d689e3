"""Display of the images with the largest loss, and of probable label errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skvgg._images import MAX_PIXELS, Images
from skvgg.plotting._axes import check_axes
from skvgg.plotting._gallery import Tile, draw_gallery
from skvgg.plotting._label_errors import find_label_errors
from skvgg.plotting._labels import (
    check_classes,
    check_labels,
    check_same_length,
    encode_labels,
)
from skvgg.plotting._pipeline import read_as
from skvgg.plotting._probabilities import (
    check_has_proba,
    check_proba,
    classes_of_columns,
    cross_val_proba,
    log_losses,
)
from skvgg.plotting._tables import check_count, import_pandas
from skvgg.plotting._thumbnails import make_thumbnails, path_at

#: Color of the frames of suspected label errors.
_SUSPECTED = "tab:red"

#: What to do with a table of several columns.
_INSTEAD = (
    "MistakesDisplay.from_predictions(X['path'], y, "
    "cross_val_predict(model, X, y, method='predict_proba'))."
)


class MistakesDisplay:
    """Images with the largest loss, and probable label errors.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions` to
    create a display. All parameters are stored as attributes, arrays as ndarray.

    Parameters
    ----------
    images : sequence of images
        Paths, bytes, open binary files, PIL images or arrays; or one array of all
        images. They are decoded when they are drawn.
    y_true : array-like of shape (n_samples,)
        Labels of the images.
    y_proba : array-like of shape (n_samples, n_classes)
        Out-of-sample predicted probabilities of the classes, in 0..1.
    classes : array-like of shape (n_classes,)
        Classes in the order of the columns of `y_proba`.
    max_pixels : int or None, default=89478485
        Larger images raise an error.

    Attributes
    ----------
    y_pred : ndarray of shape (n_samples,)
        The most probable class of each image.
    self_confidence : ndarray of shape (n_samples,), float64
        Predicted probability of the label of each image.
    losses : ndarray of shape (n_samples,), float64
        Cross-entropy of each image in nats; probabilities are clipped at 2.2e-16, as
        in :func:`sklearn.metrics.log_loss`.
    label_errors : ndarray of shape (n_suspected,), int
        Indices of images whose label is probably wrong, least probable label first.
    indices_ : ndarray of shape (n_drawn,), int
        Indices of the drawn images.
    ax_ : matplotlib Axes
        Axes with the thumbnails.
    figure_ : matplotlib Figure
        Figure containing the axes.
    ims_ : list of matplotlib AxesImage
        The thumbnails.
    texts_ : list of matplotlib Text
        The texts below the thumbnails.

    See Also
    --------
    sklearn.metrics.ConfusionMatrixDisplay : Confusion matrix of the classes.
    skvgg.plotting.SaliencyDisplay : Grad-CAM map of a prediction.

    Notes
    -----
    Label errors are found by confident learning [1]_. A label is suspected if the
    probability of another class is at least the mean probability of the images with
    that label, and higher than the probability of the image's own label. (If this holds
    for several classes, the most probable of all classes counts.) For the same
    probabilities, ``cleanlab.filter.find_label_issues`` with
    ``filter_by="confident_learning"`` returns the same images. A better classifier
    suspects fewer correct labels; always look at the images.

    References
    ----------
    .. [1] C. Northcutt, L. Jiang, I. Chuang, "Confident learning: Estimating
       uncertainty in dataset labels", JAIR 70, 2021, sections 3.1 and 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skvgg import VGG19Features
    >>> from skvgg.plotting import MistakesDisplay
    >>> rng = np.random.default_rng(0)
    >>> images = rng.integers(0, 256, (20, 32, 32, 3), dtype="uint8")
    >>> y = np.repeat(["dark", "light"], 10)
    >>> images[y == "dark"] //= 2
    >>> y[3] = "light"
    >>> features = VGG19Features(
    ...     None, layer="block3_pool", pooling="avg", image_size=32, random_state=0
    ... )
    >>> model = make_pipeline(features, StandardScaler(), LogisticRegression())
    >>> display = MistakesDisplay.from_estimator(model, images, y, cv=5, n_images=4)
    >>> display.label_errors
    array([3])
    >>> table = display.to_frame()
    >>> print(table.loc[3, "given_label"], table.loc[3, "predicted_label"])
    light dark
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        *,
        images: Images,
        y_true: ArrayLike,
        y_proba: ArrayLike,
        classes: ArrayLike,
        max_pixels: int | None = MAX_PIXELS,
    ) -> None:
        self.images = images
        self.y_true = np.asarray(y_true)
        self.y_proba = np.asarray(y_proba, dtype=np.float64)
        self.classes = np.asarray(classes)
        self.max_pixels = max_pixels

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        groups: Any = None,
        cv: Any = 5,
        n_jobs: int | None = None,
        params: Mapping[str, Any] | None = None,
        n_images: int = 12,
        balanced: bool = False,
        n_columns: int = 6,
        ax: Any = None,
    ) -> MistakesDisplay:
        """Compute cross-validated predictions and plot the mistakes.

        Each image goes through the network at most once. Features in the `memory` of
        the transformer are not recomputed. (Trainable layers are computed for each
        fold, the layers below them once. A search over parameters that change the
        features, such as `layer`, computes each variant once.)

        Parameters
        ----------
        estimator : estimator
            A classifier of images with `predict_proba`: a pipeline that starts with a
            :class:`~skvgg.VGG19Features`, a :class:`~skvgg.VGG19Classifier`, or a
            search over one of these. It is cloned and need not be fitted.
        X : images
            Images as in :meth:`skvgg.VGG19Features.transform`.
        y : array-like of shape (n_samples,)
            Labels.
        groups, cv, n_jobs, params
            As in :func:`sklearn.model_selection.cross_val_predict`. `groups` are passed
            to `cv`, and `params` to `fit`; for a pipeline, to the steps after the
            transformer. With metadata routing, `groups` are among the `params`.
        n_images, balanced, n_columns, ax
            As in :meth:`plot`.

        Returns
        -------
        MistakesDisplay

        Raises
        ------
        ValueError
            If `estimator` has no `predict_proba`, a parameter is invalid, y does not
            contain classes, or an image cannot be used. The message names the index and
            path of the image.
        FileNotFoundError
            If the file of an image does not exist.
        ImportError
            If matplotlib is not installed.
        """
        caller = f"{cls.__name__}.from_estimator"
        check_axes(ax, caller)
        check_count(n_images, "n_images")
        check_count(n_columns, "n_columns")
        check_has_proba(estimator)
        images, max_pixels = read_as(estimator, X, _INSTEAD)
        check_same_length(images, y, "y")
        y = check_labels(y, "y")
        y_proba, classes = cross_val_proba(
            estimator,
            X,
            y,
            groups=groups,
            cv=cv,
            n_jobs=n_jobs,
            params=params,
            caller=caller,
        )
        return cls(
            images=images,
            y_true=y,
            y_proba=y_proba,
            classes=classes,
            max_pixels=max_pixels,
        ).plot(ax, n_images=n_images, balanced=balanced, n_columns=n_columns)

    @classmethod
    def from_predictions(
        cls,
        X: Any,
        y_true: Any,
        y_proba: Any,
        *,
        labels: Any = None,
        n_images: int = 12,
        balanced: bool = False,
        n_columns: int = 6,
        ax: Any = None,
    ) -> MistakesDisplay:
        """Plot the images with the largest loss, given probabilities.

        Parameters
        ----------
        X : images
            Images as in :meth:`skvgg.VGG19Features.transform`.
        y_true : array-like of shape (n_samples,)
            Labels.
        y_proba : array-like of shape (n_samples, n_classes)
            Out-of-sample predicted probabilities, such as the result of
            ``cross_val_predict(..., method="predict_proba")``. If the columns of a
            DataFrame are named after the classes, also by numbers or after a prefix as
            in the tables of ``skvgg predict`` (probability_cat), they may be in any
            order. With other names, they are in the order of `labels`.
        labels : array-like of shape (n_classes,), default=None
            Classes in the order of the columns of `y_proba`. None uses the labels in
            `y_true`, in the order of the names of the columns, or else sorted.
        n_images, balanced, n_columns, ax
            As in :meth:`plot`.

        Returns
        -------
        MistakesDisplay

        Raises
        ------
        ValueError
            If `y_proba` does not contain probabilities of the classes, only some of its
            columns are named after classes, or an image cannot be used. The message
            names the index and path of the image.
        FileNotFoundError
            If the file of an image does not exist.
        ImportError
            If matplotlib is not installed.
        """
        check_axes(ax, f"{cls.__name__}.from_predictions")
        images, _ = read_as(None, X)
        check_same_length(images, y_true, "y_true")
        y_true = check_labels(y_true, "y_true")
        classes = np.unique(y_true) if labels is None else check_classes(labels)
        classes = classes_of_columns(y_proba, classes, is_ordered=labels is not None)
        return cls(
            images=images,
            y_true=y_true,
            y_proba=check_proba(y_proba, len(images), len(classes)),
            classes=classes,
        ).plot(ax, n_images=n_images, balanced=balanced, n_columns=n_columns)

    @property
    def y_pred(self) -> np.ndarray:
        return self.classes[self.y_proba.argmax(axis=1)]

    @property
    def self_confidence(self) -> np.ndarray:
        return self.y_proba[np.arange(len(self.y_proba)), self._codes]

    @property
    def losses(self) -> np.ndarray:
        return log_losses(self.self_confidence)

    @property
    def label_errors(self) -> np.ndarray:
        return find_label_errors(self._codes, self.y_proba)

    @property
    def _codes(self) -> np.ndarray:
        return encode_labels(self.y_true, self.classes, "y_true")

    def to_frame(self) -> Any:
        """Return a table of the probable label errors.

        Returns
        -------
        DataFrame of shape (n_suspected, 5)
            One row for each of `label_errors`, in that order. The index is that of the
            images in X. Columns: "given_label", "predicted_label", "self_confidence"
            (probability of the given label), "predicted_probability", and "path" (None
            for images without a path).

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        pandas = import_pandas(f"{type(self).__name__}.to_frame")
        suspected = self.label_errors
        paths = [path_at(self.images, index) for index in suspected]
        return pandas.DataFrame(
            {
                "given_label": self.y_true[suspected],
                "predicted_label": self.y_pred[suspected],
                "self_confidence": self.self_confidence[suspected],
                "predicted_probability": self.y_proba[suspected].max(axis=1),
                "path": pandas.Series(paths, suspected, dtype=object),
            },
            index=suspected,
        )

    def plot(
        self,
        ax: Any = None,
        *,
        n_images: int = 12,
        balanced: bool = False,
        n_columns: int = 6,
    ) -> MistakesDisplay:
        """Plot thumbnails, largest loss first.

        The text below each thumbnail shows the label and its probability, and the
        predicted class and its probability, or "correct" if that is the label.
        Suspected label errors have a red frame.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes object to plot on. If None, a new figure and axes are created.
        n_images : int, default=12
            Maximum number of images to draw.
        balanced : bool, default=False
            If True, only wrong predictions are drawn, alternating between pairs of
            label and predicted class, so that one frequent confusion does not fill the
            plot. If False, correct predictions with a low probability may be included;
            the text below them says "correct".
        n_columns : int, default=6
            Number of images per row.

        Returns
        -------
        MistakesDisplay
            The display itself.

        Raises
        ------
        ValueError
            If an image cannot be used, or `balanced=True` and no prediction is wrong.
        ImportError
            If matplotlib is not installed.
        """
        caller = f"{type(self).__name__}.plot"
        check_axes(ax, caller)
        check_count(n_images, "n_images")
        n_columns = check_count(n_columns, "n_columns")
        self.indices_ = self._worst(n_images, balanced)
        thumbnails = make_thumbnails(self.images, self.indices_, self.max_pixels)
        tiles = self._tiles(thumbnails)
        rows = [tiles[i : i + n_columns] for i in range(0, len(tiles), n_columns)]
        self.ax_, self.ims_, self.texts_ = draw_gallery(
            ax,
            caller,
            rows,
            "Largest loss first: label → prediction, with probabilities",
            {_SUSPECTED: "suspected label error"},
        )
        self.figure_ = self.ax_.figure
        return self

    def _worst(self, n_images: int, balanced: bool) -> np.ndarray:
        """Return the indices of the images to draw, largest loss first."""
        by_loss = np.argsort(-self.losses, kind="stable")
        if not balanced:
            return by_loss[:n_images]
        codes, predicted = self._codes, self.y_proba.argmax(axis=1)
        wrong = by_loss[codes[by_loss] != predicted[by_loss]]
        if len(wrong) == 0:
            raise ValueError(
                "All images are predicted correctly, so there are no pairs of classes "
                "to balance. Use balanced=False to see the images with the largest "
                "loss."
            )
        n_before: Counter[tuple[int, int]] = Counter()
        turns = []
        for pair in zip(codes[wrong].tolist(), predicted[wrong].tolist(), strict=True):
            turns.append(n_before[pair])
            n_before[pair] += 1
        chosen = np.argsort(turns, kind="stable")[:n_images]
        return wrong[np.sort(chosen)]

    def _tiles(self, thumbnails: list[np.ndarray]) -> list[Tile]:
        suspected = set(self.label_errors.tolist())
        own, highest, y_pred = self.self_confidence, self.y_proba.max(1), self.y_pred
        tiles = []
        for index, pixels in zip(self.indices_.tolist(), thumbnails, strict=True):
            label, predicted = self.y_true[index], y_pred[index]
            is_wrong = predicted != label
            verdict = f"→ {predicted} {highest[index]:.2f}" if is_wrong else "correct"
            color = _SUSPECTED if index in suspected else None
            tiles.append(Tile(pixels, (f"{label} {own[index]:.2f}", verdict), color))
        return tiles

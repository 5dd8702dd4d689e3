"""A two-dimensional map of images by their features."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.utils.multiclass import type_of_target

from skvgg._images import MAX_PIXELS, Images
from skvgg.plotting._axes import axes_to_draw_on, check_axes, check_cmap
from skvgg.plotting._labels import check_labels, check_same_length, check_targets
from skvgg.plotting._pipeline import check_rows, read_as, rows_of
from skvgg.plotting._tables import check_count
from skvgg.plotting._thumbnails import SIDE, make_thumbnails

#: Maximum number of classes, so that colors can be distinguished.
_MAX_CLASSES = 20

#: Maximum length of a class name in the legend.
_MAX_LETTERS = 30

#: Width of the frame of a thumbnail, in points.
_FRAME = 2.0

#: What to do with a table of several columns.
_INSTEAD = (
    "EmbeddingDisplay(embedding=PCA(2).fit_transform(model[:-1].transform(X)), "
    "images=list(X['path']), labels=y).plot(), for a fitted pipeline."
)

#: Space between thumbnails, in points.
_GAP = 3.0


class EmbeddingDisplay:
    """A map of images in two dimensions, with thumbnails.

    It is recommended to use :meth:`from_estimator` to create a display. All parameters
    are stored as attributes, arrays as ndarray.

    Parameters
    ----------
    embedding : array-like of shape (n_samples, 2)
        Coordinates of each image.
    images : sequence of images
        Paths, bytes, open binary files, PIL images or arrays; or one array of all
        images. They are decoded when they are drawn.
    labels : array-like of shape (n_samples,), default=None
        Classes of the images, or numbers.
    method_name : str, default=""
        Name of the method in the axis labels.
    max_pixels : int or None, default=89478485
        Larger images raise an error.

    Attributes
    ----------
    indices_ : ndarray of shape (n_drawn,), int
        Indices of the images drawn as thumbnails.
    ax_ : matplotlib Axes
        Axes with the map.
    figure_ : matplotlib Figure
        Figure containing the axes.
    points_ : matplotlib PathCollection
        One point per image, below the thumbnails.
    boxes_ : list of matplotlib AnnotationBbox
        The thumbnails.
    colorbar_ : matplotlib Colorbar or None
        The colors of numbers; None for classes.

    See Also
    --------
    skvgg.plotting.NeighborsDisplay : Nearest images in all dimensions.
    sklearn.manifold.TSNE : An alternative to PCA.

    Notes
    -----
    Thumbnails never overlap. They are chosen one by one, each as far as possible on the
    map from those chosen before, as long as there is room.

    Examples
    --------
    >>> import numpy as np
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.manifold import TSNE
    >>> from skvgg import VGG19Features
    >>> from skvgg.plotting import EmbeddingDisplay
    >>> rng = np.random.default_rng(0)
    >>> images = rng.integers(0, 256, (12, 32, 32, 3), dtype="uint8")
    >>> y = np.repeat(["dark", "light"], 6)
    >>> images[y == "dark"] //= 2
    >>> features = VGG19Features(
    ...     None, layer="block3_pool", pooling="avg", image_size=32, random_state=0
    ... )
    >>> display = EmbeddingDisplay.from_estimator(features, images, y)
    >>> display.embedding.shape, display.method_name
    ((12, 2), 'PCA')
    >>> method = TSNE(perplexity=4, random_state=0)
    >>> other = EmbeddingDisplay.from_estimator(features, images, y, method=method)
    >>> plt.close("all")
    """

    def __init__(
        self,
        *,
        embedding: ArrayLike,
        images: Images,
        labels: ArrayLike | None = None,
        method_name: str = "",
        max_pixels: int | None = MAX_PIXELS,
    ) -> None:
        self.embedding = np.asarray(embedding, dtype=np.float64)
        self.images = images
        self.labels = None if labels is None else np.asarray(labels)
        self.method_name = method_name
        self.max_pixels = max_pixels

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        method: Any = None,
        max_images: int = 100,
        thumbnail_size: float = 28,
        cmap: Any = None,
        ax: Any = None,
    ) -> EmbeddingDisplay:
        """Compute features, reduce them to two dimensions and plot the map.

        Each image goes through the network at most once. Features in the `memory` of
        the transformer are not recomputed.

        Parameters
        ----------
        estimator : estimator
            A :class:`~skvgg.VGG19Features` or another transformer of images; a
            pipeline, whose last step is ignored if it is not a transformer; a fitted
            :class:`~skvgg.VGG19Classifier` or :class:`~skvgg.VGG19Regressor`; or a
            fitted search. If the transformer is not fitted, a clone is fitted on X.
        X : images
            Images as in :meth:`skvgg.VGG19Features.transform`.
        y : array-like of shape (n_samples,), default=None
            Classes of the images, at most 20, or numbers, such as the targets of a
            regression, shown as colors. They are passed to the `fit` of the
            transformer, but not to `method`.
        method : transformer, default=None
            A transformer whose `fit_transform` returns two columns, such as
            :class:`sklearn.manifold.TSNE`. None uses the first two components of
            :class:`sklearn.decomposition.PCA`. The method is cloned.
        max_images, thumbnail_size, cmap, ax
            As in :meth:`plot`.

        Returns
        -------
        EmbeddingDisplay

        Raises
        ------
        ValueError
            If `estimator` has no transformer, a parameter is invalid, `method` does not
            return two columns, y has more than 20 classes, there is only one image, or
            an image cannot be used. The message names the index and path of the image.
        FileNotFoundError
            If the file of an image does not exist.
        ImportError
            If matplotlib is not installed.
        """
        check_axes(ax, f"{cls.__name__}.from_estimator")
        _check_look(max_images, thumbnail_size, cmap)
        method = PCA(2, random_state=0) if method is None else method
        if not hasattr(method, "fit_transform"):
            raise ValueError(
                f"method={method!r:.200} has no fit_transform; expected a transformer "
                "such as sklearn.manifold.TSNE()."
            )
        method = clone(method)
        images, max_pixels = read_as(estimator, X, _INSTEAD)
        if len(images) < 2:
            raise ValueError("There is only one image; expected at least two.")
        labels = None
        if y is not None:
            check_same_length(images, y, "y")
            labels = _check_colored(y)
        rows, _ = rows_of(estimator, X, y)
        return cls(
            embedding=_check_map(method.fit_transform(rows), len(images), method),
            images=images,
            labels=labels,
            method_name=type(method).__name__,
            max_pixels=max_pixels,
        ).plot(ax, max_images=max_images, thumbnail_size=thumbnail_size, cmap=cmap)

    def plot(
        self,
        ax: Any = None,
        *,
        max_images: int = 100,
        thumbnail_size: float = 28,
        cmap: Any = None,
    ) -> EmbeddingDisplay:
        """Plot the map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes object to plot on. If None, a new figure and axes are created.
        max_images : int, default=100
            Maximum number of thumbnails. Thumbnails are drawn where there is room; all
            other images are points.
        thumbnail_size : float, default=28
            Longer side of a thumbnail, in points (1/72 of an inch).
        cmap : str or Colormap, default=None
            Colors of the classes or numbers. None uses "tab10", "tab20" for more than
            ten classes, or "viridis" for numbers.

        Returns
        -------
        EmbeddingDisplay
            The display itself.

        Raises
        ------
        ValueError
            If a parameter is wrong, or an image cannot be used.
        ImportError
            If matplotlib is not installed.
        """
        caller = f"{type(self).__name__}.plot"
        check_axes(ax, caller)
        _check_look(max_images, thumbnail_size, cmap)
        classes, colors, scale = self._colors(cmap)
        with axes_to_draw_on(ax, caller, (8, 6)) as axes:
            self.ax_: Any = axes
            self.figure_: Any = axes.figure
            self.points_ = axes.scatter(*self.embedding.T, s=12, c=colors)
            axes.margins(0.08)
            axes.set_xlabel(f"{self.method_name} 1".strip())
            axes.set_ylabel(f"{self.method_name} 2".strip())
            if classes:
                self._draw_legend(classes)
            self.colorbar_: Any = None
            if scale is not None:
                self.colorbar_ = axes.figure.colorbar(scale, ax=axes)
            self.indices_ = self._choose(max_images, thumbnail_size)
            self.boxes_ = self._draw_thumbnails(colors, thumbnail_size)
        return self

    def _colors(self, cmap: Any) -> tuple[list[tuple[str, Any]], list[Any], Any]:
        """Return the colors of the classes, of the images, and the scale of numbers."""
        import matplotlib as mpl
        from matplotlib.cm import ScalarMappable

        if self.labels is None:
            return [], ["gray"] * len(self.embedding), None
        if _is_continuous(self.labels):
            scale = ScalarMappable(cmap=cmap or "viridis")
            scale.set_array(self.labels)
            scale.autoscale()
            return [], list(scale.to_rgba(self.labels)), scale
        classes, codes = np.unique(self.labels, return_inverse=True)
        many = len(classes) > 10
        chosen = mpl.colormaps.get_cmap(cmap or ("tab20" if many else "tab10"))
        if chosen.N < 256:  # a list of colors
            palette = [chosen(i % chosen.N) for i in range(len(classes))]
        else:
            palette = list(chosen(np.linspace(0, 1, len(classes))))
        names = [_shorten(str(label)) for label in classes.tolist()]
        of_classes = list(zip(names, palette, strict=True))
        return of_classes, [palette[code] for code in codes], None

    def _draw_legend(self, classes: list[tuple[str, Any]]) -> None:
        from matplotlib.lines import Line2D

        handles = [
            Line2D([], [], marker="s", linestyle="", color=color)
            for _, color in classes
        ]
        legend = self.ax_.legend(
            handles,
            [name for name, _ in classes],
            loc="upper left",
            bbox_to_anchor=(1, 1),
            frameon=False,
        )
        for text in legend.get_texts():
            text.set_parse_math(False)

    def _choose(self, max_images: int, thumbnail_size: float) -> np.ndarray:
        """Return the indices of images with enough room for a thumbnail."""
        self.figure_.canvas.figure.draw_without_rendering()
        dpi = self.figure_.canvas.figure.dpi
        places = self.ax_.transData.transform(self.embedding) * 72 / dpi
        margin = thumbnail_size + 2 * _FRAME + _GAP
        chosen: list[int] = []
        free = np.full(len(places), np.inf)
        index = int(np.abs(places - places.mean(axis=0)).max(axis=1).argmin())
        while len(chosen) < max_images and free[index] >= margin:
            chosen.append(index)
            apart = np.abs(places - places[index]).max(axis=1)
            free = np.minimum(free, apart)
            index = int(free.argmax())
        return np.array(chosen)

    def _draw_thumbnails(self, colors: list[Any], thumbnail_size: float) -> list[Any]:
        from matplotlib.offsetbox import AnnotationBbox, OffsetImage

        side = min(SIDE, max(8, round(thumbnail_size * 2)))
        thumbnails = make_thumbnails(self.images, self.indices_, self.max_pixels, side)
        boxes = []
        for index, pixels in zip(self.indices_.tolist(), thumbnails, strict=True):
            box = AnnotationBbox(
                OffsetImage(pixels, zoom=thumbnail_size / side, dpi_cor=True),
                self.embedding[index],
                pad=_FRAME / 2 / 10,
                bboxprops={"edgecolor": colors[index], "linewidth": _FRAME},
            )
            box.set_in_layout(False)  # keeps the measured layout of the axes
            self.ax_.add_artist(box)
            boxes.append(box)
        return boxes


def _check_look(max_images: Any, thumbnail_size: Any, cmap: Any) -> None:
    """Check the parameters of the plot."""
    check_count(max_images, "max_images")
    if not isinstance(thumbnail_size, Real) or not 0 < float(thumbnail_size) < np.inf:
        raise ValueError(
            f"thumbnail_size={thumbnail_size!r}; expected a positive number, in points."
        )
    check_cmap(cmap)


def _shorten(name: str) -> str:
    return name if len(name) <= _MAX_LETTERS else f"{name[: _MAX_LETTERS - 1]}…"


def _is_continuous(labels: np.ndarray) -> bool:
    """Return whether labels are numbers that are no classes, or too many of them."""
    if labels.dtype.kind not in "iuf":
        return False
    is_continuous = type_of_target(labels) == "continuous"
    return is_continuous or len(np.unique(labels)) > _MAX_CLASSES


def _check_colored(y: Any) -> np.ndarray:
    """Check that targets can be shown as colors and return them as an array."""
    targets = check_targets(y, "y")
    if _is_continuous(targets):
        return targets
    labels = check_labels(y, "y")
    n_classes = len(np.unique(labels))
    if n_classes > _MAX_CLASSES:
        raise ValueError(
            f"y has {n_classes} classes, but only {_MAX_CLASSES} can be distinguished "
            "by color. Plot fewer classes, or pass y=None."
        )
    return labels


def _check_map(embedding: Any, n_images: int, method: Any) -> np.ndarray:
    embedding = check_rows(embedding)
    if embedding.shape != (n_images, 2):
        raise ValueError(
            f"{method!r:.200} returned an array of shape {embedding.shape}; expected "
            f"{(n_images, 2)}. Set n_components=2."
        )
    return embedding

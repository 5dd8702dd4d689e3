"""Display of the nearest images by features, and of near duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skvgg._images import MAX_PIXELS, Images
from skvgg.plotting._axes import check_axes
from skvgg.plotting._duplicates import (
    check_search,
    find_copies,
    find_near_duplicates,
    find_neighbors,
)
from skvgg.plotting._gallery import Tile, draw_gallery
from skvgg.plotting._parts import Parts, check_features, join_labels, naming, read_parts
from skvgg.plotting._pipeline import rows_of
from skvgg.plotting._tables import check_count, import_pandas

#: Colors of frames: query image, near duplicate, and near duplicate across parts.
_QUERY, _NEAR, _ACROSS = "black", "tab:orange", "tab:red"

#: What to do with a table of several columns.
_INSTEAD = (
    "NeighborsDisplay.from_features(X['path'], model[:-1].transform(X)), for a fitted "
    "pipeline."
)


class NeighborsDisplay:
    """Nearest images by features, and pairs of near duplicates.

    It is recommended to use :meth:`from_estimator` or :meth:`from_features` to create a
    display. All parameters are stored as attributes, arrays as float64 or int.

    Parameters
    ----------
    images : sequence of images
        Paths, bytes, open binary files, PIL images or arrays; or one array of all
        images. They are decoded when they are drawn.
    distances, neighbors : array-like of shape (n_samples, n_neighbors)
        Distances and indices of the nearest other images, nearest first.
    pairs : array-like of shape (n_pairs, 2)
        Indices of near duplicates, the smaller index first. The attribute has pairs
        across the parts first; within each group, their order, by distance, is kept.
    pair_distances : array-like of shape (n_pairs,)
        Distances of the pairs.
    images_test : sequence of images, default=()
        Images of the second part. Their indices follow those of the first part:
        ``len(images) + 3`` is ``images_test[3]``.
    labels : sequence of length n_samples, default=None
        Labels of the images of both parts.
    metric : str or callable, default="cosine"
        The distance metric.
    max_pixels : int or None, default=89478485
        Larger images raise an error.

    Attributes
    ----------
    is_across : ndarray of shape (n_pairs,), bool
        Whether the images of a pair are in different parts.
    indices_ : ndarray of shape (n_drawn,), int
        Indices of the images whose neighbors are drawn.
    ax_ : matplotlib Axes
        Axes with the thumbnails.
    figure_ : matplotlib Figure
        Figure containing the axes.
    ims_ : list of matplotlib AxesImage
        The thumbnails, row by row.
    texts_ : list of matplotlib Text
        The texts below the thumbnails.

    See Also
    --------
    skvgg.plotting.EmbeddingDisplay : Map of all images.
    sklearn.neighbors.NearestNeighbors : Nearest neighbor search.

    Notes
    -----
    Two images are near duplicates if their distance is less than `threshold` times the
    median distance to the nearest other image, over all images of both parts. Copies do
    not count in this median: if some images are closer than 0.13 times the distance of
    the next one, the distance to that one counts. (cleanlab's ``Datalab`` uses the same
    rule, but counts copies.) Images with equal features are always near
    duplicates, and their distance is zero with every metric.

    Test images with a near duplicate in the training set make scores too optimistic.
    Keep near duplicates in the same part, with the `groups` of a splitter.

    Examples
    --------
    >>> import numpy as np
    >>> import matplotlib.pyplot as plt
    >>> from skvgg import VGG19Features
    >>> from skvgg.plotting import NeighborsDisplay
    >>> rng = np.random.default_rng(0)
    >>> images = rng.integers(0, 256, (12, 32, 32, 3), dtype="uint8")
    >>> train, test = images[:8], images[8:]
    >>> test[2] = train[5]
    >>> features = VGG19Features(
    ...     None, layer="block3_pool", pooling="avg", image_size=32, random_state=0
    ... )
    >>> display = NeighborsDisplay.from_estimator(features, train, test)
    >>> table = display.to_frame()
    >>> table[["part", "index", "other_part", "other_index", "is_across"]]
      part  index other_part  other_index  is_across
    0    X      5     X_test            2       True
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        *,
        images: Images,
        distances: ArrayLike,
        neighbors: ArrayLike,
        pairs: ArrayLike,
        pair_distances: ArrayLike,
        images_test: Images = (),
        labels: Sequence[Any] | None = None,
        metric: Any = "cosine",
        max_pixels: int | None = MAX_PIXELS,
    ) -> None:
        self.images = images
        self.images_test = images_test
        self.distances = np.asarray(distances, dtype=np.float64)
        self.neighbors = np.asarray(neighbors, dtype=int)
        self.pairs = np.asarray(pairs, dtype=int).reshape(-1, 2)
        self.pair_distances = np.asarray(pair_distances, dtype=np.float64)
        across_first = np.argsort(~self.is_across, kind="stable")
        self.pairs = self.pairs[across_first]
        self.pair_distances = self.pair_distances[across_first]
        self.labels = None if labels is None else list(labels)
        self.metric = metric
        self.max_pixels = max_pixels

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        X_test: Any = None,
        *,
        y: Any = None,
        y_test: Any = None,
        n_neighbors: int = 5,
        metric: Any = "cosine",
        threshold: float = 0.13,
        indices: Sequence[int] | None = None,
        n_images: int = 5,
        ax: Any = None,
    ) -> NeighborsDisplay:
        """Compute features, find the nearest images and plot them.

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
        X_test : images, default=None
            Images of a second part, such as the test set. Neighbors are searched in
            both parts.
        y, y_test : array-like of shape (n_samples,), default=None
            Labels to show below the images. `y` is passed to the `fit` of the
            transformer.
        n_neighbors : int, default=5
            Number of nearest images, at most all other images.
        metric : str or callable, default="cosine"
            Distance metric, as in :class:`sklearn.neighbors.NearestNeighbors`.
        threshold : float, default=0.13
            Maximum distance of near duplicates, relative to the median distance to the
            nearest other image.
        indices, n_images, ax
            As in :meth:`plot`.

        Returns
        -------
        NeighborsDisplay

        Raises
        ------
        ValueError
            If `estimator` has no transformer, a parameter is invalid, there is only one
            image, or an image cannot be used. The message names the index and path of
            the image.
        FileNotFoundError
            If the file of an image does not exist.
        ImportError
            If matplotlib is not installed.
        """
        check_axes(ax, f"{cls.__name__}.from_estimator")
        check_search(n_neighbors, metric, threshold)
        check_count(n_images, "n_images")
        parts, max_pixels = read_parts(estimator, X, X_test, _INSTEAD)
        # Before the features, which take long.
        join_labels(parts, y, y_test)
        parts.check_indices(indices)
        features, transform = rows_of(estimator, X, y)
        features_test = None
        if X_test is not None:
            with naming("X_test"):
                features_test = transform(X_test)
        return cls.from_features(
            parts.images,
            features,
            None if X_test is None else parts.images_test,
            features_test,
            y=y,
            y_test=y_test,
            n_neighbors=n_neighbors,
            metric=metric,
            threshold=threshold,
            max_pixels=max_pixels,
            indices=indices,
            n_images=n_images,
            ax=ax,
        )

    @classmethod
    def from_features(
        cls,
        X: Any,
        features: Any,
        X_test: Any = None,
        features_test: Any = None,
        *,
        y: Any = None,
        y_test: Any = None,
        n_neighbors: int = 5,
        metric: Any = "cosine",
        threshold: float = 0.13,
        max_pixels: int | None = MAX_PIXELS,
        indices: Sequence[int] | None = None,
        n_images: int = 5,
        ax: Any = None,
    ) -> NeighborsDisplay:
        """Find the nearest images from precomputed features, and plot them.

        Parameters
        ----------
        X : images
            Images as in :meth:`skvgg.VGG19Features.transform`.
        features : array-like of shape (n_samples, n_features)
            Features of the images.
        X_test : images, default=None
            Images of a second part, such as the test set.
        features_test : array-like of shape (n_samples_test, n_features), default=None
            Features of `X_test`.
        y, y_test, n_neighbors, metric, threshold
            As in :meth:`from_estimator`.
        max_pixels : int or None, default=89478485
            Larger images raise an error.
        indices, n_images, ax
            As in :meth:`plot`.

        Returns
        -------
        NeighborsDisplay

        Raises
        ------
        ValueError
            If the features do not have one row per image, a parameter is invalid, there
            is only one image, or an image cannot be used. The message names the index
            and path of the image.
        FileNotFoundError
            If the file of an image does not exist.
        ImportError
            If matplotlib is not installed.
        """
        check_axes(ax, f"{cls.__name__}.from_features")
        check_search(n_neighbors, metric, threshold)
        check_count(n_images, "n_images")
        if (X_test is None) != (features_test is None):
            raise ValueError("Pass both X_test and features_test, or neither.")
        parts, _ = read_parts(None, X, X_test)
        rows = check_features(features, parts.images, "X")
        if X_test is not None:
            test_rows = check_features(features_test, parts.images_test, "X_test")
            if test_rows.shape[1] != rows.shape[1]:
                raise ValueError(
                    f"features_test has {test_rows.shape[1]} columns; expected "
                    f"{rows.shape[1]}, the same as features."
                )
            rows = np.vstack([rows, test_rows])
        labels = join_labels(parts, y, y_test)
        parts.check_indices(indices)
        copies = find_copies(rows)
        distances, neighbors = find_neighbors(rows, int(n_neighbors), metric, copies)
        pairs, pair_distances = find_near_duplicates(
            rows, float(threshold), metric, copies
        )
        return cls(
            images=parts.images,
            images_test=parts.images_test,
            distances=distances,
            neighbors=neighbors,
            pairs=pairs,
            pair_distances=pair_distances,
            labels=labels,
            metric=metric,
            max_pixels=max_pixels,
        ).plot(ax, indices=indices, n_images=n_images)

    @property
    def is_across(self) -> np.ndarray:
        is_test = self.pairs >= len(self.images)
        return is_test[:, 0] != is_test[:, 1]

    @property
    def _parts(self) -> Parts:
        return Parts(self.images, self.images_test)

    def to_frame(self) -> Any:
        """Return a table of the near duplicates.

        Returns
        -------
        DataFrame of shape (n_pairs, n_columns)
            One row for each of `pairs`, in that order. Columns: "part" ("X" or
            "X_test") of one image and its "index" in it, "other_part" and "other_index"
            of the other image, "distance", "is_across", if there are labels "label" and
            "other_label", and "path" and "other_path" (None for images without a path).

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        pandas = import_pandas(f"{type(self).__name__}.to_frame")
        parts = self._parts
        columns: dict[str, Any] = {}
        sides = list(zip(("", "other_"), self.pairs.T.tolist(), strict=True))
        for prefix, indices in sides:
            places = [parts.place(index) for index in indices]
            columns[f"{prefix}part"] = [part for part, _ in places]
            columns[f"{prefix}index"] = [index for _, index in places]
        columns["distance"] = self.pair_distances
        columns["is_across"] = self.is_across
        for prefix, indices in sides:
            if self.labels is not None:
                columns[f"{prefix}label"] = [self.labels[index] for index in indices]
            paths = [parts.path(index) for index in indices]
            columns[f"{prefix}path"] = pandas.Series(paths, dtype=object)
        return pandas.DataFrame(columns)

    def plot(
        self,
        ax: Any = None,
        *,
        indices: Sequence[int] | None = None,
        n_images: int = 5,
    ) -> NeighborsDisplay:
        """Plot images with their nearest images to the right.

        The text below each image shows its part and index, its distance and its label.
        Near duplicates have an orange frame, or a red one if they are in different
        parts.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes object to plot on. If None, a new figure and axes are created.
        indices : sequence of int, default=None
            Images whose neighbors are drawn. The indices of X_test follow those of X:
            ``len(X) + 3`` is ``X_test[3]``. None selects one image of each pair of near
            duplicates, then the images with the nearest neighbors.
        n_images : int, default=5
            Maximum number of images to draw if `indices` is None.

        Returns
        -------
        NeighborsDisplay
            The display itself.

        Raises
        ------
        ValueError
            If an index is invalid, or an image cannot be used.
        ImportError
            If matplotlib is not installed.
        """
        caller = f"{type(self).__name__}.plot"
        check_axes(ax, caller)
        check_count(n_images, "n_images")
        if indices is None:
            # For pairs across the parts, the image of the second part.
            wanted = [*self.pairs[:, 1], *np.argsort(self.distances[:, 0])]
            indices = list(dict.fromkeys(map(int, wanted)))[:n_images]
        self._parts.check_indices(indices)
        self.indices_ = np.atleast_1d(indices).astype(int)
        drawn = np.column_stack([self.indices_, self.neighbors[self.indices_]])
        thumbnails = self._parts.thumbnails(np.unique(drawn).tolist(), self.max_pixels)
        colors = self._colors_of_pairs()
        rows = []
        for query in self.indices_.tolist():
            tiles = [self._tile(query, thumbnails, None, _QUERY)]
            near = zip(self.neighbors[query], self.distances[query], strict=True)
            for other, distance in near:
                color = colors.get((query, int(other)))
                tiles.append(self._tile(int(other), thumbnails, distance, color))
            rows.append(tiles)
        legend = {
            _QUERY: "image",
            _NEAR: "near duplicate",
            _ACROSS: "near duplicate, other part",
        }
        metric = f"{self.metric} " if isinstance(self.metric, str) else ""
        title = f"Nearest images and their {metric}distances"
        self.ax_, self.ims_, self.texts_ = draw_gallery(ax, caller, rows, title, legend)
        self.figure_ = self.ax_.figure
        return self

    def _colors_of_pairs(self) -> dict[tuple[int, int], str]:
        colors = {}
        for (i, j), across in zip(self.pairs.tolist(), self.is_across, strict=True):
            colors[i, j] = colors[j, i] = _ACROSS if across else _NEAR
        return colors

    def _tile(
        self,
        index: int,
        thumbnails: dict[int, np.ndarray],
        distance: float | None,
        color: str | None,
    ) -> Tile:
        part, place = self._parts.place(index)
        name = f"{part}[{place}]"
        lines = [name if distance is None else f"{name}: {max(distance, 0):.2g}"]
        if self.labels is not None:
            lines.append(str(self.labels[index]))
        return Tile(thumbnails[index], tuple(lines), color)

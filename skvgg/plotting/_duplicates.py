"""Find nearest neighbors, and near duplicates."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

#: Lower bound of the median distance, so that the limit is not zero if most images have
#: an exact copy.
_SMALLEST_MEDIAN = 1e-6


def check_metric(metric: Any) -> None:
    """Raise a ValueError unless a metric can be computed from features."""
    if metric == "precomputed":
        raise ValueError(
            "metric='precomputed'; expected a metric of features, such as 'cosine' or "
            "'euclidean'."
        )
    if not callable(metric):  # those may need rows of a certain length
        NearestNeighbors(metric=metric).fit(np.zeros((2, 2)))


def find_neighbors(
    rows: np.ndarray, n_neighbors: int, metric: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return distances and indices of the nearest other rows of each row.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features), float64
        At least two rows.
    n_neighbors : int
        Number of neighbors; at most n_samples - 1 are returned.
    metric : str or callable
        As in :class:`sklearn.neighbors.NearestNeighbors`.

    Returns
    -------
    distances, indices : ndarray of shape (n_samples, n_neighbors)
        Sorted by distance.
    """
    n_neighbors = min(n_neighbors, len(rows) - 1)
    search = NearestNeighbors(n_neighbors=n_neighbors, metric=metric)
    return search.fit(rows).kneighbors()


def find_near_duplicates(
    rows: np.ndarray, nearest: np.ndarray, threshold: float, metric: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of rows with atypically small distances, nearest first.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features), float64
        The rows.
    nearest : ndarray of shape (n_samples,)
        Distance of each row to its nearest neighbor.
    threshold : float
        Maximum distance of a pair, relative to the median of `nearest`.
    metric : str or callable
        As in :class:`sklearn.neighbors.NearestNeighbors`.

    Returns
    -------
    pairs : ndarray of shape (n_pairs, 2), int
        Each pair has the smaller index first.
    distances : ndarray of shape (n_pairs,), float64
    """
    search = NearestNeighbors(metric=metric).fit(rows)
    limit = threshold * max(float(np.median(nearest)), _SMALLEST_MEDIAN)
    if search.effective_metric_ in ("euclidean", "l2"):
        # scikit-learn expands the square, so copies have a distance of rounding errors.
        longest = float(np.linalg.norm(rows, axis=1).max())
        limit = max(limit, 4 * np.sqrt(np.finfo(np.float64).eps) * longest)
    near_distances, near_indices = search.radius_neighbors(radius=limit)
    first = np.repeat(np.arange(len(rows)), [len(near) for near in near_indices])
    second = np.concatenate(near_indices).astype(int)
    distances = np.concatenate(near_distances)
    chosen = (first < second) & (distances < limit)
    pairs = np.column_stack([first, second])[chosen]
    order = np.argsort(distances[chosen], kind="stable")
    return pairs[order], distances[chosen][order]

"""Find nearest neighbors, and near duplicates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from hashlib import sha256
from numbers import Real
from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from skvgg.plotting._tables import check_count

#: Rounding errors of distances between copies: of cosine distances, and of squares of
#: Euclidean distances, which scikit-learn expands, relative to the longest row.
_ROUNDING = 16 * np.finfo(np.float64).eps

#: Maximum number of copies of an image that are left out of the median, and their
#: distance relative to that of the next image.
_N_LEFT_OUT, _LEFT_OUT = 20, 0.13


def check_search(n_neighbors: Any, metric: Any, threshold: Any) -> None:
    """Check the parameters of the search; metrics must be computed from features."""
    check_count(n_neighbors, "n_neighbors")
    if not isinstance(threshold, Real) or not float(threshold) >= 0:
        raise ValueError(
            f"threshold={threshold!r}; expected a nonnegative number. It is "
            "relative to the median distance."
        )
    if metric == "precomputed":
        raise ValueError(
            "metric='precomputed'; expected a metric of features, such as 'cosine' or "
            "'euclidean'."
        )
    if not callable(metric):  # those may need rows of a certain length
        NearestNeighbors(metric=metric).fit(np.zeros((2, 2)))


def find_copies(rows: np.ndarray) -> list[np.ndarray]:
    """Return the indices of equal rows, for each row that occurs more than once.

    Not every metric finds them: the cosine distance of two rows of zeros is 1, and
    others are not defined for such rows, or are sums of rounding errors.
    """
    groups = defaultdict(list)
    for index, row in enumerate(rows):
        digest = sha256((row + 0.0).tobytes()).digest()  # + 0.0 makes -0.0 equal to 0.0
        groups[digest].append(index)
    return [np.array(group) for group in groups.values() if len(group) > 1]


def find_neighbors(
    rows: np.ndarray, n_neighbors: int, metric: Any, copies: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return distances and indices of the nearest other rows of each row, sorted.

    There are at most all other rows. Exact copies, from :func:`find_copies`, are the
    nearest, with a distance of zero.
    """
    n_neighbors = min(n_neighbors, len(rows) - 1)
    search = NearestNeighbors(n_neighbors=n_neighbors, metric=metric)
    distances, indices = search.fit(rows).kneighbors()
    for group in copies:
        for row in group:
            equal = group[group != row][:n_neighbors]
            others = ~np.isin(indices[row], equal)
            near = np.r_[equal, indices[row][others]][:n_neighbors]
            far = np.r_[np.zeros(len(equal)), distances[row][others]][:n_neighbors]
            indices[row], distances[row] = near, far
    return distances, indices


def find_near_duplicates(
    rows: np.ndarray, threshold: float, metric: Any, copies: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of rows with atypically small distances, nearest first.

    Each pair has the smaller index first. Its distance is below `threshold` times the
    median distance of a row to the nearest one that is not its near duplicate. Exact
    copies are pairs with a distance of zero, whatever the metric and threshold.
    """
    search = NearestNeighbors(metric=metric).fit(rows)
    limit = threshold * _typical_distance(rows, metric, copies)
    if search.effective_metric_ == "cosine":
        limit = max(limit, _ROUNDING)
    elif search.effective_metric_ in ("euclidean", "l2"):
        longest = float(np.linalg.norm(rows, axis=1).max())
        limit = max(limit, np.sqrt(_ROUNDING) * longest)
    near_distances, near_indices = search.radius_neighbors(radius=limit)
    first = np.repeat(np.arange(len(rows)), [len(near) for near in near_indices])
    second = np.concatenate(near_indices).astype(int)
    distances = np.concatenate(near_distances)
    chosen = (first < second) & (distances < limit)
    found = np.column_stack([first, second])[chosen]
    of_groups = [
        group[np.column_stack(np.triu_indices(len(group), 1))] for group in copies
    ]
    copied = np.concatenate([np.empty((0, 2), int), *of_groups])
    pairs = np.concatenate([copied, found])
    distances = np.concatenate([np.zeros(len(copied)), distances[chosen]])
    pairs, places = np.unique(pairs, axis=0, return_index=True)
    order = np.argsort(distances[places], kind="stable")
    return pairs[order], distances[places][order]


def _typical_distance(
    rows: np.ndarray, metric: Any, copies: Sequence[np.ndarray]
) -> float:
    """Return the median distance of a row to the nearest one that is not its copy.

    A row's copies are its nearest rows, up to the last one that is much closer than the
    next. So copies do not make distances seem small, even if all rows have some.
    """
    later = [index for group in copies for index in group[1:]]
    rows = np.delete(rows, later, axis=0)
    n_neighbors = min(_N_LEFT_OUT + 1, len(rows) - 1)
    if n_neighbors < 1:
        return 0.0
    search = NearestNeighbors(n_neighbors=n_neighbors, metric=metric).fit(rows)
    distances, _ = search.kneighbors()
    is_copy = np.zeros(distances.shape, bool)
    is_copy[:, :-1] = distances[:, :-1] < _LEFT_OUT * distances[:, 1:]
    is_copy = np.logical_or.accumulate(is_copy[:, ::-1], axis=1)[:, ::-1]
    first = is_copy.sum(axis=1)
    return float(np.nanmedian(distances[np.arange(len(rows)), first]))

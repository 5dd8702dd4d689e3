"""What a run has found: outputs, keys, bad images, warnings and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from skvgg._extraction.recipe import Recipe, Unit
from skvgg._store.cache import Cache
from skvgg.exceptions import ImageError


class Rows:
    """One row per image: the mean of its views, or the row of each view.

    Parameters
    ----------
    n_images, n_features, n_views : int
    averages : bool
        Whether to average over the views.

    Attributes
    ----------
    values : ndarray of shape (n_views, n_images, n_features), float32
        The first axis has length 1 if the views are averaged.
    """

    def __init__(
        self, n_images: int, n_features: int, n_views: int = 1, averages: bool = True
    ) -> None:
        self._n_averaged = n_views if averages else 1
        shape = (n_views // self._n_averaged, n_images, n_features)
        self.values = np.empty(shape, np.float32)

    def fill(self, index: int, views: Sequence[Sequence[np.ndarray]]) -> None:
        """Fill the row of an image from the outputs of each view."""
        for row, blocks in zip(self.values[:, index], views, strict=False):
            np.concatenate(blocks, out=row)
        if self._n_averaged > 1:
            mean = self.values[0, index]
            for blocks in views[1:]:  # in this order, so that sums have the same bits
                mean += np.concatenate(blocks)
            mean /= np.float32(self._n_averaged)


class Results:
    """Collects the results of one run.

    Parameters
    ----------
    recipe : Recipe
        How outputs are computed from an image.
    cache : Cache
        Where outputs are stored.
    rows : Rows or None
        Filled with the rows; None fills only the cache.
    skips_bad : bool
        Whether to record images that cannot be used instead of raising.
    report : callable
        Called with the number of units completed since the last call, and the counts of
        hits and misses.
    warn : callable
        Called with warnings for the user.

    Attributes
    ----------
    bad : dict of int to ImageError
        Problems of bad images, by index.
    keys : dict of (int, int) to list of bytes
        Keys of the outputs of each image and view.
    """

    def __init__(
        self,
        recipe: Recipe,
        cache: Cache,
        rows: Rows | None,
        *,
        skips_bad: bool,
        report: Callable[[int, Counter[str]], Any],
        warn: Callable[[Warning | str], Any],
    ) -> None:
        self.bad: dict[int, ImageError] = {}
        self.keys: dict[Unit, list[bytes]] = {}
        self._recipe = recipe
        self._cache = cache
        self._rows = rows
        self._skips_bad = skips_bad
        self._report = report
        self._warn = warn
        self._counts: Counter[str] = Counter(hits=0, misses=0)  # and "bad", if any
        self._warned_of: set[str] = set()
        #: The outputs of images of which some views are missing.
        self._incomplete: dict[int, dict[int, Sequence[np.ndarray]]] = {}

    @contextmanager
    def recording_errors(self) -> Iterator[None]:
        """Record an error about an image instead of raising, with `skips_bad`."""
        try:
            yield
        except ImageError as error:
            if not self.record(error):
                raise

    def record(self, error: ImageError) -> bool:
        """Record a bad image with `skips_bad`; return whether it was recorded."""
        if self._skips_bad:
            self.bad[error.index] = error
            self._counts["bad"] += 1
            self._report(len(self._recipe.views), self._counts)
        return self._skips_bad

    def count(self, **more: int) -> None:
        """Add to the counts of "hits" and "misses", and report."""
        self._counts.update(more)
        self._report(sum(more.values()), self._counts)

    def add_cached(self, unit: Unit, blocks: Sequence[np.ndarray]) -> None:
        """Add the cached outputs of an image and view."""
        self._fill(unit, blocks)
        self.count(hits=1)

    def add_computed(
        self,
        units: Sequence[Unit],
        digests: Sequence[bytes],
        blocks: Sequence[np.ndarray],
    ) -> None:
        """Add and cache the outputs that the network computed.

        Parameters
        ----------
        units : sequence of (int, int)
            The images and views.
        digests : sequence of bytes
            Digests of the images.
        blocks : sequence of ndarray of shape (n, n_features)
            One array for each output of the recipe.
        """
        recipe = self._recipe
        for unit, *row in zip(units, *blocks[: len(recipe.outputs)], strict=True):
            self._fill(unit, row)
        arrays = {}
        for output, block in zip(recipe.all_outputs, blocks, strict=True):
            for (_, view), digest, row in zip(units, digests, block, strict=True):
                key = recipe.key(digest, output, view)
                arrays[key] = recipe.to_stored(output, row)
        self._cache.put(arrays)
        self.count(misses=len(units))

    def add_stored(
        self, units: Sequence[Unit], arrays: Mapping[bytes, np.ndarray]
    ) -> None:
        """Add and cache the outputs that a worker computed, by key."""
        for unit in units:
            self._fill(unit, [arrays[key] for key in self.keys[unit]])
        self._cache.put(arrays)
        self.count(misses=len(units))

    def copy(self, first: int, copy: int, path: str | bytes | None) -> None:
        """Give an image the results of an earlier one of the same content."""
        for view in range(len(self._recipe.views)):
            if (first, view) in self.keys:
                self.keys[copy, view] = self.keys[first, view]
        if first in self.bad:
            self.bad[copy] = self.bad[first].of(copy, path)
        if self._rows is not None:
            self._rows.values[:, copy] = self._rows.values[:, first]

    def _fill(self, unit: Unit, blocks: Sequence[np.ndarray]) -> None:
        """Fill the row of an image once the outputs of all views are there."""
        if self._rows is None:
            return
        index, view = unit
        views = self._incomplete.setdefault(index, {})
        views[view] = blocks
        if len(views) == len(self._recipe.views):
            self._rows.fill(index, [views[view] for view in sorted(views)])
            del self._incomplete[index]

    def warn_once(self, warnings: Iterable[Warning | str]) -> None:
        """Pass on warnings, but of several images with the same, only the first."""
        for warning in warnings:
            what = getattr(warning, "explanation", str(warning))
            if what not in self._warned_of:
                self._warned_of.add(what)
                self._warn(warning)

    def close(self) -> None:
        """Set rows of bad images to NaN; add the counts to those of the cache."""
        if self._rows is not None:
            self._rows.values[:, [*self.bad]] = np.nan
        self.bad = dict(sorted(self.bad.items()))
        self._cache.counts.update(self._counts)

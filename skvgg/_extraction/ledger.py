"""Results of a run: rows, counts, and bad images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from skvgg._extraction.recipe import Recipe
from skvgg._store.cache import Cache
from skvgg.exceptions import ImageError


class Ledger:
    """Collects the results of one run.

    Parameters
    ----------
    recipe : Recipe
        How rows are computed from an image.
    cache : Cache
        Where rows are stored.
    rows : ndarray of shape (n, n_features), float32, or None
        Filled with one row per image; None fills only the cache.
    skips_bad : bool
        Whether to record images that cannot be used instead of raising.
    report : callable
        Called with the number of images completed since the last call, and the counts
        of hits and misses.
    warn : callable
        Called with warnings about the images.

    Attributes
    ----------
    bad : dict of int to ImageError
        Problems of bad images, by index.
    keys : dict of int to list of bytes
        Keys of the outputs of each image, by index.
    """

    def __init__(
        self,
        recipe: Recipe,
        cache: Cache,
        rows: np.ndarray | None,
        *,
        skips_bad: bool,
        report: Callable[[int, Counter[str]], Any],
        warn: Callable[[Warning | str], Any],
    ) -> None:
        self.bad: dict[int, ImageError] = {}
        self.keys: dict[int, list[bytes]] = {}
        self._recipe = recipe
        self._cache = cache
        self._rows = rows
        self._skips_bad = skips_bad
        self._report = report
        #: Called with warnings for the user.
        self.warn = warn
        self._counts: Counter[str] = Counter(hits=0, misses=0)  # and "bad", if any
        self._warned_of: set[str] = set()

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Record errors of an image instead of raising, with `skips_bad`."""
        try:
            yield
        except ImageError as error:
            if not self.note(error):
                raise

    def note(self, error: ImageError) -> bool:
        """Record a bad image with `skips_bad`; return whether it was recorded."""
        if self._skips_bad:
            self.bad[error.index] = error
        return self._skips_bad

    def count(self, **more: int) -> None:
        """Add to the counts of "hits", "misses" and "bad", and report."""
        self._counts.update({name: n for name, n in more.items() if n})
        self._report(sum(more.values()), self._counts)

    def found(self, index: int, blocks: Sequence[np.ndarray]) -> None:
        """Add the cached outputs of an image."""
        self._fill(index, blocks)
        self.count(hits=1)

    def computed(
        self,
        indices: Sequence[int],
        digests: Iterable[bytes],
        blocks: Sequence[np.ndarray],
    ) -> None:
        """Add and cache the outputs that the network computed.

        Parameters
        ----------
        indices : sequence of int
            Indices of the images.
        digests : iterable of bytes
            Digests of their contents.
        blocks : sequence of ndarray of shape (n, n_features)
            One array for each output of the recipe.
        """
        digests = list(digests)
        wanted = blocks[: len(self._recipe.outputs)]
        for index, *row in zip(indices, *wanted, strict=True):
            self._fill(index, row)
        some = {}
        for output, block in zip(self._recipe.all_outputs, blocks, strict=True):
            for digest, row in zip(digests, block, strict=True):
                key = self._recipe.key(digest, output)
                some[key] = self._recipe.to_stored(output, row)
        self._cache.put(some)
        self.count(misses=len(indices))

    def came_home(
        self, indices: Sequence[int], arrays: Mapping[bytes, np.ndarray]
    ) -> None:
        """Add and cache the outputs that a worker computed, by key."""
        for index in indices:
            self._fill(index, [arrays[key] for key in self.keys[index]])
        self._cache.put(arrays)
        self.count(misses=len(indices))

    def _fill(self, index: int, blocks: Sequence[np.ndarray]) -> None:
        """Fill the row of an image from its outputs, if there are rows."""
        if self._rows is not None:
            np.concatenate(blocks, out=self._rows[index])

    def warn_once(self, warnings: Iterable[Warning]) -> None:
        """Pass on warnings, but of several images with the same, only the first."""
        for warning in warnings:
            what = getattr(warning, "explanation", str(warning))
            if what not in self._warned_of:
                self._warned_of.add(what)
                self.warn(warning)

    def close(self) -> None:
        """Add the counts to the counts of the cache."""
        self._cache.counts.update(self._counts)

"""What has become of the images of a run: rows, counts, and what is wrong with some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from skvgg._extraction.recipe import Recipe
from skvgg._images import Content, describe_unscaled
from skvgg._store.cache import Cache


class Ledger:
    """The books of one run.

    Parameters
    ----------
    recipe : Recipe
        What becomes of an image.
    cache : Cache
        Where rows are stored.
    rows : ndarray of shape (n, n_features), float32, or None
        Is filled, one row an image; None fills nothing but the cache.
    skips_bad : bool
        Whether an image that cannot be used is noted, or raises.
    report : callable
        Called with the number of images that have been settled since, and the counts
        of hits and misses.
    warn : callable
        Called with what was odd about the images.

    Attributes
    ----------
    bad : dict of int to str
        What is wrong with images, by index.
    keys : dict of int to list of bytes
        What the outputs of each image are stored under, by its index.
    """

    def __init__(
        self,
        recipe: Recipe,
        cache: Cache,
        rows: np.ndarray | None,
        *,
        skips_bad: bool,
        report: Callable[[int, Counter[str]], Any],
        warn: Callable[[str], Any],
    ) -> None:
        self.bad: dict[int, str] = {}
        self.keys: dict[int, list[bytes]] = {}
        self._recipe = recipe
        self._cache = cache
        self._rows = rows
        self._skips_bad = skips_bad
        self._report = report
        #: Called with what the user should be told of.
        self.warn = warn
        self._counts: Counter[str] = Counter(hits=0, misses=0)  # and "bad", if any
        self._warned_unscaled = False

    @contextmanager
    def noting(self, index: int) -> Iterator[None]:
        """Note that an image is bad instead of raising, if that is wanted."""
        try:
            yield
        except (ValueError, OSError) as error:
            if not self.note(index, str(error)):
                raise

    def note(self, index: int, trouble: str) -> bool:
        """Note that an image is bad, if that is wanted; return whether it is."""
        if self._skips_bad:
            self.bad[index] = trouble
        return self._skips_bad

    def count(self, **more: int) -> None:
        """Add to the counts of "hits", "misses" and "bad", and report."""
        self._counts.update({name: n for name, n in more.items() if n})
        self._report(sum(more.values()), self._counts)

    def found(self, index: int, blocks: Sequence[np.ndarray]) -> None:
        """Take what is stored of an image."""
        self._fill(index, blocks)
        self.count(hits=1)

    def computed(
        self,
        indices: Sequence[int],
        digests: Iterable[bytes],
        blocks: Sequence[np.ndarray],
    ) -> None:
        """Take what the network has made of images, and store it.

        Parameters
        ----------
        indices : sequence of int
            Of the images.
        digests : iterable of bytes
            Of their contents.
        blocks : sequence of ndarray of shape (n, n_features)
            All outputs of the recipe.
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
        """Take what a worker has made of images, by key, and store it."""
        for index in indices:
            self._fill(index, [arrays[key] for key in self.keys[index]])
        self._cache.put(arrays)
        self.count(misses=len(indices))

    def _fill(self, index: int, blocks: Sequence[np.ndarray]) -> None:
        """Fill the row of an image from its outputs, if rows are wanted."""
        if self._rows is not None:
            np.concatenate(blocks, out=self._rows[index])

    def warn_unscaled(self, content: Content) -> None:
        """Warn of the first image whose values look like those of another range."""
        oddity = None if self._warned_unscaled else describe_unscaled(content)
        if oddity is not None:
            self._warned_unscaled = True
            rest = " (Further images of this call are not checked for this.)"
            self.warn(oddity + rest)

    def close(self) -> None:
        """Add the counts to those of the cache."""
        self._cache.counts.update(self._counts)

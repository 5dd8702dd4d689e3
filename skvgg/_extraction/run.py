"""One run over images: look up cached rows, and compute the missing ones.

This module does not depend on estimators or TensorFlow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from itertools import islice
from typing import Any, Protocol

import numpy as np

from skvgg._definition.architecture import PRETRAINED_IMAGE_SIZE, Output
from skvgg._extraction.ledger import Ledger
from skvgg._extraction.local import LocalPasses
from skvgg._extraction.recipe import Recipe
from skvgg._images import Content, Framing, Images, load_together, path_of
from skvgg._runtime.threads import max_threads, threads
from skvgg._runtime.warn import warn
from skvgg._store.cache import Cache
from skvgg.exceptions import BadImageWarning, ImageError

#: Number of undecoded images in memory at the same time: the maximum of a fixed number
#: and a number per thread.
_READ_TOGETHER, _READ_BY_A_THREAD = 16, 2

#: Maximum number of bad images that a warning names.
_TOLD_OF = 5


class Pending(Protocol):
    """Accepts the images of a run that must go through the network."""

    def add(self, contents: dict[int, Content]) -> None:
        """Add images, by index."""


class Passes(Protocol):
    """How images go through the network."""

    def begun(
        self, ledger: Ledger, readers: Executor
    ) -> AbstractContextManager[Pending]:
        """Begin a run; when the context exits, all its images are done."""


def warn_of_bad(bad: dict[int, ImageError], n_images: int) -> None:
    """Warn about images whose rows are NaN."""
    some = "\n".join(map(str, [*bad.values()][:_TOLD_OF]))
    more = f"\nand {len(bad) - _TOLD_OF} more" if len(bad) > _TOLD_OF else ""
    message = (
        f"{len(bad)} of {n_images} images could not be used; their rows are NaN. (The "
        "attribute bad_images of this warning lists all of them. In cross-validation, "
        f"indices refer to the fold.)\n{some}{more}"
    )
    warn(BadImageWarning(message, bad))


class Extraction:
    """One run over images.

    Parameters
    ----------
    recipe : Recipe
        How rows are computed from an image.
    cache : Cache
        Where rows are looked up and stored.
    passes : Passes
        How images without cached rows go through the network.
    max_pixels : int or None
        See :func:`skvgg._images.load`.
    skips_bad : bool
        Whether images that cannot be used get rows of NaN instead of raising.
    report : callable
        Called with the number of images completed since the last call, and the counts
        of hits and misses.
    warn : callable
        Called with warnings about the images.
    """

    def __init__(
        self,
        recipe: Recipe,
        cache: Cache,
        passes: Passes,
        *,
        max_pixels: int | None,
        skips_bad: bool,
        report: Callable[[int, Counter[str]], Any],
        warn: Callable[[Warning | str], Any] = warn,
    ) -> None:
        self._recipe = recipe
        self._cache = cache
        self._passes = passes
        self._max_pixels = max_pixels
        self._settings: dict[str, Any] = {
            "skips_bad": skips_bad,
            "report": report,
            "warn": warn,
        }
        self._first: dict[bytes, int] = {}
        self._copies: list[tuple[int, int]] = []
        self._ledger: Ledger
        self._readers: Executor

    @property
    def keys(self) -> dict[int, list[bytes]]:
        """Keys of the outputs of each image, by index."""
        return self._ledger.keys

    def run(
        self, images: Images | Mapping[int, Any], rows: np.ndarray | None
    ) -> dict[int, ImageError]:
        """Fill `rows` with one row per image, or only the cache if it is None.

        Parameters
        ----------
        images : sequence, or mapping of int to image
            The images, by index.
        rows : ndarray of shape (n, n_features), float32, or None

        Returns
        -------
        dict of int to ImageError
            Problems of the images whose rows are NaN, by index.

        Raises
        ------
        ImageError
            As :func:`skvgg._images.load` and :func:`skvgg._images.decode`; rows
            computed before the error are stored.
        """
        ledger = Ledger(self._recipe, self._cache, rows, **self._settings)
        self._ledger = ledger
        indices = images if isinstance(images, Mapping) else range(len(images))
        n_together = max(_READ_TOGETHER, _READ_BY_A_THREAD * max_threads())
        try:
            with (
                threads() as self._readers,
                self._passes.begun(ledger, self._readers) as pending,
            ):
                left = iter(indices)
                while part := list(islice(left, n_together)):
                    pending.add(self._settle(images, part))
        finally:
            ledger.close()
        bad = ledger.bad
        for copy, first in self._copies:
            ledger.keys[copy] = ledger.keys[first]
            if rows is not None:
                rows[copy] = rows[first]
            if first in bad:
                bad[copy] = bad[first].of(copy, path_of(images[copy]))
        if rows is not None:
            rows[list(bad)] = np.nan
        return dict(sorted(bad.items()))

    def _settle(
        self, images: Images | Mapping[int, Any], indices: Iterable[int]
    ) -> dict[int, Content]:
        """Fill the cached rows; return the other images."""
        ledger, indices = self._ledger, list(indices)
        contents = self._load_new(images, indices)
        keys = {
            index: self._recipe.keys(content.digest)
            for index, content in contents.items()
        }
        ledger.keys.update(keys)
        digests = {index: content.digest for index, content in contents.items()}
        found = self._recipe.look_up(self._cache, digests)
        n_bad = sum(index in ledger.bad for index in indices)
        ledger.count(hits=len(indices) - len(contents) - n_bad, bad=n_bad)
        missing = {}
        for index, content in contents.items():
            if index in found:
                ledger.found(index, found[index])
            else:
                missing[index] = content
        return missing

    def _load_new(
        self, images: Images | Mapping[int, Any], indices: Iterable[int]
    ) -> dict[int, Content]:
        """Return the contents that are not duplicates within this run, by index."""
        contents = {}
        items = {index: images[index] for index in indices}
        futures = load_together(items, self._max_pixels, self._readers)
        for index, loaded in futures.items():
            with self._ledger.noting():
                content = loaded.result()
            if index in self._ledger.bad:
                continue
            first = self._first.setdefault(content.digest, index)
            if first == index:
                contents[index] = content
            else:
                self._copies.append((index, first))
        return contents


def find_bad(
    images: Images, max_pixels: int | None, report: Callable[[int, Counter[str]], Any]
) -> dict[int, ImageError]:
    """Return the problems of bad images, by index.

    This is a regular run, so it finds the same problems, but with a network that
    returns empty rows.
    """
    output = Output("nothing", None)
    side = (PRETRAINED_IMAGE_SIZE, PRETRAINED_IMAGE_SIZE)
    recipe, cache = Recipe((output,), (), Framing(side, "stretch"), None), Cache(None)
    passes = LocalPasses(
        recipe,
        cache,
        lambda pixels, _: [np.empty((len(pixels), 0), np.float32)],
        _READ_TOGETHER,
        max_pixels,
    )
    extraction = Extraction(
        recipe,
        cache,
        passes,
        max_pixels=max_pixels,
        skips_bad=True,
        report=report,
    )
    return extraction.run(images, np.empty((len(images), 0), np.float32))

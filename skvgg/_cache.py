"""Rows of features kept on disk, one picture an entry, through joblib.Memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import joblib
import numpy as np


class RowCache:
    """Computes the rows of those pictures only that it has not seen.

    A picture is known by its decoded and resized pixels, never by its path or
    its place, so it is found again in any order, subset or fold.

    Parameters
    ----------
    memory : None, str, path-like or joblib.Memory
        Where rows are kept; None keeps none.
    settings : hashable
        Whatever else a row depends on.
    """

    def __init__(self, memory: Any, settings: Hashable) -> None:
        self._settings = repr(settings)
        self._lookup: Callable | None = None
        if memory is not None:
            self._lookup = as_memory(memory).cache(_stored_row, ignore=["row"])

    def rows(
        self,
        pictures: Sequence[np.ndarray],
        compute: Callable[[list[np.ndarray]], np.ndarray],
    ) -> np.ndarray:
        """Return one row a picture; `compute` gives those of the unknown ones.

        Parameters
        ----------
        pictures : sequence of ndarray
            Pixels.
        compute : callable
            Takes the list of the pictures that have no row yet, returns their
            rows as an array of shape (n, n_features).

        Returns
        -------
        ndarray of shape (len(pictures), n_features)
        """
        if self._lookup is None:
            return compute(list(pictures))
        digests = [_digest(pixels) for pixels in pictures]
        rows: list[Any] = [self._find(digest) for digest in digests]
        missing = [i for i, row in enumerate(rows) if row is None]
        if missing:
            computed = compute([pictures[i] for i in missing])
            for i, row in zip(missing, computed, strict=True):
                rows[i] = self._lookup(digests[i], self._settings, row)
        return np.stack(rows)

    def _find(self, digest: str) -> np.ndarray | None:
        assert self._lookup is not None
        try:
            return self._lookup(digest, self._settings)
        except _UnknownRowError:
            return None


def as_memory(memory: Any) -> joblib.Memory:
    """Return a joblib.Memory for a path; any object with ``cache`` as it is."""
    if isinstance(memory, str | os.PathLike):
        return joblib.Memory(os.fspath(memory), verbose=0)
    return memory


class _UnknownRowError(Exception):
    """There is no row of this picture; raised so that joblib stores nothing."""


def _stored_row(
    digest: str, settings: str, row: np.ndarray | None = None
) -> np.ndarray:
    """Return `row`. joblib keeps it under `digest` and `settings`."""
    if row is None:
        raise _UnknownRowError(digest)
    return row


def _digest(pixels: np.ndarray) -> str:
    digest = hashlib.blake2b(
        f"{pixels.shape} {pixels.dtype.str}".encode(), digest_size=20
    )
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()

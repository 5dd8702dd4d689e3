"""Outputs of the frozen layers, read from the cache in batches."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import gen_batches

from skvgg._runtime.warn import warn
from skvgg._store.cache import Cache

#: Images whose rows are read together.
_READ_TOGETHER = 256

#: Size of the maps in bytes above which a warning is emitted.
MUCH = 10e9


@contextmanager
def opened_cache(memory: Any) -> Iterator[Cache]:
    """Open `memory`, or a temporary cache if it keeps nothing."""
    with ExitStack() as stack:
        cache = stack.enter_context(closing(Cache(memory)))
        if not cache.keeps:
            folder = tempfile.TemporaryDirectory(prefix="skvgg-")
            cache = Cache(stack.enter_context(folder))
            stack.enter_context(closing(cache))
        yield cache


class Stored:
    """Cached outputs of images and their views.

    `keys` are those of the outputs for each view and image: first the map's, if there
    are maps (of `map_shape`), then those of the rows.
    """

    def __init__(
        self,
        cache: Cache,
        keys: Sequence[Sequence[Sequence[bytes]]],
        map_shape: tuple[int, ...] | None,
    ) -> None:
        self.n_views = len(keys)
        self._cache = cache
        self._keys = keys
        self._map_shape = map_shape or ()
        self._n_maps = 0 if map_shape is None else 1

    def rows(self, view: int) -> list[np.ndarray]:
        """Return the rows of all images, for each output that is not a map."""
        keys = [of_image[self._n_maps :] for of_image in self._keys[view]]
        parts: list[list[np.ndarray]] = [[] for _ in keys[0]]
        for batch in gen_batches(len(keys), _READ_TOGETHER):
            found = self._read([key for of_image in keys[batch] for key in of_image])
            for of_image in keys[batch]:
                for part, key in zip(parts, of_image, strict=True):
                    part.append(found[key])
        return [np.stack(part) for part in parts]

    def maps(self, images: np.ndarray, views: np.ndarray) -> np.ndarray:
        """Return the map of each image in the requested view."""
        keys = [
            self._keys[v][i][0]
            for i, v in zip(images.tolist(), views.tolist(), strict=True)
        ]
        found = self._read(keys)
        # Maps with numbers too large for float16 are stored in float32.
        return np.stack([found[key].reshape(self._map_shape) for key in keys])

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        found = self._cache.get(list(dict.fromkeys(keys)))
        n_missing = sum(key not in found for key in keys)
        if n_missing:
            raise OSError(
                f"{n_missing} of {len(keys)} outputs that training needs are no longer "
                "in `memory`: its disk may be full or read-only, its server full or "
                "unreachable, or it may have been cleared. Free some space or choose "
                "another `memory`, and fit again. The estimator is unchanged."
            )
        return found


@dataclass(frozen=True)
class Batches:
    """Images in the form that the tuner takes: indexed by position.

    `frozen` are the rows that do not change, for each view. `rng` draws a view of each
    image at each access; None always takes the first view.
    """

    stored: Stored
    images: np.ndarray
    frozen: Sequence[np.ndarray]
    rng: np.random.RandomState | None

    @property
    def shape(self) -> tuple[int]:
        """The number of images."""
        return (len(self.images),)

    def __getitem__(self, positions: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return maps and the rows of the frozen outputs."""
        images = self.images[positions]
        views = np.zeros(len(images), int)
        if self.rng is not None and self.stored.n_views > 1:
            views = self.rng.randint(self.stored.n_views, size=len(images))
        frozen = [
            self.frozen[v][i]
            for i, v in zip(images.tolist(), views.tolist(), strict=True)
        ]
        return self.stored.maps(images, views), np.stack(frozen)


def check_disk(cache: Cache, n_bytes: float) -> None:
    """Warn if maps of `n_bytes` take much disk space, and raise if they do not fit.

    The cache may already contain some or all of them.
    """
    folder = cache.location  # None if this is not a known disk
    where = f"in {folder!r}" if folder else "in memory"
    free = _free_bytes(folder)
    if free is not None and n_bytes > free and n_bytes > free + cache.info().bytes:
        raise OSError(
            f"The maps of the frozen layers will take {n_bytes / 1e9:.1f} GB {where}, "
            f"where {free / 1e9:.1f} GB are free. Choose another `memory`, a later "
            "`trainable` layer, a smaller `image_size`, or fewer views (`augment`)."
        )
    if n_bytes > MUCH:
        warn(
            f"The maps of the frozen layers will take up to {n_bytes / 1e9:.1f} GB "
            f"{where}. To reduce this, choose a later `trainable` layer, a smaller "
            "`image_size` or fewer views (`augment`)."
        )


def _free_bytes(folder: str | None) -> int | None:
    if folder is None:
        return None
    path = os.path.abspath(os.path.expanduser(folder))
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return shutil.disk_usage(path).free

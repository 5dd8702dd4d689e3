"""Identity of rows: the content of the image and everything else they depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skvgg._definition.architecture import (
    LAYER_NAMES,
    PIXELS,
    Output,
    n_features,
)
from skvgg._extraction.views import View
from skvgg._images import Framing
from skvgg._runtime.warn import warn_once
from skvgg._store.cache import Cache

#: An image, by its index in X, and one of its views, by its place in `Recipe.views`.
Unit = tuple[int, int]

#: The dtypes of resized images.
_PIXEL_DTYPES = (np.dtype(np.uint8), np.dtype(np.float32))


@dataclass(frozen=True)
class Recipe:
    """How rows are computed from an image.

    Parameters
    ----------
    outputs : tuple of Output
        Outputs that make up a row, in this order.
    also_stored : tuple of Output
        Outputs that are stored in the same pass, for other recipes.
    framing : Framing
        How images are resized.
    network_key : hashable
        The network and everything else that a row depends on; compared by its ``repr``.
    views : tuple of View or None
        The views of the resized image; None is the image itself.
    map_dtype : {"float32", "float16"}
        The dtype of stored maps; see :meth:`to_stored`.
    """

    outputs: tuple[Output, ...]
    also_stored: tuple[Output, ...]
    framing: Framing
    network_key: Hashable
    views: tuple[View | None, ...] = (None,)
    map_dtype: str = "float32"

    @cached_property
    def all_outputs(self) -> tuple[Output, ...]:
        """All distinct outputs that a pass computes."""
        return tuple(dict.fromkeys(self.outputs + self.also_stored))

    @cached_property
    def _prefixes(self) -> dict[tuple[Output, int], bytes]:
        return {
            (output, place): repr(self._identity(output, view)).encode()
            for output in self.all_outputs
            for place, view in enumerate(self.views)
        }

    def _identity(self, output: Output, view: View | None) -> tuple[object, ...]:
        """Return everything that a row depends on besides the content of the image."""
        identity: tuple[object, ...] = (output, self.framing, self.network_key)
        if view is not None:
            identity += (view,)
        if self.map_dtype != "float32" and output.is_map:
            identity += (self.map_dtype,)
        return identity

    def to_stored(self, output: Output, row: np.ndarray) -> np.ndarray:
        """Return a row as it is stored."""
        return to_stored(output, row, self.map_dtype)

    def look_up(
        self, cache: Cache, keys: Mapping[Unit, Sequence[bytes]]
    ) -> dict[Unit, list[np.ndarray]]:
        """Return the cached outputs of the images and views that have all of them.

        A store may hold anything under a key. Rows of a wrong form are missing rows.
        """
        found = cache.get([key for wanted in keys.values() for key in wanted])
        complete = {}
        for unit, wanted in keys.items():
            rows = [found[key] for key in wanted if key in found]
            if len(rows) == len(wanted):
                if all(map(self._fits, self.outputs, rows)):
                    complete[unit] = rows
                else:
                    _warn_of_form(cache)
        return complete

    def _fits(self, output: Output, row: np.ndarray) -> bool:
        """Return whether a row has the length and a dtype that an output may have."""
        size = self.framing.image_size
        if output.layer == PIXELS:
            return row.shape == (3 * size[0] * size[1],) and row.dtype in _PIXEL_DTYPES
        if output.layer not in LAYER_NAMES:  # computed by something else than VGG19
            return row.ndim == 1
        dtypes = {np.dtype(np.float32)}
        if output.is_map:
            dtypes.add(np.dtype(self.map_dtype))
        return row.dtype in dtypes and row.shape == (
            n_features(output.layer, size, output.pooling),
        )

    def keys(self, digest: bytes, view: int = 0) -> list[bytes]:
        """Return the keys of the outputs of a view, given by its place in `views`."""
        return [self.key(digest, output, view) for output in self.outputs]

    def key(self, digest: bytes, output: Output, view: int = 0) -> bytes:
        """Return the key of one output."""
        key = hashlib.blake2b(digest, digest_size=20)
        key.update(self._prefixes[output, view])
        return key.digest()


def to_stored(output: Output, row: np.ndarray, map_dtype: str) -> np.ndarray:
    """Return a row as it is stored: maps as `map_dtype`, unless they overflow."""
    if map_dtype == "float32" or not output.is_map:
        return row
    if np.abs(row).max(initial=0) > np.finfo(map_dtype).max:
        return row
    return row.astype(map_dtype)


def _warn_of_form(cache: Cache) -> None:
    where = f" in {cache.location!r}" if cache.location else ""
    message = (
        f"The store{where} holds rows of a wrong shape or dtype, which skvgg did not "
        "write. They are recomputed and replaced."
    )
    warn_once(where, "form", message)

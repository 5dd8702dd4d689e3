"""Transform Dask collections of images lazily.

Dask is never imported at module level: whoever created the collection imported it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from skvgg._images import Switch, all_switches, using_switches
from skvgg.exceptions import ImageError

#: Metadata of the rows, so that Dask need not compute a block to find them out.
_META = np.empty((0, 0), np.float32)


def is_dask(X: Any) -> bool:
    """Return whether X is a Dask collection of any kind."""
    return hasattr(X, "__dask_graph__")


def check_dask(X: Any, flattened_shape: tuple[int, ...] | None) -> None:
    """Raise an error unless a Dask collection has one item per image."""
    kind = _kind(X)
    if kind == "array":
        is_table = X.ndim == 2 and flattened_shape is not None
        is_images = X.ndim in (3, 4) and X.dtype.kind in "biuf"
        is_items = X.ndim == 1 or (X.ndim == 2 and X.shape[1] == 1)
        if not (is_table or is_images or (is_items and X.dtype.kind not in "biufc")):
            raise ValueError(
                f"X is a Dask array of shape {X.shape} and dtype {X.dtype}; expected "
                "images of shape (n, h, w), (n, h, w, 1), (n, h, w, 3) or (n, h, w, "
                "4), or paths or bytes of shape (n,)."
            )
    elif kind == "frame" and len(X.columns) != 1 and flattened_shape is None:
        raise ValueError(
            f"X is a Dask DataFrame with {len(X.columns)} columns; expected one column "
            "of paths or bytes. Select it: X[['path']]."
        )
    elif kind is None:
        raise ValueError(
            f"X is a {type(X).__module__}.{type(X).__name__}; expected a Dask array, "
            "bag, DataFrame or Series."
        )


def _kind(X: Any) -> str | None:
    """Return the kind of the collection X, or None if it cannot hold images."""
    cls = type(X)  # instances of Delayed have every attribute
    is_other = cls.__name__ in ("Index", "Scalar")
    if not cls.__module__.startswith("dask") or is_other:  # such as xarray's
        return None
    kinds = {"map_blocks": "array", "columns": "frame", "to_frame": "series"}
    kinds["map_partitions"] = "bag"
    return next((kind for name, kind in kinds.items() if hasattr(cls, name)), None)


def transform_dask(transformer: Any, X: Any, names: np.ndarray) -> Any:
    """Return the features of the images of a Dask collection.

    Parameters
    ----------
    transformer : VGG19Features
        Transforms each block on its worker.
    X : dask.array, bag, DataFrame or Series
        The images.
    names : ndarray of shape (n_features,)
        Names of the features.

    Returns
    -------
    dask.array of shape (n, n_features), float32
        A DataFrame if X is a DataFrame or a Series.
    """
    from dask.delayed import delayed

    local = copy.copy(transformer).set_params(n_jobs=1, verbose=0)
    # With a key of its own, it is sent to each worker once.
    shared = delayed(_OnWorker(local, all_switches()), traverse=False)
    kind, n_features = _kind(X), len(names)
    if kind == "array":
        whole = {axis: -1 for axis in range(1, X.ndim) if X.numblocks[axis] > 1}
        X = X.rechunk(whole) if whole else X
        return X.map_blocks(
            rows_of_block,
            shared,
            n_features,
            dtype=np.float32,
            chunks=(X.chunks[0], (n_features,)),
            drop_axis=[*range(1, X.ndim)],
            new_axis=1,
            meta=_META,
        )
    if kind == "bag":
        import dask.array as da

        parts = X.map_partitions(rows_of_block, shared, n_features).to_delayed()
        shape = np.nan, n_features
        blocks = [da.from_delayed(part, shape, meta=_META) for part in parts]
        return da.concatenate(blocks, allow_unknown_chunksizes=True)
    import dask.dataframe as dd
    import pandas as pd

    meta = pd.DataFrame(
        np.empty((0, n_features), np.float32), X._meta.index[:0], columns=names
    )
    # map_partitions would be shorter, but does not compute `shared` before Dask 2025.5.
    table_of, shared_names = delayed(table_of_block), delayed(names, traverse=False)
    parts = [table_of(part, shared, shared_names) for part in X.to_delayed()]
    return dd.from_delayed(parts, meta, divisions=X.divisions, verify_meta=False)


@dataclass(frozen=True, eq=False)
class _OnWorker:
    """A transformer that reads files as the process does that made the collection."""

    transformer: Any
    switches: tuple[Switch, ...]

    def transform(self, images: Any) -> Any:
        """Return the rows of images."""
        with using_switches(self.switches):
            return self.transformer.transform(images)


def rows_of_block(
    images: Any,
    transformer: Any,
    n_features: int,
    block_info: dict[Any, Any] | None = None,
) -> np.ndarray:
    """Return the rows of a block of images."""
    images = images if hasattr(images, "__len__") else [*images]
    if len(images) == 0:
        return np.empty((0, n_features), np.float32)
    try:
        return np.asarray(transformer.transform(images))
    except ImageError as error:
        error.add_note(_describe_block(block_info))
        raise


def _describe_block(block_info: dict[Any, Any] | None) -> str:
    """Return the position of a block, for an error that names an index in it."""
    where = (block_info or {}).get(None, {}).get("array-location", [(np.nan,)])
    begins = where[0][0]
    known = np.isfinite(begins)
    place = f"which starts at X[{begins}]" if known else "counted from its first image"
    return f"This is the index in a block of a Dask collection, {place}."


def table_of_block(images: Any, transformer: Any, names: np.ndarray) -> Any:
    """Return the rows of a block as a DataFrame with the index of `images`."""
    import pandas as pd

    rows = rows_of_block(images, transformer, len(names))
    return pd.DataFrame(rows, images.index, columns=names)

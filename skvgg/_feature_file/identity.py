"""Digests by which a later call recognizes the same images and transformer."""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import joblib
import numpy as np
from joblib.hashing import NumpyHasher
from PIL import Image
from sklearn.base import BaseEstimator

from skvgg._images import load

#: Parameters that do not change the rows.
_WITHOUT_EFFECT = {"memory", "n_jobs", "verbose", "verbose_feature_names_out"}

#: Parameters with named steps; get_params uses the names as prefixes.
_STEPS = {"steps", "transformer_list", "transformers"}

#: Number of images that are digested together.
_BLOCK = 1024


def part_of(X: Any, rows: range) -> Any:
    """Return consecutive rows of X, in the same type of container."""
    part = slice(rows.start, rows.stop)
    return X.iloc[part] if hasattr(X, "iloc") else X[part]


def digest_images(X: Any, n: int) -> str:
    """Return a digest of all images.

    Paths are identified by name, so that a file can be repaired; all other images by
    content. One block of X is in memory at a time.
    """
    digest = hashlib.blake2b(digest_size=16)
    columns = [str(name) for name in getattr(X, "columns", ())]
    if len(columns) > 1:  # a transformer may select columns by name
        digest.update(repr(columns).encode())
    for start in range(0, n, _BLOCK):
        block = part_of(X, range(start, min(start + _BLOCK, n)))
        numbers = _numbers_of(block)
        if numbers is not None:
            _add_array(digest, numbers)
            continue
        for place, item in enumerate(_items_of(block)):
            _add_item(digest, item, start + place)
    return digest.hexdigest()


def digest_file_states(part: Any) -> str:
    """Return a digest of file sizes and modification times; "" without files."""
    if _numbers_of(part) is not None:
        return ""
    paths = [*_paths_in(_items_of(part))]
    if not paths:
        return ""
    states = repr([_state_of_file(path) for path in paths])
    return hashlib.blake2b(states.encode(), digest_size=16).hexdigest()


def _paths_in(items: Sequence[Any]) -> Iterator[str | os.PathLike[str]]:
    """Yield possible paths, including those in the cells of table rows."""
    for item in items:
        if isinstance(item, list | tuple):
            yield from _paths_in(item)
        elif isinstance(item, str | os.PathLike):
            yield item


def digest_rows(rows: np.ndarray) -> str:
    """Return the checksum of rows, which does not depend on the file format."""
    data = np.ascontiguousarray(rows).data
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def describe_transformer(transformer: Any) -> dict[str, str]:
    """Return everything that the output of a transformer depends on, by name.

    Parameters are named as in ``get_params``. A class may override this with a method
    ``__skvgg_rows_depend_on__`` that returns a dict.
    """
    return dict(_describe("", transformer))


def identities_of_weights(thing: Any) -> list[Any]:
    """Return the identities of all weights that a transformer uses, without reading.

    A class takes part with a method ``__skvgg_identify_weights__``.
    """
    parts: Iterable[Any] = ()
    if isinstance(thing, list | tuple):
        parts = thing if _holds_estimators(thing) else ()
    elif hasattr(thing, "__skvgg_identify_weights__"):
        return [thing.__skvgg_identify_weights__()]
    elif isinstance(thing, BaseEstimator):
        parts = _parts_of(thing).values()
    return [identity for part in parts for identity in identities_of_weights(part)]


def feature_names(transformer: Any) -> list[str] | None:
    """Return the feature names of a transformer, or None if they are not known yet."""
    try:
        return [str(name) for name in transformer.get_feature_names_out()]
    except Exception:  # unfitted transformers raise various errors
        return None


def _describe(name: str, thing: Any) -> Iterator[tuple[str, str]]:
    """Yield names and texts that describe a parameter or an attribute."""
    prefix = f"{name}__" if name else ""
    if isinstance(thing, list | tuple) and _holds_estimators(thing):
        labels = []
        for place, item in enumerate(thing):
            label = str(place)
            if isinstance(item, tuple) and item and isinstance(item[0], str):
                label, *rest = item  # a step of a pipeline, with its columns if any
                item = rest[0] if len(rest) == 1 else rest
            labels.append(label)
            yield from _describe(f"{prefix}{label}", item)
        # The names alone do not tell their order.
        yield f"order of {name or 'steps'}", ", ".join(labels)
    elif hasattr(thing, "get_params") and not isinstance(thing, type):
        yield name or "class", _name_of(type(thing), name)
        for key, value in _parts_of(thing).items():
            inner = name if key in _STEPS else f"{prefix}{key}"
            yield from _describe(inner, value)
    else:
        yield name, _text_of(thing, name)


def _holds_estimators(thing: Any) -> bool:
    if isinstance(thing, list | tuple):
        return any(map(_holds_estimators, thing))
    return isinstance(thing, BaseEstimator)


def _parts_of(estimator: Any) -> dict[str, Any]:
    if hasattr(estimator, "__skvgg_rows_depend_on__"):
        return estimator.__skvgg_rows_depend_on__()
    # Fitted attributes count as well.
    parts = {**estimator.get_params(deep=False), **getattr(estimator, "__dict__", {})}
    return {key: parts[key] for key in sorted(parts) if key not in _WITHOUT_EFFECT}


def _name_of(kind: type, name: str) -> str:
    """Return the name of a class, by which later calls find it too."""
    full_name = f"{kind.__module__}.{kind.__qualname__}"
    if not _is_found(kind):
        raise ValueError(
            f"{_owner(name)} is of class {full_name}, which is not found under this "
            "name. So a later call could not recognize it. Define the class in a "
            "module, outside of functions."
        )
    return full_name


def _is_found(thing: Any) -> bool:
    """Return whether a function or class is found under its name in its module."""
    found: Any = sys.modules.get(thing.__module__)
    for part in thing.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is thing


def _owner(name: str) -> str:
    return f"{name} of the transformer" if name else "The transformer"


def _text_of(thing: Any, name: str) -> str:
    """Return a short text that is equal for equal values."""
    if isinstance(thing, str | int | float | bool | None):
        text = repr(thing)
        if len(text) <= 80:
            return text
    if isinstance(thing, list | tuple):
        text = f"({', '.join(_text_of(item, name) for item in thing)})"
        if len(text) <= 80:
            return text
    try:
        # joblib.hash ignores that something in a dictionary cannot be pickled.
        pickle.Pickler(_Nowhere()).dump(thing)
        return _hash(thing)
    except Exception as error:  # pickling can raise any error
        raise ValueError(
            f"{_owner(name)} is, or holds, something that cannot be pickled "
            f"({type(error).__name__}: {error}). So a later call could not recognize "
            "it. Define functions and classes in a module, outside of functions, and "
            "let objects hold only what can be pickled."
        ) from error


class _Hasher(NumpyHasher):
    """Like :func:`joblib.hash`, but the same before and after pickling.

    A pickle may change the strides of arrays, and the order of sets depends on the
    process.
    """

    def save(self, obj: Any) -> None:
        if type(obj) in (np.ndarray, np.memmap) and not obj.dtype.hasobject:
            digest = hashlib.blake2b(obj.tobytes(), digest_size=16).hexdigest()
            obj = ("ndarray", obj.dtype, obj.shape, digest)
        elif type(obj) in (set, frozenset):  # joblib sorts frozensets by inclusion
            obj = (type(obj).__name__, sorted(map(_hash, obj)))
        super().save(obj)


def _hash(thing: Any) -> str:
    return str(_Hasher(hash_name="md5").hash(thing))


class _Nowhere:
    """A file that keeps nothing."""

    def write(self, data: Any) -> int:
        return len(data)


def _numbers_of(block: Any) -> np.ndarray | None:
    """Return a block of X as a numeric array, or None if it is not numeric."""
    if isinstance(block, list | tuple) or hasattr(block, "to_pylist"):
        return None
    if hasattr(block, "toarray"):
        return block.toarray()
    array = np.asarray(block)
    return array if array.dtype.kind in "biufc" else None


def _items_of(block: Any) -> Sequence[Any]:
    if isinstance(block, list | tuple):
        return block
    if hasattr(block, "column_names") and hasattr(block, "to_pylist"):
        block = block.to_pandas()
    if hasattr(block, "to_pylist"):
        return block.to_pylist()
    array = np.asarray(block, dtype=object)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    return array.tolist()


def _add_item(digest: Any, item: Any, index: int) -> None:
    if isinstance(item, str | os.PathLike):
        text = os.path.abspath(os.fsdecode(item))
    elif isinstance(item, bytes | bytearray | memoryview):
        text = hashlib.sha256(item).hexdigest()
    elif isinstance(item, Image.Image) or hasattr(item, "read"):
        text = _digest_of_image(item, index)
    elif isinstance(item, np.ndarray) and item.dtype != object:
        _add_array(digest, item)
        return
    else:
        text = joblib.hash(item)
    data = os.fsencode(text)
    digest.update(f"{len(data)} ".encode() + data)


def _digest_of_image(item: Any, index: int) -> str:
    try:
        return load(item, index).digest.hex()
    except (ValueError, OSError) as error:
        return str(error)


def _add_array(digest: Any, array: np.ndarray) -> None:
    digest.update(f"{array.dtype.str} {array.shape} ".encode())
    digest.update(np.ascontiguousarray(array).data)


def _state_of_file(path: Any) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: not a valid file name
        return None
    return status.st_size, status.st_mtime_ns

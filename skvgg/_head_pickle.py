"""What of a head's parameters needs help to be pickled: optimizers and callbacks."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from typing import Any

from joblib import wrap_non_picklable_objects

from skvgg._tflearn import import_tflearn


class _ImportTFLearn:
    """Imports TFLearn when it is unpickled.

    Stands before an optimizer: the modules that define optimizers can only be imported
    once TFLearn has been.
    """

    def __reduce__(self) -> tuple:
        return import_tflearn, ()


def pack_optimizer(optimizer: Any) -> Any:
    """Return what to pickle of an optimizer, TFLearn's or of a class of the user's."""
    if isinstance(optimizer, str):
        return optimizer
    unbuilt = copy.copy(optimizer)
    unbuilt.tensor, unbuilt.built = None, False
    return _ImportTFLearn(), unbuilt


def unpack_optimizer(packed: Any) -> Any:
    """Undo :func:`pack_optimizer`."""
    return packed[1] if isinstance(packed, tuple) else packed


def pack_callbacks(callbacks: Any) -> Any:
    """Return what to pickle of callbacks: lambdas and local functions by value.

    Raises
    ------
    TypeError
        If one cannot be pickled at all.
    """
    if callbacks is None:
        return None
    if callable(callbacks):
        return _pack_callback(callbacks, "callbacks")
    packed = [_pack_callback(f, f"callbacks[{i}]") for i, f in enumerate(callbacks)]
    return type(callbacks)(packed)


def _pack_callback(callback: Callable, name: str) -> Any:
    try:
        pickle.dumps(callback)
    except Exception:
        by_value = wrap_non_picklable_objects(callback, keep_wrapper=False)
    else:
        return callback
    try:
        pickle.dumps(by_value)
    except Exception as error:
        raise TypeError(
            f"{name} ({callback!r}) cannot be pickled: {error}. Use "
            "set_params(callbacks=None) before saving, if it is for training only."
        ) from error
    return by_value


def release(version: str) -> tuple[int, ...]:
    """Return (major, minor) of a version; () of what is none."""
    numbers = re.findall(r"\d+", version)
    return tuple(map(int, numbers[:2]))

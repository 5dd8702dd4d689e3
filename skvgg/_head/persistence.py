"""What of a head's parameters needs help to be pickled: optimizers and callbacks."""

from __future__ import annotations

import copy
import re
import threading
from collections.abc import Callable
from types import FunctionType
from typing import Any

from joblib import wrap_non_picklable_objects

from skvgg._head.tflearn import import_tflearn


class _ImportTFLearn:
    """Imports TFLearn when it is unpickled.

    Stands before an optimizer: the modules that define optimizers can only be imported
    once TFLearn has been.
    """

    def __reduce__(self) -> tuple[Any, ...]:
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


class _ByValue:
    """Pickles a function with its code, as cloudpickle does; copies share it."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.function = function
        self.name = name

    def __deepcopy__(self, memo: dict[int, Any]) -> _ByValue:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        call = threading.get_ident(), self.function
        if call in _being_pickled:
            raise TypeError("it refers to the head that it belongs to")
        _being_pickled.add(call)
        try:
            by_value = wrap_non_picklable_objects(self.function, keep_wrapper=False)
            return by_value.__reduce__()
        except Exception as error:
            raise TypeError(
                f"{self.name} ({self.function!r}) cannot be pickled: {error}. Use "
                f"set_params({self.name.partition('[')[0]}=None) before saving, if it "
                "is for training only."
            ) from error
        finally:
            _being_pickled.remove(call)


#: Functions whose pickling is under way, by thread: one that refers to its head would
#: come again.
_being_pickled: set[tuple[int, Callable[..., Any]]] = set()


def pack_callbacks(callbacks: Any) -> Any:
    """Return what to pickle of callbacks: lambdas and local functions by value."""
    if isinstance(callbacks, list | tuple):
        packed = [pack_function(f, f"callbacks[{i}]") for i, f in enumerate(callbacks)]
        return type(callbacks)(packed)
    return pack_function(callbacks, "callbacks")


def pack_function(callback: Any, name: str) -> Any:
    """Return what to pickle of a parameter that may be a function.

    Parameters
    ----------
    callback : object
        A lambda or a local function is pickled by value, all else as it is.
    name : str
        What an error calls it: the parameter, maybe with an index.
    """
    is_local = isinstance(callback, FunctionType) and "<" in callback.__qualname__
    return _ByValue(callback, name) if is_local else callback


def unpack_callbacks(packed: Any) -> Any:
    """Undo :func:`pack_callbacks`, where nothing was pickled in between."""
    if isinstance(packed, list | tuple):
        return type(packed)(unpack_callbacks(callback) for callback in packed)
    return packed.function if isinstance(packed, _ByValue) else packed


def release(version: str) -> tuple[int, ...]:
    """Return (major, minor) of a version; () of what is none."""
    numbers = re.findall(r"\d+", version)
    return tuple(map(int, numbers[:2]))

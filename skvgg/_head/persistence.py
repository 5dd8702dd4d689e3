"""Pickling of parameters that need help: optimizers and callbacks."""

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

    It is pickled before an optimizer, because the modules that define optimizers can
    only be imported after TFLearn.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return import_tflearn, ()


def pack_optimizer(optimizer: Any) -> Any:
    """Return the picklable form of an optimizer of TFLearn or of the user."""
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
                f"{self.name} ({self.function!r}) cannot be pickled: {error}. If it is "
                "only needed for training, use "
                f"set_params({self.name.partition('[')[0]}=None) before saving."
            ) from error
        finally:
            _being_pickled.remove(call)


#: Functions being pickled, by thread, to detect those that refer to their own head.
_being_pickled: set[tuple[int, Callable[..., Any]]] = set()


def pack_callbacks(callbacks: Any) -> Any:
    """Return the picklable form of callbacks: lambdas and local functions by value."""
    if isinstance(callbacks, list | tuple):
        packed = [pack_function(f, f"callbacks[{i}]") for i, f in enumerate(callbacks)]
        return type(callbacks)(packed)
    return pack_function(callbacks, "callbacks")


def pack_function(callback: Any, name: str) -> Any:
    """Return the picklable form of a parameter that may be a function.

    Parameters
    ----------
    callback : object
        Lambdas and local functions are pickled by value, other objects unchanged.
    name : str
        Name in errors: the parameter, possibly with an index.
    """
    is_local = isinstance(callback, FunctionType) and "<" in callback.__qualname__
    return _ByValue(callback, name) if is_local else callback


def unpack_callbacks(packed: Any) -> Any:
    """Undo :func:`pack_callbacks` for objects that were copied, not pickled."""
    if isinstance(packed, list | tuple):
        return type(packed)(unpack_callbacks(callback) for callback in packed)
    return packed.function if isinstance(packed, _ByValue) else packed


def release(version: str) -> tuple[int, ...]:
    """Return (major, minor) of a version, or () if it is invalid."""
    numbers = re.findall(r"\d+", version)
    return tuple(map(int, numbers[:2]))

"""What the network computes in: numbers of 32 bits, or fewer for speed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from skvgg._runtime.tensorflow import has_gpu, import_tensorflow, quiet_log

Precision = Literal["float32", "tensorfloat32", "float16", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

#: Those in which activations have fewer bits as well.
REDUCED: tuple[Precision, ...] = ("float16", "bfloat16")


def dtype_of(precision: Precision) -> str:
    """Return the type of weights and activations."""
    return "float32" if precision == "tensorfloat32" else precision


@contextmanager
def tensor_float_32(enabled: bool) -> Iterator[None]:
    """Allow or forbid a GPU to round the factors of float32 products to 10 bits.

    TensorFlow allows it unless told otherwise, and has one switch for the process:
    it is put back afterwards.
    """
    if not has_gpu():
        yield
        return
    config = import_tensorflow().config.experimental
    before = config.tensor_float_32_execution_enabled()
    config.enable_tensor_float_32_execution(enabled)
    try:
        yield
    finally:
        config.enable_tensor_float_32_execution(before)


_passed: set[Precision] = set()


@contextmanager
def quiet_at_first(precision: Precision) -> Iterator[None]:
    """Keep TensorFlow's log from standard error in the first pass of a process.

    On CPUs without instructions for fewer bits, oneDNN says there, once, that others
    compute in its place.
    """
    if precision not in REDUCED or precision in _passed or has_gpu():
        yield
        return
    with quiet_log():
        yield
    _passed.add(precision)

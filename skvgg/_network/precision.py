"""What the network computes in: numbers of 32 bits, or fewer for speed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from skvgg._runtime.tensorflow import has_gpu, import_tensorflow

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

"""What the network computes in: numbers of 32 bits, or fewer for speed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from skvgg._runtime import processor
from skvgg._runtime.tensorflow import has_gpu, import_tensorflow, quiet_log

Precision = Literal["float32", "tensorfloat32", "float16", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

#: Those in which activations have fewer bits as well.
REDUCED: tuple[Precision, ...] = ("float16", "bfloat16")

#: Instructions of a CPU with which fewer bits are faster than float32 by Winograd's
#: method. With others, "avx512bf16" among them, they are slower, or as fast at best.
_INSTRUCTIONS = {"bfloat16": "amx-bf16", "float16": "amx-fp16"}


def computed_in(precision: Precision) -> Precision:
    """Return what is computed in: fewer bits than float32 only where that is faster."""
    if precision not in REDUCED or has_gpu():
        return precision
    is_faster = _INSTRUCTIONS[precision] in processor.features()
    return precision if is_faster else "float32"


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


_said: set[tuple[Precision, str]] = set()


@contextmanager
def quiet_at_first(precision: Precision, what: str) -> Iterator[None]:
    """Keep TensorFlow's log from standard error when a process first does something.

    On CPUs without instructions for fewer bits, oneDNN says once that others compute
    in its place.
    """
    if precision not in REDUCED or (precision, what) in _said or has_gpu():
        yield
        return
    with quiet_log():
        yield
    _said.add((precision, what))

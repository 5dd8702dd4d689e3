"""The precision of the network: float32, or fewer bits for speed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from skvgg._definition.vocabulary import Precision
from skvgg._runtime import processor
from skvgg._runtime.tensorflow import has_gpu, import_tensorflow, quiet_log

#: Precisions in which activations have fewer bits, too.
REDUCED: tuple[Precision, ...] = ("float16", "bfloat16")

#: CPU instructions that make fewer bits faster than float32 with Winograd's method.
#: With other instructions, such as "avx512bf16", fewer bits are not faster.
_INSTRUCTIONS = {"bfloat16": "amx-bf16", "float16": "amx-fp16"}


def computed_in(precision: Precision) -> Precision:
    """Return the actual precision: fewer bits than float32 only if that is faster."""
    if precision not in REDUCED or has_gpu():
        return precision
    has_instructions = _INSTRUCTIONS[precision] in processor.features()
    is_faster = has_instructions and processor.may_use_amx()
    return precision if is_faster else "float32"


def dtype_of(precision: Precision) -> str:
    """Return the data type of weights and activations."""
    return "float32" if precision == "tensorfloat32" else precision


@contextmanager
def tensor_float_32(enabled: bool) -> Iterator[None]:
    """Allow or forbid a GPU to round the factors of float32 products to 10 bits.

    TensorFlow allows it by default and has one setting per process, which is restored
    afterwards.
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


_warned_of: set[tuple[Precision, str]] = set()


@contextmanager
def quiet_at_first(precision: Precision, what: str) -> Iterator[None]:
    """Hide TensorFlow's log when a process does something for the first time.

    On CPUs without instructions for fewer bits, oneDNN logs once that it uses others.
    """
    if precision not in REDUCED or (precision, what) in _warned_of or has_gpu():
        yield
        return
    with quiet_log():
        yield
    _warned_of.add((precision, what))

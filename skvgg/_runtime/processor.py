"""The instruction sets and vector sizes of the processor."""

from __future__ import annotations

import platform
from functools import cache
from typing import NamedTuple


class Vectors(NamedTuple):
    """The vector registers of a processor.

    Attributes
    ----------
    width : int
        Number of float32 values in a vector.
    n_registers : int
        Number of vector registers.
    """

    width: int
    n_registers: int


@cache
def features() -> frozenset[str]:
    """Return the instruction sets of this processor, by LLVM's names.

    For example "avx512f", "avx512bf16" or "amx-bf16".
    """
    import llvmlite.binding as llvm

    found = llvm.get_host_cpu_features()
    return frozenset(name for name, is_there in found.items() if is_there)


def vectors() -> Vectors:
    """Return the longest vectors of this processor."""
    if "avx512f" in features():
        return Vectors(16, 32)
    if "avx" in features():
        return Vectors(8, 16)
    is_arm = platform.machine().lower() in ("arm64", "aarch64")
    return Vectors(4, 32 if is_arm else 16)

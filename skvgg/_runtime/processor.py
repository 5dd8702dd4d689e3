"""The instruction sets and vector sizes of the processor."""

from __future__ import annotations

import ctypes
import mmap
import platform
import sys
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


@cache
def may_run_generated_code() -> bool:
    """Return whether this process may run code that it wrote into memory.

    Some systems forbid it (Linux' PR_SET_MDWE, SELinux' execmem); running it would end
    the process. This asks as LLVM does: a page is written and made executable.
    """
    if not hasattr(mmap, "PROT_EXEC"):
        return True
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    with mmap.mmap(-1, mmap.PAGESIZE, flags=flags) as page:
        page[0] = 0
        view = ctypes.c_char.from_buffer(page)
        rights = mmap.PROT_READ | mmap.PROT_EXEC
        refused = libc.mprotect(ctypes.addressof(view), mmap.PAGESIZE, rights)
        del view
    return refused == 0


def vectors() -> Vectors:
    """Return the longest vectors of this processor."""
    if "avx512f" in features():
        return Vectors(16, 32)
    if "avx" in features():
        return Vectors(8, 16)
    is_arm = platform.machine().lower() in ("arm64", "aarch64")
    return Vectors(4, 32 if is_arm else 16)


#: Linux' request for permission to use tiles, and its number among system calls; see
#: "Using XSTATE features in user space applications" in the documentation of Linux.
_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18


@cache
def may_use_amx() -> bool:
    """Return whether this process has the permission to use Intel's AMX.

    Linux grants it to a process that asks, if the processor has AMX; other systems do
    not require it.
    """
    if sys.platform != "linux":
        return True
    if platform.machine() != "x86_64":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA) == 0

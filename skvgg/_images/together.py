"""Many images at a time, read and decoded in threads.

Each function returns when all is done, so that no more than it was given is in memory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Executor, Future, wait
from typing import Any

import numpy as np

from skvgg._images.content import Content, decode, load
from skvgg._images.items import ENCODED
from skvgg._images.pillow import Framing
from skvgg._runtime.threads import InTurn

#: Bytes of an image from which on hashing takes longer than handing it to a thread:
#: measured, for files and arrays.
_WORTH_A_THREAD = 150_000


def load_together(
    items: Mapping[int, Any], max_pixels: int | None, executor: Executor
) -> dict[int, Future[Content]]:
    """Read images, by their indices, as :func:`load` does.

    Returns
    -------
    dict of int to Future of Content
        By index; the future holds what :func:`load` returned or raised.
    """
    in_turn = InTurn()
    loaded = {}
    for index, item in items.items():
        worth_it = _n_bytes(item) >= _WORTH_A_THREAD
        chosen = executor if worth_it else in_turn
        loaded[index] = chosen.submit(load, item, index, max_pixels)
    wait(loaded.values())
    return loaded


def _n_bytes(item: Any) -> int:
    """Return the size of what is to be hashed, or 0 for what is to be read in turn.

    That is, images and open files: the same one may come twice, and reading changes it.
    """
    if isinstance(item, np.ndarray):
        return item.nbytes
    if isinstance(item, ENCODED):
        return memoryview(item).nbytes
    try:
        return os.stat(item).st_size if isinstance(item, str | os.PathLike) else 0
    except (OSError, ValueError):
        return 0  # loading it will say what is wrong


def decode_together(
    contents: Mapping[int, Content],
    framing: Framing,
    max_pixels: int | None,
    executor: Executor,
) -> dict[int, Future[Any]]:
    """Decode images, by their indices, as :func:`decode` does.

    Returns
    -------
    dict of int to Future of ndarray
        By index; the future holds what :func:`decode` returned or raised.
    """
    decoded = {
        index: executor.submit(decode, content, framing, max_pixels)
        for index, content in contents.items()
    }
    wait(decoded.values())
    return decoded

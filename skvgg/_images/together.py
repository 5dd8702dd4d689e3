"""Read and decode several images at a time in threads.

Each function returns when all its images are done, to limit the memory used.
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

#: Size in bytes above which hashing an image takes longer than passing it to a thread;
#: measured for files and arrays.
_WORTH_A_THREAD = 150_000


def load_together(
    items: Mapping[int, Any], max_pixels: int | None, executor: Executor
) -> dict[int, Future[Content]]:
    """Read images, given by index, as :func:`load` does.

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
    """Return the size of the data to hash, or 0 for items that are read in turn.

    PIL images and open files are read in turn, because an object may occur twice and
    reading changes its state.
    """
    if isinstance(item, np.ndarray):
        return item.nbytes
    if isinstance(item, ENCODED):
        return memoryview(item).nbytes
    try:
        return os.stat(item).st_size if isinstance(item, str | os.PathLike) else 0
    except (OSError, ValueError):
        return 0  # load() reports the error


def decode_together(
    contents: Mapping[int, Content],
    framing: Framing,
    executor: Executor,
) -> dict[int, Future[Any]]:
    """Decode images, given by index, as :func:`decode` does.

    Returns
    -------
    dict of int to Future of ndarray
        By index; the future holds what :func:`decode` returned or raised.
    """
    decoded = {
        index: executor.submit(decode, content, framing)
        for index, content in contents.items()
    }
    wait(decoded.values())
    return decoded

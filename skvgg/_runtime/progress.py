"""Progress bars that cannot fail what they show."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm  # not tqdm.auto: saved notebooks would show 0 % for ever


def progress_bar(steps: Iterable | None = None, **settings: Any) -> tqdm:
    """Return tqdm's progress bar, on standard error whatever becomes of that.

    Parameters
    ----------
    steps : iterable, optional
        What the bar is shown over.
    **settings
        Of :class:`tqdm.tqdm`.
    """
    return tqdm(steps, file=_Unfailing(sys.stderr), **settings)


class _Unfailing:
    """A stream that drops what the one below it does not take.

    That one may be closed, None, a pipe that nobody reads, or a disk that is full.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, and say that all has been written."""
        try:
            self._stream.write(text)
        except Exception:
            self._stream = None
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        try:
            self._stream.flush()
        except Exception:
            self._stream = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

"""Progress bars that cannot fail what they show."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tqdm import tqdm  # not tqdm.auto: saved notebooks would show 0 % for ever

_share: ContextVar[Share | None] = ContextVar("share", default=None)


def progress_bar(steps: Iterable[Any] | None = None, **settings: Any) -> Any:
    """Return tqdm's progress bar, on standard error whatever becomes of that.

    Within :func:`sharing`, a bar over images is a share of the one there.

    Parameters
    ----------
    steps : iterable, optional
        What the bar is shown over.
    **settings
        Of :class:`tqdm.tqdm`.
    """
    share = _share.get()
    if share is not None and settings.get("unit") == "image":
        return share
    return tqdm(steps, file=_Unfailing(sys.stderr), **settings)


@contextmanager
def sharing(bar: tqdm, n: int) -> Iterator[None]:
    """Move a bar on by `n` images, little by little as those within move theirs."""
    share = Share(bar, n)
    token = _share.set(share)
    try:
        yield
    finally:
        _share.reset(token)
    share.finish()


class Share:
    """A part of a progress bar that several others may move in turn.

    Parameters
    ----------
    bar : tqdm
        The whole.
    n : int
        What the part is at most, whatever the others say.
    """

    def __init__(self, bar: tqdm, n: int) -> None:
        self._bar = bar
        self._left = n

    def update(self, n: int) -> None:
        """Move on, but not beyond the part."""
        n = min(n, self._left)
        self._left -= n
        self._bar.update(n)

    def finish(self) -> None:
        """Move to the end of the part."""
        self.update(self._left)

    def set_postfix(self, *args: Any, **kwargs: Any) -> None:
        """Show nothing: the counts of a part are not those of the whole."""

    def __enter__(self) -> Share:
        return self

    def __exit__(self, *args: object) -> None:
        """Leave the bar open, as it belongs to others."""


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

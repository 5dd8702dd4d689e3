"""Files without content of their own: pipes, sockets, devices."""

from __future__ import annotations

import os
import stat

_KINDS = {
    stat.S_ISFIFO: "pipe (FIFO)",
    stat.S_ISSOCK: "socket",
    stat.S_ISCHR: "device",
    stat.S_ISBLK: "device",
    stat.S_ISDIR: "folder",
}


def kind_of_special_file(path: str | bytes | os.PathLike[str]) -> str | None:
    """Return what a path is, or None if it is a regular file or does not exist."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # ValueError: not a valid file name
        return None
    return next((kind for matches, kind in _KINDS.items() if matches(mode)), None)

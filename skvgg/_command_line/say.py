"""Messages on standard error, and the exit codes."""

from __future__ import annotations

import sys
from typing import Any

OK, SOME_BAD, FATAL, INTERRUPTED = 0, 1, 2, 130


def say(kind: str, message: Any, error: BaseException | None = None) -> None:
    """Write a line to standard error, with the notes of an error."""
    notes = getattr(error, "__notes__", [])
    text = " ".join(" ".join([str(message), *notes]).split())
    if sys.stderr is not None:  # it may be closed; print would use standard output
        print(f"skvgg: {kind}: {text}".rstrip(": "), file=sys.stderr)

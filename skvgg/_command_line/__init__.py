"""The command ``skvgg``: a folder of images to a file, without any Python."""

from __future__ import annotations

from collections.abc import Sequence

from skvgg._command_line.say import INTERRUPTED, say

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the command's own name; None takes those of the process.
    """
    try:
        # Takes about a second, in which the user may interrupt.
        from skvgg._command_line.command import run

        return run(arguments)
    except KeyboardInterrupt as interrupt:
        say("interrupted", "", interrupt)
        return INTERRUPTED

"""The command ``skvgg``: process folders of images without writing Python code."""

from __future__ import annotations

from collections.abc import Sequence

from skvgg._command_line.say import INTERRUPTED, say

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Arguments without the command name; None uses those of the process.
    """
    try:
        # The import takes about a second, and the user may interrupt it.
        from skvgg._command_line.command import run

        return run(arguments)
    except KeyboardInterrupt as interrupt:
        say("interrupted", "", interrupt)
        return INTERRUPTED

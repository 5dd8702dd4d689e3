"""The command ``skvgg``: a folder of images to a file, without any Python."""

from skvgg._command_line.main import main

__all__ = ["main"]

"""Feature files: written chunk by chunk, so that they survive a kill at any time.

An incomplete file is called ``rows.npy.part``. The journal next to it,
``rows.npy.journal``, lists the finished chunks. Rows reach the disk before their line
in the journal, so every line is reliable.
"""

from skvgg._feature_file.check import Checked, check
from skvgg._feature_file.formats import format_of
from skvgg._feature_file.paths import Paths, check_folder, locked
from skvgg._feature_file.writer import Writer

__all__ = [
    "Checked",
    "Paths",
    "Writer",
    "check",
    "check_folder",
    "format_of",
    "locked",
]

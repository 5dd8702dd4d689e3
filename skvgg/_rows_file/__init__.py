"""Files of rows that are written chunk by chunk and survive a kill at any time.

An incomplete file is called ``rows.npy.part``. The journal next to it,
``rows.npy.journal``, lists the finished chunks. Rows reach the disk before their line
in the journal, so every line is reliable.
"""

from skvgg._rows_file.checking import Checked, Writer, check, kept
from skvgg._rows_file.formats import format_of
from skvgg._rows_file.places import Places, alone, check_folder
from skvgg._rows_file.run import Run

__all__ = [
    "Checked",
    "Places",
    "Run",
    "Writer",
    "alone",
    "check",
    "check_folder",
    "format_of",
    "kept",
]

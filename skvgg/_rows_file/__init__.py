"""A file of rows that grows chunk by chunk and survives a kill at any moment.

While it grows, the rows are in ``rows.npy.part`` and a journal beside it,
``rows.npy.journal``, says which chunks are there. What is computed reaches the disk
before its line of the journal does, so that each line can be believed.
"""

from skvgg._rows_file.checking import Checked, Writer, check, kept
from skvgg._rows_file.formats import format_of
from skvgg._rows_file.places import Places, alone
from skvgg._rows_file.run import Run

__all__ = [
    "Checked",
    "Places",
    "Run",
    "Writer",
    "alone",
    "check",
    "format_of",
    "kept",
]

"""``skvgg check``: check that a feature file is complete and undamaged."""

from __future__ import annotations

import argparse
from pathlib import Path

from skvgg._command_line.say import OK, SOME_BAD

HELP = "check that a feature file is complete and undamaged"

DESCRIPTION = """\
Read all rows of a file written by 'skvgg extract', and compare their checksums
with those in its journal, which must be next to the file.
"""

EPILOG = """\
example:
  skvgg check rows.npy

exit codes:
  0  the file is complete and undamaged
  1  the file is complete and undamaged, but the rows of some images are NaN
  2  rows are missing or damaged, or the file cannot be read
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("file", metavar="FILE", help="feature file")


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    from skvgg._feature_file import check

    found = check(Path(options.file))
    n_bad = len(found.bad_images)
    nan = f"; NaN for {n_bad} bad image(s)" if n_bad else ""
    print(
        f"{options.file}: complete, {found.n_rows} rows of {found.n_features} "
        f"{found.dtype}{nan}"
    )
    for message in found.bad_images.values():
        print(f"  {message}")
    return SOME_BAD if n_bad else OK

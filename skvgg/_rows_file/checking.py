"""Whether a file of rows is what was written, and all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from skvgg._rows_file.formats import Layout, RowsFormat, format_of
from skvgg._rows_file.identity import checksum_of
from skvgg._rows_file.journal import Chunk, Journal
from skvgg._rows_file.places import Places


class Checked(NamedTuple):
    """What is known of a file of rows that has passed :func:`skvgg.check_rows_file`.

    Attributes
    ----------
    n_rows, n_features : int
        Its shape.
    dtype : dtype
        Of its numbers.
    bad_images : dict of int to str
        What is wrong with the images whose rows are NaN, by index.
    """

    n_rows: int
    n_features: int
    dtype: np.dtype
    bad_images: dict[int, str]


class Writer(NamedTuple):
    """What an error calls that which writes files of rows, and what to do with it.

    Attributes
    ----------
    name : str
        What the user knows it by.
    again : str
        How to have it go on, as the beginning of a sentence.
    verify : str
        What to add to that, so that it looks for damage.
    """

    name: str
    again: str
    verify: str


FUNCTION = Writer(
    "transform_to_file",
    "Call transform_to_file again as before",
    "with verify=True",
)


def open_rows(
    places: Places, header: dict[str, Any], names: list[str] | None = None
) -> RowsFormat:
    """Return the rows that a journal's header describes, complete or growing."""
    layout = Layout(
        header["n_rows"],
        header["n_features"],
        np.dtype(header["dtype"]),
        header["chunk_size"],
    )
    path = places.path if places.path.exists() else places.part
    return format_of(places.path)(path, layout, names or ())


def is_sound(rows: RowsFormat, chunk: Chunk) -> bool:
    """Return whether a chunk holds what its line of the journal says."""
    try:
        return checksum_of(rows.read(chunk.index)) == chunk.checksum
    except Exception:  # what a format's package raises over damaged files
        return False


def check(path: Path, writer: Writer = FUNCTION) -> Checked:
    """See that a file is complete and every checksum right, or raise.

    Parameters
    ----------
    path : Path
        The file.
    writer : Writer
        What errors advise to use.
    """
    places = Places(path)
    format_of(path)
    journal = Journal(places.journal)
    header = journal.header
    if header is None or not (places.path.exists() or places.part.exists()):
        raise _without_file_or_journal(places, writer)
    rows = open_rows(places, header)
    layout = rows.layout
    if rows.path != places.path:
        n_kept = kept(path)[0]
        raise ValueError(
            f"{str(path)!r} is not complete: {n_kept} of {layout.n_rows} rows are "
            f"there. {writer.again}; it computes the rest."
        )
    damaged = [
        index
        for index in range(layout.n_chunks)
        if index not in journal.chunks
        or not rows.is_made()
        or not is_sound(rows, journal.chunks[index])
    ]
    if damaged:
        first = layout.rows_of(damaged[0])
        more = f" and {len(damaged) - 1} more chunk(s)" if len(damaged) > 1 else ""
        raise ValueError(
            f"{str(path)!r} is damaged: rows {first.start} to {first.stop - 1}{more} "
            f"are not what was written. {writer.again}, {writer.verify}; it computes "
            "them again."
        )
    return Checked(layout.n_rows, layout.n_features, layout.dtype, journal.bad())


def kept(path: Path) -> tuple[int, int]:
    """Return how many rows are there according to the journal, and of how many."""
    places = Places(path)
    journal = Journal(places.journal)
    if journal.header is None:
        return 0, 0
    layout = open_rows(places, journal.header).layout
    return sum(len(layout.rows_of(index)) for index in journal.chunks), layout.n_rows


def _without_file_or_journal(places: Places, writer: Writer) -> Exception:
    path, journal = str(places.path), places.journal
    if not places.path.exists():
        return FileNotFoundError(f"{path!r}: no such file.")
    problem = "is damaged" if journal.exists() else "is missing"
    return ValueError(
        f"{path!r} cannot be checked: its journal {journal.name!r} {problem}. "
        f"{writer.name} writes it beside the file; move both together."
    )

"""Check that a file of rows is complete and undamaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from skvgg._rows_file.formats import Layout, RowsFormat, format_of
from skvgg._rows_file.identity import checksum_of
from skvgg._rows_file.journal import Chunk, Journal
from skvgg._rows_file.places import Places
from skvgg.exceptions import ImageError


class Checked(NamedTuple):
    """Result of :func:`skvgg.check_rows_file`.

    Attributes
    ----------
    n_rows, n_features : int
        Shape of the rows.
    dtype : dtype
        Data type of the rows.
    bad_images : dict of int to ImageError
        The error of each image whose row is NaN, by index.
    """

    n_rows: int
    n_features: int
    dtype: np.dtype
    bad_images: dict[int, ImageError]


class Writer(NamedTuple):
    """Names the writer of files of rows in error messages, and how to run it again.

    Attributes
    ----------
    name : str
        Name of the function or command.
    again : str
        Start of a sentence that says how to resume.
    verify : str
        Continuation of that sentence that says how to check for damage.
    """

    name: str
    again: str
    verify: str


FUNCTION = Writer(
    "transform_to_file",
    "Call transform_to_file again with the same arguments",
    "and verify=True",
)


def open_rows(
    places: Places, header: dict[str, Any], names: list[str] | None = None
) -> RowsFormat:
    """Return the complete or incomplete rows described by the header of a journal."""
    layout = Layout(
        header["n_rows"],
        header["n_features"],
        np.dtype(header["dtype"]),
        header["chunk_size"],
    )
    path = places.path if places.path.exists() else places.part
    return format_of(places.path)(path, layout, names or ())


def is_sound(rows: RowsFormat, chunk: Chunk) -> bool:
    """Return whether the checksum of a chunk matches its line in the journal."""
    try:
        return checksum_of(rows.read(chunk.index)) == chunk.checksum
    except Exception:  # the packages raise various errors for damaged files
        return False


def check_container(rows: RowsFormat, places: Places) -> None:
    """Raise a ValueError if a file cannot hold the rows that its journal lists."""
    problem = rows.problem()
    if problem is not None:
        raise ValueError(
            f"{str(rows.path)!r} is damaged: {problem}. Nothing was changed. If the "
            "file may be readable later, try again; or restore it. To compute all rows "
            f"again, delete {rows.path.name!r} and {places.journal.name!r}."
        )


def check(path: Path, writer: Writer = FUNCTION) -> Checked:
    """Raise an error unless a file is complete and all checksums match.

    Parameters
    ----------
    path : Path
        Path of the file.
    writer : Writer
        Names the writer in error messages.
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
            f"{str(path)!r} is incomplete: it has {n_kept} of {layout.n_rows} rows. "
            f"{writer.again} to compute the rest."
        )
    check_container(rows, places)
    damaged = [
        index
        for index in range(layout.n_chunks)
        if index not in journal.chunks or not is_sound(rows, journal.chunks[index])
    ]
    if damaged:
        first = layout.rows_of(damaged[0])
        more = f" and {len(damaged) - 1} more chunk(s)" if len(damaged) > 1 else ""
        raise ValueError(
            f"{str(path)!r} is damaged: the checksum of rows {first.start} to "
            f"{first.stop - 1}{more} does not match. {writer.again} {writer.verify} "
            "to recompute them."
        )
    return Checked(layout.n_rows, layout.n_features, layout.dtype, journal.bad())


def kept(path: Path) -> tuple[int, int]:
    """Return the number of finished rows according to the journal, and of all rows."""
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
        f"{writer.name} writes it next to the file; always move both together."
    )

"""Check that a feature file is complete and undamaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from skvgg._feature_file.base import FileFormat, Layout
from skvgg._feature_file.formats import format_of
from skvgg._feature_file.identity import digest_rows
from skvgg._feature_file.journal import Chunk, Journal
from skvgg._feature_file.paths import Paths
from skvgg.exceptions import ImageError

#: How to resume, for errors about a file that a function or the command has written.
_REPEAT = "Repeat the call of transform_to_file, or the command, that wrote it"


class Checked(NamedTuple):
    """Result of :func:`skvgg.check_feature_file`.

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


def open_rows(
    paths: Paths, header: dict[str, Any], names: list[str] | None = None
) -> FileFormat:
    """Return the complete or incomplete rows described by the header of a journal."""
    layout = Layout(
        header["n_rows"],
        header["n_features"],
        np.dtype(header["dtype"]),
        header["chunk_size"],
    )
    path = paths.path if paths.path.exists() else paths.part
    return format_of(paths.path)(path, layout, names or ())


def is_sound(rows: FileFormat, chunk: Chunk) -> bool:
    """Return whether the checksum of a chunk matches its line in the journal."""
    try:
        return digest_rows(rows.read(chunk.index)) == chunk.checksum
    except Exception:  # the packages raise various errors for damaged files
        return False


def check_container(rows: FileFormat, paths: Paths) -> None:
    """Raise a ValueError if a file cannot hold the rows that its journal lists."""
    problem = rows.problem()
    if problem is not None:
        raise ValueError(
            f"{str(rows.path)!r} is damaged: {problem}. Nothing was changed. If the "
            "file may be readable later, try again; or restore it. To compute all rows "
            f"again, delete {rows.path.name!r} and {paths.journal.name!r}."
        )


def check(path: Path) -> Checked:
    """Raise an error unless a file is complete and all checksums match."""
    paths = Paths(path)
    format_of(path)
    journal = Journal(paths.journal)
    header = journal.header
    if header is None or not (paths.path.exists() or paths.part.exists()):
        raise _missing(paths)
    rows = open_rows(paths, header)
    layout = rows.layout
    if rows.path != paths.path:
        n_finished = sum(len(layout.rows_of(index)) for index in journal.chunks)
        raise ValueError(
            f"{str(path)!r} is incomplete: it has {n_finished} of {layout.n_rows} "
            f"rows. {_REPEAT}, to compute the rest."
        )
    check_container(rows, paths)
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
            f"{first.stop - 1}{more} does not match. {_REPEAT}, with verify=True "
            "(--verify), to compute them again."
        )
    return Checked(layout.n_rows, layout.n_features, layout.dtype, journal.bad())


def _missing(paths: Paths) -> Exception:
    path, journal = str(paths.path), paths.journal
    if not paths.path.exists():
        return FileNotFoundError(f"{path!r}: no such file.")
    problem = "is damaged" if journal.exists() else "is missing"
    return ValueError(
        f"{path!r} cannot be checked: its journal {journal.name!r} {problem}. It is "
        "written next to the file; always move both together."
    )

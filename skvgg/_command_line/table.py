"""Write tables of images, in CSV."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def check_output(target: Path) -> None:
    """Check that a file can be written, before anything is computed.

    Raises
    ------
    FileNotFoundError
        If its folder does not exist.
    IsADirectoryError
        If the target is a folder.
    PermissionError
        If its folder is not writable.
    """
    from skvgg._rows_file import check_folder

    check_folder(target)
    if target.is_dir():
        raise IsADirectoryError(
            f"{str(target)!r} is a folder; expected a file. Nothing was computed."
        )


def refuse_overwriting(target: Path, images: Iterable[str]) -> None:
    """Raise an error if `target` is one of the tables of images."""
    for source in images:
        if target.exists() and os.path.exists(source) and target.samefile(source):
            raise ValueError(
                f"{str(target)!r} is the table of images and would be overwritten. "
                "Choose another output."
            )


def seen_from(folder: Path, path: str) -> str:
    """Return the path of an image for a table in a folder.

    Paths relative to the working directory become relative to the folder, as
    :func:`find_images` expects. Absolute paths are unchanged.
    """
    if os.path.isabs(path):
        return path
    place, name = os.path.split(path)
    if os.pardir in Path(place).parts:  # ".." after a link is another folder
        place = os.path.realpath(place)
    try:
        return os.path.relpath(os.path.join(place, name), os.path.realpath(folder))
    except ValueError:  # on another drive of Windows
        return os.path.abspath(path)


def table_line(cells: Iterable[object]) -> str:
    """Return a line of a CSV table that ends with a line feed."""
    stream = io.StringIO()
    # Python 3.11 and 3.12 quote a carriage return only if lines end in one.
    csv.writer(stream, lineterminator="\r\n").writerow(cells)
    return stream.getvalue().removesuffix("\r\n") + "\n"


def write_table(
    path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]
) -> None:
    """Write a CSV file completely or not at all."""
    text = "".join(map(table_line, [header, *rows]))
    part = path.with_name(f"{path.name}.part")
    try:
        # File names may not be valid text; they are written unchanged.
        part.write_bytes(text.encode("utf-8", errors="surrogateescape"))
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise OSError(
            f"{str(path)!r} cannot be written ({error.strerror}). All rows are saved; "
            "run the same command again to write this table."
        ) from error

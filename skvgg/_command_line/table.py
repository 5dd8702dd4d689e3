"""Write tables of images, in CSV."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO


def check_output(target: Path, header: Sequence[str], images: Iterable[str]) -> None:
    """Check that a table can be written, before anything is computed.

    Parameters
    ----------
    target : Path
        The table. Earlier versions of it are overwritten, but no other files.
    header : sequence of str
        Its first columns.
    images : iterable of str
        The arguments that select images.

    Raises
    ------
    FileNotFoundError
        If its folder does not exist.
    IsADirectoryError
        If the target is a folder.
    PermissionError
        If its folder is not writable.
    FileExistsError
        If the target is one of the tables of images, or not a table with this header.
    """
    from skvgg._feature_file import Paths, check_folder

    check_folder(target)
    for path in (target, Paths(target).part):
        _check_ours(path, header, images)


def _check_ours(target: Path, header: Sequence[str], images: Iterable[str]) -> None:
    """Raise unless a path is free, or an earlier version of a table."""
    if target.is_dir():
        raise IsADirectoryError(
            f"{str(target)!r} is a folder; expected a file. Nothing was computed."
        )
    if not target.is_file():
        return
    for source in images:
        if os.path.exists(source) and target.samefile(source):
            raise FileExistsError(
                f"{str(target)!r} is one of the images, or their table, and would be "
                "overwritten. Choose another output."
            )
    beginning = ",".join(header).encode()
    with target.open("rb") as file:
        found = file.read(len(beginning))
    if found not in (b"", beginning):
        raise FileExistsError(
            f"{str(target)!r} exists and does not begin with "
            f"{beginning.decode()!r}, so it is not an earlier version of this table. "
            "Choose another output, or delete the file first."
        )


def check_stream(output: str) -> None:
    """Raise an OSError if an output is standard output, which is closed."""
    if output == "-" and sys.stdout is None:
        raise OSError(
            "-o - writes to standard output, which is closed. Redirect it, or name a "
            "file. Nothing was computed."
        )


def is_stream(output: str) -> bool:
    """Return whether an output is standard output, a pipe or a device."""
    path = Path(output)
    return output == "-" or (path.exists() and not path.is_file() and not path.is_dir())


@contextmanager
def opened(output: str) -> Iterator[Callable[[Iterable[object]], object]]:
    """Yield a function that writes a line; the file is complete or not there.

    Parameters
    ----------
    output : str
        A file; or a pipe, a device or "-" for standard output, to which lines are
        written immediately. The target of a link is replaced, not the link.

    Raises
    ------
    RuntimeError
        If another process is writing the file.
    """
    if output == "-":
        yield lambda cells: sys.stdout.write(table_line(cells))
        sys.stdout.flush()
        return
    path = Path(os.path.realpath(output) if os.path.islink(output) else output)
    if is_stream(output):
        with _open_text(path) as file:
            yield lambda cells: file.write(table_line(cells))
        return
    from skvgg._feature_file import Paths, locked

    paths = Paths(path)
    with locked(paths):
        try:
            with _open_text(paths.part) as file:
                yield lambda cells: file.write(table_line(cells))
        except BaseException as error:
            if paths.part.exists():
                error.add_note(f"The predictions so far are in {str(paths.part)!r}.")
            raise
        os.replace(paths.part, path)


def _open_text(path: Path) -> TextIO:
    # File names may not be valid text; they are written unchanged.
    return path.open("w", encoding="utf-8", errors="surrogateescape", newline="")


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

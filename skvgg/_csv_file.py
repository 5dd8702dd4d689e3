"""Read tables of images from CSV files."""

from __future__ import annotations

import csv
from pathlib import Path


def read_csv(
    path: Path, *, errors: str = "strict"
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header of a CSV file, and its rows with their line numbers.

    Empty lines are skipped. Rows that are too short get empty cells.

    Parameters
    ----------
    path : Path
        A file in UTF-8.
    errors : str
        What happens to bytes that are not UTF-8, as in :func:`open`.

    Raises
    ------
    ValueError
        If the file is not a CSV file in UTF-8, or a row is longer than the header.
    """
    with path.open(encoding="utf-8-sig", errors=errors, newline="") as file:
        reader = csv.reader(file)
        try:
            header = next(reader, [])
            rows = [(reader.line_num, cells) for cells in reader if cells]
            if any("\0" in name for name in header):
                raise csv.Error("its header contains null characters")
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(
                f"{str(path)!r}: not a CSV file in UTF-8 ({error}). Save it as one. In "
                "Python, a DataFrame may come from other files, such as "
                "pandas.read_csv(path, encoding='utf-16') or pandas.read_excel(path)."
            ) from error
    for index, (line, cells) in enumerate(rows):
        if len(cells) > len(header):
            raise ValueError(
                f"{str(path)!r}, line {line}: Row {index} of the table has more cells "
                "than the header. Quote text that contains a comma."
            )
        cells += [""] * (len(header) - len(cells))
    return header, rows

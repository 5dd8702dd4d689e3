"""The list of file formats."""

from __future__ import annotations

import importlib
from pathlib import Path

from skvgg._feature_file.base import FileFormat
from skvgg._feature_file.npy import NpyFormat
from skvgg._feature_file.parquet import ParquetFormat
from skvgg._feature_file.zarr import ZarrFormat

#: The format for each suffix.
FORMATS: dict[str, type[FileFormat]] = {
    ".npy": NpyFormat,
    ".parquet": ParquetFormat,
    ".zarr": ZarrFormat,
}


def format_of(path: Path) -> type[FileFormat]:
    """Return the format for the suffix of a path.

    Raises
    ------
    ValueError
        If the suffix is unknown.
    ImportError
        If the format's package is not installed.
    """
    if path.suffix not in FORMATS:
        raise ValueError(
            f"{str(path)!r} has the suffix {path.suffix!r}; expected one of "
            f"{', '.join(FORMATS)}. The suffix selects the file format."
        )
    chosen = FORMATS[path.suffix]
    if chosen.package is not None:
        try:
            importlib.import_module(chosen.package)
        except ImportError as error:
            raise ImportError(
                f"{path.suffix} files need the package {chosen.package} "
                f"({error}): pip install 'skvgg[{chosen.extra}]'. The format .npy "
                "needs no other package."
            ) from error
    return chosen

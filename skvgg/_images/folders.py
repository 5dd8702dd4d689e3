"""Find the image files of a folder by their names."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from skvgg._images.pillow import FORMATS


def image_files(folder: Path) -> tuple[list[Path], int]:
    """Return the images in a folder at any depth, and the number of other files.

    Parameters
    ----------
    folder : Path
        The folder to search. Hidden files and files in hidden folders are skipped.

    Returns
    -------
    images : list of Path
                Paths of the images, sorted.
    n_skipped : int
                Number of other files.
    """
    extensions = _readable_extensions()
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    images = [
        file
        for file in files
        if file.suffix.lower() in extensions and not _is_hidden(file, folder)
    ]
    return images, len(files) - len(images)


def _is_hidden(file: Path, folder: Path) -> bool:
    """Return whether `file`, or a folder between it and `folder`, is hidden."""
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _readable_extensions() -> set[str]:
    return {
        extension
        for extension, form in Image.registered_extensions().items()
        if form in FORMATS and form in Image.OPEN
    }

"""Labelled pictures from folders."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.utils import Bunch

__all__ = ["load_image_folder"]


def load_image_folder(path: str | os.PathLike[str]) -> Bunch:
    """List the pictures of a folder that has one sub-folder a class.

    Nothing is decoded: `data` holds paths, which
    :class:`skvgg.VGG19Features` reads when it needs them.

    Parameters
    ----------
    path : str or path-like
        The folder. Each of its sub-folders is a class; pictures may lie deeper
        within it. Files whose extension is not of a format that Pillow reads,
        and hidden ones, are left out.

    Returns
    -------
    :class:`~sklearn.utils.Bunch`
        With the attributes

        data : ndarray of shape (n_pictures,), dtype object
            Path of each picture (str), in sorted order.
        target : ndarray of shape (n_pictures,), dtype int64
            Index of each picture's class in `target_names`.
        target_names : ndarray of shape (n_classes,), dtype str
            Names of the sub-folders, sorted.
        filenames : ndarray of shape (n_pictures,), dtype object
            Same as `data`, the name under which
            :func:`sklearn.datasets.load_files` gives it.
        n_skipped : int
            How many files were left out.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If the folder has fewer than two sub-folders with pictures in them, or
        `path` is a file.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from PIL import Image
    >>> from skvgg.datasets import load_image_folder
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ("cat", "dog"):
    ...     (folder / name).mkdir()
    ...     Image.new("RGB", (40, 30)).save(folder / name / "1.png")
    >>> photos = load_image_folder(folder)
    >>> photos.target, [str(name) for name in photos.target_names]
    (array([0, 1]), ['cat', 'dog'])
    """
    root = Path(path)
    if not root.is_dir():
        if root.exists():
            raise ValueError(f"{str(root)!r} is a file; expected a folder of classes.")
        raise FileNotFoundError(f"{str(root)!r}: no such folder.")
    extensions = _readable_extensions()
    names: list[str] = []
    paths: list[str] = []
    target: list[int] = []
    n_skipped = 0
    for folder in sorted(root.iterdir()):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        pictures = [
            file
            for file in files
            if file.suffix.lower() in extensions and not _is_hidden(file, folder)
        ]
        n_skipped += len(files) - len(pictures)
        if pictures:
            target += [len(names)] * len(pictures)
            names.append(folder.name)
            paths += [str(picture) for picture in pictures]
    if len(names) < 2:
        raise ValueError(
            f"{str(root)!r} has {len(names)} sub-folder(s) with pictures; expected one "
            f"a class and at least two, such as {str(root / 'cats')!r} and "
            f"{str(root / 'dogs')!r}."
        )
    data = np.array(paths, dtype=object)
    return Bunch(
        data=data,
        target=np.array(target, dtype=np.int64),
        target_names=np.array(names),
        filenames=data,
        n_skipped=n_skipped,
    )


def _is_hidden(file: Path, folder: Path) -> bool:
    """Return whether `file`, or a folder between it and `folder`, is hidden."""
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _readable_extensions() -> set[str]:
    return {
        extension
        for extension, form in Image.registered_extensions().items()
        if form in Image.OPEN
    }

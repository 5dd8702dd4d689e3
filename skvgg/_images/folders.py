"""Find the image files of a folder by their names."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from PIL import Image

from skvgg._images.pillow import FORMATS

#: Files and folders that programs leave beside images, in lower case.
_NOBODYS = {
    "__macosx",
    "@eadir",
    "$recycle.bin",
    "system volume information",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "icon\r",
}


class Exclusion:
    """Patterns of files and folders to leave out, as in :mod:`fnmatch`.

    Parameters
    ----------
    patterns : str, sequence of str or None
        A pattern is compared with the name, and with the path relative to `root`.
    root : Path
        The folder that paths start from.
    """

    def __init__(self, patterns: str | Sequence[str] | None, root: Path) -> None:
        self._patterns = (
            [patterns] if isinstance(patterns, str) else [*(patterns or ())]
        )
        self._root = root
        self._used: set[str] = set()
        for pattern in self._patterns:
            if not isinstance(pattern, str):
                raise ValueError(
                    f"exclude={patterns!r}; expected a pattern such as '*_mirror*', or "
                    "several."
                )

    @property
    def unused(self) -> list[str]:
        """The patterns that have matched nothing."""
        return [pattern for pattern in self._patterns if pattern not in self._used]

    def matches(self, path: Path) -> bool:
        """Return whether a file or folder is left out."""
        names = path.name, path.relative_to(self._root).as_posix()
        matching = {
            pattern
            for pattern in self._patterns
            if any(fnmatchcase(name, pattern) for name in names)
        }
        self._used |= matching
        return bool(matching)


@dataclass
class ImageFiles:
    """What is in a folder, at any depth.

    Attributes
    ----------
    images : list of Path
        Paths of the images, sorted.
    others : list of Path
        Files that do not have the extension of an image format.
    lost : list of Path
        Links that lead nowhere, and folders that cannot be read.
    repeated : list of (Path, Path)
        Folders left out, since they are listed in another subfolder, and where.
    """

    images: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    lost: list[Path] = field(default_factory=list)
    repeated: list[tuple[Path, Path]] = field(default_factory=list)

    @property
    def n_skipped(self) -> int:
        """Number of other files and lost paths."""
        return len(self.others) + len(self.lost)


def image_files(folder: Path, exclude: Exclusion | None = None) -> ImageFiles:
    """Return the images in a folder at any depth.

    Links are followed. A folder that is reached in several ways is listed once, and
    links back to a parent are not followed, so there are no loops. Hidden files, and
    files that programs leave beside images, are skipped.

    Parameters
    ----------
    folder : Path
        The folder to search.
    exclude : Exclusion or None
        Files and folders to leave out.
    """
    extensions = _readable_extensions()
    found = ImageFiles()
    for path in _walk(folder, exclude or Exclusion(None, folder), found):
        is_image = path.suffix.lower() in extensions and path.is_file()
        (found.images if is_image else found.others).append(path)
    for paths in (found.images, found.others, found.lost):
        paths.sort()
    return found


def describe_lost(lost: Sequence[Path]) -> str:
    """Return a warning about links that lead nowhere and folders without access."""
    return (
        f"{len(lost)} link(s) that lead nowhere, or folder(s) that cannot be read, are "
        f"skipped, first {str(lost[0])!r}. Mend or remove them."
    )


def describe_repeated(repeated: Sequence[tuple[Path, Path]]) -> str:
    """Return a warning about folders that links put into two subfolders."""
    path, first = map(str, repeated[0])
    return (
        f"{len(repeated)} folder(s) can be reached through several subfolders and are "
        f"listed in one: {path!r} is left out, since it is the same as {first!r}."
    )


def describe_others(others: Sequence[Path]) -> str:
    """Return a note about files without the extension of an image format."""
    extensions = Counter(path.suffix.lower() or "no extension" for path in others)
    names = [name for name, _ in extensions.most_common(5)]
    names += ["..."] if len(extensions) > 5 else []
    return f"{len(others)} other file(s) were skipped ({', '.join(names)})."


def _is_nobodys(path: Path) -> bool:
    """Return whether a file or folder is hidden, or left there by a program."""
    return path.name.startswith(".") or path.name.lower() in _NOBODYS


def _walk(root: Path, exclude: Exclusion, found: ImageFiles) -> Iterator[Path]:
    """Yield all files in a folder; links to folders are followed last."""
    real = Path(os.path.realpath(root))
    seen = dict.fromkeys(map(_identity_of, (real, *real.parents)), root)
    left, links = [root], list[Path]()
    while left or links:
        # Real folders first, so that they have their own paths; then those near `root`.
        place = (left or links).pop(0)
        if place != root:
            first = seen.setdefault(_identity_of(place), place)
            if first != place:
                if first != root and _subfolder(first, root) != _subfolder(place, root):
                    found.repeated.append((place, first))
                continue
        try:
            members = sorted(place.iterdir())
        except PermissionError:
            found.lost.append(place)
            continue
        for path in members:
            if _is_nobodys(path) or exclude.matches(path):
                continue
            if not os.path.exists(path):  # also False without access
                found.lost.append(path)
            elif not os.path.isdir(path):
                yield path
            elif path.is_symlink():
                links.append(path)
            else:
                left.append(path)


def _subfolder(path: Path, root: Path) -> str:
    return path.relative_to(root).parts[0]


def _identity_of(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _readable_extensions() -> set[str]:
    return {
        extension
        for extension, form in Image.registered_extensions().items()
        if form in FORMATS and form in Image.OPEN
    }

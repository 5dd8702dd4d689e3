"""TensorFlow checkpoints, as written by TFLearn's ``DNN.save``.

Layers have the names of Keras' VGG19, with ``W`` and ``b`` for kernel and bias. The
fully connected layers have either Keras' names or the default names of TFLearn. The
graph of the network is not needed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from skvgg._definition.architecture import DENSE_NAMES
from skvgg._runtime.tensorflow import import_tensorflow
from skvgg.weights._base import LayerArrays

#: TFLearn's default names of the fully connected layers.
_TFLEARN_DENSE_NAMES = dict(
    zip(DENSE_NAMES, ("FullyConnected", "FullyConnected_1"), strict=True)
)


def matches(path: Path) -> bool:
    """Return whether `path` is the prefix or a file of a checkpoint."""
    return _index_file(path).is_file()


def files(path: Path) -> list[Path]:
    """Return the files that make up the weights at `path`."""
    index = _index_file(path)
    return [index, *sorted(index.parent.glob(f"{index.stem}.data-*"))]


def read(path: Path, names: list[str]) -> LayerArrays:
    """Return kernel and bias of the layers in `names` that the file has."""
    reader = import_tensorflow().train.load_checkpoint(str(_prefix(path)))
    variables = reader.get_variable_to_shape_map()
    parameters: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name in names:
        for stored in (name, _TFLEARN_DENSE_NAMES.get(name)):
            if f"{stored}/W" in variables and f"{stored}/b" in variables:
                parameters[name] = (
                    reader.get_tensor(f"{stored}/W"),
                    reader.get_tensor(f"{stored}/b"),
                )
                break
    return parameters


def _prefix(path: Path) -> Path:
    if path.suffix == ".index":
        return path.with_suffix("")
    if path.suffix.startswith(".data-"):
        return path.with_suffix("")
    return path


def _index_file(path: Path) -> Path:
    prefix = _prefix(path)
    return prefix.with_name(f"{prefix.name}.index")

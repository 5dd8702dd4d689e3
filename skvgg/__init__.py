"""Transfer learning on images with a scikit-learn API.

``import skvgg`` is cheap: TensorFlow and TFLearn are imported only when the network
runs or a head is trained.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from skvgg._version import __version__ as __version__

if TYPE_CHECKING:
    from skvgg._head.tflearn import import_tflearn
    from skvgg._network.registry import release_networks
    from skvgg.exceptions import BadImageWarning
    from skvgg.features import VGG19Features
    from skvgg.files import check_feature_file, transform_to_file
    from skvgg.finetune import VGG19Classifier, VGG19Regressor
    from skvgg.mlp import TFLearnMLPClassifier, TFLearnMLPRegressor

__all__ = [
    "BadImageWarning",
    "TFLearnMLPClassifier",
    "TFLearnMLPRegressor",
    "VGG19Classifier",
    "VGG19Features",
    "VGG19Regressor",
    "check_feature_file",
    "datasets",
    "import_tflearn",
    "plotting",
    "release_networks",
    "transform_to_file",
    "weights",
]

_HOME = {
    "BadImageWarning": "skvgg.exceptions",
    "TFLearnMLPClassifier": "skvgg.mlp",
    "TFLearnMLPRegressor": "skvgg.mlp",
    "VGG19Classifier": "skvgg.finetune",
    "VGG19Features": "skvgg.features",
    "VGG19Regressor": "skvgg.finetune",
    "check_feature_file": "skvgg.files",
    "import_tflearn": "skvgg._head.tflearn",
    "release_networks": "skvgg._network.registry",
    "transform_to_file": "skvgg.files",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name in ("datasets", "plotting", "weights"):
        return import_module(f"skvgg.{name}")
    raise AttributeError(f"module 'skvgg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

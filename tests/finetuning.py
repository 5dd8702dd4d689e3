"""Fine-tuned estimators that train fast, and comparisons of them."""

import numpy as np

from skvgg import VGG19Classifier

LAYERS = ("block1_pool", "block2_pool")


def small(make=VGG19Classifier, **params):
    """Return an estimator of random weights that trains two layers."""
    defaults = {
        "layer": LAYERS,
        "trainable": "block2",
        "image_size": 32,
        "max_iter": 2,
        "learning_rate_init": 1e-4,
        "random_state": 0,
    }
    return make(params.pop("weights", None), **{**defaults, **params})


def arrays_of(model):
    """Return all trained arrays of a model."""
    tuned = getattr(model.features_.weights, "parameters", {})
    return [
        *(array for pair in tuned.values() for array in pair),
        *model.head_.coefs_,
        *model.head_.intercepts_,
    ]


def assert_close(first, second):
    """Images in other parts of a batch may round in another way."""
    for a, b in zip(arrays_of(first), arrays_of(second), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-2 * np.abs(b).max())


def assert_same(first, second):
    """Compare all bits of two models."""
    for a, b in zip(arrays_of(first), arrays_of(second), strict=True):
        np.testing.assert_array_equal(a, b)

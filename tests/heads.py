"""Heads that train fast, and comparisons of heads."""

import numpy as np

from skvgg import TFLearnMLPClassifier, TFLearnMLPRegressor

QUICK = {"hidden_layer_sizes": (32,), "random_state": 0, "max_iter": 3}
TRAINED = {"hidden_layer_sizes": (16,), "random_state": 0, "max_iter": 60}


def head(**params):
    """Return a classifier that learns digits in a second."""
    return TFLearnMLPClassifier(**{**QUICK, **params})


def regressor(**params):
    """Return a regressor that trains as briefly."""
    return TFLearnMLPRegressor(**{**QUICK, **params})


def trained_head(**params):
    """Return a small classifier that trains long enough for few samples."""
    return TFLearnMLPClassifier(**{**TRAINED, **params})


def trained_regressor(**params):
    """Return a small regressor that trains long enough for few samples."""
    return TFLearnMLPRegressor(**{**TRAINED, **params})


def make_numbers(n, seed=0):
    """Return features and targets of a regression."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    return X, np.tanh(X @ rng.normal(size=4))


def lengthen(Z):
    """Bring rows to a length of 64, in the root of the mean square."""
    return Z * 64 / np.sqrt((Z**2).sum(axis=1).mean())


def all_arrays(fitted):
    """Return the weights and the biases of all layers."""
    return [*fitted.coefs_, *fitted.intercepts_]


def assert_same(first, second):
    """Compare all bits of two fitted heads."""
    for a, b in zip(all_arrays(first), all_arrays(second), strict=True):
        np.testing.assert_array_equal(a, b)

"""What the tests of several displays need."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skvgg import (
    VGG19Classifier,
    VGG19Features,
)


def small(**params):
    defaults = {"layer": "block2_pool", "pooling": "avg", "image_size": 32}
    random = {"weights": None, "random_state": 0}
    return VGG19Features(**{**defaults, **random, **params})


def linear(**params):
    return make_pipeline(small(**params), StandardScaler(), LogisticRegression(C=0.01))


def overlapping(artists):
    """Return pairs of artists whose boxes in the figure overlap."""
    figure = artists[0].figure
    figure.canvas.draw()
    boxes = [artist.get_window_extent() for artist in artists if artist.get_visible()]
    return [
        (i, j)
        for i, one in enumerate(boxes)
        for j, other in enumerate(boxes[:i])
        if one.width * other.width > 0
        and min(one.x1, other.x1) - max(one.x0, other.x0) > 0.5
        and min(one.y1, other.y1) - max(one.y0, other.y0) > 0.5
    ]


def tuned(make=VGG19Classifier, **params):
    defaults = {"layer": "block2_pool", "trainable": "block2", "image_size": 32}
    return make(None, max_iter=3, random_state=0, **{**defaults, **params})


class Doubling(BaseEstimator):
    """Like a sampler of imbalanced-learn: no transform."""

    def fit(self, X, y=None):
        return self

    def fit_resample(self, X, y):
        return np.vstack([X, X]), np.concatenate([y, y])


class SamplingPipeline(Pipeline):
    """Like imbalanced-learn's: samplers change rows in fit, and nothing afterwards."""

    def fit(self, X, y=None):
        for _, step in self.steps[:-1]:
            if hasattr(step, "fit_resample"):
                X, y = step.fit_resample(X, y)
            else:
                X = step.fit(X, y).transform(X)
        self.steps[-1][1].fit(X, y)
        return self

    def _iter(self, with_final=True, filter_passthrough=True):
        for place, name, step in super()._iter(with_final, filter_passthrough):
            if not hasattr(step, "fit_resample"):
                yield place, name, step

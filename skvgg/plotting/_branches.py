"""The branches of a model for images, over which its scores are averaged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sklearn.calibration import CalibratedClassifierCV
from sklearn.utils.validation import check_is_fitted

from skvgg._extraction.views import FLIPS, FixedView
from skvgg.features import VGG19Features
from skvgg.plotting._pipeline import split_fitted, unwrap


@dataclass(frozen=True)
class Branch:
    """A way from an image to a score.

    Attributes
    ----------
    features : VGG19Features
        The transformer, without its own views.
    views : tuple of FixedView or None
        Views whose features are averaged to the row of the image.
    steps : list of estimator
        Transformers of that row, followed by a classifier or regressor.
    """

    features: VGG19Features
    views: tuple[FixedView | None, ...]
    steps: list[Any]


def branches_of(model: Any) -> list[Branch]:
    """Return the branches of a fitted model.

    There are several if the model averages predictions over views, or if it was
    calibrated with several folds.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the model is not fitted.
    ValueError
        If the model is of another type.
    """
    check_is_fitted(model)
    model = unwrap(model)
    if isinstance(model, CalibratedClassifierCV):
        members = [member.estimator for member in model.calibrated_classifiers_]
        return [branch for member in members for branch in branches_of(member)]
    features, steps = split_fitted(model)
    if hasattr(model, "averaged_views"):
        return [Branch(features, (view,), steps) for view in model.averaged_views()]
    return [Branch(features, (None, *FLIPS.get(features.views or "", ())), steps)]

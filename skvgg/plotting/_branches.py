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
    """A way from an image to a score: a transformer, its views, and further steps."""

    features: VGG19Features
    #: Their features are averaged to the row of the image; None is the image itself.
    views: tuple[FixedView | None, ...]
    #: Transformers of that row, followed by a classifier or regressor.
    steps: list[Any]


def branches_of(model: Any) -> list[Branch]:
    """Return the branches of a fitted model.

    There are several if it averages predictions over views, or if it was calibrated
    with several folds.
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

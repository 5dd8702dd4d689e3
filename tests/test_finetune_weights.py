"""Fine-tuning: weights of images and of classes."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import scale

from skvgg import (
    TFLearnMLPClassifier,
)
from skvgg._finetune.heads import fit_linear_head
from skvgg._head.targets import ClassTargets
from skvgg._head.training import Samples

from .finetuning import assert_close, assert_same, small


def test_images_of_weight_zero_are_as_if_removed(cuts):
    X, y = cuts
    kept = np.arange(len(X)) % 3 != 0
    weighted = small().fit(X, y, sample_weight=kept.astype(float))
    assert_close(weighted, small().fit(X[kept], y[kept]))


@pytest.mark.parametrize(
    "params", [{"trainable": None}, {}, {"head": (8,)}, {"head": (8,), "max_iter": 1}]
)
@pytest.mark.parametrize("class_weight", [None, "balanced", {"none": 0}])
def test_a_class_without_weight_stays_a_class_as_in_scikit_learn(
    cuts, params, class_weight
):
    X, y = cuts
    y = np.where(np.arange(len(y)) < 4, "none", y)
    kept = y != "none"
    w = None if isinstance(class_weight, dict) else kept.astype(float)
    clf = small(class_weight=class_weight, **params).fit(X, y, sample_weight=w)
    zero = class_weight if isinstance(class_weight, dict) else None
    theirs = LogisticRegression(class_weight=zero, max_iter=1000)
    theirs.fit(X.mean(axis=(1, 2)) / 255, y, sample_weight=w)
    np.testing.assert_array_equal(clf.classes_, theirs.classes_)
    assert set(clf.predict(X)) == {"china", "flower"}
    if "head" not in params:
        some = class_weight if class_weight == "balanced" else None
        without = small(class_weight=some, **params).fit(X[kept], y[kept])
        np.testing.assert_allclose(
            clf.predict_proba(X)[:, :2], without.predict_proba(X), atol=1e-4
        )
        assert clf.predict_proba(X)[:, 2].max() < 1e-5


def test_one_class_with_weight_is_predicted_always(cuts):
    X, y = cuts
    clf = small(trainable=None, class_weight={"flower": 0.0}).fit(X, y)
    assert list(clf.classes_) == ["china", "flower"]
    np.testing.assert_allclose(clf.predict_proba(X), [[1, 0]] * len(X), atol=2e-6)


def test_a_warm_start_may_lack_a_class_of_class_weight(cuts):
    X, y = cuts
    clf = small(class_weight={"china": 2.0}, warm_start=True, max_iter=1).fit(X, y)
    flowers = y == "flower"
    clf.fit(X[flowers], y[flowers])
    assert list(clf.classes_) == ["china", "flower"]


@pytest.mark.parametrize("params", [{}, {"augment": "flip", "average_views": True}])
def test_probabilities_are_float64_and_sum_to_one(cuts, params):
    X, y = cuts
    proba = small(trainable=None, **params).fit(X, y).predict_proba(X)
    assert proba.dtype == np.float64
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=0, atol=1e-15)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_linear_head_predicts_features_far_from_zero_as_others(n_classes):
    X, y = load_iris(return_X_y=True)
    X, y = X[y < n_classes], y[y < n_classes]
    targets, w = ClassTargets(np.arange(n_classes)), np.ones(len(y))
    near, far = TFLearnMLPClassifier(()), TFLearnMLPClassifier(())
    for head, rows in ((near, X), (far, X + 1e7)):
        samples = Samples(rows, targets.encode(y), w)
        fit_linear_head(head, samples, len(y), targets, 0)
    np.testing.assert_allclose(
        far.predict_proba(X + 1e7), near.predict_proba(X), atol=1e-4
    )
    Z = scale(X)
    expected = softmax(Z @ near.coefs_[0] + near.intercepts_, axis=1)
    np.testing.assert_allclose(near.predict_proba(X), expected, atol=1e-6)


def test_weights_are_relative(cuts, tuned):
    X, y = cuts
    assert_same(tuned, small().fit(X, y, sample_weight=np.full(len(X), 0.25)))


def test_the_weights_that_are_passed_stay_as_they_are(cuts):
    X, y = cuts
    w = np.ones(len(X))
    small(class_weight={"china": 3.0, "flower": 1.0}).fit(X, y, sample_weight=w)
    np.testing.assert_array_equal(w, 1)


def test_class_weight_multiplies_the_weights(cuts, tuned):
    X, y = cuts
    some = {"china": 3.0, "flower": 1.0}
    by_class = small(class_weight=some).fit(X, y)
    by_image = small().fit(X, y, sample_weight=[some[label] for label in y])
    assert_same(by_class, by_image)
    assert not np.array_equal(by_class.head_.coefs_[0], tuned.head_.coefs_[0])

"""Weights of samples and of classes in heads."""

import numpy as np
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import compute_class_weight

from .heads import (
    assert_same,
    head,
    regressor,
    trained_head,
)


def test_rows_of_weight_zero_are_as_if_removed(few_digits):
    X, y = few_digits
    keep = np.arange(len(X)) % 3 != 0
    weighted = head().fit(X, y, sample_weight=keep.astype(float))
    removed = head().fit(X[keep], y[keep])
    assert_same(weighted, removed)


def test_weights_of_one_are_no_weights(few_digits):
    X, y = few_digits
    assert_same(head().fit(X, y), head().fit(X, y, sample_weight=np.ones(len(X))))


def test_regressor_is_reproducible_and_weighted(few_digits):
    X, y = few_digits
    keep = np.arange(len(X)) % 2 == 0
    first = regressor().fit(X, y / 10, sample_weight=keep.astype(float))
    assert_same(first, regressor().fit(X[keep], y[keep] / 10))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (-1.0, r"Negative values.*sample_weight\[5\] is -1"),
        (np.nan, "NaN"),
    ],
)
def test_a_wrong_weight_is_refused(few_digits, weight, message):
    X, y = few_digits
    weights = np.ones(len(X))
    weights[5] = weight
    with pytest.raises(ValueError, match=message):
        head().fit(X, y, sample_weight=weights)


def test_all_zero_weights_are_refused(few_digits):
    X, y = few_digits
    with pytest.raises(ValueError, match=r"non-zero|zero for all samples"):
        head().fit(X, y, sample_weight=np.zeros(len(X)))


def test_sample_weight_is_routed_through_pipeline_and_grid_search(few_digits):

    X, y = few_digits
    weights = (np.arange(len(X)) % 3 != 0).astype(float)
    with sklearn.config_context(enable_metadata_routing=True):
        clf = head().set_fit_request(sample_weight=True)
        clf.set_score_request(sample_weight=True)
        pipeline = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=False), clf
        )
        grid = {"tflearnmlpclassifier__dropout": [0.0, 0.2]}
        search = GridSearchCV(pipeline, grid, cv=2)
        search.fit(X, y, sample_weight=weights)
        best = search.best_estimator_[-1]
        rows = search.best_estimator_[:-1].transform(X)
    direct = head(dropout=best.dropout)
    assert_same(best, direct.fit(rows, y, sample_weight=weights))


# Classes


def test_class_weight_is_a_sample_weight(few_digits):
    X, y = few_digits
    weights = compute_class_weight("balanced", classes=np.arange(10), y=y)
    assert_same(
        head(class_weight="balanced").fit(X, y),
        head().fit(X, y, sample_weight=weights[y]),
    )
    assert_same(
        head(class_weight={3: 2.0}).fit(X, y),
        head().fit(X, y, sample_weight=np.where(y == 3, 2.0, 1.0)),
    )


@pytest.mark.parametrize("by", ["class_weight", "sample_weight"])
def test_a_class_without_weight_stays_a_class_as_in_scikit_learn(iris, by):
    X, y = iris
    zero = {"class_weight": {2: 0}} if by == "class_weight" else {}
    w = None if zero else (y != 2).astype(float)
    ours = trained_head(**zero).fit(X, y, sample_weight=w)
    theirs = LogisticRegression(**zero).fit(X, y, sample_weight=w)
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    assert ours.predict_proba(X).shape == (len(X), 3)
    assert set(ours.predict(X)) == {0, 1}


@pytest.mark.filterwarnings("ignore:.*learned nothing")  # of one class
@pytest.mark.parametrize("named", [{1: 5.0}, {1: 5.0, 0: 1.0}])
@pytest.mark.parametrize("first", [{0, 1, 2}, {0, 2}, {1}])
def test_a_batch_may_lack_a_class_of_class_weight_as_in_scikit_learn(
    iris, named, first
):
    """The labels that the dict leaves out have a weight of 1."""
    X, y = iris
    some = np.isin(y, list(first))
    SGDClassifier(class_weight=named).partial_fit(X[some], y[some], classes=[0, 1, 2])
    by_class = trained_head(class_weight=named)
    by_class.partial_fit(X[some], y[some], classes=[0, 1, 2])
    weights = np.where(y[some] == 1, 5.0, 1.0)
    by_sample = trained_head().partial_fit(X[some], y[some], [0, 1, 2], weights)
    assert_same(by_class, by_sample)
    going_on = trained_head(class_weight=named, warm_start=True, max_iter=5).fit(X, y)
    going_on.fit(X[some], y[some])
    np.testing.assert_array_equal(going_on.classes_, [0, 1, 2])


def test_samples_of_the_weighted_class_may_have_a_weight_of_zero(iris):
    X, y = iris
    w = (y != 1).astype(float)
    ours = trained_head(class_weight={1: 5.0}).fit(X, y, sample_weight=w)
    theirs = LogisticRegression(class_weight={1: 5.0}).fit(X, y, sample_weight=w)
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)


def test_a_batch_of_classes_without_weight_changes_nothing(iris):
    X, y = iris
    ours = trained_head(class_weight={0: 0.0}).partial_fit(X, y, classes=[0, 1, 2])
    before = ours.predict_proba(X)
    ours.partial_fit(X[y == 0], y[y == 0])
    np.testing.assert_array_equal(ours.predict_proba(X), before)


def test_a_class_weight_of_no_class_is_refused_as_in_scikit_learn(iris):
    X, y = iris
    for model in (trained_head, LogisticRegression):
        with pytest.raises(ValueError, match=r"are not in class_weight"):
            model(class_weight={"1": 5.0}).fit(X, y)


def test_samples_of_weight_zero_do_not_count_for_balanced_classes(iris):
    X, y = iris
    w = np.r_[np.ones(60), np.zeros(20), np.ones(70)]
    weighted = trained_head(class_weight="balanced").fit(X, y, sample_weight=w)
    removed = trained_head(class_weight="balanced").fit(X[w > 0], y[w > 0])
    assert_same(weighted, removed)


@pytest.mark.parametrize("weight", [-1, np.nan, np.inf, None, "2"])
def test_a_class_weight_that_is_none_is_refused_by_name(iris, weight):
    message = r"class_weight\[1\] is .*expected a finite number, 0 or more"
    with pytest.raises(ValueError, match=message):
        trained_head(class_weight={0: 1.0, 1: weight}).fit(*iris)

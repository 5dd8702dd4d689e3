"""Targets of heads: labels, several labels, numbers, and their scores."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import make_multilabel_classification
from sklearn.metrics import accuracy_score, r2_score, top_k_accuracy_score
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import MultiLabelBinarizer, scale

from skvgg._head.targets import ClassTargets

from .heads import assert_same, head, regressor, trained_head, trained_regressor


@pytest.fixture(scope="module")
def labels():
    return make_multilabel_classification(200, 10, n_classes=5, random_state=0)


# Labels


def test_string_labels_come_back(digits):
    X, y = digits
    names = np.array([f"digit {label}" for label in range(10)])
    clf, plain = head().fit(X, names[y]), head().fit(X, y)
    assert list(clf.classes_) == sorted(names)
    np.testing.assert_array_equal(clf.predict(X), names[plain.predict(X)])


@pytest.mark.filterwarnings("ignore:.*Maximum iterations")
def test_string_labels_keep_their_dtype(iris):
    X, y = iris
    names = np.array(list("abc"))[y]
    ours, theirs = trained_head().fit(X, names), MLPClassifier(max_iter=1).fit(X, names)
    assert ours.classes_.dtype == theirs.classes_.dtype == "<U1"
    assert ours.predict(X).dtype == "<U1"


def test_one_class_is_predicted_always_as_scikit_learns_mlp_does(few_digits):
    X, _ = few_digits
    y = np.array(["cat"] * len(X))
    clf = head().fit(X, y)
    np.testing.assert_array_equal(clf.predict(X), MLPClassifier().fit(X, y).predict(X))
    np.testing.assert_array_equal(clf.predict_proba(X), np.ones((len(X), 1)))


def test_one_hot_targets_after_labels_are_refused_with_what_to_do(iris):
    X, y = iris
    clf = trained_head(warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match=r"\(150, 3\).*Use y\.argmax\(axis=1\)"):
        clf.fit(X, np.eye(3, dtype=int)[y])


# Several labels


def test_multilabel_targets():
    X, y = make_multilabel_classification(400, 20, n_classes=4, random_state=0)
    clf = head(max_iter=60, learning_rate_init=1, dropout=0).fit(scale(X), y)
    proba = clf.predict_proba(scale(X))
    assert proba.shape == (400, 4)
    np.testing.assert_array_equal(clf.predict(scale(X)), (proba > 0.5).astype(int))
    assert ((proba > 0.5) == y).mean() > 0.8
    assert clf.score(scale(X), y) == accuracy_score(y, clf.predict(scale(X)))


def test_sparse_indicators_are_dense_indicators():
    X, y = make_multilabel_classification(100, 20, n_classes=4, random_state=0)
    assert_same(head().fit(X, sp.csr_matrix(y)), head().fit(X, y))


def test_several_classes_a_row_are_refused():
    with pytest.raises(ValueError, match="indicator matrix"):
        head().fit(np.eye(4), [[0, 1], [2, 1], [1, 0], [2, 2]])


@pytest.mark.parametrize(
    ("change", "value"),
    [(lambda Y: 2 * Y - 1, "-1"), (lambda Y: 2 * Y, "2"), (lambda Y: Y * 0.5, "0.5")],
)
def test_indicators_other_than_0_and_1_are_refused(labels, change, value):
    X, Y = labels
    message = rf"y\[\d+, \d\] is {value}.*only 0 and 1|indicator matrix|Unknown label"
    with pytest.raises(ValueError, match=message):
        trained_head().fit(X, change(Y))
    clf = trained_head(warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match=rf"is {value}|Unknown label"):
        clf.fit(X, change(Y))


def test_a_top_k_metric_is_refused_for_multilabel_targets(labels):
    with pytest.raises(ValueError, match="metric='top_2_accuracy' needs one label"):
        trained_head(metric="top_2_accuracy").fit(*labels)


def test_partial_fit_takes_the_classes_of_multilabel_targets(labels):
    X, Y = labels
    ours = trained_head().partial_fit(X, Y, classes=range(5))
    theirs = MLPClassifier().partial_fit(X, Y, classes=range(5))
    assert ours.predict(X).shape == theirs.predict(X).shape
    np.testing.assert_array_equal(ours.classes_, np.arange(5))
    ours.partial_fit(X, Y)
    with pytest.raises(ValueError, match=r"y has shape \(200, 5\); expected .*, 4\)"):
        trained_head().partial_fit(X, Y, classes=range(4))


def test_the_names_of_labels_are_kept_in_their_order_from_call_to_call(labels):
    X, Y = labels
    names = ["e", "b", "a", "d", "c"]
    binarizer = MultiLabelBinarizer(classes=names).fit([])
    np.testing.assert_array_equal(
        binarizer.transform(binarizer.inverse_transform(Y)), Y
    )
    clf, nameless = trained_head(), trained_head()
    for rows in np.array_split(np.arange(len(X)), 3):
        clf.partial_fit(X[rows], Y[rows], classes=names)
        nameless.partial_fit(X[rows], Y[rows])
        np.testing.assert_array_equal(clf.classes_, binarizer.classes_)
        assert list(nameless.classes_) == [0, 1, 2, 3, 4]
    assert_same(clf, nameless)
    clf.partial_fit(X, Y)
    clf.set_params(warm_start=True, max_iter=20).fit(X, Y)
    assert list(clf.classes_) == names
    again = pickle.loads(pickle.dumps(clf)).partial_fit(X, Y, classes=names)
    assert list(again.classes_) == names
    with pytest.raises(ValueError, match="is not the same as on the last call"):
        clf.partial_fit(X, Y, classes=sorted(names))
    with pytest.raises(ValueError, match="all different"):
        trained_head().partial_fit(X, Y, classes=list("abcda"))


def test_log_probabilities_of_labels(labels):
    X, Y = labels
    clf = trained_head().fit(X, Y)
    np.testing.assert_allclose(
        clf.predict_log_proba(X), np.log(clf.predict_proba(X)), atol=1e-5
    )


# Numbers


@pytest.mark.parametrize("n_targets", [None, 3])
def test_regressor_learns_one_or_several_targets(n_targets):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 8)).astype(np.float32)
    y = np.tanh(X @ rng.normal(size=(8, n_targets or 1)))
    if n_targets is None:
        y = y.ravel()
    reg = regressor(max_iter=60, dropout=0)
    reg.fit(X[:400], y[:400], X_val=X[400:], y_val=y[400:])
    predicted = reg.predict(X[400:])
    assert predicted.shape == y[400:].shape
    assert r2_score(y[400:], predicted) > 0.8
    assert reg.history_["val_r2"][-1] == pytest.approx(
        r2_score(y[400:], predicted), abs=1e-4
    )
    assert reg.history_["val_loss"][-1] == pytest.approx(
        np.mean((y[400:] - predicted) ** 2), rel=1e-4
    )
    assert reg.n_outputs_ == (n_targets or 1)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0.0, None, 1.0, 2.0], r"Input y contains NaN"),
        ([0.0, np.inf, 1.0, 2.0], r"Input y contains infinity"),
    ],
)
def test_a_regressor_names_targets_that_are_no_numbers(y, message):
    with pytest.raises(ValueError, match=message):
        trained_regressor().fit(np.eye(4), np.array(y, dtype=object))


# Scores


def test_top_k_metric_is_scikit_learns(few_digits):
    X, y = few_digits
    clf = head(metric="top_3_accuracy").fit(
        X[:500], y[:500], X_val=X[500:], y_val=y[500:]
    )
    expected = top_k_accuracy_score(y[500:], clf.predict_proba(X[500:]), k=3)
    assert clf.history_["val_top_3_accuracy"][-1] == pytest.approx(expected)


def test_weighted_score_is_scikit_learns():
    rng = np.random.default_rng(0)
    labels, output, w = rng.integers(0, 4, 50), rng.random((50, 4)), rng.random(50)
    targets = ClassTargets(np.arange(4))
    expected = accuracy_score(labels, output.argmax(axis=1), sample_weight=w)
    assert targets.score(np.eye(4)[labels], output, w) == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["f1", "top_0_accuracy", "top_k_accuracy"])
def test_an_unknown_metric_is_refused(few_digits, metric):
    with pytest.raises(ValueError, match=r"expected 'accuracy' or 'top_<k>_accuracy'"):
        head(metric=metric).fit(*few_digits)

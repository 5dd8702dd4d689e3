"""Heads predict in NumPy what the network of TFLearn predicts, in float64."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import scale

from skvgg import TFLearnMLPClassifier, TFLearnMLPRegressor, import_tflearn
from skvgg._head import fitting, forward
from skvgg._head.dense import DenseNetwork

from .heads import assert_same, head, lengthen, trained_head


def predict_with_tflearn(monkeypatch, fed):
    """Return a list that gets what `DNN.predict` returns at the end of each fit."""
    seen = []

    class Spy(DenseNetwork):
        def __exit__(self, *exc_info):
            with self.graph.as_default():
                dnn = import_tflearn().DNN(self.output, session=self.session)
                seen.append(dnn.predict(fed))
            super().__exit__(*exc_info)

    monkeypatch.setattr(fitting, "DenseNetwork", Spy)
    return seen


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_predict_proba_is_dnn_predict_of_the_trained_session(
    digits, monkeypatch, activation, standardize
):
    X, y = digits
    fed = lengthen(scale(X.astype(float))) if standardize else X
    seen = predict_with_tflearn(monkeypatch, fed)
    clf = head(
        hidden_layer_sizes=(32,),
        activation=activation,
        standardize=standardize,
        learning_rate_init=0.05 if standardize else 1,
        max_iter=10,
    ).fit(X, y)
    (expected,) = seen
    np.testing.assert_allclose(clf.predict_proba(X), expected, atol=1e-6)
    assert np.ptp(expected, axis=0).min() > 0.01  # it tells rows apart


@pytest.mark.parametrize(
    ("dtype", "deviations"),
    [("float32", 1e4), ("float32", 1e5), ("float64", 1e6), ("float64", 1e7)],
)
@pytest.mark.parametrize("kind", [TFLearnMLPClassifier, TFLearnMLPRegressor])
def test_features_far_from_zero_are_predicted_as_by_the_trained_network(
    digits, monkeypatch, kind, dtype, deviations
):
    X, y = digits
    X = scale(X[:, X.std(axis=0) > 0.01].astype(float))
    X = (X + deviations).astype(dtype)
    fed = lengthen(scale(X.astype(float)))
    seen = predict_with_tflearn(monkeypatch, fed)
    model = kind((32,), max_iter=5, random_state=0).fit(X, y)
    (expected,) = seen
    if kind is TFLearnMLPRegressor:
        np.testing.assert_allclose(
            model.predict(X), expected[:, 0] * y.std() + y.mean(), atol=1e-5
        )
    else:
        np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-6)
    assert model.score(X, y) > 0.5


@pytest.mark.parametrize("hidden", [(), (32,), (32, 16)])
def test_probabilities_are_computed_in_float64(digits, hidden):
    X, y = digits
    clf = head(hidden_layer_sizes=hidden).fit(X, y)
    x = (X.astype(float) - clf.feature_mean_) / clf.feature_scale_
    for coef, intercept in zip(clf.coefs_[:-1], clf.intercepts_[:-1], strict=True):
        x = np.tanh(x @ coef.astype(float) + intercept)
    logits = x @ clf.coefs_[-1].astype(float) + clf.intercepts_[-1]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    proba = clf.predict_proba(X)
    assert proba.dtype == clf.predict_log_proba(X).dtype == np.float64
    np.testing.assert_allclose(proba, odds / odds.sum(axis=1, keepdims=True), rtol=1e-9)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=0, atol=1e-15)
    one_by_one = np.vstack([clf.predict_proba(X[i : i + 1]) for i in range(50)])
    np.testing.assert_allclose(one_by_one, proba[:50], rtol=1e-9)


def test_large_layers_are_multiplied_part_by_part(digits, monkeypatch):
    X, y = digits
    clf = head().fit(X, y)
    whole = [clf.predict_proba(form(X)) for form in (np.asarray, sp.csr_array)]
    monkeypatch.setattr(forward, "_CONVERTED_TOGETHER", 100)
    parts = [clf.predict_proba(form(X)) for form in (np.asarray, sp.csr_array)]
    np.testing.assert_allclose(parts, whole, rtol=1e-9)


class InFloat64(ClassifierMixin, BaseEstimator):
    """A classifier whose probabilities NumPy computes from a head's arrays."""

    def __init__(self, head):
        self.head = head

    def fit(self, X, y):
        self.classes_ = self.head.classes_
        return self

    def predict_proba(self, X):
        x = (X.astype(float) - self.head.feature_mean_) / self.head.feature_scale_
        hidden = np.tanh(x @ self.head.coefs_[0].astype(float))
        return softmax(hidden @ self.head.coefs_[1].astype(float), axis=1)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


@pytest.mark.filterwarnings("ignore:Since FrozenEstimator")
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_calibration_with_weights_is_that_of_float64(digits, dtype):
    X, y = digits
    clf = head(max_iter=20).fit(X[:300], y[:300] > 4)
    for intercept in clf.intercepts_:
        intercept[:] = 0
    w = np.random.default_rng(0).integers(1, 1000, len(X))
    reference = InFloat64(clf).fit(X, y)
    ours, expected = (
        CalibratedClassifierCV(FrozenEstimator(model), method="sigmoid").fit(
            X, y > 4, sample_weight=weights
        )
        for model, weights in ((clf, w.astype(dtype)), (reference, w.astype(float)))
    )
    np.testing.assert_allclose(
        ours.predict_proba(X), expected.predict_proba(X), atol=1e-6
    )


def test_log_probabilities_are_finite_where_probabilities_vanish(iris):
    X, y = iris
    clf = trained_head().fit(X, y)
    np.testing.assert_allclose(
        clf.predict_log_proba(X), np.log(clf.predict_proba(X)), atol=1e-5
    )
    clf.coefs_[-1] = clf.coefs_[-1] * 1e4
    with np.errstate(divide="ignore"):
        assert np.isneginf(np.log(clf.predict_proba(X))).any()
    assert np.isfinite(clf.predict_log_proba(X)).all()


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csr_array, sp.csc_matrix])
def test_sparse_rows_are_dense_rows(few_digits, form):
    X, y = few_digits
    clf = head(standardize=False)
    dense, sparse = clone(clf).fit(X, y), clone(clf).fit(form(X), y)
    assert_same(dense, sparse)
    np.testing.assert_allclose(
        sparse.predict_proba(form(X)), dense.predict_proba(X), atol=1e-6
    )

"""The head's further manners: weights, stopping, going on, other targets."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import softmax
from sklearn.base import clone
from sklearn.datasets import load_digits, make_multilabel_classification
from sklearn.metrics import accuracy_score, r2_score, top_k_accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.utils import compute_class_weight

from skvgg import TFLearnMLPClassifier, TFLearnMLPRegressor, import_tflearn
from skvgg._head.initial import initial_parameters
from skvgg._head.targets import ClassTargets


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return (X[:600] / 16).astype(np.float32), y[:600]


def head(**params):
    defaults = {"hidden_layer_sizes": (32,), "random_state": 0, "max_iter": 3}
    return TFLearnMLPClassifier(**{**defaults, **params})


def regressor(**params):
    defaults = {"hidden_layer_sizes": (32,), "random_state": 0, "max_iter": 3}
    return TFLearnMLPRegressor(**{**defaults, **params})


def assert_same(first, second):
    for a, b in zip(
        [*first.coefs_, *first.intercepts_],
        [*second.coefs_, *second.intercepts_],
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


# Weights of rows and classes


def test_rows_of_weight_zero_are_as_if_removed(digits):
    X, y = digits
    keep = np.arange(len(X)) % 3 != 0
    weighted = head().fit(X, y, sample_weight=keep.astype(float))
    removed = head().fit(X[keep], y[keep])
    assert_same(weighted, removed)


def test_weights_of_one_are_no_weights(digits):
    X, y = digits
    assert_same(head().fit(X, y), head().fit(X, y, sample_weight=np.ones(len(X))))


def test_class_weight_is_a_sample_weight(digits):
    X, y = digits
    weights = compute_class_weight("balanced", classes=np.arange(10), y=y)
    assert_same(
        head(class_weight="balanced").fit(X, y),
        head().fit(X, y, sample_weight=weights[y]),
    )
    assert_same(
        head(class_weight={3: 2.0}).fit(X, y),
        head().fit(X, y, sample_weight=np.where(y == 3, 2.0, 1.0)),
    )


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (-1.0, r"Negative values.*sample_weight\[5\] is -1"),
        (np.nan, "NaN"),
    ],
)
def test_a_wrong_weight_is_refused(digits, weight, message):
    X, y = digits
    weights = np.ones(len(X))
    weights[5] = weight
    with pytest.raises(ValueError, match=message):
        head().fit(X, y, sample_weight=weights)


def test_all_zero_weights_are_refused(digits):
    X, y = digits
    with pytest.raises(ValueError, match=r"non-zero|zero for all samples"):
        head().fit(X, y, sample_weight=np.zeros(len(X)))


def test_sample_weight_is_routed_through_pipeline_and_grid_search(digits):
    import sklearn

    X, y = digits
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


# Stopping, and going on


def test_early_stopping_keeps_the_best_epoch(digits):
    X, y = digits
    clf = head(
        early_stopping=True, n_iter_no_change=3, max_iter=100, learning_rate_init=1
    ).fit(X[:400], y[:400], X_val=X[400:], y_val=y[400:])
    scores = clf.history_["val_accuracy"]
    assert clf.n_iter_ == len(scores) < 100
    assert clf.best_validation_score_ == max(scores)
    assert clf.score(X[400:], y[400:]) == pytest.approx(max(scores))


def test_early_stopping_without_validation_rows_says_so(digits):
    with pytest.raises(
        ValueError, match="early_stopping=True needs validation samples"
    ):
        head(early_stopping=True, validation_fraction=0).fit(*digits)


def test_validation_samples_are_watched_and_not_learned(digits):
    X, y = digits
    clf = head().fit(X[:500], y[:500], X_val=X[500:], y_val=y[500:])
    assert_same(clf, head(validation_fraction=0).fit(X[:500], y[:500]))
    expected = accuracy_score(y[500:], clf.predict(X[500:]))
    assert clf.history_["val_accuracy"][-1] == pytest.approx(expected)


def test_callbacks_see_each_epoch_and_may_stop(digits):
    seen = []

    def stop_after_two(epoch, figures):
        seen.append((epoch, figures))
        return epoch == 2

    clf = head(callbacks=stop_after_two, max_iter=9).fit(*digits)
    assert [epoch for epoch, _ in seen] == [1, 2]
    assert seen[1][1]["loss"] == clf.history_["loss"][1]
    assert clf.n_iter_ == 2


def test_a_callback_that_raises_leaves_the_old_fit(digits):
    def fail(epoch, figures):
        raise KeyError("mine")

    clf = head().fit(*digits)
    before = copy.deepcopy(clf)
    with pytest.raises(KeyError, match="mine"):
        clf.set_params(callbacks=[fail]).fit(*digits)
    assert_same(clf, before)


def test_what_is_no_callback_is_refused(digits):
    with pytest.raises(ValueError, match=r"callbacks\[1\] is a int"):
        head(callbacks=[print, 3]).fit(*digits)


def test_warm_start_goes_on_with_weights_and_learning_rate(digits):
    X, y = digits
    clf = head(warm_start=True, max_iter=2).fit(X, y)
    loss, steps = clf.history_["loss"][-1], clf.n_steps_
    clf.fit(X, y)
    assert clf.n_steps_ == 2 * steps
    assert len(clf.history_["loss"]) == 4
    assert clf.history_["loss"][2] < loss


def test_warm_start_with_other_layers_is_refused(digits):
    clf = head(warm_start=True).fit(*digits)
    with pytest.raises(ValueError, match=r"\[64, 32, 10\].*\[64, 8, 10\].*warm_start"):
        clf.set_params(hidden_layer_sizes=(8,)).fit(*digits)


def test_partial_fit_learns_epoch_by_epoch(digits):
    X, y = digits
    clf = head(hidden_layer_sizes=(64,), learning_rate_init=0.5)
    for _ in range(12):
        clf.partial_fit(X, y, classes=range(10))
    assert clf.n_iter_ == 12
    assert clf.score(X, y) > 0.7
    assert list(clf.history_) == ["loss", "accuracy"]


def test_partial_fit_may_see_the_classes_one_after_the_other(digits):
    X, y = digits
    clf = head().partial_fit(X[y == 1], y[y == 1], classes=range(10))
    clf.partial_fit(X[y == 7], y[y == 7])
    assert list(clf.classes_) == list(range(10))


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([0, 1], None, "classes must be passed on the first call"),
        ([0, 5], [0, 1], "class 5, which is not one of the known classes"),
    ],
)
def test_partial_fit_refuses_wrong_classes(labels, classes, message):
    with pytest.raises(ValueError, match=message):
        head().partial_fit(np.zeros((2, 3)), labels, classes=classes)


def test_partial_fit_refuses_other_classes_later(digits):
    X, y = digits
    clf = head().partial_fit(X, y, classes=range(10))
    with pytest.raises(ValueError, match="not the same as on the last call"):
        clf.partial_fit(X, y, classes=range(11))


# Other inputs and targets


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csr_array, sp.csc_matrix])
def test_sparse_rows_are_dense_rows(digits, form):
    X, y = digits
    clf = head(standardize=False)
    dense, sparse = clone(clf).fit(X, y), clone(clf).fit(form(X), y)
    assert_same(dense, sparse)
    np.testing.assert_allclose(
        sparse.predict_proba(form(X)), dense.predict_proba(X), atol=1e-6
    )


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


def test_top_k_metric_is_scikit_learns(digits):
    X, y = digits
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
def test_an_unknown_metric_is_refused(digits, metric):
    with pytest.raises(ValueError, match=r"expected 'accuracy' or 'top_<k>_accuracy'"):
        head(metric=metric).fit(*digits)


# Optimizers


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adam", "rmsprop"])
def test_optimizers_by_name_learn(digits, name):
    X, y = digits
    rate = {"sgd": 0.5, "momentum": 0.05, "nesterov": 0.05}.get(name, 0.005)
    clf = head(optimizer=name, learning_rate_init=rate, max_iter=12).fit(X, y)
    assert clf.score(X, y) > 0.6


@pytest.mark.parametrize("name", ["adagrad", "adadelta", "ftrl", "proximaladagrad"])
def test_the_other_optimizers_run(digits, name):
    clf = head(optimizer=name, max_iter=2).fit(*digits)
    assert np.isfinite(clf.history_["loss"]).all()


def test_a_tflearn_optimizer_is_taken_copied_and_pickled(digits):
    sgd = import_tflearn().SGD(learning_rate=0.3, lr_decay=0.9, decay_step=7)
    by_instance = head(optimizer=sgd).fit(*digits)
    by_name = head(
        learning_rate_init=0.3, decay_rate=0.9, decay_steps=7, cooldown_fraction=0
    ).fit(*digits)
    assert_same(by_instance, by_name)
    assert not sgd.built
    again = pickle.loads(pickle.dumps(by_instance))
    assert vars(again.optimizer)["lr_decay"] == 0.9
    assert_same(again.fit(*digits), by_name)


@pytest.mark.parametrize("fraction", [0.5, 1.0])
def test_the_rate_falls_to_zero_in_the_last_steps(digits, fraction):
    """Against softmax regression by gradient descent in NumPy, one batch an epoch."""
    X, y = digits
    clf = TFLearnMLPClassifier(
        (),
        standardize=False,
        dropout=0,
        learning_rate_init=0.5,
        decay_rate=1.0,
        cooldown_fraction=fraction,
        max_iter=8,
        batch_size=len(X),
        random_state=0,
    )
    steps = clf.fit(X, y).n_steps_
    Y = np.eye(10)[y]
    W, b = initial_parameters([X.shape[1], 10], 0)
    W, b = W[0].astype(float), b[0].astype(float)
    for i in range(steps):
        rate = 0.5 * min(1, (steps - i) / (fraction * steps))
        error = (softmax(X @ W + b, axis=1) - Y) / len(X)
        W, b = W - rate * X.T @ error, b - rate * error.sum(axis=0)
    np.testing.assert_allclose(clf.coefs_[0], W, atol=1e-5)
    np.testing.assert_allclose(clf.intercepts_[0], b, atol=1e-5)


def test_the_rate_does_not_fall_where_the_end_is_not_known(digits):
    """With the recipe itself, with warm_start, and in partial_fit."""
    for params in ({"standardize": False}, {"warm_start": True}):
        as_it_comes = head(**params).fit(*digits)
        assert_same(as_it_comes, head(cooldown_fraction=0, **params).fit(*digits))
    X, y = digits
    called = [
        head(cooldown_fraction=f).partial_fit(X, y, classes=range(10)) for f in (0, 1)
    ]
    assert_same(*called)


# The regressor


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


def test_regressor_is_reproducible_and_weighted(digits):
    X, y = digits
    keep = np.arange(len(X)) % 2 == 0
    first = regressor().fit(X, y / 10, sample_weight=keep.astype(float))
    assert_same(first, regressor().fit(X[keep], y[keep] / 10))


def test_regressor_partial_fit(digits):
    X, y = digits
    reg = regressor()
    for _ in range(3):
        reg.partial_fit(X, y / 10)
    assert reg.n_iter_ == 3
    assert reg.history_["loss"][-1] < reg.history_["loss"][0]


# Other versions


def test_a_pickle_of_a_newer_version_warns_by_name(digits, monkeypatch):
    monkeypatch.setattr("skvgg._head.base.__version__", "9.8.0")
    data = pickle.dumps(head().fit(*digits))
    monkeypatch.undo()
    with pytest.warns(UserWarning, match=r"pickled by skvgg 9\.8\.0"):
        pickle.loads(data)


def test_a_pickle_with_fewer_parameters_loads_with_their_defaults(digits):
    clf = head().fit(*digits)
    state = clf.__getstate__()
    for name in ("_skvgg_version", "optimizer", "callbacks", "metric"):
        del state[name]
    old = TFLearnMLPClassifier.__new__(TFLearnMLPClassifier)
    old.__setstate__(state)
    assert old.get_params() == clf.get_params()
    np.testing.assert_array_equal(old.predict(digits[0]), clf.predict(digits[0]))


def test_deepcopy_predicts_the_same(digits):
    clf = head().fit(*digits)
    again = copy.deepcopy(clf)
    np.testing.assert_array_equal(again.predict(digits[0]), clf.predict(digits[0]))

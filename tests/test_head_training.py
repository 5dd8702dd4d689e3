"""Training of heads: seeds, history, validation, early stopping, callbacks."""

import copy

import numpy as np
import pytest
import sklearn
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import accuracy_score, log_loss
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skvgg._head import training
from skvgg._head.training import split

from .heads import (
    all_arrays,
    assert_same,
    head,
    make_numbers,
    trained_head,
    trained_regressor,
)


def test_it_learns_the_digits(digits):
    X, y = digits
    clf = head(hidden_layer_sizes=(64,), max_iter=20).fit(X[:1400], y[:1400])
    assert clf.score(X[1400:], y[1400:]) > 0.85


def test_no_hidden_layer_is_softmax_regression(digits):
    X, y = digits
    clf = head(hidden_layer_sizes=()).fit(X, y)
    assert [coef.shape for coef in clf.coefs_] == [(64, 10)]
    assert clf.score(X, y) > 0.5


# Randomness


def test_one_random_state_gives_identical_bits(digits):
    fits = [all_arrays(head().fit(*digits)) for _ in range(2)]
    for first, second in zip(*fits, strict=True):
        np.testing.assert_array_equal(first, second)


def test_other_random_states_give_other_weights(digits):
    first, second = (all_arrays(head(random_state=s).fit(*digits)) for s in (0, 1))
    assert not np.allclose(first[0], second[0])


def test_no_random_state_gives_other_weights_each_time(digits):
    first, second = (
        all_arrays(head(random_state=None, max_iter=1).fit(*digits)) for _ in range(2)
    )
    assert not np.allclose(first[0], second[0])


# History and progress


def test_history_has_each_epoch_and_agrees_with_scikit_learns_metrics(
    digits, monkeypatch
):
    X, y = digits
    rows = []
    original = training.split

    def spy(*args):
        rows.append(original(*args))
        return rows[-1]

    monkeypatch.setattr(training, "split", spy)
    clf = head(max_iter=4, validation_fraction=0.1).fit(X, y)
    assert list(clf.history_) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert {len(series) for series in clf.history_.values()} == {4} == {clf.n_iter_}
    _, validation = rows[0]
    proba = clf.predict_proba(X[validation]).astype(float)
    proba /= proba.sum(axis=1, keepdims=True)
    assert clf.history_["val_loss"][-1] == pytest.approx(
        log_loss(y[validation], proba, labels=clf.classes_), rel=1e-5
    )
    assert clf.history_["val_accuracy"][-1] == accuracy_score(
        y[validation], clf.predict(X[validation])
    )
    assert clf.history_["loss"][-1] < clf.history_["loss"][0]


def test_the_loss_curve_is_that_of_the_history(iris):
    clf = trained_head(max_iter=3).fit(*iris)
    assert clf.loss_curve_ == clf.history_["loss"]
    theirs = MLPClassifier(max_iter=3, n_iter_no_change=9)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        theirs.fit(*iris)
    assert len(clf.loss_curve_) == len(theirs.loss_curve_)


def test_the_history_makes_a_table_whatever_was_measured_when(iris):
    clf = trained_head(max_iter=2, warm_start=True, validation_fraction=0.2).fit(*iris)
    clf.set_params(validation_fraction=0, metric="top_2_accuracy").fit(*iris)
    assert {len(values) for values in clf.history_.values()} == {4}
    assert np.isnan(clf.history_["val_loss"][2:]).all()


def test_silent_by_default_one_bar_if_verbose(digits, capfd):
    head().fit(*digits)
    assert capfd.readouterr() == ("", "")
    head(verbose=1, validation_fraction=0.1).fit(*digits)
    out, err = capfd.readouterr()
    assert out == ""
    assert "3/3" in err
    assert "val_accuracy" in err


# Validation samples


def test_samples_are_held_out_only_to_stop_early_or_if_asked(digits):
    assert list(head().fit(*digits).history_) == ["loss", "accuracy"]
    stopping = head(early_stopping=True).fit(*digits)
    tenth = head(early_stopping=True, validation_fraction=0.1).fit(*digits)
    assert stopping.history_ == tenth.history_
    assert "val_accuracy" in stopping.history_


def test_validation_rows_are_a_tenth_in_proportion_to_the_classes():
    labels = np.repeat([0, 1, 2], [100, 60, 40])
    train, validation = split(labels, 200, 0.1, np.random.RandomState(0))
    assert sorted([*train, *validation]) == list(range(200))
    assert list(np.bincount(labels[validation])) == [10, 6, 4]


@pytest.mark.parametrize("seed", range(20))
def test_no_class_is_ever_without_training_rows(seed):
    labels = np.array([0] * 15 + [1] * 2 + [2])
    train, validation = split(labels, 18, 0.4, np.random.RandomState(seed))
    assert set(labels[train]) == {0, 1, 2}
    assert len(validation) == 7


def test_few_rows_have_no_validation():
    train, validation = split(np.array([0, 1, 0]), 3, 0.1, np.random.RandomState(0))
    assert len(train) == 3
    assert len(validation) == 0


def test_validation_samples_are_watched_and_not_learned(few_digits):
    X, y = few_digits
    clf = head().fit(X[:500], y[:500], X_val=X[500:], y_val=y[500:])
    assert_same(clf, head(validation_fraction=0).fit(X[:500], y[:500]))
    expected = accuracy_score(y[500:], clf.predict(X[500:]))
    assert clf.history_["val_accuracy"][-1] == pytest.approx(expected)


def test_validation_samples_go_through_the_pipeline(iris):
    """As scikit-learn's gradient boosting takes them."""
    X, y = iris
    fits = []
    with sklearn.config_context(enable_metadata_routing=True):
        for clf in (
            trained_head(early_stopping=True),
            HistGradientBoostingClassifier(early_stopping=True, max_iter=3),
        ):
            clf.set_fit_request(X_val=True, y_val=True)
            double = FunctionTransformer(lambda X: 2 * X)
            model = make_pipeline(double, clf, transform_input=["X_val"])
            fits.append(model.fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2])[-1])
    direct = trained_head(early_stopping=True)
    direct.fit(2 * X[::2], y[::2], X_val=2 * X[1::2], y_val=y[1::2])
    assert_same(fits[0], direct)


def test_validation_weights_weigh(iris):
    X, y = iris
    w = (y[1::2] != 2).astype(float)
    some = X[1::2], y[1::2]
    weighted = trained_head(max_iter=2).fit(
        X[::2], y[::2], X_val=some[0], y_val=some[1], sample_weight_val=w
    )
    fewer = trained_head(max_iter=2).fit(
        X[::2], y[::2], X_val=some[0][w > 0], y_val=some[1][w > 0]
    )
    assert weighted.history_["val_accuracy"] == fewer.history_["val_accuracy"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"X_val": np.eye(4)}, "X_val was passed without y_val"),
        ({"y_val": [0]}, "y_val was passed without X_val"),
        ({"sample_weight_val": [1.0]}, "without X_val and y_val"),
        (
            {"X_val": np.eye(4), "y_val": [0, 1, 2, 0], "sample_weight_val": [0] * 4},
            r"sample_weight_val is zero for all|at least one non-zero",
        ),
        (
            {"X_val": np.eye(4), "y_val": [0, 1, 2, 0], "sample_weight_val": [-1] * 4},
            r"sample_weight_val\[0\] is -1",
        ),
        ({"X_val": 5, "y_val": [1]}, "Expected 2D array, got scalar array"),
        ({"X_val": np.eye(3), "y_val": [0, 1, 2]}, "3 features, but .* expecting 4"),
        ({"X_val": np.eye(4), "y_val": [0, 1]}, "inconsistent numbers of samples"),
    ],
)
def test_half_of_the_validation_samples_is_refused(iris, given, message):
    with pytest.raises(ValueError, match=message):
        trained_head().fit(*iris, **given)


# Early stopping


def test_early_stopping_keeps_the_best_epoch(few_digits):
    X, y = few_digits
    clf = head(
        early_stopping=True, n_iter_no_change=3, max_iter=100, learning_rate_init=1
    ).fit(X[:400], y[:400], X_val=X[400:], y_val=y[400:])
    scores = clf.history_["val_accuracy"]
    assert clf.n_iter_ == len(scores) < 100
    assert clf.best_validation_score_ == max(scores)
    assert clf.score(X[400:], y[400:]) == pytest.approx(max(scores))


def test_early_stopping_without_validation_rows_says_so(few_digits):
    with pytest.raises(
        ValueError, match="early_stopping=True needs validation samples"
    ):
        head(early_stopping=True, validation_fraction=0).fit(*few_digits)


@pytest.mark.parametrize("n", [10, 19])
def test_early_stopping_on_one_validation_sample_is_refused(n):
    X, y = make_numbers(n)
    with pytest.raises(
        ValueError, match="validation set is too small: it has 1 sample"
    ):
        trained_regressor(early_stopping=True).fit(X, y)
    with pytest.raises(ValueError, match="validation set is too small"):
        MLPRegressor(early_stopping=True).fit(X[:10], y[:10])  # as scikit-learn says it


def test_early_stopping_on_a_constant_validation_target_is_refused():
    X, y = make_numbers(100)
    with pytest.raises(ValueError, match="a target is constant in it"):
        trained_regressor(early_stopping=True).fit(X, y, X_val=X[:5], y_val=np.ones(5))


def test_no_limit_of_epochs_without_improvement(iris):
    clf = trained_head(early_stopping=True, n_iter_no_change=np.inf, max_iter=30).fit(
        *iris
    )
    assert clf.n_iter_ == 30


# Callbacks


def test_callbacks_see_each_epoch_and_may_stop(few_digits):
    seen = []

    def stop_after_two(epoch, metrics):
        seen.append((epoch, metrics))
        return epoch == 2

    clf = head(callbacks=stop_after_two, max_iter=9).fit(*few_digits)
    assert [epoch for epoch, _ in seen] == [1, 2]
    assert seen[1][1]["loss"] == clf.history_["loss"][1]
    assert clf.n_iter_ == 2


def test_callbacks_of_partial_fit_get_the_number_of_the_epoch(iris):
    epochs = []
    clf = trained_head(callbacks=lambda epoch, metrics: epochs.append(epoch))
    for _ in range(3):
        clf.partial_fit(*iris, classes=[0, 1, 2])
    assert epochs == [1, 2, 3]


def test_a_callback_that_raises_leaves_the_old_fit(few_digits):
    def fail(epoch, metrics):
        raise KeyError("mine")

    clf = head().fit(*few_digits)
    before = copy.deepcopy(clf)
    with pytest.raises(KeyError, match="mine"):
        clf.set_params(callbacks=[fail]).fit(*few_digits)
    assert_same(clf, before)


def test_what_is_no_callback_is_refused(few_digits):
    with pytest.raises(ValueError, match=r"callbacks\[1\] is a int"):
        head(callbacks=[print, 3]).fit(*few_digits)

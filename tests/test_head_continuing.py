"""Heads continue from the last fit: warm_start and partial_fit."""

import pickle

import numpy as np
import pytest

from .heads import (
    all_arrays,
    head,
    make_numbers,
    regressor,
    trained_head,
    trained_regressor,
)


def test_warm_start_goes_on_with_weights_and_learning_rate(few_digits):
    X, y = few_digits
    clf = head(warm_start=True, max_iter=2).fit(X, y)
    loss, steps = clf.history_["loss"][-1], clf.n_steps_
    clf.fit(X, y)
    assert clf.n_steps_ == 2 * steps
    assert len(clf.history_["loss"]) == 4
    assert clf.history_["loss"][2] < loss


def test_warm_start_with_other_layers_is_refused(few_digits):
    clf = head(warm_start=True).fit(*few_digits)
    with pytest.raises(ValueError, match=r"\[64, 32, 10\].*\[64, 8, 10\].*warm_start"):
        clf.set_params(hidden_layer_sizes=(8,)).fit(*few_digits)


def test_partial_fit_learns_epoch_by_epoch(few_digits):
    X, y = few_digits
    clf = head(hidden_layer_sizes=(64,), learning_rate_init=0.5)
    for _ in range(12):
        clf.partial_fit(X, y, classes=range(10))
    assert clf.n_iter_ == 12
    assert clf.score(X, y) > 0.7
    assert list(clf.history_) == ["loss", "accuracy"]


def test_partial_fit_may_see_the_classes_one_after_the_other(few_digits):
    X, y = few_digits
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


def test_partial_fit_refuses_other_classes_later(few_digits):
    X, y = few_digits
    clf = head().partial_fit(X, y, classes=range(10))
    with pytest.raises(ValueError, match="not the same as on the last call"):
        clf.partial_fit(X, y, classes=range(11))


def test_regressor_partial_fit(few_digits):
    X, y = few_digits
    reg = regressor()
    for _ in range(3):
        reg.partial_fit(X, y / 10)
    assert reg.n_iter_ == 3
    assert reg.history_["loss"][-1] < reg.history_["loss"][0]


@pytest.mark.parametrize(
    "optimizer", ["sgd", "momentum", "nesterov", "adam", "rmsprop"]
)
@pytest.mark.parametrize("pickled", [False, True])
def test_partial_fits_are_one_fit_of_as_many_epochs(optimizer, pickled):
    """In one batch and without dropout nothing else differs."""
    X, y = make_numbers(200)
    params = {"dropout": 0, "batch_size": 200, "optimizer": optimizer}
    once = trained_regressor(max_iter=30, cooldown_fraction=0, **params).fit(X, y)
    again = trained_regressor(**params)
    for _ in range(30):
        again.partial_fit(X, y)
        if pickled:
            again = pickle.loads(pickle.dumps(again))
    assert again.score(X, y) == pytest.approx(once.score(X, y), abs=1e-3)
    for a, b in zip(all_arrays(once), all_arrays(again), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_a_change_of_the_optimizer_starts_its_memory_anew(iris):
    clf = trained_head(warm_start=True, optimizer="adam").fit(*iris)
    loss = clf.loss_curve_[-1]
    clf.set_params(optimizer="momentum").fit(*iris)
    assert clf.loss_curve_[-1] < loss


def test_a_fit_that_cannot_go_on_keeps_no_memory_of_the_optimizer(iris):
    clf = trained_head(optimizer="adam").fit(*iris)
    size = sum(array.nbytes for array in all_arrays(clf))
    assert len(pickle.dumps(clf)) < size + 5_000

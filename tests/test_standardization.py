"""Heads learn on features of any scale, and say so where they did not learn."""

import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
    make_classification,
)
from sklearn.ensemble import AdaBoostClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvgg import TFLearnMLPClassifier, TFLearnMLPRegressor, VGG19Features
from skvgg._head import training
from skvgg._head.optimizers import LEARNING_RATES

from .heads import all_arrays, assert_same, lengthen


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:600], y[:600]


@pytest.fixture(scope="module")
def stages(digits):
    """What a beginner takes: raw outputs of the network, of scales of their own."""
    X, y = digits
    features = VGG19Features(
        "hed",
        layer=("block3_pool", "block4_pool", "block5_pool"),
        pooling="avg",
        image_size=32,
    )
    images = (X[:300].reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
    return features.transform(images), y[:300]


@pytest.fixture(scope="module")
def hardly(stages):
    """Features so far from zero that the recipe's head says the same of all rows."""
    X, y = stages
    return X + 1e3, y


def head(**params):
    defaults = {"hidden_layer_sizes": (32,), "random_state": 0}
    return TFLearnMLPClassifier(**{**defaults, **params})


def regressor(**params):
    defaults = {"hidden_layer_sizes": (32,), "random_state": 0}
    return TFLearnMLPRegressor(**{**defaults, **params})


# What comes out as it is put together


def test_the_head_as_it_comes_learns_on_the_networks_raw_outputs(stages):
    X, y = stages
    scores = cross_val_score(TFLearnMLPClassifier(random_state=0), X, y, cv=2)
    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    expected = cross_val_score(logistic, X, y, cv=2)
    assert scores.mean() > expected.mean() - 0.03
    assert expected.mean() > 0.8


@pytest.mark.parametrize(
    "load", [load_wine, pytest.param(load_breast_cancer, marks=pytest.mark.slow)]
)
def test_the_head_as_it_comes_learns_on_tables_of_any_scale(load):
    X, y = load(return_X_y=True)
    scores = cross_val_score(TFLearnMLPClassifier(random_state=0), X, y, cv=3)
    assert scores.mean() > 0.9


def test_the_regressor_as_it_comes_learns_targets_in_pixels(digits):
    X, _ = digits
    images = X.reshape(-1, 8, 8)
    across = np.arange(8) * 100
    y = (images.sum(axis=1) @ across) / images.sum(axis=(1, 2))  # centre of ink
    assert y.mean() > 300
    reg = TFLearnMLPRegressor(random_state=0).fit(X[:400], y[:400])
    assert reg.score(X[:400], y[:400]) > 0.9
    assert reg.score(X[400:], y[400:]) > 0.8


# What standardizing is


def test_scaling_and_shifting_each_feature_changes_nothing(digits):
    X, y = digits
    rng = np.random.default_rng(0)
    # Powers of two, so that float32 loses nothing.
    factor, shift = 2.0 ** rng.integers(-9, 9, 64), rng.integers(-4, 4, 64)
    first = head().fit(X, y)
    second = head().fit((X + shift) * factor, y)
    np.testing.assert_allclose(
        first.predict_proba(X), second.predict_proba((X + shift) * factor), atol=1e-4
    )


def test_predictions_are_those_of_the_recipe_on_standardized_features(digits):
    X, y = digits
    X = X[:, X.std(axis=0) > 0]
    scaler = StandardScaler().fit(X)
    Z = lengthen(scaler.transform(X))
    folded = head(cooldown_fraction=0.5).fit(X, y)
    recipe = head(standardize=False, cooldown_fraction=0.5).fit(Z, y)
    np.testing.assert_allclose(
        folded.predict_proba(X), recipe.predict_proba(Z), atol=1e-4
    )
    np.testing.assert_allclose(folded.feature_mean_, scaler.mean_)
    np.testing.assert_allclose(
        folded.feature_scale_, scaler.scale_ * np.sqrt(X.shape[1]) / 64
    )
    assert folded.coefs_[0].dtype == folded.intercepts_[0].dtype == np.float32


def test_sparse_features_are_scaled_and_not_centred(digits):
    X, y = digits
    X = X[:, X.std(axis=0) > 0]
    Z = lengthen(StandardScaler(with_mean=False).fit_transform(X))
    few_steps = {"max_iter": 2, "batch_size": 600}  # rounding has no time to grow
    sparse = head(**few_steps).fit(sp.csr_array(X), y)
    recipe = head(**few_steps, standardize=False).fit(sp.csr_array(Z), y)
    np.testing.assert_allclose(
        sparse.predict_proba(X), recipe.predict_proba(Z), atol=1e-4
    )
    assert not sparse.feature_mean_.any()
    assert head().fit(sp.csr_array(X), y).score(X, y) > 0.95


def test_means_and_deviations_are_weighted(digits):
    X, y = digits
    w = np.random.default_rng(0).integers(1, 4, len(X)).astype(float)
    clf = head(max_iter=1).fit(X, y, sample_weight=w)
    repeated = StandardScaler().fit(np.repeat(X, w.astype(int), axis=0))
    np.testing.assert_allclose(clf.feature_mean_, repeated.mean_, atol=1e-6)


def test_only_samples_trained_on_are_standardized_by(digits, monkeypatch):
    X, y = digits
    parts = []
    original = training.split

    def spy(*args):
        parts.append(original(*args))
        return parts[-1]

    monkeypatch.setattr(training, "split", spy)
    clf = head(max_iter=1, validation_fraction=0.2).fit(X, y)
    (train, validation), *_ = parts
    assert len(validation) == 120
    np.testing.assert_allclose(clf.feature_mean_, X[train].mean(axis=0), atol=1e-6)


def test_features_that_never_varied_have_no_say(digits):
    X, y = digits
    dead = np.flatnonzero(X.std(axis=0) == 0)
    assert len(dead)
    clf = head().fit(X, y)
    assert np.isinf(clf.feature_scale_[dead]).all()
    alive = X.copy()
    alive[:, dead] = 1e4
    np.testing.assert_array_equal(clf.predict_proba(alive), clf.predict_proba(X))
    assert not clf.coefs_[0][dead].any()


def test_off_is_the_recipe_on_features_as_they_are(digits):
    X, y = digits
    clf = head(standardize=False, max_iter=1).fit(X, y)
    assert clf.feature_mean_ is None
    assert clf.feature_scale_ == 1.0
    assert np.abs(clf.coefs_[0]).max() < 0.1  # nothing was folded in


@pytest.mark.parametrize("n_targets", [1, 2])
def test_targets_are_standardized_one_by_one(n_targets):
    X, y = load_diabetes(return_X_y=True)
    Y = np.column_stack([y, -1e-3 * y + 5])[:, :n_targets]
    Y = Y.ravel() if n_targets == 1 else Y
    reg = regressor(dropout=0).fit(X, Y)
    plain = regressor(dropout=0).fit(X, (Y - Y.mean(axis=0)) / Y.std(axis=0))
    expected = plain.predict(X) * Y.std(axis=0) + Y.mean(axis=0)
    np.testing.assert_allclose(reg.predict(X), expected, rtol=1e-4)
    np.testing.assert_allclose(reg.target_mean_, np.atleast_1d(Y.mean(axis=0)))


def test_the_history_of_a_regressor_is_in_the_units_of_the_targets():
    X, y = load_diabetes(return_X_y=True)
    reg = regressor(max_iter=3).fit(X[:300], y[:300], X_val=X[300:], y_val=y[300:])
    expected = np.mean((reg.predict(X[300:]) - y[300:]) ** 2)
    assert reg.history_["val_loss"][-1] == pytest.approx(expected, rel=1e-4)
    assert expected > 1000


def test_going_on_keeps_the_figures_of_the_first_call(digits):
    X, y = digits
    clf = head(warm_start=True, max_iter=2).fit(X[:300], y[:300])
    mean, before = clf.feature_mean_.copy(), clf.predict_proba(X)
    clf.set_params(learning_rate_init=1e-12, weight_decay=0)
    with pytest.warns(ConvergenceWarning):
        clf.fit(X[300:] + 7, y[300:])
    np.testing.assert_array_equal(clf.feature_mean_, mean)
    np.testing.assert_allclose(clf.predict_proba(X), before, atol=1e-5)


@pytest.mark.parametrize("make", [head, regressor])
def test_two_warm_fits_are_one_longer_fit(digits, make):
    """Without dropout and in one batch there is nothing else that could differ."""
    X, y = digits
    params = {"dropout": 0, "batch_size": 600, "cooldown_fraction": 0}
    once = make(max_iter=6, **params).fit(X, y)
    twice = make(max_iter=3, warm_start=True, **params).fit(X, y).fit(X, y)
    for a, b in zip(all_arrays(once), all_arrays(twice), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


# Learning rates


def test_auto_is_the_rate_that_each_optimizer_is_meant_for(digits):
    assert head(max_iter=1).fit(*digits).learning_rate_init_ == 0.1
    adam = head(max_iter=1, optimizer="adam").fit(*digits)
    assert adam.learning_rate_init_ == 0.001
    assert head(max_iter=1, learning_rate_init=0.3).fit(
        *digits
    ).learning_rate_init_ == (0.3)


@pytest.mark.parametrize("optimizer", LEARNING_RATES)
def test_each_optimizer_learns_with_its_own_rate(digits, optimizer):
    X, y = digits
    clf = TFLearnMLPClassifier((256,), optimizer=optimizer, random_state=0).fit(X, y)
    assert clf.score(X, y) > 0.9


# Saying that nothing was learned


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"optimizer": "adam", "learning_rate_init": 0.1},
        {"optimizer": "adam"},
        {"learning_rate_init": 0.01},
        {"hidden_layer_sizes": (4096, 512), "max_iter": 2},
        {"activation": "relu", "learning_rate_init": 1e6},
        {"learning_rate_init": 1e-9},
    ],
)
def test_a_fit_that_learned_nothing_warns(hardly, params):
    X, y = hardly
    with pytest.warns(
        ConvergenceWarning, match="learned nothing.*Try standardize=True"
    ):
        head(standardize=False, **params).fit(X, y)


def test_a_regressor_that_learned_nothing_warns():
    X, y = load_diabetes(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match=r"constant prediction is 1\. Try"):
        regressor(max_iter=1, learning_rate_init=1e-9, random_state=1).fit(X, y)
    with pytest.warns(ConvergenceWarning, match="learned nothing"):
        regressor(standardize=False).fit(X + 1e3, y)


def test_multilabel_targets_that_were_not_learned_warn(digits):
    X, y = digits
    Y = (y[:, None] == np.arange(3)).astype(int)
    with pytest.warns(ConvergenceWarning, match="learned nothing"):
        head(learning_rate_init=1e-9).fit(X, Y)


@pytest.mark.parametrize("seed", range(5))
def test_healthy_fits_never_warn(seed, digits, stages):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for X, y in (digits, stages, load_iris(return_X_y=True)):
            head(random_state=seed).fit(X, y)
            head(random_state=seed, activation="relu", optimizer="adam").fit(X, y)
        X, y = load_diabetes(return_X_y=True)
        regressor(random_state=seed).fit(X, y)
        # Rare: 5 %, and so hard to tell that the rare class is hardly ever said.
        X, y = make_classification(
            1000, weights=[0.95], class_sep=0.5, flip_y=0, random_state=seed
        )
        head(random_state=seed).fit(X, y)


def test_constant_targets_are_learned_in_silence():
    X = np.random.default_rng(0).normal(size=(40, 5))
    reg = regressor().fit(X, np.full(40, 1e6))
    np.testing.assert_allclose(reg.predict(X), 1e6, rtol=1e-5)


# Weights of any scale


@pytest.mark.parametrize("factor", [1 / 150, 1e-60, 1e60])
def test_weights_are_relative(factor):
    X, y = load_iris(return_X_y=True)
    w = np.random.default_rng(0).uniform(1, 2, 150)
    first = head().fit(X, y, sample_weight=w)
    second = head().fit(X, y, sample_weight=w * factor)
    for a, b in zip(all_arrays(first), all_arrays(second), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert_same(head().fit(X, y), head().fit(X, y, np.full(150, factor)))


def test_ada_boost_boosts_heads():
    X, y = load_iris(return_X_y=True)
    boosted = AdaBoostClassifier(head(max_iter=60), n_estimators=3, random_state=0)
    assert boosted.fit(X, y).score(X, y) > 0.95


def test_partial_fit_takes_weights_as_they_are():
    X, y = load_iris(return_X_y=True)
    params = {"dropout": 0, "batch_size": 150, "weight_decay": 0}
    slow = head(learning_rate_init=0.01, **params)
    slow.partial_fit(X, y, classes=[0, 1, 2])
    light = head(learning_rate_init=0.1, **params)
    light.partial_fit(X, y, classes=[0, 1, 2], sample_weight=np.full(150, 0.1))
    for a, b in zip(all_arrays(slow), all_arrays(light), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_standardizing_head_is_pickled_with_all_that_it_needs_to_go_on(digits):
    X, y = digits
    clf = head(warm_start=True, max_iter=2, optimizer="adam").fit(X, y)
    again = pickle.loads(pickle.dumps(clf))
    assert_same(clf.fit(X, y), again.fit(X, y))
    assert not hasattr(clone(clf), "feature_mean_")


# Odd columns and targets


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("column", [5.0, 1e6, "1e9 with rounding"])
def test_a_column_that_tells_nothing_changes_nothing(digits, form, column):
    X, y = digits
    n = len(X)
    noise = 1e9 + 100 * np.random.default_rng(0).normal(size=n)  # below float32's steps
    useless = noise if isinstance(column, str) else np.full(n, column)
    plain = head().fit(form(X), y)
    with_useless = form(np.c_[X, useless].astype(np.float32))
    odd = head().fit(with_useless, y)
    assert odd.score(with_useless, y) > plain.score(form(X), y) - 0.02
    assert not odd.coefs_[0][-1].any()


@pytest.mark.parametrize("far", [0, 1e6, 1e9])
def test_targets_far_from_zero_are_learned_and_told_as_the_others(far):
    X, y = load_diabetes(return_X_y=True)
    reg = regressor().fit(X, far + y)
    assert reg.score(X, far + y) > 0.45
    measured = regressor(dropout=0).fit(X, far + y, X_val=X, y_val=far + y)
    assert measured.history_["val_r2"][-1] == pytest.approx(
        measured.score(X, far + y), abs=1e-3
    )


def test_a_head_without_hidden_layers_is_the_linear_model():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 5)) * [1, 10, 100, 1e3, 1e-3]
    y = X @ [1, 0.1, 0.01, 2e-3, 0]
    assert TFLearnMLPRegressor((), max_iter=200, random_state=0).fit(X, y).score(
        X, y
    ) == pytest.approx(1, abs=1e-3)
    X, y = load_iris(return_X_y=True)
    clf = TFLearnMLPClassifier((), max_iter=200, random_state=0).fit(X, y)
    logistic = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    assert clf.score(X, y) > logistic.score(X, y) - 0.03


def test_a_first_partial_fit_in_which_nothing_varies_warns():
    X, y = load_iris(return_X_y=True)
    with pytest.warns(
        ConvergenceWarning, match="All features are constant in the first call"
    ):
        head().partial_fit(X[:1], y[:1], classes=[0, 1, 2])


def test_standardize_cannot_change_between_warm_starts(digits):
    clf = head(warm_start=True, max_iter=1).fit(*digits)
    with pytest.raises(ValueError, match="standardize=False differs from the last fit"):
        clf.set_params(standardize=False).fit(*digits)


def test_constant_predictions_of_targets_far_from_zero_warn():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 5))
    with pytest.warns(ConvergenceWarning, match="learned nothing"):
        regressor(standardize=False, max_iter=200, learning_rate_init=0.03).fit(
            X * 1e-6, 100 + X.sum(axis=1)
        )

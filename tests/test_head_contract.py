"""Heads keep scikit-learn's contract: parameters, failed fits, copies, pickles."""

import copy
import pickle

import cloudpickle
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import (
    estimator_checks_generator,
    parametrize_with_checks,
)

from skvgg import TFLearnMLPClassifier, TFLearnMLPRegressor

from .heads import all_arrays, head, make_numbers, trained_head, trained_regressor

#: scikit-learn itself runs these two on its MLPs for full-batch or coarse solvers.
NOT_EQUIVALENT = "rows are learned in random batches and in float32"


EXPECTED_FAILED = {
    "check_sample_weight_equivalence_on_dense_data": NOT_EQUIVALENT,
    "check_sample_weight_equivalence_on_sparse_data": NOT_EQUIVALENT,
}


#: Checks that fit 4096 units for several seconds each.
SLOW_WITH_DEFAULTS = {
    "check_class_weight_classifiers",
    "check_classifiers_classes",
    "check_classifiers_multilabel_representation_invariance",
    "check_classifiers_train",
    "check_estimator_sparse_array",
    "check_estimator_sparse_matrix",
    "check_estimators_dtypes",
    "check_fit_score_takes_y",
    "check_regressor_data_not_an_array",
    "check_regressors_train",
}


@parametrize_with_checks(
    [
        TFLearnMLPClassifier((32,), random_state=0),
        TFLearnMLPRegressor((32,), random_state=0),
    ],
    expected_failed_checks=lambda estimator: EXPECTED_FAILED,
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def checks_of_the_defaults():
    for default in (TFLearnMLPClassifier(), TFLearnMLPRegressor()):
        found = estimator_checks_generator(
            default, expected_failed_checks=EXPECTED_FAILED, mark="xfail"
        )
        for item in found:
            estimator, check = getattr(item, "values", item)
            name = check.func.__name__
            marks = [*getattr(item, "marks", ())]
            if name in SLOW_WITH_DEFAULTS:
                marks.append(pytest.mark.slow)
            kind = type(estimator).__name__
            yield pytest.param(estimator, check, marks=marks, id=f"{kind}-{name}")


@pytest.mark.parametrize(("estimator", "check"), [*checks_of_the_defaults()])
def test_scikit_learns_checks_of_the_defaults(estimator, check):
    check(estimator)


# Parameters


def test_defaults_are_the_recipes():
    params = TFLearnMLPClassifier().get_params()
    assert params == {
        "hidden_layer_sizes": (4096, 512),
        "activation": "tanh",
        "standardize": True,
        "weight_decay": 0.001,
        "dropout": 0.2,
        "optimizer": "sgd",
        "learning_rate_init": "auto",
        "decay_rate": 0.96,
        "decay_steps": 1000,
        "cooldown_fraction": "auto",
        "max_iter": 20,
        "batch_size": 64,
        "validation_fraction": "auto",
        "metric": "accuracy",
        "class_weight": None,
        "early_stopping": False,
        "n_iter_no_change": 10,
        "tol": 1e-4,
        "warm_start": False,
        "callbacks": None,
        "random_state": None,
        "verbose": 0,
    }


@pytest.mark.parametrize(
    "params",
    [
        {"hidden_layer_sizes": (16, 0)},
        {"hidden_layer_sizes": (16, 2.5)},
        {"hidden_layer_sizes": -1},
        {"activation": "softplus"},
        {"dropout": 1.0},
        {"weight_decay": -1},
        {"learning_rate_init": 0},
        {"decay_rate": 1.5},
        {"decay_steps": 0},
        {"max_iter": 0},
        {"batch_size": 0},
        {"validation_fraction": 1.0},
    ],
)
def test_wrong_parameters_are_refused_by_name(digits, params):
    (name,) = params
    with pytest.raises(ValueError, match=name):
        head(**params).fit(*digits)


def test_true_is_no_number_of_units(iris):
    with pytest.raises(ValueError, match="hidden_layer_sizes=True"):
        trained_head(hidden_layer_sizes=True).fit(*iris)


def test_integer_hidden_layer_sizes_mean_one_layer(digits):
    clf = head(hidden_layer_sizes=8, max_iter=1).fit(*digits)
    assert clf.coefs_[0].shape == (64, 8)


# Fitted attributes


def test_unfitted_says_so(digits):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        head().predict(digits[0])
    with pytest.raises(NotFittedError, match="not fitted yet"):
        head().predict_proba(digits[0])


def test_feature_names_of_a_dataframe_are_kept(digits):
    X, y = digits
    frame = pd.DataFrame(X, columns=[f"pixel{i}" for i in range(64)])
    clf = head(max_iter=1).fit(frame, y)
    assert list(clf.feature_names_in_) == list(frame.columns)


def test_coefs_are_plain_float32_arrays(digits):
    clf = head(hidden_layer_sizes=(32, 16)).fit(*digits)
    assert [coef.shape for coef in clf.coefs_] == [(64, 32), (32, 16), (16, 10)]
    assert [b.shape for b in clf.intercepts_] == [(32,), (16,), (10,)]
    assert {type(a) for a in all_arrays(clf)} == {np.ndarray}
    assert {a.dtype for a in all_arrays(clf)} == {np.dtype("float32")}


# Fits that fail


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_a_diverging_training_names_the_epoch_and_keeps_the_old_fit(digits):
    X, y = digits
    clf = head().fit(X, y)
    before = pickle.dumps(clf.coefs_)
    clf.set_params(activation="identity", learning_rate_init=1e30)
    message = r"diverged in epoch 1.*smaller learning_rate_init"
    with pytest.raises(ValueError, match=message):
        clf.fit(X, y)
    assert pickle.dumps(clf.coefs_) == before


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize(
    "params",
    [
        {"learning_rate_init": 1e30, "activation": "identity"},
        {"callbacks": lambda *_: 1 / 0},
        {"early_stopping": True, "validation_fraction": 0.0},
        {"hidden_layer_sizes": (0,)},
    ],
)
def test_a_fit_that_fails_leaves_the_last_one_whole(params):
    X, y = make_numbers(100)
    frame = sklearn.utils.Bunch(X=X, wide=np.hstack([X, X[:, :2]]))
    reg = trained_regressor().fit(frame.X, y)
    before = copy.deepcopy(vars(reg))
    with pytest.raises((ValueError, ZeroDivisionError)):
        reg.set_params(**params).fit(frame.wide, y)
    assert reg.n_features_in_ == 4
    assert vars(reg).keys() == before.keys()
    reg.predict(frame.X)


def test_a_first_fit_that_fails_leaves_an_unfitted_estimator(iris):
    clf = trained_head(hidden_layer_sizes=(0,))
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        clf.fit(*iris)
    assert not hasattr(clf, "n_features_in_")


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")
@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_no_fit_returns_weights_that_are_not_finite(call):
    """One step, whose loss before it is fine."""
    X, y = make_numbers(64)
    reg = trained_regressor(max_iter=1, activation="identity", learning_rate_init=1e38)
    with pytest.raises(ValueError, match="diverged in its last step"):
        getattr(reg, call)(X, y)
    assert not hasattr(reg, "coefs_")


# Copies and pickles


def test_clone_forgets_the_fit(digits):
    clf = clone(head().fit(*digits))
    assert not hasattr(clf, "coefs_")


def test_deepcopy_predicts_the_same(few_digits):
    X, y = few_digits
    clf = head().fit(X, y)
    np.testing.assert_array_equal(copy.deepcopy(clf).predict(X), clf.predict(X))


def test_copies_share_their_callbacks(iris):
    epochs = []
    clf = trained_head(
        max_iter=2, callbacks=lambda epoch, metrics: epochs.append(epoch)
    )
    for make in (copy.copy, copy.deepcopy):
        make(clf).fit(*iris)
    assert epochs == [1, 2, 1, 2]


def test_a_fitted_pickle_is_arrays(digits):
    clf = head().fit(*digits)
    size = sum(a.nbytes for a in all_arrays(clf))
    assert len(pickle.dumps(clf)) < size + 10_000


def test_a_callback_that_holds_its_head_is_pickled(iris):
    clf = trained_head().fit(*iris)
    again = pickle.loads(pickle.dumps(clf.set_params(callbacks=Holder(clf))))
    assert again.callbacks.head is again


class Holder:
    def __init__(self, held):
        self.head = held

    def __call__(self, epoch, metrics):
        return False


def test_cloudpickle_takes_a_head_with_a_lambda(iris):
    clf = trained_head(callbacks=lambda epoch, metrics: epoch == 3).fit(*iris)
    again = pickle.loads(cloudpickle.dumps(clf))
    np.testing.assert_array_equal(again.predict(iris[0]), clf.predict(iris[0]))
    assert again.fit(*iris).n_iter_ == 3

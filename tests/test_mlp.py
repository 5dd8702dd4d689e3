"""TFLearnMLPClassifier: what it learns, keeps and refuses."""

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import accuracy_score, log_loss
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import scale
from sklearn.utils.estimator_checks import (
    estimator_checks_generator,
    parametrize_with_checks,
)

from skvgg import TFLearnMLPClassifier, TFLearnMLPRegressor
from skvgg._head import fitting, forward, training
from skvgg._head.dense import DenseNetwork, NetworkSpec
from skvgg._head.initial import initial_parameters
from skvgg._head.tflearn import import_tflearn
from skvgg._head.training import split
from skvgg._runtime.tensorflow import import_tensorflow


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32), y


def lengthen(Z):
    """Bring rows to a length of 64, in the root of the mean square."""
    return Z * 64 / np.sqrt((Z**2).sum(axis=1).mean())


def head(**params):
    """Return a classifier that learns the digits in about a second."""
    defaults = {"hidden_layer_sizes": (32,), "random_state": 0, "max_iter": 3}
    return TFLearnMLPClassifier(**{**defaults, **params})


#: scikit-learn itself runs these two on its MLPs for full-batch or coarse solvers.
NOT_EQUIVALENT = "rows are learned in random batches and in float32"
EXPECTED_FAILED = {
    "check_sample_weight_equivalence_on_dense_data": NOT_EQUIVALENT,
    "check_sample_weight_equivalence_on_sparse_data": NOT_EQUIVALENT,
}

#: Checks that fit 4096 units for several seconds each.
SLOW_WITH_DEFAULTS = {
    "check_classifiers_train",
    "check_estimator_sparse_array",
    "check_estimator_sparse_matrix",
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
    for head in (TFLearnMLPClassifier(), TFLearnMLPRegressor()):
        found = estimator_checks_generator(
            head, expected_failed_checks=EXPECTED_FAILED, mark="xfail"
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


# The same as TFLearn


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


def test_steps_are_those_of_tflearns_fit_batch(digits):
    """Train the recipe's layers by TFLearn's own means from the same start."""
    tf, tflearn = import_tensorflow(), import_tflearn()
    X, y = digits
    Y = np.eye(10, dtype=np.float32)[y]
    batches = list(np.random.RandomState(0).permutation(1792).reshape(28, 64))
    w = np.random.RandomState(1).uniform(0, 2, len(X)).astype(np.float32)
    spec = NetworkSpec(
        activation="tanh",
        out_activation="softmax",
        weight_decay=0.01,
        dropout=0.0,
        optimizer="sgd",
        learning_rate=2.0,
        decay_rate=0.8,
        decay_steps=10.0,
    )
    start = initial_parameters((64, 32, 16, 10), seed=0)
    with DenseNetwork(spec, start) as network:
        losses = [loss for loss, _ in network.train_epoch(X, Y, w, batches)]
        actual = network.get_parameters()

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.variable_scope("", use_resource=False):
        net = tflearn.input_data(shape=[None, 64])
        layers = []
        for units in (32, 16):
            net = tflearn.fully_connected(
                net, units, activation="tanh", regularizer="L2", weight_decay=0.01
            )
            layers.append(net)
        net = tflearn.fully_connected(net, 10, activation="softmax")
        layers.append(net)
        sgd = tflearn.SGD(learning_rate=2.0, lr_decay=0.8, decay_step=10)
        net = tflearn.regression(net, optimizer=sgd, loss="categorical_crossentropy")
        model = tflearn.DNN(net)
        for layer, kernel, bias in zip(layers, *start, strict=True):
            model.set_weights(layer.W, kernel)
            model.set_weights(layer.b, bias)
        weighted = w[:, None] * Y  # TFLearn's way to weight rows
        expected_losses = [
            model.fit_batch(X[batch], weighted[batch]) for batch in batches
        ]
        expected = (
            [model.get_weights(layer.W) for layer in layers],
            [model.get_weights(layer.b) for layer in layers],
        )
        model.session.close()

    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    for ours, theirs in zip(
        actual[0] + actual[1], expected[0] + expected[1], strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert not np.allclose(actual[0][0], start[0][0], atol=1e-2)


# Randomness


def all_arrays(clf):
    return [*clf.coefs_, *clf.intercepts_]


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


# What is learned and kept


def test_it_learns_the_digits(digits):
    X, y = digits
    clf = head(hidden_layer_sizes=(64,), max_iter=20).fit(X[:1400], y[:1400])
    assert clf.score(X[1400:], y[1400:]) > 0.85


def test_string_labels_come_back(digits):
    X, y = digits
    names = np.array([f"digit {label}" for label in range(10)])
    clf, plain = head().fit(X, names[y]), head().fit(X, y)
    assert list(clf.classes_) == sorted(names)
    np.testing.assert_array_equal(clf.predict(X), names[plain.predict(X)])


def test_no_hidden_layer_is_softmax_regression(digits):
    X, y = digits
    clf = head(hidden_layer_sizes=()).fit(X, y)
    assert [coef.shape for coef in clf.coefs_] == [(64, 10)]
    assert clf.score(X, y) > 0.5


def test_coefs_are_plain_float32_arrays(digits):
    clf = head(hidden_layer_sizes=(32, 16)).fit(*digits)
    assert [coef.shape for coef in clf.coefs_] == [(64, 32), (32, 16), (16, 10)]
    assert [b.shape for b in clf.intercepts_] == [(32,), (16,), (10,)]
    assert {type(a) for a in all_arrays(clf)} == {np.ndarray}
    assert {a.dtype for a in all_arrays(clf)} == {np.dtype("float32")}


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


def test_samples_are_held_out_only_to_stop_early_or_if_asked(digits):
    assert list(head().fit(*digits).history_) == ["loss", "accuracy"]
    stopping = head(early_stopping=True).fit(*digits)
    tenth = head(early_stopping=True, validation_fraction=0.1).fit(*digits)
    assert stopping.history_ == tenth.history_
    assert "val_accuracy" in stopping.history_


def test_feature_names_of_a_dataframe_are_kept(digits):
    X, y = digits
    frame = pd.DataFrame(X, columns=[f"pixel{i}" for i in range(64)])
    clf = head(max_iter=1).fit(frame, y)
    assert list(clf.feature_names_in_) == list(frame.columns)


def test_integer_hidden_layer_sizes_mean_one_layer(digits):
    clf = head(hidden_layer_sizes=8, max_iter=1).fit(*digits)
    assert clf.coefs_[0].shape == (64, 8)


# The split


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


# Progress


def test_silent_by_default_one_bar_if_verbose(digits, capfd):
    head().fit(*digits)
    assert capfd.readouterr() == ("", "")
    head(verbose=1, validation_fraction=0.1).fit(*digits)
    out, err = capfd.readouterr()
    assert out == ""
    assert "3/3" in err
    assert "val_accuracy" in err


# Bad input


def test_unfitted_says_so(digits):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        head().predict(digits[0])
    with pytest.raises(NotFittedError, match="not fitted yet"):
        head().predict_proba(digits[0])


def test_one_class_is_predicted_always_as_scikit_learns_mlp_does(digits):
    X, _ = digits
    y = np.array(["cat"] * len(X))
    clf = head().fit(X, y)
    np.testing.assert_array_equal(clf.predict(X), MLPClassifier().fit(X, y).predict(X))
    np.testing.assert_array_equal(clf.predict_proba(X), np.ones((len(X), 1)))


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


def test_a_fitted_pickle_is_arrays(digits):
    clf = head().fit(*digits)
    size = sum(a.nbytes for a in all_arrays(clf))
    assert len(pickle.dumps(clf)) < size + 10_000


def test_clone_forgets_the_fit(digits):
    clf = clone(head().fit(*digits))
    assert not hasattr(clf, "coefs_")


# Graphs that serve again


def small_network(seed, **changes):
    settings = {
        "activation": "tanh",
        "out_activation": "softmax",
        "weight_decay": 0.01,
        "dropout": 0.5,
        "optimizer": "sgd",
        "learning_rate": 1.0,
        "decay_rate": 0.9,
        "decay_steps": 10.0,
    }
    start = initial_parameters((64, 2000, 10), seed=0)
    return DenseNetwork(NetworkSpec(**(settings | changes)), start, seed=seed)


def test_fits_that_are_alike_share_a_graph_that_does_not_grow(digits):
    X, y = digits
    Y, w = np.eye(10, dtype=np.float32)[y], np.ones(len(y), np.float32)
    batches = [np.arange(64)] * 3
    outputs, graphs, counts = [], [], []
    for seed in (0, 1, 0):
        with small_network(seed) as network:
            steps = network.train_epoch(X, Y, w, batches)
            outputs.append([output for _, output in steps])
            graphs.append(network.graph)
            counts.append(len(network.graph.get_operations()))
    assert graphs[0] is graphs[1] is graphs[2]
    assert counts[0] == counts[1] == counts[2]
    np.testing.assert_array_equal(outputs[0], outputs[2])
    assert not np.allclose(outputs[0], outputs[1])
    with small_network(0, dropout=0.25) as network:
        assert network.graph is not graphs[0]


def test_dropout_leaves_its_share_and_only_in_training(digits):
    """Without learning, steps differ by the dropout alone; their mean is the truth."""
    X, y = digits
    Y, w = np.eye(10, dtype=np.float32)[y], np.ones(len(y), np.float32)
    with small_network(0, learning_rate=0.0, weight_decay=0.0) as network:
        (W, out), (b, out_b) = network.get_parameters()
        steps = network.train_epoch(X, Y, w, [np.arange(64)] * 400)
        logits = np.array([np.log(output) for _, output in steps])
        _, evaluated = network.evaluate(X[:64], Y[:64], w[:64])
    hidden = np.tanh(X[:64] @ W + b)
    expected = hidden @ out + out_b
    logits -= logits.mean(axis=2, keepdims=True)
    centred = expected - expected.mean(axis=1, keepdims=True)
    weights = out - out.mean(axis=1, keepdims=True)
    # Half of the units, doubled: each adds (its value) ** 2 to the variance.
    variance = hidden**2 @ weights**2
    np.testing.assert_allclose(logits.var(axis=0).mean(), variance.mean(), rtol=0.1)
    deviation = np.sqrt(variance / len(logits))
    assert np.abs((logits.mean(axis=0) - centred) / deviation).max() < 5
    shifted = np.log(evaluated) - np.log(evaluated).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(shifted, centred, atol=1e-4)

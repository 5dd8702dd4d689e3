"""What people expect of a head, and what they are told when they ask the impossible."""

import copy
import importlib
import pickle
import sys
import textwrap

import cloudpickle
import numpy as np
import pytest
import sklearn
from joblib import Parallel, delayed
from sklearn.datasets import load_iris, make_multilabel_classification
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MultiLabelBinarizer

from skvgg import TFLearnMLPClassifier, TFLearnMLPRegressor, import_tflearn

from .conftest import run_python


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


def head(**params):
    defaults = {"hidden_layer_sizes": (16,), "random_state": 0, "max_iter": 60}
    return TFLearnMLPClassifier(**{**defaults, **params})


def regressor(**params):
    defaults = {"hidden_layer_sizes": (16,), "random_state": 0, "max_iter": 60}
    return TFLearnMLPRegressor(**{**defaults, **params})


def make_numbers(n, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    return X, np.tanh(X @ rng.normal(size=4))


def all_arrays(fitted):
    return [*fitted.coefs_, *fitted.intercepts_]


def assert_same(first, second):
    for a, b in zip(all_arrays(first), all_arrays(second), strict=True):
        np.testing.assert_array_equal(a, b)


# Optimizers of the user's own

OWN_OPTIMIZER = """
from skvgg import import_tflearn
tflearn = import_tflearn()

class Momentum(tflearn.optimizers.Optimizer):
    'Called like one of TFLearn\\'s, and another.'
    def build(self, step_tensor=None):
        import tensorflow as tf
        self.built = True
        self.tensor = tf.compat.v1.train.GradientDescentOptimizer(self.learning_rate)
"""


@pytest.fixture
def own_optimizer(tmp_path, monkeypatch):
    (tmp_path / "own_optimizer.py").write_text(OWN_OPTIMIZER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{':'.join(sys.path)}")
    yield importlib.import_module("own_optimizer").Momentum
    sys.modules.pop("own_optimizer")


def test_an_optimizer_of_ones_own_class_is_pickled_and_not_replaced(
    own_optimizer, iris, tmp_path
):
    clf = head(optimizer=own_optimizer(0.1, False, "mine")).fit(*iris)
    (tmp_path / "head").write_bytes(pickle.dumps(clf))
    np.savez(tmp_path / "iris.npz", X=iris[0], y=iris[1])
    code = """
import pickle, sys
import numpy as np
with open(sys.argv[1] + "/head", "rb") as file:
    head = pickle.load(file)  # before anybody has imported TFLearn
assert type(head.optimizer).__module__ == "own_optimizer", type(head.optimizer)
iris = np.load(sys.argv[1] + "/iris.npz")
np.save(sys.argv[1] + "/coef.npy", head.fit(iris["X"], iris["y"]).coefs_[0])
"""
    run_python(code, tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "coef.npy"), clf.coefs_[0])


def test_an_optimizer_of_a_local_class_travels_to_loky(iris):
    class Gradient(import_tflearn().optimizers.Optimizer):
        def build(self, step_tensor=None):
            import tensorflow as tf

            self.built = True
            self.tensor = tf.compat.v1.train.GradientDescentOptimizer(
                self.learning_rate
            )

    clf = head(optimizer=Gradient(0.1, False, "local"), max_iter=2)
    (coefs,) = Parallel(n_jobs=2)([delayed(lambda h: h.fit(*iris).coefs_)(clf)])
    np.testing.assert_array_equal(coefs[0], clf.fit(*iris).coefs_[0])
    assert pickle.loads(cloudpickle.dumps(clf)).optimizer.learning_rate == 0.1


# Early stopping


@pytest.mark.parametrize("n", [10, 19])
def test_early_stopping_on_one_validation_sample_is_refused(n):
    X, y = make_numbers(n)
    with pytest.raises(
        ValueError, match="validation set is too small: it has 1 sample"
    ):
        regressor(early_stopping=True).fit(X, y)
    with pytest.raises(ValueError, match="validation set is too small"):
        MLPRegressor(early_stopping=True).fit(X[:10], y[:10])  # as scikit-learn says it


def test_early_stopping_on_a_constant_validation_target_is_refused():
    X, y = make_numbers(100)
    with pytest.raises(ValueError, match="a target is constant in it"):
        regressor(early_stopping=True).fit(X, y, X_val=X[:5], y_val=np.ones(5))


def test_no_limit_of_epochs_without_improvement(iris):
    clf = head(early_stopping=True, n_iter_no_change=np.inf, max_iter=30).fit(*iris)
    assert clf.n_iter_ == 30


# Going on


@pytest.mark.parametrize(
    "optimizer", ["sgd", "momentum", "nesterov", "adam", "rmsprop"]
)
@pytest.mark.parametrize("pickled", [False, True])
def test_partial_fits_are_one_fit_of_as_many_epochs(optimizer, pickled):
    """In one batch and without dropout nothing else differs."""
    X, y = make_numbers(200)
    params = {"dropout": 0, "batch_size": 200, "optimizer": optimizer}
    once = regressor(max_iter=30, cooldown_fraction=0, **params).fit(X, y)
    again = regressor(**params)
    for _ in range(30):
        again.partial_fit(X, y)
        if pickled:
            again = pickle.loads(pickle.dumps(again))
    assert again.score(X, y) == pytest.approx(once.score(X, y), abs=1e-3)
    for a, b in zip(all_arrays(once), all_arrays(again), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_a_change_of_the_optimizer_starts_its_memory_anew(iris):
    clf = head(warm_start=True, optimizer="adam").fit(*iris)
    loss = clf.loss_curve_[-1]
    clf.set_params(optimizer="momentum").fit(*iris)
    assert clf.loss_curve_[-1] < loss


def test_a_fit_that_cannot_go_on_keeps_no_memory_of_the_optimizer(iris):
    clf = head(optimizer="adam").fit(*iris)
    size = sum(array.nbytes for array in all_arrays(clf))
    assert len(pickle.dumps(clf)) < size + 5_000


def test_callbacks_of_partial_fit_are_told_the_number_of_the_epoch(iris):
    told = []
    clf = head(callbacks=lambda epoch, figures: told.append(epoch))
    for _ in range(3):
        clf.partial_fit(*iris, classes=[0, 1, 2])
    assert told == [1, 2, 3]


# Fits that fail


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
    reg = regressor().fit(frame.X, y)
    before = copy.deepcopy(vars(reg))
    with pytest.raises((ValueError, ZeroDivisionError)):
        reg.set_params(**params).fit(frame.wide, y)
    assert reg.n_features_in_ == 4
    assert vars(reg).keys() == before.keys()
    reg.predict(frame.X)


def test_a_first_fit_that_fails_leaves_an_unfitted_estimator(iris):
    clf = head(hidden_layer_sizes=(0,))
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        clf.fit(*iris)
    assert not hasattr(clf, "n_features_in_")


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")
@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_no_fit_returns_weights_that_are_not_finite(call):
    """One step, whose loss before it is fine."""
    X, y = make_numbers(64)
    reg = regressor(max_iter=1, activation="identity", learning_rate_init=1e38)
    with pytest.raises(ValueError, match="diverged in its last step"):
        getattr(reg, call)(X, y)
    assert not hasattr(reg, "coefs_")


# Weights of samples and classes


@pytest.mark.parametrize("by", ["class_weight", "sample_weight"])
def test_a_class_without_weight_stays_a_class_as_in_scikit_learn(iris, by):
    X, y = iris
    zero = {"class_weight": {2: 0}} if by == "class_weight" else {}
    w = None if zero else (y != 2).astype(float)
    ours = head(**zero).fit(X, y, sample_weight=w)
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
    by_class = head(class_weight=named)
    by_class.partial_fit(X[some], y[some], classes=[0, 1, 2])
    weights = np.where(y[some] == 1, 5.0, 1.0)
    by_sample = head().partial_fit(X[some], y[some], [0, 1, 2], weights)
    assert_same(by_class, by_sample)
    going_on = head(class_weight=named, warm_start=True, max_iter=5).fit(X, y)
    going_on.fit(X[some], y[some])
    np.testing.assert_array_equal(going_on.classes_, [0, 1, 2])


def test_samples_of_the_weighted_class_may_have_a_weight_of_zero(iris):
    X, y = iris
    w = (y != 1).astype(float)
    ours = head(class_weight={1: 5.0}).fit(X, y, sample_weight=w)
    theirs = LogisticRegression(class_weight={1: 5.0}).fit(X, y, sample_weight=w)
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)


def test_a_batch_of_classes_without_weight_changes_nothing(iris):
    X, y = iris
    ours = head(class_weight={0: 0.0}).partial_fit(X, y, classes=[0, 1, 2])
    before = ours.predict_proba(X)
    ours.partial_fit(X[y == 0], y[y == 0])
    np.testing.assert_array_equal(ours.predict_proba(X), before)


def test_a_class_weight_of_no_class_is_refused_as_in_scikit_learn(iris):
    X, y = iris
    for model in (head, LogisticRegression):
        with pytest.raises(ValueError, match=r"are not in class_weight"):
            model(class_weight={"1": 5.0}).fit(X, y)


def test_samples_of_weight_zero_do_not_count_for_balanced_classes(iris):
    X, y = iris
    w = np.r_[np.ones(60), np.zeros(20), np.ones(70)]
    weighted = head(class_weight="balanced").fit(X, y, sample_weight=w)
    removed = head(class_weight="balanced").fit(X[w > 0], y[w > 0])
    assert_same(weighted, removed)


@pytest.mark.parametrize("weight", [-1, np.nan, np.inf, None, "2"])
def test_a_class_weight_that_is_none_is_refused_by_name(iris, weight):
    message = r"class_weight\[1\] is .*expected a finite number, 0 or more"
    with pytest.raises(ValueError, match=message):
        head(class_weight={0: 1.0, 1: weight}).fit(*iris)


# Targets


@pytest.fixture(scope="module")
def labels():
    return make_multilabel_classification(200, 10, n_classes=5, random_state=0)


@pytest.mark.parametrize(
    ("change", "value"),
    [(lambda Y: 2 * Y - 1, "-1"), (lambda Y: 2 * Y, "2"), (lambda Y: Y * 0.5, "0.5")],
)
def test_indicators_other_than_0_and_1_are_refused(labels, change, value):
    X, Y = labels
    message = rf"y\[\d+, \d\] is {value}.*only 0 and 1|indicator matrix|Unknown label"
    with pytest.raises(ValueError, match=message):
        head().fit(X, change(Y))
    clf = head(warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match=rf"is {value}|Unknown label"):
        clf.fit(X, change(Y))


def test_a_top_k_metric_is_refused_for_multilabel_targets(labels):
    with pytest.raises(ValueError, match="metric='top_2_accuracy' needs one label"):
        head(metric="top_2_accuracy").fit(*labels)


def test_partial_fit_takes_the_classes_of_multilabel_targets(labels):
    X, Y = labels
    ours = head().partial_fit(X, Y, classes=range(5))
    theirs = MLPClassifier().partial_fit(X, Y, classes=range(5))
    assert ours.predict(X).shape == theirs.predict(X).shape
    np.testing.assert_array_equal(ours.classes_, np.arange(5))
    ours.partial_fit(X, Y)
    with pytest.raises(ValueError, match=r"y has shape \(200, 5\); expected .*, 4\)"):
        head().partial_fit(X, Y, classes=range(4))


def test_the_names_of_labels_are_kept_in_their_order_from_call_to_call(labels):
    X, Y = labels
    names = ["e", "b", "a", "d", "c"]
    binarizer = MultiLabelBinarizer(classes=names).fit([])
    np.testing.assert_array_equal(
        binarizer.transform(binarizer.inverse_transform(Y)), Y
    )
    clf, nameless = head(), head()
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
        head().partial_fit(X, Y, classes=list("abcda"))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0.0, None, 1.0, 2.0], r"Input y contains NaN"),
        ([0.0, np.inf, 1.0, 2.0], r"Input y contains infinity"),
    ],
)
def test_a_regressor_names_targets_that_are_no_numbers(y, message):
    with pytest.raises(ValueError, match=message):
        regressor().fit(np.eye(4), np.array(y, dtype=object))


def test_one_hot_targets_after_labels_are_refused_with_what_to_do(iris):
    X, y = iris
    clf = head(warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match=r"\(150, 3\).*Use y\.argmax\(axis=1\)"):
        clf.fit(X, np.eye(3, dtype=int)[y])


def test_true_is_no_number_of_units(iris):
    with pytest.raises(ValueError, match="hidden_layer_sizes=True"):
        head(hidden_layer_sizes=True).fit(*iris)


# Validation samples


def test_validation_samples_go_through_the_pipeline(iris):
    """As scikit-learn's gradient boosting takes them."""
    X, y = iris
    fits = []
    with sklearn.config_context(enable_metadata_routing=True):
        for clf in (
            head(early_stopping=True),
            HistGradientBoostingClassifier(early_stopping=True, max_iter=3),
        ):
            clf.set_fit_request(X_val=True, y_val=True)
            double = FunctionTransformer(lambda X: 2 * X)
            model = make_pipeline(double, clf, transform_input=["X_val"])
            fits.append(model.fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2])[-1])
    direct = head(early_stopping=True)
    direct.fit(2 * X[::2], y[::2], X_val=2 * X[1::2], y_val=y[1::2])
    assert_same(fits[0], direct)


def test_validation_weights_weigh(iris):
    X, y = iris
    w = (y[1::2] != 2).astype(float)
    some = X[1::2], y[1::2]
    weighted = head(max_iter=2).fit(
        X[::2], y[::2], X_val=some[0], y_val=some[1], sample_weight_val=w
    )
    fewer = head(max_iter=2).fit(
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
        head().fit(*iris, **given)


# Callbacks


def test_a_callback_that_holds_its_head_is_pickled(iris):
    clf = head().fit(*iris)
    again = pickle.loads(pickle.dumps(clf.set_params(callbacks=Holder(clf))))
    assert again.callbacks.head is again


class Holder:
    def __init__(self, held):
        self.head = held

    def __call__(self, epoch, figures):
        return False


def test_cloudpickle_takes_a_head_with_a_lambda(iris):
    clf = head(callbacks=lambda epoch, figures: epoch == 3).fit(*iris)
    again = pickle.loads(cloudpickle.dumps(clf))
    np.testing.assert_array_equal(again.predict(iris[0]), clf.predict(iris[0]))
    assert again.fit(*iris).n_iter_ == 3


def test_copies_share_their_callbacks(iris):
    told = []
    clf = head(max_iter=2, callbacks=lambda epoch, figures: told.append(epoch))
    for make in (copy.copy, copy.deepcopy):
        make(clf).fit(*iris)
    assert told == [1, 2, 1, 2]


def test_the_history_makes_a_table_whatever_was_measured_when(iris):
    clf = head(max_iter=2, warm_start=True, validation_fraction=0.2).fit(*iris)
    clf.set_params(validation_fraction=0, metric="top_2_accuracy").fit(*iris)
    assert {len(figures) for figures in clf.history_.values()} == {4}
    assert np.isnan(clf.history_["val_loss"][2:]).all()


@pytest.mark.parametrize("optimizer", ["Adam", "no rate"])
def test_an_optimizer_that_is_none_is_refused(iris, optimizer):
    adam = import_tflearn().optimizers.Adam
    if optimizer == "no rate":

        class adam:  # noqa: N801
            def get_tensor(self):
                raise AssertionError

    with pytest.raises(ValueError, match="is neither the name of an optimizer nor an"):
        head(optimizer=adam).fit(*iris)


# What scikit-learn's MLPs have


def test_log_probabilities_are_finite_where_probabilities_vanish(iris):
    X, y = iris
    clf = head().fit(X, y)
    np.testing.assert_allclose(
        clf.predict_log_proba(X), np.log(clf.predict_proba(X)), atol=1e-5
    )
    clf.coefs_[-1] = clf.coefs_[-1] * 1e4
    with np.errstate(divide="ignore"):
        assert np.isneginf(np.log(clf.predict_proba(X))).any()
    assert np.isfinite(clf.predict_log_proba(X)).all()


def test_log_probabilities_of_labels(labels):
    X, Y = labels
    clf = head().fit(X, Y)
    np.testing.assert_allclose(
        clf.predict_log_proba(X), np.log(clf.predict_proba(X)), atol=1e-5
    )


def test_the_loss_curve_is_that_of_the_history(iris):
    clf = head(max_iter=3).fit(*iris)
    assert clf.loss_curve_ == clf.history_["loss"]
    theirs = MLPClassifier(max_iter=3, n_iter_no_change=9)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        theirs.fit(*iris)
    assert len(clf.loss_curve_) == len(theirs.loss_curve_)


@pytest.mark.filterwarnings("ignore:.*Maximum iterations")
def test_string_labels_keep_their_dtype(iris):
    X, y = iris
    names = np.array(list("abc"))[y]
    ours, theirs = head().fit(X, names), MLPClassifier(max_iter=1).fit(X, names)
    assert ours.classes_.dtype == theirs.classes_.dtype == "<U1"
    assert ours.predict(X).dtype == "<U1"


# Threads


def test_initial_weights_are_drawn_in_as_many_threads_as_are_allowed():
    """Not in as many as joblib's backend has workers: a cluster's may be thousands."""
    code = """
    import threading
    from joblib import parallel_config
    from skvgg._head import initial

    seen = set()
    draw = initial._fill_truncated_normal

    def spy(*args):
        seen.add(threading.current_thread().name)
        return draw(*args)

    initial._fill_truncated_normal = spy
    with parallel_config(n_jobs=50):
        initial.initial_parameters((4096, 4096), seed=0)
    print(len(seen))
    """
    done = run_python(
        "import os; os.environ['OMP_NUM_THREADS'] = '1'\n" + (textwrap.dedent(code))
    )
    assert done.stdout.split() == ["1"]

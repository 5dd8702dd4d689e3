"""Optimizers of heads, by name and as objects, and their learning rates."""

import importlib
import pickle
import sys

import cloudpickle
import numpy as np
import pytest
from joblib import Parallel, delayed
from scipy.special import softmax

from skvgg import TFLearnMLPClassifier, import_tflearn
from skvgg._head.initial import initial_parameters

from .conftest import run_python
from .heads import assert_same, head, trained_head


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adam", "rmsprop"])
def test_optimizers_by_name_learn(few_digits, name):
    X, y = few_digits
    rate = {"sgd": 0.5, "momentum": 0.05, "nesterov": 0.05}.get(name, 0.005)
    clf = head(optimizer=name, learning_rate_init=rate, max_iter=12).fit(X, y)
    assert clf.score(X, y) > 0.6


@pytest.mark.parametrize("name", ["adagrad", "adadelta", "ftrl", "proximaladagrad"])
def test_the_other_optimizers_run(few_digits, name):
    clf = head(optimizer=name, max_iter=2).fit(*few_digits)
    assert np.isfinite(clf.history_["loss"]).all()


def test_a_tflearn_optimizer_is_taken_copied_and_pickled(few_digits):
    sgd = import_tflearn().SGD(learning_rate=0.3, lr_decay=0.9, decay_step=7)
    by_instance = head(optimizer=sgd).fit(*few_digits)
    by_name = head(
        learning_rate_init=0.3, decay_rate=0.9, decay_steps=7, cooldown_fraction=0
    ).fit(*few_digits)
    assert_same(by_instance, by_name)
    assert not sgd.built
    again = pickle.loads(pickle.dumps(by_instance))
    assert vars(again.optimizer)["lr_decay"] == 0.9
    assert_same(again.fit(*few_digits), by_name)


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
    clf = trained_head(optimizer=own_optimizer(0.1, False, "mine")).fit(*iris)
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

    clf = trained_head(optimizer=Gradient(0.1, False, "local"), max_iter=2)
    (coefs,) = Parallel(n_jobs=2)([delayed(lambda h: h.fit(*iris).coefs_)(clf)])
    np.testing.assert_array_equal(coefs[0], clf.fit(*iris).coefs_[0])
    assert pickle.loads(cloudpickle.dumps(clf)).optimizer.learning_rate == 0.1


@pytest.mark.parametrize("optimizer", ["Adam", "no rate"])
def test_an_optimizer_that_is_none_is_refused(iris, optimizer):
    adam = import_tflearn().optimizers.Adam
    if optimizer == "no rate":

        class adam:  # noqa: N801
            def get_tensor(self):
                raise AssertionError

    with pytest.raises(ValueError, match="is neither the name of an optimizer nor an"):
        trained_head(optimizer=adam).fit(*iris)


@pytest.mark.parametrize("fraction", [0.5, 1.0])
def test_the_rate_falls_to_zero_in_the_last_steps(few_digits, fraction):
    """Against softmax regression by gradient descent in NumPy, one batch an epoch."""
    X, y = few_digits
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


def test_the_rate_does_not_fall_where_the_end_is_not_known(few_digits):
    """With the recipe itself, with warm_start, and in partial_fit."""
    for params in ({"standardize": False}, {"warm_start": True}):
        as_it_comes = head(**params).fit(*few_digits)
        assert_same(as_it_comes, head(cooldown_fraction=0, **params).fit(*few_digits))
    X, y = few_digits
    called = [
        head(cooldown_fraction=f).partial_fit(X, y, classes=range(10)) for f in (0, 1)
    ]
    assert_same(*called)

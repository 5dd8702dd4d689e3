"""The networks that train heads: TFLearn's steps, graphs, dropout, initial weights."""

import textwrap

import numpy as np

from skvgg._head.dense import DenseNetwork, NetworkSpec
from skvgg._head.initial import initial_parameters
from skvgg._head.tflearn import import_tflearn
from skvgg._runtime.tensorflow import import_tensorflow

from .conftest import run_python


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
    centered = expected - expected.mean(axis=1, keepdims=True)
    weights = out - out.mean(axis=1, keepdims=True)
    # Half of the units, doubled: each adds (its value) ** 2 to the variance.
    variance = hidden**2 @ weights**2
    np.testing.assert_allclose(logits.var(axis=0).mean(), variance.mean(), rtol=0.1)
    deviation = np.sqrt(variance / len(logits))
    assert np.abs((logits.mean(axis=0) - centered) / deviation).max() < 5
    shifted = np.log(evaluated) - np.log(evaluated).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(shifted, centered, atol=1e-4)


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

"""Compare the time of the recipe's head with other libraries, in one run.

4096 features, 2,000 rows, 10 classes, layers of 4096 and 512 tanh units, L2 penalty,
dropout, gradient descent, batches of 64: the same in TFLearn's own ``DNN.fit``, Keras'
``fit``, PyTorch and scikit-learn's ``MLPClassifier`` (which has no dropout). They
alternate in one process, several times; the figures are medians.

    pip install -e ".[bench]"
    python benchmarks/head.py --epochs 20 --repeats 3
"""

import argparse
import contextlib
import io
import statistics
import time
import warnings
from itertools import pairwise

import numpy as np
from sklearn.neural_network import MLPClassifier

from skvgg import TFLearnMLPClassifier, import_tflearn
from skvgg._runtime.tensorflow import import_tensorflow

N_ROWS, N_FEATURES, N_CLASSES, LAYERS, BATCH = 2000, 4096, 10, (4096, 512), 64


def make_rows():
    rng = np.random.default_rng(0)
    y = rng.integers(0, N_CLASSES, N_ROWS)
    centers = rng.normal(size=(N_CLASSES, N_FEATURES))
    X = np.maximum(rng.normal(size=(N_ROWS, N_FEATURES)) + 0.3 * centers[y], 0)
    return X.astype(np.float32), y


def fit_skvgg(X, y, epochs):
    TFLearnMLPClassifier(max_iter=epochs, validation_fraction=0, random_state=0).fit(
        X, y
    )


def fit_tflearn(X, y, epochs):
    tf, tflearn = import_tensorflow().compat.v1, import_tflearn()
    with tf.Graph().as_default(), tf.variable_scope("", use_resource=False):
        net = tflearn.input_data(shape=[None, N_FEATURES])
        for units in LAYERS:
            net = tflearn.fully_connected(
                net, units, activation="tanh", regularizer="L2", weight_decay=0.001
            )
            net = tflearn.dropout(net, 0.8)
        net = tflearn.fully_connected(net, N_CLASSES, activation="softmax")
        sgd = tflearn.SGD(learning_rate=0.1, lr_decay=0.96, decay_step=1000)
        net = tflearn.regression(net, optimizer=sgd, loss="categorical_crossentropy")
        model = tflearn.DNN(net, tensorboard_verbose=0)
        with contextlib.redirect_stdout(io.StringIO()):
            model.fit(
                X,
                np.eye(N_CLASSES)[y],
                n_epoch=epochs,
                batch_size=BATCH,
                snapshot_epoch=False,
            )
        model.session.close()


def fit_keras(X, y, epochs):
    import_tensorflow()  # without its log
    import keras

    l2 = keras.regularizers.L2(0.0005)  # w * sum(W ** 2): half of TFLearn's w
    layers = [keras.Input((N_FEATURES,))]
    for units in LAYERS:
        layers += [
            keras.layers.Dense(units, "tanh", kernel_regularizer=l2),
            keras.layers.Dropout(0.2),
        ]
    model = keras.Sequential([*layers, keras.layers.Dense(N_CLASSES, "softmax")])
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 1000, 0.96)
    sgd = keras.optimizers.SGD(rate, global_clipnorm=5.0)
    model.compile(sgd, "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(X, y, epochs=epochs, batch_size=BATCH, verbose=0)


def fit_pytorch(X, y, epochs):
    import torch

    torch.manual_seed(0)
    sizes = [N_FEATURES, *LAYERS]
    layers = []
    for n_in, n_out in pairwise(sizes):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.Tanh(), torch.nn.Dropout(0.2)]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(sizes[-1], N_CLASSES))
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.001)
    loss_of = torch.nn.CrossEntropyLoss()
    rows, labels = torch.from_numpy(X), torch.from_numpy(y)
    for _ in range(epochs):
        for batch in torch.randperm(len(X)).split(BATCH):
            sgd.zero_grad()
            loss_of(model(rows[batch]), labels[batch]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            sgd.step()


def fit_scikit_learn(X, y, epochs):
    MLPClassifier(
        LAYERS,
        activation="tanh",
        solver="sgd",
        alpha=0.001,
        learning_rate_init=0.1,
        momentum=0,
        batch_size=BATCH,
        max_iter=epochs,
        n_iter_no_change=epochs,
        random_state=0,
    ).fit(X, y)


PEERS = {
    "skvgg": fit_skvgg,
    "TFLearn DNN.fit": fit_tflearn,
    "Keras fit": fit_keras,
    "PyTorch": fit_pytorch,
    "scikit-learn MLPClassifier": fit_scikit_learn,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # scikit-learn says that it has not converged
    X, y = make_rows()
    n_steps = -(-N_ROWS // BATCH)
    seconds = {name: ([], []) for name in PEERS}
    for fit in PEERS.values():
        fit(X[:BATCH], y[:BATCH], 1)  # what is imported and compiled once
    for repeat in range(args.repeats):
        for name, fit in PEERS.items():
            for epochs, series in zip((1, args.epochs), seconds[name], strict=True):
                start = time.perf_counter()
                fit(X, y, epochs)
                series.append(time.perf_counter() - start)
        print(f"round {repeat + 1} of {args.repeats} done", flush=True)
    whole = {name: statistics.median(series[1]) for name, series in seconds.items()}
    print(f"\n{'':28} {'whole fit':>10} {'ratio':>6} {'a step':>10} {'overhead':>9}")
    for name, (one, all_epochs) in seconds.items():
        steps = [
            (b - a) / (n_steps * (args.epochs - 1))
            for a, b in zip(one, all_epochs, strict=True)
        ]
        step = statistics.median(steps)
        overhead = statistics.median(one) - n_steps * step
        print(
            f"{name:28} {whole[name]:8.1f} s {whole[name] / whole['skvgg']:6.2f} "
            f"{1e3 * step:7.1f} ms {overhead:7.2f} s"
        )


if __name__ == "__main__":
    main()

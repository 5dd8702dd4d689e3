"""TFLearn on today's TensorFlow, with no trace left on the user's own.

TFLearn 0.5.0 was written for TensorFlow 1. What stands in its way, and what is
done about it here and nowhere else:

- it reads two names that are gone, ``nest.is_sequence`` and
  ``PIL.Image.ANTIALIAS``: they exist while it is imported, and only then;
- its import switches the whole process to TensorFlow 1's behaviour: that
  function does nothing while it is imported;
- it keeps its state in TensorFlow's default graph: each network gets a graph
  and a session of its own, and the default graph is never touched;
- ``DNN.fit`` feeds from threads in an order that depends on timing, prints,
  writes logs and draws from global generators: epochs run batch by batch here.
"""

from __future__ import annotations

import importlib
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest import mock

import numpy as np

from skvgg._tensorflow import import_tensorflow

#: scikit-learn's names of activations -> TFLearn's.
ACTIVATIONS = {
    "identity": "linear",
    "logistic": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
}

# TFLearn and TensorFlow's switch for deprecation warnings hold global state.
_LOCK = threading.RLock()


@dataclass(frozen=True)
class NetworkSpec:
    """What a dense softmax network is built from and trained with.

    Parameters
    ----------
    n_features, n_outputs : int
        Width of the input and of the output.
    hidden_layer_sizes : sequence of int
        Units of each hidden layer.
    activation : str
        Of the hidden layers, a key of :data:`ACTIVATIONS`.
    weight_decay : float
        w in the penalty w / 2 * sum(W ** 2) on each hidden kernel.
    dropout : float
        Share of each hidden layer's outputs set to zero in training.
    learning_rate, decay_rate, decay_steps : float
        At step i the rate is learning_rate * decay_rate ** (i / decay_steps).
    seed : int
        Of the initial weights and of the dropout.
    """

    n_features: int
    n_outputs: int
    hidden_layer_sizes: Sequence[int]
    activation: str
    weight_decay: float
    dropout: float
    learning_rate: float
    decay_rate: float
    decay_steps: float
    seed: int


class DenseNetwork:
    """A dense softmax network in TFLearn, with its own graph and session.

    A context manager: leaving it closes the session.

    Parameters
    ----------
    spec : NetworkSpec
        The network.

    Attributes
    ----------
    dnn : tflearn.DNN
        The model as TFLearn has it.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        tf, tflearn = import_tensorflow(), import_tflearn()
        self._graph = tf.Graph()
        with _LOCK, self._graph.as_default(), _no_deprecation_warnings():
            self._build(tf.compat.v1, tflearn, spec)

    def _build(self, tf: Any, tflearn: Any, spec: NetworkSpec) -> None:
        tf.get_variable_scope().set_use_resource(True)
        tf.set_random_seed(spec.seed)
        tf.add_to_collection(
            tf.GraphKeys.GRAPH_CONFIG,
            tf.ConfigProto(
                allow_soft_placement=True,
                gpu_options=tf.GPUOptions(allow_growth=True),
            ),
        )
        net = tflearn.input_data(shape=[None, spec.n_features])
        self._dense_layers = []
        for units in spec.hidden_layer_sizes:
            net = tflearn.fully_connected(
                net,
                units,
                activation=ACTIVATIONS[spec.activation],
                regularizer="L2",
                weight_decay=spec.weight_decay,
            )
            self._dense_layers.append(net)
            net = tflearn.dropout(net, keep_prob=1 - spec.dropout)
        logits = tflearn.fully_connected(net, spec.n_outputs, activation="linear")
        self._dense_layers.append(logits)
        output = tflearn.activation(logits, activation="softmax")
        target = tf.placeholder(tf.float32, [None, spec.n_outputs])
        # The value is that of TFLearn's categorical_crossentropy, which clips
        # probabilities and so stops learning from pictures that it has quite wrong.
        loss = tf.reduce_mean(
            tf.nn.softmax_cross_entropy_with_logits_v2(labels=target, logits=logits)
        )
        tflearn.regression(
            output,
            placeholder=target,
            optimizer=_decaying_sgd(tf, tflearn, spec),
            loss=loss,
            metric=None,
        )
        self.dnn = tflearn.DNN(output)
        (train_op,) = self.dnn.train_ops
        self._step = self.dnn.session.make_callable(
            [train_op.train, loss, output], feed_list=[self.dnn.inputs[0], target]
        )

    def train_epoch(
        self, X: np.ndarray, Y: np.ndarray, batches: Iterable[np.ndarray]
    ) -> Iterator[tuple[float, np.ndarray]]:
        """Take one step a batch; yield what the network said before each step.

        Parameters
        ----------
        X : ndarray of shape (n, n_features), float32
            Inputs.
        Y : ndarray of shape (n, n_outputs), float32
            One-hot targets.
        batches : iterable of ndarray of int
            Indices of the rows of each batch.

        Yields
        ------
        loss : float
            Mean cross-entropy of the batch, without the L2 penalty.
        output : ndarray of shape (len(batch), n_outputs)
            Probabilities, with dropout.
        """
        tflearn = import_tflearn()
        with self._graph.as_default():
            tflearn.is_training(True, session=self.dnn.session)
        for batch in batches:
            _, loss, output = self._step(X[batch], Y[batch])
            yield float(loss), output

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the probabilities that TFLearn's ``DNN.predict`` gives."""
        with self._graph.as_default():
            return self.dnn.predict(X)

    def get_weights(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return the kernels, (in, out), and the biases of the dense layers."""
        with self._graph.as_default():
            kernels = [self.dnn.get_weights(layer.W) for layer in self._dense_layers]
            biases = [self.dnn.get_weights(layer.b) for layer in self._dense_layers]
        return kernels, biases

    def __enter__(self) -> DenseNetwork:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.dnn.session.close()


def _decaying_sgd(tf: Any, tflearn: Any, spec: NetworkSpec) -> Any:
    """Return gradient descent as ``tflearn.regression`` takes it.

    TFLearn's own decay fails with resource variables, so the decaying rate is
    made here and given to its SGD.
    """
    step = tf.Variable(0.0, trainable=False, name="Training_step", use_resource=True)
    rate = tf.train.exponential_decay(
        spec.learning_rate, step, spec.decay_steps, spec.decay_rate
    )
    optimizer = tflearn.SGD(learning_rate=rate).get_tensor()
    return lambda _: (optimizer, step)


def import_tflearn() -> Any:
    """Return the module ``tflearn``; TensorFlow stays as the user has it."""
    with _LOCK:
        return _import_tflearn()


@cache
def _import_tflearn() -> Any:
    tf = import_tensorflow()
    # ``tf.compat.v1`` is another object until this import, which TFLearn makes.
    v1 = importlib.import_module("tensorflow.compat.v1")
    nest = importlib.import_module("tensorflow.python.util.nest")
    pil_image = importlib.import_module("PIL.Image")
    with ExitStack() as stack:
        stack.enter_context(tf.Graph().as_default())
        stack.enter_context(mock.patch.object(v1, "disable_v2_behavior"))
        for module, name, value in (
            (nest, "is_sequence", nest.is_nested),
            (pil_image, "ANTIALIAS", pil_image.Resampling.LANCZOS),
        ):
            if not hasattr(module, name):
                stack.enter_context(mock.patch.object(module, name, value, create=True))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # SyntaxWarnings in TFLearn's source
        stack.enter_context(_no_deprecation_warnings())
        return importlib.import_module("tflearn")


@contextmanager
def _no_deprecation_warnings() -> Iterator[None]:
    """Keep TensorFlow from logging that TFLearn uses deprecated functions."""
    deprecation = importlib.import_module("tensorflow.python.util.deprecation")
    with deprecation.silence():
        yield

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

import copy
import gc
import importlib
import itertools
import threading
import warnings
from collections.abc import Iterable, Iterator
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
    "softmax": "softmax",
}

#: Names of TFLearn's optimizers, as ``tflearn.optimizers.get`` takes them.
OPTIMIZERS = (
    "sgd",
    "momentum",
    "nesterov",
    "adam",
    "rmsprop",
    "adagrad",
    "adadelta",
    "ftrl",
    "proximaladagrad",
)

#: Rows that go through the network together where nothing is learned.
_EVALUATION_BATCH = 1024

# TFLearn and TensorFlow's switch for deprecation warnings hold global state.
_LOCK = threading.RLock()

_N_CLOSED = itertools.count(1)
_CLOSED_PER_COLLECTION = 10

#: The weights and the biases of each layer.
Parameters = tuple[list[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class NetworkSpec:
    """What a dense network is built from and trained with.

    Parameters
    ----------
    activation, out_activation : str
        Of the hidden layers and of the output, keys of :data:`ACTIVATIONS`. The
        loss follows from the latter: categorical cross-entropy for "softmax",
        binary cross-entropy for "logistic", mean square for "identity".
    weight_decay : float
        w in the penalty w / 2 * sum(W ** 2) on each hidden layer's weights.
    dropout : float
        Share of each hidden layer's outputs set to zero in training.
    optimizer : str or tflearn.optimizers.Optimizer
        A name out of :data:`OPTIMIZERS`, or one with its own learning rate.
    learning_rate, decay_rate, decay_steps : float
        At step i the rate is learning_rate * decay_rate ** (i / decay_steps).
        Unused if `optimizer` is not a name.
    seed : int
        Of the dropout.
    """

    activation: str
    out_activation: str
    weight_decay: float
    dropout: float
    optimizer: Any
    learning_rate: float
    decay_rate: float
    decay_steps: float
    seed: int


class DenseNetwork:
    """A dense network in TFLearn, with its own graph and session.

    A context manager: leaving it closes the session.

    Parameters
    ----------
    spec : NetworkSpec
        The network but for its sizes.
    parameters : tuple of (list of ndarray, list of ndarray)
        Weights of shape (inputs, outputs) and biases to start from; the sizes
        of the layers are theirs.
    step : int
        Steps that the training has taken before; sets the learning rate.

    Attributes
    ----------
    graph : tf.Graph
        Holds everything of this network.
    session : tf.compat.v1.Session
        Holds the values.
    output : tf.Tensor
        What TFLearn calls the network.
    """

    def __init__(
        self, spec: NetworkSpec, parameters: Parameters, step: int = 0
    ) -> None:
        tf, tflearn = import_tensorflow().compat.v1, import_tflearn()
        self.graph = tf.Graph()
        with _LOCK, self.graph.as_default(), _no_deprecation_warnings():
            tf.get_variable_scope().set_use_resource(True)
            tf.set_random_seed(spec.seed)
            self.session = tf.Session(config=_session_config(tf))
            self._build(tf, tflearn, spec, parameters[0])
            self._initialize(tf, parameters, step)

    def _build(
        self, tf: Any, tflearn: Any, spec: NetworkSpec, weights: list[np.ndarray]
    ) -> None:
        x = net = tflearn.input_data(shape=[None, weights[0].shape[0]])
        layers = []
        for weight in weights[:-1]:
            net = tflearn.fully_connected(
                net,
                weight.shape[1],
                activation=ACTIVATIONS[spec.activation],
                regularizer="L2",
                weight_decay=spec.weight_decay,
            )
            layers.append(net)
            if spec.dropout:
                net = tflearn.dropout(net, keep_prob=1 - spec.dropout)
        logits = tflearn.fully_connected(net, weights[-1].shape[1], activation="linear")
        layers.append(logits)
        self.output = tflearn.activation(logits, ACTIVATIONS[spec.out_activation])
        target = tf.placeholder(tf.float32, [None, weights[-1].shape[1]])
        row_weight = tf.placeholder(tf.float32, [None])
        loss = tf.reduce_mean(
            row_weight * _row_losses(tf, spec.out_activation, logits, target)
        )
        self._step = tf.Variable(0.0, trainable=False, use_resource=True)
        optimizer = _make_optimizer(tf, tflearn, spec, self._step)
        tflearn.regression(
            self.output,
            placeholder=target,
            optimizer=lambda _: (optimizer, self._step),
            loss=loss,
            metric=None,
        )
        (train_op,) = tf.get_collection(tf.GraphKeys.TRAIN_OPS)
        _complete(train_op, self.session)
        self._layers = [(layer.W, layer.b) for layer in layers]
        feeds = [x, target, row_weight]
        self._train = self.session.make_callable(
            [train_op.train, loss, self.output], feeds
        )
        self._evaluate = self.session.make_callable([loss, self.output], feeds)

    def _initialize(self, tf: Any, parameters: Parameters, step: int) -> None:
        """Give each variable its value, drawing none that is given."""
        given: list[tuple[Any, Any]] = [(self._step, np.float32(step))]
        for (W, b), weight, bias in zip(self._layers, *parameters, strict=True):
            given += [(W, weight), (b, bias)]
        # Feeding an initializer's input keeps TensorFlow from drawing it.
        self.session.run(
            tf.global_variables_initializer(),
            {variable.initializer.inputs[1]: value for variable, value in given},
        )

    def train_epoch(
        self, X: Any, Y: np.ndarray, w: np.ndarray, batches: Iterable[np.ndarray]
    ) -> Iterator[tuple[float, np.ndarray]]:
        """Take one step a batch; yield what the network said before each step.

        Parameters
        ----------
        X : ndarray or sparse array of shape (n, n_features), float32
            Inputs.
        Y : ndarray of shape (n, n_outputs), float32
            Targets.
        w : ndarray of shape (n,), float32
            Weights of the rows.
        batches : iterable of ndarray of int
            Indices of the rows of each batch.

        Yields
        ------
        loss : float
            Mean of weight times loss over the batch, without the L2 penalty.
        output : ndarray of shape (len(batch), n_outputs)
            Outputs, with dropout.
        """
        self._set_training(True)
        for rows in batches:
            _, loss, output = self._train(_dense(X[rows]), Y[rows], w[rows])
            yield float(loss), output

    def evaluate(
        self, X: Any, Y: np.ndarray, w: np.ndarray
    ) -> tuple[float, np.ndarray]:
        """Return loss and outputs as :meth:`train_epoch` does, learning nothing."""
        self._set_training(False)
        total, outputs = 0.0, []
        for start in range(0, len(Y), _EVALUATION_BATCH):
            rows = slice(start, start + _EVALUATION_BATCH)
            loss, output = self._evaluate(_dense(X[rows]), Y[rows], w[rows])
            total += float(loss) * len(output)
            outputs.append(output)
        return total / len(Y), np.concatenate(outputs)

    def get_parameters(self) -> Parameters:
        """Return copies of the weights, (inputs, outputs), and of the biases."""
        weights, biases = zip(*self._layers, strict=True)
        return self.session.run([list(weights), list(biases)])

    def _set_training(self, value: bool) -> None:
        with self.graph.as_default():
            import_tflearn().is_training(value, session=self.session)

    def __enter__(self) -> DenseNetwork:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.session.close()
        for name in self.graph.collections:
            self.graph.clear_collection(name)
        ops = importlib.import_module("tensorflow.python.framework.ops")
        ops.dismantle_graph(self.graph)
        vars(self).clear()
        # What is left is cycles within TensorFlow, 1 MB a network, which Python's
        # collector would find too late; a search costs 0.3 s, so not each time.
        if next(_N_CLOSED) % _CLOSED_PER_COLLECTION == 0:
            gc.collect()


def _session_config(tf: Any) -> Any:
    config = tf.ConfigProto(
        allow_soft_placement=True, gpu_options=tf.GPUOptions(allow_growth=True)
    )
    # Rewriting a graph this small costs more than it gains.
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config


def _row_losses(tf: Any, out_activation: str, logits: Any, target: Any) -> Any:
    """Return the loss of each row, computed from what the last activation gets.

    The values are those of TFLearn's ``categorical_crossentropy``,
    ``binary_crossentropy`` and ``mean_square``. The first of them clips
    probabilities and so stops learning from rows that are quite wrong; this
    one does not.
    """
    if out_activation == "softmax":
        return tf.nn.softmax_cross_entropy_with_logits_v2(labels=target, logits=logits)
    if out_activation == "logistic":
        losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=logits)
    else:
        losses = tf.square(logits - target)
    return tf.reduce_mean(losses, axis=1)


def _make_optimizer(tf: Any, tflearn: Any, spec: NetworkSpec, step: Any) -> Any:
    """Return the optimizer with its decaying rate as ``tf.train`` has it.

    TFLearn's own decay fails with resource variables, so the decaying rate is
    made here and given to TFLearn's optimizer.
    """
    if isinstance(spec.optimizer, str):
        rate = tf.train.exponential_decay(
            spec.learning_rate, step, spec.decay_steps, spec.decay_rate
        )
        return tflearn.optimizers.get(spec.optimizer)(learning_rate=rate).get_tensor()
    optimizer = copy.copy(spec.optimizer)  # building changes it
    optimizer.built = False
    if optimizer.has_decay:
        optimizer.has_decay = False
        optimizer.learning_rate = tf.train.exponential_decay(
            float(optimizer.learning_rate),
            step,
            float(optimizer.decay_step),
            float(optimizer.lr_decay),
            staircase=optimizer.staircase,
        )
    return optimizer.get_tensor()


def _complete(train_op: Any, session: Any) -> None:
    """Add gradients and update to a TrainOp, as ``tflearn.Trainer`` does.

    The gradients are clipped to a global norm of 5, TFLearn's default. The
    Trainer itself would add savers, which cost more than all the rest.
    """
    train_op.name, train_op.scope_name = "Optimizer", ""
    train_op.initialize_training_ops(
        0, session, tensorboard_verbose=0, clip_gradients=5.0
    )


def _dense(X: Any) -> np.ndarray:
    return X if isinstance(X, np.ndarray) else X.toarray()


def import_tflearn() -> Any:
    """Return the module ``tflearn``, without its effects on TensorFlow.

    ``import tflearn`` by itself fails on today's TensorFlow, and would turn off
    eager execution in the whole process if it did not. After one call of this
    function it works as well.

    Returns
    -------
    module
        TFLearn.

    Examples
    --------
    >>> from skvgg import TFLearnMLPClassifier, import_tflearn
    >>> tflearn = import_tflearn()
    >>> momentum = tflearn.Momentum(learning_rate=0.05, momentum=0.8)
    >>> head = TFLearnMLPClassifier(optimizer=momentum)
    """
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

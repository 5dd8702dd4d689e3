"""Dense networks in TFLearn: cached graphs, and sessions that run them.

TFLearn keeps its state in TensorFlow's default graph. Here each network has its own
graph, and the default graph is never used. Two parts of TFLearn are replaced.
``DNN.fit`` feeds data from threads in an order that depends on timing, prints, writes
logs and uses global random generators; here, :mod:`skvgg._head.training` runs the
batches. ``tflearn.dropout`` uses a seed that is fixed in the graph; here the seed is a
variable, so that one graph serves all fits of networks with the same structure.
"""

from __future__ import annotations

import copy
import gc
import importlib
import itertools
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import gen_batches

from skvgg._head.forward import ACTIVATIONS, Parameters
from skvgg._head.tflearn import LOCK, import_tflearn, no_deprecation_warnings
from skvgg._runtime.tensorflow import import_tensorflow

#: Number of samples that go through the network together in evaluation.
_EVALUATION_BATCH = 1024

_N_DISMANTLED = itertools.count(1)
_DISMANTLED_PER_COLLECTION = 10


@dataclass(frozen=True)
class NetworkSpec:
    """How a dense network is built and trained.

    Parameters
    ----------
    activation, out_activation : str
        Activations of the hidden layers and of the output, keys of :data:`ACTIVATIONS`.
        The latter determines the loss: categorical cross-entropy for "softmax", binary
        cross-entropy for "logistic", mean squared error for "identity".
    weight_decay : float
        w in the penalty w / 2 * sum(W ** 2) on each hidden layer's weights.
    dropout : float
        Fraction of each hidden layer's outputs that is set to zero in training.
    optimizer : str or tflearn.optimizers.Optimizer
        A name that TFLearn knows, or an object with its own learning rate.
    learning_rate, decay_rate, decay_steps : float
        At step i the learning rate is learning_rate * decay_rate ** (i / decay_steps),
        times the factor of that step. Unused if `optimizer` is not a name.
    """

    activation: str
    out_activation: str
    weight_decay: float
    dropout: float
    optimizer: Any
    learning_rate: float
    decay_rate: float
    decay_steps: float


@dataclass(frozen=True)
class _Graph:
    """A TensorFlow graph of a network: tensors and operations without values.

    `feeds` are the inputs of a step: inputs, targets, sample weights, the dropout rate,
    and the factor of the learning rate. `layers` are the weights and biases of each
    layer, `slots` the state of the optimizer, and `seeds` those of the dropout.
    """

    graph: Any
    output: Any
    loss: Any
    feeds: list[Any]
    train: Any
    layers: list[tuple[Any, Any]]
    slots: dict[str, Any]
    step: Any
    seeds: Any
    initialize: Any


class DenseNetwork:
    """A dense network in TFLearn, with its own session.

    It is a context manager that closes the session on exit. The sizes of the layers are
    those of the initial `parameters`. `step`, the number of steps already taken,
    determines the learning rate; `seed` is that of the dropout. `slots` are the
    optimizer state from :meth:`get_slots` of another network; the state of another
    optimizer is ignored.

    Attributes
    ----------
    graph : tf.Graph
        The graph of this network, which other networks may share.
    session : tf.compat.v1.Session
        The session with the values.
    output : tf.Tensor
        The output tensor, which TFLearn calls the network.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        parameters: Parameters,
        step: int = 0,
        seed: int = 0,
        slots: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self._graph = _get_graph(spec, parameters[0])
        self._dropout = spec.dropout
        self.graph, self.output = self._graph.graph, self._graph.output
        tf = import_tensorflow().compat.v1
        self.session = tf.Session(graph=self.graph, config=_session_config(tf))
        try:
            self._initialize(parameters, step, seed, slots or {})
            feeds, loss = self._graph.feeds, self._graph.loss
            fetches = [self._graph.train, loss, self.output]
            self._train = self.session.make_callable(fetches, feeds)
            self._evaluate = self.session.make_callable([loss, self.output], feeds)
        except BaseException:
            self.session.close()
            raise

    def _initialize(
        self,
        parameters: Parameters,
        step: int,
        seed: int,
        slots: Mapping[str, np.ndarray],
    ) -> None:
        """Initialize all variables, without drawing those that are given."""
        seeds = np.random.SeedSequence(seed).generate_state(self._graph.seeds.shape[0])
        given: list[tuple[Any, Any]] = [
            (self._graph.step, np.float32(step)),
            (self._graph.seeds, seeds.astype(np.int32)),
        ]
        given += self._pair(parameters)
        if slots.keys() == self._graph.slots.keys():
            given += [(self._graph.slots[name], slots[name]) for name in slots]
        self._assign(self._graph.initialize, given)

    def _pair(self, parameters: Parameters) -> list[tuple[Any, np.ndarray]]:
        """Return pairs of each layer variable and its value."""
        return [
            pair
            for variables, *values in zip(self._graph.layers, *parameters, strict=True)
            for pair in zip(variables, values, strict=True)
        ]

    def _assign(self, assign: Any, given: Iterable[tuple[Any, Any]]) -> None:
        """Run initializers; feeding their inputs keeps TensorFlow from drawing them."""
        self.session.run(
            assign,
            {variable.initializer.inputs[1]: value for variable, value in given},
        )

    def train_epoch(
        self,
        X: Any,
        Y: np.ndarray,
        w: np.ndarray,
        batches: Iterable[np.ndarray],
        rate_factors: Iterable[float] = itertools.repeat(1.0),
    ) -> Iterator[tuple[float, np.ndarray]]:
        """Take one step per batch; yield the loss and the outputs before each step.

        The loss is the weighted mean over the batch, without the L2 penalty; the
        outputs are those with dropout. X may be dense, sparse or StandardizedRows.
        `rate_factors` do not apply to optimizer objects, which have their own rate.
        """
        for rows, factor in zip(batches, rate_factors, strict=False):
            _, loss, output = self._train(
                _dense(X[rows]), Y[rows], w[rows], self._dropout, factor
            )
            yield float(loss), output

    def evaluate(
        self, X: Any, Y: np.ndarray, w: np.ndarray
    ) -> tuple[float, np.ndarray]:
        """Return the loss and the outputs without training or dropout."""
        total, outputs = 0.0, []
        for rows in gen_batches(len(Y), _EVALUATION_BATCH):
            loss, output = self._evaluate(_dense(X[rows]), Y[rows], w[rows], 0.0, 1.0)
            total += float(loss) * len(output)
            outputs.append(output)
        return total / len(Y), np.concatenate(outputs)

    def get_parameters(self) -> Parameters:
        """Return copies of the weights, (inputs, outputs), and of the biases."""
        weights, biases = zip(*self._graph.layers, strict=True)
        return self.session.run([list(weights), list(biases)])

    def set_parameters(self, parameters: Parameters) -> None:
        """Restore the parameters that :meth:`get_parameters` returned."""
        given = self._pair(parameters)
        self._assign([variable.initializer for variable, _ in given], given)

    def get_slots(self) -> dict[str, np.ndarray]:
        """Return the optimizer state by name; empty for "sgd"."""
        return self.session.run(self._graph.slots)

    def __enter__(self) -> DenseNetwork:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.session.close()
        vars(self).clear()  # the callables keep the session alive


def _get_graph(spec: NetworkSpec, weights: list[np.ndarray]) -> _Graph:
    """Return a cached or a new graph for a network."""
    sizes = (weights[0].shape[0], *(weight.shape[1] for weight in weights))
    # Optimizer objects are mutable, so their graphs are not cached.
    known = isinstance(spec.optimizer, str)
    with LOCK:
        return (_build_once if known else _build)(spec, sizes)


def _build(spec: NetworkSpec, sizes: tuple[int, ...]) -> _Graph:
    tf = import_tensorflow().compat.v1
    import_tflearn()
    tf_graph = tf.Graph()
    with tf_graph.as_default(), no_deprecation_warnings():
        # TFLearn's initial weights, which are never drawn, need a seed if TensorFlow
        # is told to be deterministic.
        tf.set_random_seed(0)
        tf.get_variable_scope().set_use_resource(True)
        graph = _Graph(graph=tf_graph, **_build_tensors(tf, spec, sizes))
    # TensorFlow's graphs contain reference cycles, 1 MB each: break them when the graph
    # is no longer used.
    weakref.finalize(graph, _dismantle, tf_graph).atexit = False
    return graph


#: Graphs contain no values, so caching costs only 1 MB each. Building a graph takes
#: longer than everything else before the first step.
_build_once = lru_cache(maxsize=8)(_build)


def _build_tensors(
    tf: Any, spec: NetworkSpec, sizes: tuple[int, ...]
) -> dict[str, Any]:
    """Fill the default graph; return the fields of a :class:`_Graph`."""
    tflearn = import_tflearn()
    target = tf.placeholder(tf.float32, [None, sizes[-1]])
    row_weight = tf.placeholder(tf.float32, [None])
    rate = tf.placeholder_with_default(0.0, [])
    rate_factor = tf.placeholder_with_default(1.0, [])
    step = tf.Variable(0.0, trainable=False, use_resource=True)
    seeds = tf.Variable(
        np.zeros(len(sizes) - 2, np.int32), trainable=False, use_resource=True
    )
    x = net = tflearn.input_data(shape=[None, sizes[0]])
    layers = []
    for i, units in enumerate(sizes[1:-1]):
        net = tflearn.fully_connected(
            net,
            units,
            activation=ACTIVATIONS[spec.activation].tensorflow,
            regularizer="L2",
            weight_decay=spec.weight_decay,
        )
        layers.append((net.W, net.b))
        if spec.dropout:
            seed = tf.stack([seeds[i], tf.cast(step, tf.int32)])
            net = tf.nn.experimental.stateless_dropout(net, rate, seed)
    logits = tflearn.fully_connected(net, sizes[-1], activation="linear")
    layers.append((logits.W, logits.b))
    output = tflearn.activation(logits, ACTIVATIONS[spec.out_activation].tensorflow)
    losses = row_losses(spec.out_activation, logits, target)
    loss = tf.reduce_mean(row_weight * losses)
    optimizer = _make_optimizer(tf, tflearn, spec, step, rate_factor)
    train = _make_step(tf, optimizer, output, target, loss, step)
    return {
        "output": output,
        "loss": loss,
        "feeds": [x, target, row_weight, rate, rate_factor],
        "train": train,
        "layers": layers,
        "slots": {variable.name: variable for variable in optimizer.variables()},
        "step": step,
        "seeds": seeds,
        "initialize": tf.global_variables_initializer(),
    }


def _make_step(
    tf: Any, optimizer: Any, output: Any, target: Any, loss: Any, step: Any
) -> Any:
    """Return TFLearn's training operation.

    It clips gradients to a global norm of 5, TFLearn's default. ``tflearn.Trainer``,
    which usually completes the TrainOp, would add savers that take longer than
    everything else.
    """
    import_tflearn().regression(
        output,
        placeholder=target,
        optimizer=lambda _: (optimizer, step),
        loss=loss,
        metric=None,
    )
    (train_op,) = tf.get_collection(tf.GraphKeys.TRAIN_OPS)
    train_op.name, train_op.scope_name = "Optimizer", ""
    train_op.initialize_training_ops(0, None, tensorboard_verbose=0, clip_gradients=5.0)
    return train_op.train


def _dismantle(tf_graph: Any) -> None:
    for name in tf_graph.collections:
        tf_graph.clear_collection(name)
    ops = importlib.import_module("tensorflow.python.framework.ops")
    ops.dismantle_graph(tf_graph)
    # Python would collect the remaining cycles too late. A collection takes 0.3 s, so
    # it does not run every time.
    if next(_N_DISMANTLED) % _DISMANTLED_PER_COLLECTION == 0:
        gc.collect()


def _session_config(tf: Any) -> Any:
    config = tf.ConfigProto(
        allow_soft_placement=True, gpu_options=tf.GPUOptions(allow_growth=True)
    )
    # Optimizing such a small graph takes longer than it saves.
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config


def row_losses(out_activation: str, logits: Any, target: Any) -> Any:
    """Return the loss of each sample, computed from the logits.

    The values are those of TFLearn's ``categorical_crossentropy``,
    ``binary_crossentropy`` and ``mean_square``, except that TFLearn's
    ``categorical_crossentropy`` clips probabilities and so does not learn from samples
    that are badly misclassified.
    """
    tf = import_tensorflow()
    if out_activation == "softmax":
        return tf.nn.softmax_cross_entropy_with_logits(labels=target, logits=logits)
    if out_activation == "logistic":
        losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=logits)
    else:
        losses = tf.square(logits - target)
    return tf.reduce_mean(losses, axis=1)


def _make_optimizer(
    tf: Any, tflearn: Any, spec: NetworkSpec, step: Any, rate_factor: Any
) -> Any:
    """Return the ``tf.train`` optimizer with its decaying learning rate.

    TFLearn's decay fails with resource variables, so the decaying rate is created here
    and passed to TFLearn's optimizer.
    """
    if isinstance(spec.optimizer, str):
        rate = rate_factor * tf.train.exponential_decay(
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


def _dense(X: Any) -> np.ndarray:
    return X.toarray() if issparse(X) else X

"""The trainable part in TensorFlow: loss and optimizer steps, starting from maps.

It takes and returns arrays, and has the methods of
:class:`skvgg._head.dense.DenseNetwork` that :func:`skvgg._head.training.train` calls.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import gen_batches

from skvgg._definition.architecture import PIXELS, Output, n_features
from skvgg._definition.preprocessing import Preprocessing
from skvgg._definition.vocabulary import Precision
from skvgg._finetune.plan import Plan, shape_of_map
from skvgg._head.dense import row_losses
from skvgg._head.forward import ACTIVATIONS, DenseLayers, Parameters
from skvgg._network.layers import apply_layers
from skvgg._network.precision import dtype_of
from skvgg._runtime.tensorflow import compiled, import_tensorflow
from skvgg.weights._base import LayerArrays

#: Kernels and biases of the layers and of the head.
Learned = tuple[dict[str, tuple[np.ndarray, np.ndarray]], Parameters]

#: Adam's constants, from its paper.
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class TuningSpec:
    """How the layers and the head are trained.

    Attributes
    ----------
    learning_rate : float
        Learning rate of the head and the topmost trained block.
    layer_decay : float
        Ratio of the learning rate of each block to that of the block above.
    weight_decay : float
        Decoupled weight decay of kernels, as a fraction of the learning rate.
    dropout : float
        Fraction of the inputs of each layer of the head that is set to zero.
    penalties : sequence of float
        a in the penalty a / 2 * sum(W ** 2) on the weights W of each layer of the head.
    out_activation : {"softmax", "identity"}
        Output of the head; determines the loss.
    precision : {"float32", "tensorfloat32", "float16", "bfloat16"}
        Precision of the layers' computations; weights and the loss are float32.
    seed : int
        Seed of the dropout.
    """

    learning_rate: float
    layer_decay: float
    weight_decay: float
    dropout: float
    penalties: Sequence[float]
    out_activation: str
    precision: Precision
    seed: int


class Tuner:
    """The trainable layers and the head on top of them.

    Training starts from `parameters`, the kernels and biases of the layers, and from
    `head`, which also standardizes its inputs. If the plan starts from pixels, they are
    normalized by `preprocessing`.
    """

    def __init__(
        self,
        plan: Plan,
        parameters: LayerArrays,
        head: DenseLayers,
        tuning: TuningSpec,
        preprocessing: Preprocessing,
        image_size: tuple[int, int],
    ) -> None:
        tf = import_tensorflow()
        self._plan, self._head, self._tuning = plan, head, tuning
        self._classifies = tuning.out_activation == "softmax"
        self._preprocessing = preprocessing
        self._widths = [
            n_features(o.layer, image_size, o.pooling) for o in plan.frozen_outputs
        ]
        with tf.init_scope():
            self._layers = {
                name: tuple(tf.Variable(a, dtype=tf.float32) for a in parameters[name])
                for name in plan.trained
            }
            self._dense = [
                tuple(tf.Variable(a, dtype=tf.float32) for a in layer)
                for layer in zip(*head.parameters, strict=True)
            ]
        self._slots = self._make_slots()
        self._n_steps = 0
        specs = [
            tf.TensorSpec(
                (None, *shape_of_map(plan, image_size)), dtype_of(tuning.precision)
            ),
            tf.TensorSpec((None, sum(self._widths))),
            tf.TensorSpec((None, len(head.intercepts[-1]))),
            tf.TensorSpec((None,)),
        ]
        rate_and_step = [tf.TensorSpec((), tf.float32), tf.TensorSpec((), tf.int32)]
        self._step = compiled(self._learn, [*specs, *rate_and_step])
        self._look = compiled(self._evaluate, specs)

    # Interface of Trainable

    def train_epoch(
        self,
        X: Any,
        Y: np.ndarray,
        w: np.ndarray,
        batches: Iterable[np.ndarray],
        rate_factors: Iterable[float] = itertools.repeat(1.0),
    ) -> Iterator[tuple[float, np.ndarray]]:
        """Take one step per batch; yield the loss and the outputs before each step.

        X is a :class:`skvgg._finetune.stored.Batches`; `batches` are its positions.
        """
        tf = import_tensorflow()
        for positions, factor in zip(batches, rate_factors, strict=False):
            rate = tf.constant(self._tuning.learning_rate * factor, tf.float32)
            step = tf.constant(self._n_steps, tf.int32)
            batch = self._tensors(X, Y, w, positions)
            loss, output = self._step(*batch, rate, step)
            self._n_steps += 1
            yield float(loss), output.numpy()

    def evaluate(
        self, X: Any, Y: np.ndarray, w: np.ndarray, batch_size: int = 32
    ) -> tuple[float, np.ndarray]:
        """Return the loss and the outputs without training."""
        total, outputs = 0.0, []
        for part in gen_batches(len(Y), batch_size):
            positions = np.arange(part.start, part.stop)
            loss, output = self._look(*self._tensors(X, Y, w, positions))
            total += float(loss) * len(positions)
            outputs.append(output.numpy())
        return total / len(Y), np.concatenate(outputs)

    def get_parameters(self) -> Learned:
        """Return copies of the parameters of the layers and the head."""
        layers = {
            name: (kernel.numpy(), bias.numpy())
            for name, (kernel, bias) in self._layers.items()
        }
        coefs = [kernel.numpy() for kernel, _ in self._dense]
        return layers, (coefs, [bias.numpy() for _, bias in self._dense])

    def set_parameters(self, learned: Learned) -> None:
        """Restore the parameters that :meth:`get_parameters` returned."""
        layers, head = learned
        pairs = [(self._layers[name], arrays) for name, arrays in layers.items()]
        pairs += zip(self._dense, zip(*head, strict=True), strict=True)
        for variables, arrays in pairs:
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(array)

    # Implementation

    def _tensors(
        self, X: Any, Y: np.ndarray, w: np.ndarray, positions: np.ndarray
    ) -> list[Any]:
        """Return a batch as inputs of the compiled functions."""
        tf = import_tensorflow()
        maps, frozen = X[positions]
        if self._plan.start == PIXELS:
            maps = _preprocess(maps, self._preprocessing)
        dtype = dtype_of(self._tuning.precision)
        arrays = [maps, frozen, Y[positions], w[positions]]
        # NumPy converts from float16: on some processors, oneDNN would log messages.
        maps, *rest = [tf.constant(np.asarray(a, np.float32)) for a in arrays]
        return [tf.cast(maps, dtype), *rest]

    def _make_slots(self) -> list[tuple[Any, Any, Any, float, float]]:
        """Return each variable with Adam's two means, its rate factor and its decay."""
        tf = import_tensorflow()
        factors = [(v, 1.0, 0.0) for layer in self._dense for v in layer]
        for name, (kernel, bias) in self._layers.items():
            factor = self._tuning.layer_decay ** self._plan.depth_of(name)
            factors += [
                (kernel, factor, self._tuning.weight_decay),
                (bias, factor, 0.0),
            ]
        with tf.init_scope():
            return [
                (v, tf.Variable(tf.zeros_like(v)), tf.Variable(tf.zeros_like(v)), *rest)
                for v, *rest in factors
            ]

    def _learn(
        self, maps: Any, frozen: Any, Y: Any, w: Any, rate: Any, step: Any
    ) -> tuple[Any, Any]:
        tf = import_tensorflow()
        with tf.GradientTape() as tape:
            logits = self._forward(maps, frozen, step)
            loss = self._loss(logits, Y, w)
            total = loss + self._penalty()
        gradients = tape.gradient(total, [variable for variable, *_ in self._slots])
        output = self._activate(logits)  # before the variables change
        with tf.control_dependencies([loss, output]):
            self._apply_adam(gradients, rate, tf.cast(step + 1, tf.float32))
        return loss, output

    def _apply_adam(self, gradients: Sequence[Any], rate: Any, n: Any) -> None:
        """Take a step of Adam with decoupled weight decay.

        Kingma and Ba, "Adam", ICLR 2015, algorithm 1; Loshchilov and Hutter,
        "Decoupled weight decay regularization", ICLR 2019, algorithm 2.
        """
        tf = import_tensorflow()
        for (variable, mean, square, factor, decay), gradient in zip(
            self._slots, gradients, strict=True
        ):
            if decay:
                variable.assign_sub(rate * factor * decay * variable)
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=mean.handle,
                v=square.handle,
                beta1_power=_BETA_1**n,
                beta2_power=_BETA_2**n,
                lr=rate * factor,
                beta1=_BETA_1,
                beta2=_BETA_2,
                epsilon=_EPSILON,
                grad=gradient,
            )

    def _evaluate(self, maps: Any, frozen: Any, Y: Any, w: Any) -> tuple[Any, Any]:
        logits = self._forward(maps, frozen, None)
        return self._loss(logits, Y, w), self._activate(logits)

    def _forward(self, maps: Any, frozen: Any, step: Any) -> Any:
        """Return the output of the head before its activation.

        `step` seeds the dropout; None disables it.
        """
        tf = import_tensorflow()
        outputs = self._plan.trained_outputs
        parameters = {
            name: (tf.cast(kernel, maps.dtype), tf.cast(bias, maps.dtype))
            for name, (kernel, bias) in self._layers.items()
        }
        start = self._plan.start_layer
        rows = apply_layers(maps, start, outputs, parameters)
        x = self._standardize(
            self._in_order(frozen, dict(zip(outputs, rows, strict=True)))
        )
        activate = getattr(tf.nn, ACTIVATIONS[self._head.activation].tensorflow)
        for i, (kernel, bias) in enumerate(self._dense):
            if step is not None and self._tuning.dropout:
                seed = tf.stack([self._tuning.seed + i, step])
                rate = self._tuning.dropout
                x = tf.nn.experimental.stateless_dropout(x, rate, seed)
            x = tf.matmul(x, kernel) + bias
            if i < len(self._dense) - 1:
                x = activate(x)
        return x

    def _in_order(self, frozen: Any, trained: Mapping[Output, Any]) -> Any:
        """Return the rows of all outputs, in the order of the head's inputs."""
        tf = import_tensorflow()
        widths = self._widths
        parts = iter(tf.split(frozen, widths, axis=1)) if widths else iter(())
        return tf.concat(
            [
                trained[output] if output in trained else next(parts)
                for output in self._plan.outputs
            ],
            axis=1,
        )

    def _standardize(self, rows: Any) -> Any:
        tf = import_tensorflow()
        # In float64, as in predictions. Constant columns have an infinite scale.
        inputs = self._head.scaling.inputs
        assert inputs is not None
        rows = (tf.cast(rows, tf.float64) - inputs.mean) / inputs.scale
        return tf.cast(rows, tf.float32)

    def _activate(self, logits: Any) -> Any:
        tf = import_tensorflow()
        return tf.nn.softmax(logits) if self._classifies else logits

    def _loss(self, logits: Any, Y: Any, w: Any) -> Any:
        """Return the mean loss over the images of a batch."""
        tf = import_tensorflow()
        losses = row_losses(self._tuning.out_activation, logits, Y)
        return tf.reduce_mean(w * losses)

    def _penalty(self) -> Any:
        tf = import_tensorflow()
        pairs = zip(self._dense, self._tuning.penalties, strict=True)
        return sum(a / 2 * tf.reduce_sum(tf.square(kernel)) for (kernel, _), a in pairs)


def _preprocess(pixels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Return normalized pixels, float32."""
    x = pixels[..., ::-1] if preprocessing.channels == "BGR" else pixels
    x = x.astype(np.float32) / np.float32(preprocessing.divisor)
    mean = np.array(preprocessing.mean, np.float32)
    return (x - mean) / np.array(preprocessing.std, np.float32)

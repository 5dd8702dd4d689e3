"""The forward pass of VGG19 in TensorFlow: pixels in, rows of features out.

Arrays in, arrays out; nothing here knows of estimators.

Pictures stream through the layers: each layer takes as many together as it is fastest
with, and passes them on before the next ones are begun. So no layer's output exists for
the whole batch, except that of the last ones, which is small.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
from sklearn.utils import gen_batches

from skvgg._architecture import Layer, Output, Pooling, layers_up_to, map_shape
from skvgg._engines import Direct, Winograd
from skvgg._precision import Precision, dtype_of, tensor_float_32
from skvgg._preprocessing import NONE, Preprocessing
from skvgg._tensorflow import import_tensorflow
from skvgg.weights import Weights

#: Part of the key of every stored feature. Raise it when a change here alters
#: the features of a picture by more than rounding.
FORWARD_VERSION = 1

#: Pictures whose pixels are preprocessed together.
_PREPROCESSED_TOGETHER = 16


class VGG19:
    """The network with its weights, ready to run.

    Parameters
    ----------
    load : callable
        Takes the shapes of kernels by the name of the layer, as
        :func:`skvgg._architecture.parameter_shapes` gives them; returns
        their :class:`skvgg.weights.Weights`.
    precision : {"float32", "tensorfloat32", "float16", "bfloat16"}
        In what it computes, and keeps its weights.
    """

    def __init__(
        self,
        load: Callable[[Mapping[str, tuple[int, ...]]], Weights],
        precision: Precision = "float32",
    ) -> None:
        self._load = load
        self._precision: Precision = precision
        self._parameters: dict[str, tuple[Any, Any]] = {}
        self._most_together: int | None = None  # on a device that ran out of memory
        direct = Direct(self._parameters)
        self._engines: dict[str, Direct | Winograd] = {
            "direct": direct,
            "winograd": Winograd(self._parameters, direct),
        }
        #: What the weights were trained with; known once some are loaded.
        self.preprocessing = NONE

    def require(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Load the layers in `shapes` that are not there yet.

        Raises
        ------
        ValueError, FileNotFoundError, ConnectionError, ImportError
            As :func:`skvgg.weights.load`.
        """
        tf = import_tensorflow()
        have = {name: kernel.shape for name, (kernel, _) in self._parameters.items()}
        missing = {name: s for name, s in shapes.items() if have.get(name) != s}
        if not missing:
            return
        weights = self._load(missing)
        self.preprocessing = weights.preprocessing
        arrays = {name: weights.parameters[name] for name in missing}
        del weights
        dtype = dtype_of(self._precision)
        while arrays:  # one by one, so that there are never two copies of all
            name, (kernel, bias) = arrays.popitem()
            self._parameters[name] = tf.cast(kernel, dtype), tf.cast(bias, dtype)

    def features(
        self,
        pixels: np.ndarray,
        outputs: Sequence[Output],
        preprocessing: Preprocessing,
        engine: Literal["direct", "winograd"] = "direct",
        warn: Callable[[str], Any] = warnings.warn,
    ) -> list[np.ndarray]:
        """Return what the network makes of pictures, for each output wanted.

        Parameters
        ----------
        pixels : ndarray of shape (n, height, width, 3), uint8 or float32
            RGB pictures, pixels in 0..255.
        outputs : sequence of Output
            Layers, and how those with height and width are reduced to one
            number a channel; None keeps all numbers, in the order (height,
            width, channel).
        preprocessing : Preprocessing
            What is done to the pixels first.
        engine : {"direct", "winograd"}
            How convolutions are computed.
        warn : callable
            Told if the device has no memory for so many pictures together: they,
            and those of later calls, go through it in smaller batches.

        Returns
        -------
        list of ndarray of shape (n, n_features), float32
        """
        tf = import_tensorflow()  # raises where running would hang
        n_together = self._most_together or len(pixels)
        blocks: list[list[np.ndarray]] = []
        start = 0
        while start < len(pixels):
            some = pixels[start : start + n_together]
            forward = _Pass(self._parameters, self._engines[engine], outputs)
            try:
                with tensor_float_32(self._precision == "tensorfloat32"):
                    blocks.append(forward(some, preprocessing))
            except tf.errors.ResourceExhaustedError:
                if len(some) == 1:
                    raise
                n_together = self._most_together = len(some) // 2
                warn(_describe_memory(n_together))
            else:
                start += len(some)
        return [np.concatenate(rows) for rows in zip(*blocks, strict=True)]


class _Step(NamedTuple):
    """A layer, or a convolution with the pooling after it."""

    layer: Layer
    pools: bool
    gives: str


def _steps(outputs: Sequence[Output]) -> list[_Step]:
    """Return what is to be done for `outputs`."""
    wanted = {layer for layer, _ in outputs}
    steps: list[_Step] = []
    for layer in layers_up_to([*wanted]):
        before = steps[-1] if steps else None
        if layer.kind == "pool" and before and before.gives not in wanted:
            steps[-1] = _Step(before.layer, True, layer.name)
        else:
            steps.append(_Step(layer, False, layer.name))
    return steps


class _Pass:
    """One batch on its way through the network."""

    def __init__(
        self,
        parameters: Mapping[str, tuple[Any, Any]],
        engine: Direct | Winograd,
        outputs: Sequence[Output],
    ) -> None:
        self._parameters = parameters
        self._engine = engine
        self._outputs = outputs
        self._rows: list[list[np.ndarray]] = [[] for _ in outputs]

    def __call__(
        self, pixels: np.ndarray, preprocessing: Preprocessing
    ) -> list[np.ndarray]:
        """Return a row a picture, for each output."""
        dtype = next(iter(self._parameters.values()))[0].dtype
        preprocess = _preprocess_function(pixels.shape[1:], preprocessing, dtype)
        reversed_ = preprocessing.channels == "BGR"
        most = _PREPROCESSED_TOGETHER
        parts: Iterator[Any] = (
            preprocess(np.ascontiguousarray(part[..., ::-1]) if reversed_ else part)
            for part in (pixels[i] for i in gen_batches(len(pixels), most))
        )
        for step in _steps(self._outputs):
            parts = self._run(step, parts, pixels.shape[1:3])
        for _ in parts:
            pass
        return [np.concatenate(rows) for rows in self._rows]

    def _run(
        self, step: _Step, parts: Iterable[Any], image_size: tuple[int, int]
    ) -> Iterator[Any]:
        """Run a step on pictures as they come; keep the rows that are wanted of it."""
        name, kind = step.layer.name, step.layer.kind
        if kind == "conv":
            height, width, _ = map_shape(step.layer, image_size)
            parts = _regroup(parts, self._engine.n_together(name, height, width))
        elif kind == "dense":
            parts = _regroup(parts, None)
        for part in parts:
            if kind == "conv":
                y = self._engine.convolve(part, name, pools=step.pools)
            else:
                y = _apply(step.layer, part, self._parameters)
            for output, rows in zip(self._outputs, self._rows, strict=True):
                if output.layer == step.gives:
                    rows.append(_to_row(y, output.pooling).numpy())
            yield y


def _regroup(parts: Iterable[Any], n_together: int | None) -> Iterator[Any]:
    """Yield the pictures in `parts`, `n_together` at a time, or all together."""
    tf = import_tensorflow()

    def join(some):
        return some[0] if len(some) == 1 else tf.concat(some, axis=0)

    waiting: list[Any] = []
    n_missing = n_together
    for part in parts:
        while n_missing is not None and part.shape[0] >= n_missing:
            yield join([*waiting, part[:n_missing]])
            waiting, part, n_missing = [], part[n_missing:], n_together
        if part.shape[0]:
            waiting.append(part)
            n_missing = n_missing and n_missing - part.shape[0]
    if waiting:
        yield join(waiting)


@cache
def _preprocess_function(
    shape: tuple[int, int, int], preprocessing: Preprocessing, dtype: Any
) -> Any:
    """Return the compiled preprocessing, but for the order of the channels.

    Lines of width * 3 numbers take a tenth of the time of pixels of 3.
    """
    tf = import_tensorflow()
    height, width, _ = shape
    mean, std = (
        np.tile(np.array(numbers, np.float32), width)
        for numbers in (preprocessing.mean, preprocessing.std)
    )

    def preprocess(x):
        x = tf.cast(tf.reshape(x, [-1, height, width * 3]), tf.float32)
        if preprocessing.divisor != 1:
            x = x / preprocessing.divisor
        x = x - mean
        if (std != 1).any():
            x = x / std
        return tf.cast(tf.reshape(x, [-1, *shape]), dtype)

    return tf.function(preprocess, autograph=False, reduce_retracing=True)


def _apply(layer: Layer, x: Any, parameters: Mapping[str, tuple[Any, Any]]) -> Any:
    """Run a layer that is no convolution."""
    tf = import_tensorflow()
    if layer.kind == "pool":
        return tf.nn.max_pool2d(x, ksize=2, strides=2, padding="VALID")
    if layer.kind == "flatten":
        return tf.reshape(x, [-1, int(np.prod(x.shape[1:]))])
    kernel, bias = parameters[layer.name]
    return tf.nn.relu(tf.nn.bias_add(tf.matmul(x, kernel), bias))


def _to_row(y: Any, pooling: Pooling) -> Any:
    tf = import_tensorflow()
    y = tf.cast(y, tf.float32)
    if len(y.shape) == 4:
        if pooling == "avg":
            return tf.reduce_mean(y, axis=[1, 2])
        if pooling == "max":
            return tf.reduce_max(y, axis=[1, 2])
    return tf.reshape(y, [-1, int(np.prod(y.shape[1:]))])


def _describe_memory(n: int) -> str:
    return (
        f"The device ran out of memory; going on with {n} pictures together. Set "
        "batch_size to that to begin with it."
    )

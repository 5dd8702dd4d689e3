"""The layers as TensorFlow operations, which have gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from skvgg._definition.architecture import (
    Layer,
    Output,
    Pooling,
    PoolingName,
    layers_between,
)
from skvgg._runtime.tensorflow import import_tensorflow


def convolve(x: Any, kernel: Any, bias: Any) -> Any:
    """Return relu(conv(x) + bias), computed by TensorFlow."""
    tf = import_tensorflow()
    y = tf.nn.conv2d(x, kernel, strides=1, padding="SAME")
    return tf.nn.relu(tf.nn.bias_add(y, bias))


#: A number per channel, from TensorFlow and maps (n, height, width, channels).
_POOLINGS: dict[PoolingName, Callable[[Any, Any], Any]] = {
    "avg": lambda tf, maps: tf.reduce_mean(maps, axis=[1, 2]),
    "max": lambda tf, maps: tf.reduce_max(maps, axis=[1, 2]),
}


def apply_layer(
    layer: Layer,
    x: Any,
    parameters: Mapping[str, tuple[Any, Any]],
) -> Any:
    """Return the output of a layer, after its ReLU."""
    tf = import_tensorflow()
    if layer.kind == "pool":
        return tf.nn.max_pool2d(x, ksize=2, strides=2, padding="VALID")
    if layer.kind == "flatten":
        return tf.reshape(x, [-1, int(np.prod(x.shape[1:]))])
    kernel, bias = parameters[layer.name]
    if layer.kind == "conv":
        return convolve(x, kernel, bias)
    return tf.nn.relu(tf.nn.bias_add(tf.matmul(x, kernel), bias))


def to_row(y: Any, pooling: Pooling) -> Any:
    """Return the output of a layer as float32 rows, after pooling of maps."""
    tf = import_tensorflow()
    y = tf.cast(y, tf.float32)
    if pooling is not None and len(y.shape) == 4:
        return _POOLINGS[pooling](tf, y)
    return tf.reshape(y, [-1, int(np.prod(y.shape[1:]))])


def apply_layers(
    x: Any,
    start: str | None,
    outputs: Sequence[Output],
    parameters: Mapping[str, tuple[Any, Any]],
) -> list[Any]:
    """Return the rows of outputs above a layer, from the output of that layer.

    Parameters
    ----------
    x : tensor of shape (n, height, width, channels)
        Output of the layer `start`, or preprocessed images if that is None.
    start : str or None
        A convolution or a pooling layer.
    outputs : sequence of Output
        Layers above `start`, and their pooling.
    parameters : mapping of str to (tensor, tensor)
        Kernel and bias of each layer above `start` that has them.
    """
    rows: dict[Output, Any] = {}
    for layer in layers_between(start, [output.layer for output in outputs]):
        x = apply_layer(layer, x, parameters)
        for output in outputs:
            if output.layer == layer.name:
                rows[output] = to_row(x, output.pooling)
    return [rows[output] for output in outputs]

"""The layers in TensorFlow's own operations, which have gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skvgg._definition.architecture import Layer, Output, Pooling, layers_between
from skvgg._runtime.tensorflow import import_tensorflow


def apply_layer(layer: Layer, x: Any, parameters: Mapping[str, tuple[Any, Any]]) -> Any:
    """Return a layer's output, with its ReLU.

    Parameters
    ----------
    layer : Layer
        What to compute.
    x : tensor of shape (n, height, width, channels) or (n, n_features)
        What the layer before gives.
    parameters : mapping of str to (tensor, tensor)
        Kernel and bias of each layer that has them.
    """
    tf = import_tensorflow()
    if layer.kind == "pool":
        return tf.nn.max_pool2d(x, ksize=2, strides=2, padding="VALID")
    if layer.kind == "flatten":
        return tf.reshape(x, [-1, int(np.prod(x.shape[1:]))])
    kernel, bias = parameters[layer.name]
    if layer.kind == "conv":
        y = tf.nn.conv2d(x, kernel, strides=1, padding="SAME")
    else:
        y = tf.matmul(x, kernel)
    return tf.nn.relu(tf.nn.bias_add(y, bias))


def to_row(y: Any, pooling: Pooling) -> Any:
    """Return a layer's output as float32 rows, reduced if it has height and width."""
    tf = import_tensorflow()
    y = tf.cast(y, tf.float32)
    if len(y.shape) == 4:
        if pooling == "avg":
            return tf.reduce_mean(y, axis=[1, 2])
        if pooling == "max":
            return tf.reduce_max(y, axis=[1, 2])
    return tf.reshape(y, [-1, int(np.prod(y.shape[1:]))])


def apply_layers(
    x: Any,
    start: str | None,
    outputs: Sequence[Output],
    parameters: Mapping[str, tuple[Any, Any]],
) -> list[Any]:
    """Return the rows of outputs above a layer, from that layer's output.

    Parameters
    ----------
    x : tensor of shape (n, height, width, channels)
        What the layer `start` gives; or, if that is None, preprocessed pictures.
    start : str or None
        A convolution or a pooling.
    outputs : sequence of Output
        Layers above `start`, and how they are reduced.
    parameters : mapping of str to (tensor, tensor)
        Kernel and bias of each layer above `start` that has them.

    Returns
    -------
    list of tensor of shape (n, n_features), float32
    """
    rows: dict[Output, Any] = {}
    for layer in layers_between(start, [output.layer for output in outputs]):
        x = apply_layer(layer, x, parameters)
        for output in outputs:
            if output.layer == layer.name:
                rows[output] = to_row(x, output.pooling)
    return [rows[output] for output in outputs]

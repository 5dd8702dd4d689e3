"""Winograd's convolution with its gradient, for trainable layers.

TensorFlow derives the gradient of :func:`skvgg._network.winograd.convolve`: one product
for the map and one for the kernel, each as large as the product of the forward pass. So
a training step takes a quarter of the multiplications, too. Between the forward and the
backward pass, only the input and the output maps are kept.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

from skvgg._definition.architecture import get_layer, map_shape
from skvgg._network import winograd
from skvgg._network.layers import Convolution
from skvgg._network.precision import Precision
from skvgg._runtime.tensorflow import compiled, has_gpu, import_tensorflow

#: Held while a convolution is compiled; other threads may need the same one.
_LOCK = threading.Lock()

#: With fewer channels, the transforms of maps take as long as the products save.
_LEAST_CHANNELS = 256

#: Compiling pays off from this number of multiplications and additions of TensorFlow's
#: convolution and its gradients. It takes 9 s per shape, in which two cores do about
#: 1e12 operations, and saves half of the operations.
_WORTH_COMPILING = 2e12

#: Maximum size of a transformed map in bytes. Larger batches are split into parts.
_MAP_BYTES = 120e6


def convolutions_to_train(
    kernel_shapes: Mapping[str, tuple[int, ...]],
    image_size: tuple[int, int],
    precision: Precision,
    batch_size: int,
    n_passes: int,
) -> dict[str, Convolution]:
    """Return functions for the layers that they train faster than TensorFlow.

    The result depends on the arguments only, so that fits are reproducible.

    Parameters
    ----------
    kernel_shapes : mapping of str to tuple of int
        Shapes of the kernels of the trainable layers.
    image_size : tuple of (int, int)
        Height and width of the images.
    precision : {"float32", "tensorfloat32", "bfloat16"}
        Precision of the layers.
    batch_size : int
        Images per step. The returned functions only accept this number.
    n_passes : int
        Number of images times number of epochs.
    """
    if precision != "float32" or has_gpu():
        return {}
    shapes = {}
    work: Counter[Any] = Counter()  # by shape: layers of one shape share a function
    for name, kernel_shape in kernel_shapes.items():
        layer = get_layer(name)
        if layer.kind != "conv" or min(kernel_shape[2:]) < _LEAST_CHANNELS:
            continue
        height, width, _ = map_shape(layer, image_size)
        n_in, n_out = kernel_shape[2:]
        shapes[name] = (batch_size, height, width, n_in), n_out
        work[shapes[name]] += 3 * 2 * 9 * height * width * n_in * n_out * n_passes
    return {
        name: make_convolution(*shape)
        for name, shape in shapes.items()
        if work[shape] >= _WORTH_COMPILING
    }


def make_convolution(shape: tuple[int, int, int, int], n_out: int) -> Convolution:
    """Return a function for relu(conv(x) + bias) of one map shape, with a gradient.

    Parameters
    ----------
    shape : tuple of int
        Shape of the maps: (n, height, width, n_in).
    n_out : int
        Number of output channels.
    """
    tf = import_tensorflow()
    n, *shape_of_one = shape
    height, width, n_in = shape_of_one
    of_one = winograd.transformed_bytes(height, width, max(n_in, n_out))
    n_parts = math.ceil(n * of_one / _MAP_BYTES)
    n_together = math.ceil(n / n_parts)
    n_parts = math.ceil(n / n_together)
    forward, backward = _compile((n_together, *shape_of_one), n_out)
    missing = n_together * n_parts - n

    def split(maps: Any) -> list[Any]:
        if missing:
            maps = tf.pad(maps, [[0, missing], [0, 0], [0, 0], [0, 0]])
        return tf.split(maps, n_parts)

    def convolve(x: Any, kernel: Any, bias: Any) -> Any:
        y = tf.concat([forward(part, kernel, bias) for part in split(x)], axis=0)[:n]

        def gradients(dy: Any) -> Any:
            parts = zip(split(x), split(y), split(dy), strict=True)
            found = [backward(part, kernel, *rest) for part, *rest in parts]
            of_x, *of_rest = zip(*found, strict=True)
            of_kernel, of_bias = map(tf.add_n, of_rest)
            return tf.concat(of_x, axis=0)[:n], of_kernel, of_bias

        return y, gradients

    return tf.custom_gradient(convolve)


def _compile(*key: Any) -> tuple[Any, Any]:
    """Return the result of :func:`_compile_once`; other threads wait for it."""
    with _LOCK:
        return _compile_once(*key)


@cache
def _compile_once(shape: tuple[int, ...], n_out: int) -> tuple[Any, Any]:
    """Return the compiled convolution and its gradients."""
    tf = import_tensorflow()
    n, height, width, n_in = shape

    def forward(x: Any, kernel: Any, bias: Any) -> Any:
        u = winograd.transform_kernel(kernel)
        return tf.nn.relu(winograd.convolve(x, u) + bias)

    def backward(x: Any, kernel: Any, y: Any, dy: Any) -> Any:
        dy = tf.where(y > 0, dy, 0.0)
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            u = winograd.transform_kernel(kernel)
            linear = winograd.convolve(x, u)
        of_x, of_kernel = tape.gradient(linear, [x, kernel], dy)
        return of_x, of_kernel, tf.reduce_sum(dy, axis=[0, 1, 2])

    takes = tf.TensorSpec(shape, tf.float32)
    gives = tf.TensorSpec((n, height, width, n_out), tf.float32)
    kernel = tf.TensorSpec((3, 3, n_in, n_out), tf.float32)
    bias = tf.TensorSpec((n_out,), tf.float32)
    return (
        compiled(forward, [takes, kernel, bias], by_xla=True),
        compiled(backward, [takes, kernel, gives, gives], by_xla=True),
    )

"""Winograd's convolution with its gradient, for layers that are trained.

The gradient is that of :func:`skvgg._network.winograd.convolve`, which XLA derives: a
product of the same size for the map and one for the kernel, where the forward pass has
one. So a step takes a quarter of the multiplications as well. Nothing is kept between
the two but the map that went in and the one that came out.
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

#: Held while a convolution is compiled that other threads may need too.
_LOCK = threading.Lock()

#: Channels below which the transforms of maps take as long as the products save.
_LEAST_CHANNELS = 256

#: Multiplications and additions, by TensorFlow's own convolution and its gradients,
#: from which compiling pays. It takes 9 s a shape, in which two cores do about 1e12,
#: and saves half of them.
_WORTH_COMPILING = 2e12

#: Bytes that a transformed map may take: more images go through in several parts.
_MAP_BYTES = 120e6


def convolutions_to_train(
    kernel_shapes: Mapping[str, tuple[int, ...]],
    image_size: tuple[int, int],
    precision: Precision,
    batch_size: int,
    n_passes: int,
) -> dict[str, Convolution]:
    """Return how to compute those layers that train faster than with TensorFlow's own.

    Depends on the arguments alone, so that the same fit learns the same.

    Parameters
    ----------
    kernel_shapes : mapping of str to tuple of int
        Those of the layers that are trained.
    image_size : tuple of (int, int)
        Height and width of the images.
    precision : {"float32", "tensorfloat32", "bfloat16"}
        What they compute in.
    batch_size : int
        Images a step. What is returned takes so many, and no others.
    n_passes : int
        Images times epochs.
    """
    if precision != "float32" or has_gpu():
        return {}
    shapes = {}
    work: Counter[Any] = (
        Counter()
    )  # of the layers of a shape, which are compiled together
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
    """Return relu(conv(x) + bias) of maps of one shape, with a gradient.

    Parameters
    ----------
    shape : tuple of int
        That of the maps: (n, height, width, n_in), all known.
    n_out : int
        Channels that the convolution gives.
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

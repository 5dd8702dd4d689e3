"""Gradients of convolutions by Winograd's method, for trainable layers.

TensorFlow computes the forward pass: whether a sum is exactly zero decides whether its
ReLU lets the gradient through, and Winograd's method rounds zeros to small numbers. The
gradients of map and kernel are linear, so that rounding stays as small as it is. They
take a quarter of the multiplications: TensorFlow derives them from
:func:`skvgg._network.winograd.convolve`.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from skvgg._definition.architecture import get_layer, map_shape
from skvgg._network import layers, winograd
from skvgg._network.layers import Convolution
from skvgg._network.precision import Precision
from skvgg._runtime.tensorflow import compiled, has_gpu, import_tensorflow

#: Held while a convolution is compiled; other threads may need the same one.
_LOCK = threading.Lock()

#: With fewer channels, the transforms of maps take as long as the products save.
LEAST_CHANNELS = 256

#: Compiling pays off from this number of multiplications and additions of TensorFlow's
#: convolution and its gradients. It takes 7 s per shape, in which two cores do about
#: 1e12 operations, and saves a third of the operations.
_WORTH_COMPILING = 3e12

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
        if layer.kind != "conv" or min(kernel_shape[2:]) < LEAST_CHANNELS:
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
    of_map, of_kernel = _compile((n_together, *shape_of_one), n_out)
    missing = n_together * n_parts - n

    def split(maps: Any) -> list[Any]:
        if missing:
            maps = tf.pad(maps, [[0, missing], [0, 0], [0, 0], [0, 0]])
        return tf.split(maps, n_parts)

    def convolve(x: Any, kernel: Any, bias: Any) -> Any:
        y = layers.convolve(x, kernel, bias)

        def gradients(dy: Any) -> Any:
            dy = tf.where(y > 0, dy, 0.0)
            parts = split(dy)
            dx = tf.concat([of_map(part, kernel) for part in parts], axis=0)[:n]
            pairs = zip(parts, split(x), strict=True)
            dkernel = tf.add_n([of_kernel(part, x_part) for part, x_part in pairs])
            return dx, dkernel, tf.reduce_sum(dy, axis=[0, 1, 2])

        return y, gradients

    return tf.custom_gradient(convolve)


def _compile(*key: Any) -> tuple[Any, Any]:
    """Return the result of :func:`_compile_once`; other threads wait for it."""
    with _LOCK:
        return _compile_once(*key)


@cache
def _compile_once(shape: tuple[int, ...], n_out: int) -> tuple[Any, Any]:
    """Return the compiled gradients of a convolution: for its map and for its kernel.

    They are two functions, because the lowest trained layer needs only the second.
    """
    tf = import_tensorflow()
    shape_of_kernel = (3, 3, shape[-1], n_out)

    def of_map(dy: Any, kernel: Any) -> Any:
        u = winograd.transform_kernel(kernel)
        return _pull_back(lambda x: winograd.convolve(x, u), shape, dy)

    def of_kernel(dy: Any, x: Any) -> Any:
        return _pull_back(
            lambda kernel: winograd.convolve(x, winograd.transform_kernel(kernel)),
            shape_of_kernel,
            dy,
        )

    maps, kernel, gradient = (
        tf.TensorSpec(s, tf.float32)
        for s in (shape, shape_of_kernel, (*shape[:3], n_out))
    )
    return (
        compiled(of_map, [gradient, kernel], by_xla=True),
        compiled(of_kernel, [gradient, maps], by_xla=True),
    )


def _pull_back(function: Callable[[Any], Any], shape: tuple[int, ...], dy: Any) -> Any:
    """Return the gradient of a linear function of a tensor of this shape."""
    tf = import_tensorflow()
    anywhere = tf.zeros(shape)
    with tf.GradientTape() as tape:
        tape.watch(anywhere)
        y = function(anywhere)
    return tape.gradient(y, anywhere, dy)

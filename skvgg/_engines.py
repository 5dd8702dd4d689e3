"""The ways to compute a convolution, and which of them is the faster one when.

Two engines with the same methods. What they compile serves all networks of a process:
kernels are arguments.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, get_args

import numpy as np

from skvgg import _winograd
from skvgg._tensorflow import has_gpu, import_tensorflow, quiet_log

EngineName = Literal["auto", "direct", "winograd"]
ENGINE_NAMES: tuple[EngineName, ...] = get_args(EngineName)

#: Kernel and bias of each convolution, as tensors.
Parameters = dict[str, tuple[Any, Any]]

#: Pictures of a job after which compiling the Winograd engine pays. It takes about as
#: long as it then saves on as many pictures again: who stops earlier has lost nothing,
#: and who goes on loses little.
PICTURES_BEFORE_COMPILING = 128

#: Pictures that TensorFlow's own convolution takes together on a CPU. More are no
#: faster and take more memory: 205 MB for each activation of block 1 at 224x224.
_DIRECT_TOGETHER = 16

#: Bytes that the transformed input of one call of the Winograd engine may take: what
#: stays in a cache of 32 MB.
_WINOGRAD_BYTES = 30e6

#: Where the Winograd engine pools in the same step: maps of at least so many pixels. On
#: smaller ones that saves less than 0.4 ms a picture and costs 2 s of compiling.
_POOLS_FROM = 100 * 100


def choose(engine: EngineName, n_done: int) -> Literal["direct", "winograd"]:
    """Return the engine for the next pictures of a job.

    Depends on nothing else in the process, so the same call gives the same features.

    Parameters
    ----------
    engine : {"auto", "direct", "winograd"}
        What the user asks for.
    n_done : int
        Pictures of this job that have gone through the network.
    """
    if engine == "auto":
        return "direct" if n_done < PICTURES_BEFORE_COMPILING else "winograd"
    return engine


class Direct:
    """TensorFlow's own convolution, by oneDNN on a CPU and by cuDNN on a GPU."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def n_together(self, layer: str, height: int, width: int) -> int | None:
        """Return how many pictures a call takes at most; None means all."""
        return None if has_gpu() else _DIRECT_TOGETHER

    def convolve(self, x: Any, layer: str, *, pools: bool) -> Any:
        """Return relu(conv(x) + bias) of pictures, or its 2x2 max-pooling."""
        kernel, bias = self._parameters[layer]
        shape, n_out = tuple(x.shape[1:]), kernel.shape[-1]
        function = _direct_function(shape, n_out, x.dtype, pools)
        return function(x, kernel, bias)


class Winograd:
    """Fewer multiplications, on a CPU, in float32: see :mod:`skvgg._winograd`.

    Leaves to `direct` what it would not do faster: layers of less than 64 channels,
    parts of a batch that would be less than half full, and everything on a GPU, where
    cuDNN has a Winograd of its own, and in other precisions.
    """

    def __init__(self, parameters: Parameters, direct: Direct) -> None:
        self._parameters = parameters
        self._direct = direct
        self._transformed: dict[str, list[Any]] = {}

    def n_together(self, layer: str, height: int, width: int) -> int | None:
        """Return how many pictures a call takes; None means all."""
        if not self._serves(layer):
            return self._direct.n_together(layer, height, width)
        return self._full(layer, height, width)

    def convolve(self, x: Any, layer: str, *, pools: bool) -> Any:
        """Return relu(conv(x) + bias) of pictures, or its 2x2 max-pooling."""
        tf = import_tensorflow()
        n, height, width, _ = x.shape
        full = self._full(layer, height, width)
        if not self._serves(layer) or 2 * n < full:
            return self._direct.convolve(x, layer, pools=pools)
        if n < full:
            x = tf.pad(x, [[0, full - n], [0, 0], [0, 0], [0, 0]])
        kernel, bias = self._kernel(layer), self._parameters[layer][1]
        pools_too = pools and height * width >= _POOLS_FROM
        function = _winograd_function(tuple(x.shape), bias.shape[0], pools_too)
        y = function(x, kernel, bias)[:n]
        return tf.nn.max_pool2d(y, 2, 2, "VALID") if pools and not pools_too else y

    def _full(self, layer: str, height: int, width: int) -> int:
        """Return the pictures of a full part.

        A power of two, so that a deeper layer's number is a multiple of it.
        """
        tiles = _winograd.n_tiles(height) * _winograd.n_tiles(width)
        channels = max(self._parameters[layer][0].shape[2:])
        bytes_of_one = _winograd.SIDE**2 * tiles * channels * np.float32().nbytes
        return 2 ** (max(int(_WINOGRAD_BYTES / bytes_of_one), 1).bit_length() - 1)

    def _serves(self, layer: str) -> bool:
        kernel = self._parameters[layer][0]
        return kernel.dtype == np.float32 and kernel.shape[2] >= 64 and not has_gpu()

    def _kernel(self, layer: str) -> list[Any]:
        if layer not in self._transformed:
            tf = import_tensorflow()
            parts = _winograd.transform_kernel(self._parameters[layer][0].numpy())
            self._transformed[layer] = [tf.constant(part) for part in parts]
        return self._transformed[layer]


@cache
def _direct_function(
    shape: tuple[int, ...], n_out: int, dtype: Any, pools: bool
) -> Any:
    """Return the compiled convolution of pictures of a shape (height, width, n_in)."""
    tf = import_tensorflow()

    def convolve(x, kernel, bias):
        y = tf.nn.conv2d(x, kernel, strides=1, padding="SAME")
        y = tf.nn.relu(tf.nn.bias_add(y, bias))
        return tf.nn.max_pool2d(y, 2, 2, "VALID") if pools else y

    shapes = (None, *shape), (3, 3, shape[-1], n_out), (n_out,)
    signature = [tf.TensorSpec(shape, dtype) for shape in shapes]
    # Autograph has nothing to do here and leaves files in the temporary folder.
    return tf.function(convolve, input_signature=signature, autograph=False)


@cache
def _winograd_function(shape: tuple[int, ...], n_out: int, pools: bool) -> Any:
    """Return the compiled convolution of shape (n, height, width, n_in)."""
    tf = import_tensorflow()

    def convolve(x, kernel, bias):
        return _winograd.convolve(x, kernel, bias, pools=pools)

    kernel_shapes = [(shape[-1], n_out)] * _winograd.SIDE**2
    specs = [
        tf.TensorSpec(shape, tf.float32),
        [tf.TensorSpec(kernel_shape, tf.float32) for kernel_shape in kernel_shapes],
        tf.TensorSpec((n_out,), tf.float32),
    ]
    function = tf.function(
        convolve, input_signature=specs, autograph=False, jit_compile=True
    )
    zeros = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape), specs)
    with quiet_log():  # the first use of XLA writes to it
        function(*zeros)
    return function

"""The ways to compute the layers with weights, and which is the faster one where.

Two engines with the same methods. What they compile serves all networks of a process:
weights are arguments.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any, Literal, get_args

import numpy as np

from skvgg._definition.architecture import CONV_NAMES, get_layer
from skvgg._network import layers
from skvgg._network.dense_forward import multiply
from skvgg._network.kernels import kernels
from skvgg._network.layers import apply_layer
from skvgg._network.precision import REDUCED, Precision
from skvgg._network.winograd import KERNEL, SIDE, n_tiles
from skvgg._network.winograd_forward import PackedKernel, convolve
from skvgg._network.workers import Workers
from skvgg._runtime.tensorflow import (
    as_array,
    as_tensor,
    compiled,
    has_gpu,
    import_tensorflow,
)

EngineName = Literal["auto", "direct", "winograd"]
ENGINE_NAMES: tuple[EngineName, ...] = get_args(EngineName)

#: How convolutions are computed in the end.
Method = Literal["direct", "winograd"]

#: Kernel and bias of each convolution, as tensors.
LayerTensors = dict[str, tuple[Any, Any]]

#: Images that TensorFlow's own convolution takes together on a CPU. In fewer bits than
#: float32, larger parts are faster.
_DIRECT_TOGETHER, _REDUCED_TOGETHER = 8, 16

#: Rows that TensorFlow's product takes in fewer bits than float32, zeros among them if
#: there are fewer: it rounds products of another number of rows in another way.
_REDUCED_ROWS = 16

#: Bytes that the larger of their maps may take, what goes in or what comes out: at
#: 224x224, 4 images in block 1. More are no faster, and the peak of the process is 300
#: MB higher with 16.
_DIRECT_BYTES = 52e6

#: The same for the Winograd engine. At 224x224: 2 images in block 1, so that a map is
#: still in the shared cache when the next layer reads it, and 16 in block 4, whose
#: kernels are large, so that each is read seldom enough.
_WINOGRAD_BYTES = 26e6

#: Rows of a fully connected layer that it takes together: with more, what they give
#: does not stay in a core's own cache while the kernel goes by.
_ROWS_TOGETHER = 48

#: Multiplications of the Winograd engine, by those of the direct convolution, above
#: which it would not be faster: tiles of 4x4 that lie in part outside of a small map.
_WORTH_IT = 0.5


def check_engine(engine: EngineName, precision: Precision) -> None:
    """Raise a ValueError if an engine does not compute in a precision."""
    if engine == "winograd" and precision in REDUCED:
        raise ValueError(
            f"engine='winograd' computes in float32, so it does not go with "
            f"precision={precision!r}. Use precision='float32', or engine='auto' to "
            f"compute in {precision} where that is faster."
        )


def choose_method(engine: EngineName, precision: Precision) -> Method:
    """Return how the convolutions of a network are computed.

    Depends on nothing else, so the same images give the same features.

    Parameters
    ----------
    engine : {"auto", "direct", "winograd"}
        What the user asks for.
    precision : {"float32", "tensorfloat32", "float16", "bfloat16"}
        What the network computes in.
    """
    return "direct" if engine == "direct" or precision in REDUCED else "winograd"


class Direct:
    """TensorFlow's own convolution, by oneDNN on a CPU and by cuDNN on a GPU."""

    def __init__(self, parameters: LayerTensors) -> None:
        self._parameters = parameters

    def n_together(self, layer: str, height: int, width: int) -> int | None:
        """Return how many images a call takes at most; None means all."""
        if has_gpu():
            return None
        kernel = self._parameters[layer][0]
        n_bytes = kernel.dtype.size
        if n_bytes < np.float32().nbytes:
            return _REDUCED_TOGETHER
        of_one = height * width * max(kernel.shape[2:]) * n_bytes
        return max(1, min(int(_DIRECT_BYTES / of_one), _DIRECT_TOGETHER))

    def convolve(self, x: Any, layer: str, workers: Workers, *, pools: bool) -> Any:
        """Return relu(conv(x) + bias) of images, or its 2x2 max-pooling."""
        kernel, bias = self._parameters[layer]
        shape, n_out = tuple(x.shape[1:]), kernel.shape[-1]
        function = _direct_function(shape, n_out, x.dtype, pools)
        return function(x, kernel, bias)

    def n_rows_together(self) -> int | None:
        """Return how many rows a dense layer takes at most; None means all."""
        dtype = self._parameters[CONV_NAMES[0]][0].dtype
        is_reduced = dtype.size < np.float32().nbytes
        return _REDUCED_ROWS if is_reduced and not has_gpu() else None

    def multiply(self, x: Any, layer: str, workers: Workers) -> Any:
        """Return relu(x @ kernel + bias) of rows."""
        n, most = x.shape[0], self.n_rows_together()
        if most is not None:
            x = import_tensorflow().pad(x, [[0, most - n], [0, 0]])
        return apply_layer(get_layer(layer), x, self._parameters)[:n]


class Winograd:
    """Fewer multiplications, on a CPU: see :mod:`skvgg._network.winograd_kernels`.

    In float32 only. Leaves to `direct` the layers of few channels, maps that its tiles
    do not fit, and everything on a GPU, where cuDNN has a Winograd of its own.
    """

    def __init__(self, parameters: LayerTensors, direct: Direct) -> None:
        self._parameters = parameters
        self._direct = direct
        self._packed: dict[str, PackedKernel] = {}
        self._packing = threading.Lock()

    def n_together(self, layer: str, height: int, width: int) -> int | None:
        """Return how many images a call takes at most; None means all."""
        if not self._serves(layer, height, width):
            return self._direct.n_together(layer, height, width)
        n_in, n_out = self._parameters[layer][0].shape[2:]
        bytes_of_one = height * width * max(n_in, n_out) * np.float32().nbytes
        return max(1, int(_WINOGRAD_BYTES / bytes_of_one))

    def convolve(self, x: Any, layer: str, workers: Workers, *, pools: bool) -> Any:
        """Return relu(conv(x) + bias) of images, or its 2x2 max-pooling."""
        if not self._serves(layer, *x.shape[1:3]):
            return self._direct.convolve(x, layer, workers, pools=pools)
        return as_tensor(convolve(as_array(x), self._pack(layer), workers, pools=pools))

    def n_rows_together(self) -> int | None:
        """Return how many rows a dense layer takes at most; None means all."""
        return _ROWS_TOGETHER

    def multiply(self, x: Any, layer: str, workers: Workers) -> Any:
        """Return relu(x @ kernel + bias) of rows."""
        kernel, bias = self._parameters[layer]
        if has_gpu() or kernel.shape[1] % kernels().n_columns:
            return self._direct.multiply(x, layer, workers)
        tf = import_tensorflow()
        product = as_tensor(multiply(as_array(x), as_array(kernel), workers))
        return tf.nn.relu(product + bias)

    def _serves(self, layer: str, height: int, width: int) -> bool:
        """Return whether a layer is computed here, not by `direct`."""
        n_in, n_out = self._parameters[layer][0].shape[2:]
        # Those of VGG19 that have 64 channels or more fill vectors and panels.
        if has_gpu() or n_in < 64 or n_out % kernels().n_columns:
            return False
        n_multiplied = n_tiles(height) * n_tiles(width) * SIDE**2
        return n_multiplied <= _WORTH_IT * height * width * KERNEL**2

    def _pack(self, layer: str) -> PackedKernel:
        with self._packing:
            if layer not in self._packed:
                arrays = map(as_array, self._parameters[layer])
                self._packed[layer] = PackedKernel.of(*arrays)
        return self._packed[layer]


@cache
def _direct_function(
    shape: tuple[int, ...], n_out: int, dtype: Any, pools: bool
) -> Any:
    """Return the compiled convolution of images of a shape (height, width, n_in)."""
    tf = import_tensorflow()

    def convolve(x: Any, kernel: Any, bias: Any) -> Any:
        y = layers.convolve(x, kernel, bias)
        return tf.nn.max_pool2d(y, 2, 2, "VALID") if pools else y

    shapes = (None, *shape), (3, 3, shape[-1], n_out), (n_out,)
    return compiled(convolve, [tf.TensorSpec(shape, dtype) for shape in shapes])

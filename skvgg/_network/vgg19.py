"""VGG19 in TensorFlow, with its weights: pixels in, rows of features out.

Arrays in, arrays out; nothing here knows of estimators.
:mod:`skvgg._network.forward` takes a batch through the layers.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from skvgg._definition.architecture import Output
from skvgg._definition.preprocessing import NONE, Preprocessing
from skvgg._network.engines import Direct, Method, Winograd
from skvgg._network.forward import ForwardPass
from skvgg._network.precision import (
    Precision,
    dtype_of,
    quiet_at_first,
    tensor_float_32,
)
from skvgg._runtime.tensorflow import eagerly, import_tensorflow
from skvgg.weights import Weights

#: Part of the key of every stored feature. Raise it when a change of the forward pass
#: or of decoding alters the features of an image by more than rounding.
FORWARD_VERSION = 3


class VGG19:
    """The network with its weights, ready to run.

    Parameters
    ----------
    precision : {"float32", "tensorfloat32", "float16", "bfloat16"}
        In what it computes, and keeps its weights.
    """

    def __init__(self, precision: Precision = "float32") -> None:
        self._precision: Precision = precision
        self._loading = threading.Lock()
        #: Kernel and bias of each layer loaded: some are added, none changes.
        self.parameters: dict[str, tuple[Any, Any]] = {}
        self._most_together: int | None = None  # on a device that ran out of memory
        direct = Direct(self.parameters)
        self._engines: dict[Method, Direct | Winograd] = {
            "direct": direct,
            "winograd": Winograd(self.parameters, direct),
        }
        #: What the weights were trained with; known once some are loaded.
        self.preprocessing = NONE

    @eagerly()
    def require(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        load: Callable[[Mapping[str, tuple[int, ...]]], Weights],
    ) -> None:
        """Load the layers in `shapes` that are not there yet.

        Parameters
        ----------
        shapes : mapping of str to tuple of int
            Of kernels by the name of the layer, as
            :func:`skvgg._definition.architecture.parameter_shapes` gives them.
        load : callable
            Takes such shapes; returns their :class:`skvgg.weights.Weights`.

        Raises
        ------
        ValueError, FileNotFoundError, ConnectionError, ImportError
            As :func:`skvgg.weights.load`.
        """
        tf = import_tensorflow()
        with self._loading:
            missing = {n: s for n, s in shapes.items() if n not in self.parameters}
            if not missing:
                return
            weights = load(missing)
            self.preprocessing = weights.preprocessing
            arrays = {name: weights.parameters[name] for name in missing}
            del weights
            dtype = dtype_of(self._precision)
            with quiet_at_first(self._precision, "load"):
                while arrays:  # one by one, so that there are never two copies of all
                    name, (kernel, bias) = arrays.popitem()
                    tensors = tf.cast(kernel, dtype), tf.cast(bias, dtype)
                    self.parameters[name] = tensors

    @eagerly()
    def features(
        self,
        inputs: np.ndarray,
        outputs: Sequence[Output],
        preprocessing: Preprocessing,
        method: Method = "direct",
        warn: Callable[[str], Any] = warnings.warn,
        *,
        start: str | None = None,
        image_size: tuple[int, int] | None = None,
    ) -> list[np.ndarray]:
        """Return what the network makes of images, for each output wanted.

        Parameters
        ----------
        inputs : ndarray of shape (n, height, width, channels), uint8 or float
            RGB images, pixels in 0..255; or, with `start`, maps.
        outputs : sequence of Output
            Layers, and how those with height and width are reduced to one
            number a channel; None keeps all numbers, in the order (height,
            width, channel).
        preprocessing : Preprocessing
            What is done to the pixels first.
        method : {"direct", "winograd"}
            How convolutions are computed, from
            :func:`skvgg._network.engines.choose_method`.
        warn : callable
            Told if the device has no memory for so many images together: they,
            and those of later calls, go through it in smaller batches.
        start : str or None
            A convolution or pooling whose outputs `inputs` are, to begin above it.
        image_size : tuple of (int, int), optional
            Height and width of the images that the maps are of; needed with
            `start`, as sides that are odd lose a pixel on the way.

        Returns
        -------
        list of ndarray of shape (n, n_features), float32
        """
        tf = import_tensorflow()  # raises where running would hang
        forward = ForwardPass(
            self.parameters,
            self._engines[method],
            outputs,
            preprocessing,
            image_size or inputs.shape[1:3],
            start,
        )
        n_together = self._most_together or len(inputs)
        blocks: list[list[np.ndarray]] = []
        n_done = 0
        while n_done < len(inputs):
            some = inputs[n_done : n_done + n_together]
            try:
                with (
                    tensor_float_32(self._precision == "tensorfloat32"),
                    quiet_at_first(self._precision, "run"),
                ):
                    blocks.append(forward(some))
            except tf.errors.ResourceExhaustedError:
                if len(some) == 1:
                    raise
                n_together = self._most_together = len(some) // 2
                warn(_describe_memory(n_together))
            else:
                n_done += len(some)
        return [np.concatenate(rows) for rows in zip(*blocks, strict=True)]


def _describe_memory(n: int) -> str:
    return (
        f"The device ran out of memory; going on with {n} images together. Set "
        "batch_size to that to begin with it."
    )

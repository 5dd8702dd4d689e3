"""VGG19 in TensorFlow with its weights: arrays of images to arrays of features.

Nothing here depends on estimators. :mod:`skvgg._network.forward` has the forward pass.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from skvgg._definition.architecture import Output
from skvgg._definition.preprocessing import NONE, Preprocessing
from skvgg._definition.vocabulary import Precision
from skvgg._network.engines import Direct, Engine, Method, Winograd
from skvgg._network.forward import ForwardPass
from skvgg._network.precision import dtype_of, quiet_at_first, tensor_float_32
from skvgg._runtime.tensorflow import eagerly, import_tensorflow
from skvgg.weights import Weights

#: Part of the cache key of every feature. Increase it when a change to the forward pass
#: or to decoding alters features by more than rounding.
FORWARD_VERSION = 4


class VGG19:
    """The network with its weights.

    Parameters
    ----------
    precision : {"float32", "tensorfloat32", "float16", "bfloat16"}
        Precision of the computation and of the weights.
    """

    def __init__(self, precision: Precision = "float32") -> None:
        self._precision: Precision = precision
        self._loading = threading.Lock()
        #: Kernel and bias of each loaded layer. Layers are added but never change.
        self.parameters: dict[str, tuple[Any, Any]] = {}
        self._most_together: int | None = None  # on a device that ran out of memory
        direct = Direct(self.parameters)
        self._engines: dict[Method, Engine] = {
            "direct": direct,
            "winograd": Winograd(self.parameters, direct),
        }
        #: Preprocessing of the weights, known once some layers are loaded.
        self.preprocessing = NONE

    @eagerly()
    def require(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        load: Callable[[Mapping[str, tuple[int, ...]]], Weights],
    ) -> None:
        """Load the layers in `shapes` that are not loaded yet.

        Parameters
        ----------
        shapes : mapping of str to tuple of int
            Shapes of kernels by layer name, from
            :func:`skvgg._definition.architecture.parameter_shapes`.
        load : callable
            A function of shapes that returns :class:`skvgg.weights.Weights`.

        Raises
        ------
        ValueError, FileNotFoundError, ConnectionError, ImportError
            The same as :func:`skvgg.weights.load`.
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
                while arrays:  # one by one, to avoid two copies of all weights
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
        """Return the features of images, for each output.

        Parameters
        ----------
        inputs : ndarray of shape (n, height, width, channels), uint8 or float
            RGB images in 0..255, or maps if `start` is given.
        outputs : sequence of Output
            Layers and the pooling of their maps to one value per channel. None as
            pooling keeps all values, in the order (height, width, channel).
        preprocessing : Preprocessing
            Preprocessing of the images.
        method : {"direct", "winograd"}
            Result of :func:`skvgg._network.engines.choose_method`.
        warn : callable
            Called with a message if the device runs out of memory. The batch size is
            then reduced for this call and later ones.
        start : str or None
            The convolution or pooling layer that `inputs` are maps of.
        image_size : tuple of (int, int), optional
            Height and width of the original images; required with `start`, because
            pooling drops a pixel of odd sides.

        Returns
        -------
        list of ndarray of shape (n, n_features), float32
        """
        tf = import_tensorflow()  # raises an error if running would hang
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
            batch = inputs[n_done : n_done + n_together]
            try:
                with (
                    tensor_float_32(self._precision == "tensorfloat32"),
                    quiet_at_first(self._precision, "run"),
                ):
                    blocks.append(forward(batch))
            except tf.errors.ResourceExhaustedError:
                if len(batch) == 1:
                    raise
                n_together = self._most_together = len(batch) // 2
                warn(_describe_memory(n_together))
            else:
                n_done += len(batch)
        return [np.concatenate(rows) for rows in zip(*blocks, strict=True)]


def _describe_memory(n: int) -> str:
    return (
        f"The device ran out of memory. The batch size was reduced to {n} images. Set "
        f"batch_size={n} to start with it."
    )

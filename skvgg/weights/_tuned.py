"""Fine-tuned weights in memory, on top of the weights before training."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from skvgg._definition.architecture import CONV_NAMES, DENSE_NAMES
from skvgg._definition.preprocessing import Preprocessing
from skvgg.weights._base import Identity, LayerArrays, Source, Weights, check_parameters


class TunedWeights(Source):
    """Weights with trained deeper layers; all other layers come from their source.

    Used by :meth:`skvgg.VGG19Classifier.to_features`, and accepted by
    :class:`skvgg.VGG19Features` as `weights`. A pickle contains the trained layers and
    the fingerprint of the base weights. The base weights must be available where it is
    loaded.

    Parameters
    ----------
    base : Source
        The weights before training.
    base_fingerprint : str
        Fingerprint of the base weights; other weights raise an error.
    parameters : mapping of str to (ndarray, ndarray)
        Kernel and bias of each trained layer, float32.
    preprocessing : Preprocessing
        The preprocessing that the layers were trained with.
        ``preprocessing="auto"`` then selects it.

    Raises
    ------
    ValueError
        If a trained layer is not a layer of VGG19 that has weights.

    Examples
    --------
    >>> import numpy as np
    >>> from skvgg import weights
    >>> base = weights.as_source(None, seed=0)
    >>> shapes = {"block1_conv1": (3, 3, 3, 64), "block1_conv2": (3, 3, 64, 64)}
    >>> loaded = base.load(shapes)
    >>> kernel, bias = loaded.parameters["block1_conv2"]
    >>> tuned = weights.TunedWeights(
    ...     base,
    ...     base.fingerprint(),
    ...     {"block1_conv2": (kernel + 1, bias)},
    ...     loaded.preprocessing,
    ... )
    >>> bool(np.all(tuned.load(shapes).parameters["block1_conv2"][0] == kernel + 1))
    True
    """

    def __init__(
        self,
        base: Source,
        base_fingerprint: str,
        parameters: LayerArrays,
        preprocessing: Preprocessing,
    ) -> None:
        for name in parameters:
            if name not in (*CONV_NAMES, *DENSE_NAMES):
                raise ValueError(
                    f"The trained layer {name!r} is unknown; expected one of "
                    f"{', '.join((*CONV_NAMES, *DENSE_NAMES))}."
                )
        self.base = base
        self.base_fingerprint = base_fingerprint
        self.parameters = {
            name: (_frozen(kernel), _frozen(bias))
            for name, (kernel, bias) in parameters.items()
        }
        self.preprocessing = preprocessing
        self.has_dense = base.has_dense
        self.fits_any_size = base.fits_any_size

    def changed(
        self, parameters: LayerArrays, preprocessing: Preprocessing | None = None
    ) -> TunedWeights:
        """Return these weights with some layers replaced.

        Parameters
        ----------
        parameters : mapping of str to (ndarray, ndarray)
            Kernel and bias of each layer to replace.
        preprocessing : Preprocessing or None
            Their preprocessing; None keeps the current one.

        Returns
        -------
        TunedWeights
            New weights with the same base.
        """
        return TunedWeights(
            self.base,
            self.base_fingerprint,
            {**self.parameters, **parameters},
            preprocessing or self.preprocessing,
        )

    def pinned(self) -> TunedWeights:
        """Return these weights, with a base bound to its files as they are now."""
        return self._with_base(self.base.pinned())

    def absolute(self) -> TunedWeights:
        """Return these weights with an absolute base."""
        return self._with_base(self.base.absolute())

    def _with_base(self, base: Source) -> TunedWeights:
        """Return these weights, which share their arrays, with another base."""
        weights = object.__new__(TunedWeights)
        weights.__dict__ |= {**vars(self), "_digest": self._digest, "base": base}
        return weights

    def check(self) -> None:
        """Raise an error if the base weights are unavailable."""
        self.base.check()

    def identify(self) -> Identity:
        """Return a digest of the trained layers, and the identity of the base."""
        return ("tuned", self._digest, *self.base.identify())

    def fingerprint(self) -> str:
        """Return a digest of the trained layers, and the fingerprint of the base."""
        return f"tuned {self._digest} {self.base_fingerprint}"

    def load(self, shapes: Mapping[str, tuple[int, ...]], verbose: int = 0) -> Weights:
        """Load trained layers, and all other layers from the base.

        Parameters
        ----------
        shapes : mapping of str to tuple of int
            Names of the layers to load and the shapes of their kernels.
        verbose : int, default=0
            1 shows a progress bar for downloads.

        Returns
        -------
        Weights
            `parameters`, the kernel and bias of each layer by name, and
            `preprocessing`.

        Raises
        ------
        ValueError
            If the base weights differ from those before training.
        """
        parameters = {n: self.parameters[n] for n in shapes if n in self.parameters}
        missing = {n: shape for n, shape in shapes.items() if n not in parameters}
        if missing:
            base = self.base.pinned()
            fingerprint = base.fingerprint()
            if fingerprint != self.base_fingerprint:
                raise ValueError(
                    "The weights of the frozen layers have changed since training: "
                    f"their fingerprint is {fingerprint!r}, expected "
                    f"{self.base_fingerprint!r}. Restore the original file, or train "
                    "again."
                )
            parameters |= base.load(missing, verbose).parameters
        weights = Weights(parameters, "<tuned>", self.preprocessing)
        check_parameters(weights, shapes)
        return weights

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256(repr(self.preprocessing).encode())
        for name, arrays in sorted(self.parameters.items()):
            digest.update(name.encode())
            for array in arrays:
                digest.update(repr(array.shape).encode())
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def __repr__(self) -> str:
        return f"TunedWeights({', '.join(self.parameters)})"

    def __sizeof__(self) -> int:
        arrays = (array for both in self.parameters.values() for array in both)
        return object.__sizeof__(self) + sum(array.nbytes for array in arrays)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TunedWeights):
            return NotImplemented
        return self.fingerprint() == other.fingerprint()

    def __hash__(self) -> int:
        return hash(self.fingerprint())

    # The weights are immutable, so clones share them.

    def __copy__(self) -> TunedWeights:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> TunedWeights:
        return self


def _frozen(array: np.ndarray) -> np.ndarray:
    frozen = np.array(array, np.float32)
    frozen.setflags(write=False)
    return frozen

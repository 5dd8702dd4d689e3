"""Activations, and the forward pass of dense layers in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.utils import gen_batches

from skvgg._head.standardization import Scaling

#: The weights and the biases of each layer.
Parameters = tuple[list[np.ndarray], list[np.ndarray]]

Function = Callable[[np.ndarray], np.ndarray]

#: Number of samples that are predicted together; limits the memory of hidden layers.
_PREDICTION_BATCH = 1024

#: Number of weights that are converted to float64 together, 256 MB.
_CONVERTED_TOGETHER = 2**25


@dataclass(frozen=True)
class Activation:
    """An activation in NumPy and in TensorFlow.

    Attributes
    ----------
    tensorflow : str
        Name in TFLearn and in ``tf.nn`` (which has no "linear").
    function : callable
        The activation.
    derivative : callable or None
        Its derivative, as a function of its output; None for output layers.
    log : callable or None
        Its logarithm, if it gives probabilities.
    """

    tensorflow: str
    function: Function
    derivative: Function | None = None
    log: Function | None = None


#: By scikit-learn's names.
ACTIVATIONS = {
    "identity": Activation("linear", lambda x: x, np.ones_like),
    "logistic": Activation("sigmoid", expit, lambda a: a * (1 - a), log_expit),
    "tanh": Activation("tanh", np.tanh, lambda a: 1 - a**2),
    "relu": Activation(
        "relu", lambda x: np.maximum(x, 0), lambda a: (a > 0).astype(a.dtype)
    ),
    "softmax": Activation(
        "softmax", partial(softmax, axis=1), log=partial(log_softmax, axis=1)
    ),
}

#: Names of the activations of hidden layers.
HIDDEN_ACTIVATIONS = [name for name, a in ACTIVATIONS.items() if a.derivative]


@dataclass(frozen=True)
class DenseLayers:
    """Fitted dense layers, which compute in float64.

    In float64, results depend neither on the other samples nor on the order of sums,
    and the rounding of probabilities does not matter.

    Attributes
    ----------
    coefs : sequence of ndarray of shape (n_inputs, n_outputs)
        Weights of each layer.
    intercepts : sequence of ndarray of shape (n_outputs,)
        Intercepts of each layer.
    activation : {"identity", "logistic", "tanh", "relu"}
        Activation of the hidden layers.
    scaling : Scaling
        Standardization of the inputs and outputs of the layers.
    """

    coefs: Sequence[np.ndarray]
    intercepts: Sequence[np.ndarray]
    activation: str = "identity"
    scaling: Scaling = field(default_factory=Scaling)

    @classmethod
    def of(cls, head: Any) -> DenseLayers:
        """Return the layers of a fitted head, or of one of scikit-learn's MLPs."""
        return cls(head.coefs_, head.intercepts_, head.activation, Scaling.of(head))

    @property
    def parameters(self) -> Parameters:
        """The weights and the biases of each layer."""
        return list(self.coefs), list(self.intercepts)

    def layer_inputs(self, X: Any) -> list[Any]:
        """Return the input of each layer."""
        activate = ACTIVATIONS[self.activation].function
        standardize = self.scaling.inputs
        inputs = [X if standardize is None else standardize(X)]
        for coef, intercept in zip(self.coefs[:-1], self.intercepts[:-1], strict=True):
            inputs.append(activate(_times(inputs[-1], coef) + intercept))
        return inputs

    def outputs(self, X: Any, activation: str, *, log: bool = False) -> np.ndarray:
        """Return the outputs for an output activation, or their logarithms."""
        function = ACTIVATIONS[activation].function
        if log:
            function = ACTIVATIONS[activation].log or function
        parts = []
        for rows in gen_batches(X.shape[0], _PREDICTION_BATCH):
            last = self.layer_inputs(X[rows])[-1]
            parts.append(function(_times(last, self.coefs[-1]) + self.intercepts[-1]))
        outputs = np.concatenate(parts)
        scaled = self.scaling.outputs
        return outputs if scaled is None else scaled.undo(outputs)


def _times(x: Any, coef: np.ndarray) -> np.ndarray:
    """Return x @ coef in float64, converting large coef part by part."""
    product = np.zeros((x.shape[0], coef.shape[1]))
    for part in gen_batches(len(coef), max(1, _CONVERTED_TOGETHER // coef.shape[1])):
        product += x[:, part] @ coef[part].astype(np.float64)
    return product

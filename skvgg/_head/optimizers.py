"""TFLearn's optimizers: their learning rates, and their pickles."""

from __future__ import annotations

import copy
from typing import Any

from skvgg._head.tflearn import import_tflearn

#: Learning rates for "auto", by the names that ``tflearn.optimizers.get`` takes: the
#: recipe's rate for plain gradient descent; a tenth of it with a momentum of 0.9, which
#: makes steps ten times as large; for the other optimizers, the rates that their
#: authors or implementers recommend.
LEARNING_RATES = {
    "sgd": 0.1,
    "momentum": 0.01,
    "nesterov": 0.01,
    "adam": 0.001,
    "rmsprop": 0.001,
    "adagrad": 0.01,
    "adadelta": 1.0,
    "ftrl": 0.1,
    "proximaladagrad": 0.01,
}

#: The rates for regression where they differ: those of the optimizers whose steps are
#: proportional to the gradient. The gradient of the squared error grows with the error,
#: so training would diverge at the classifier's rates.
REGRESSION_RATES = {
    **LEARNING_RATES,
    "sgd": 0.01,
    "momentum": 0.001,
    "nesterov": 0.001,
}


def rate_of_object(optimizer: Any) -> float:
    """Return the learning rate of an optimizer object, or raise if it has none."""
    rate = getattr(optimizer, "learning_rate", None)
    if isinstance(optimizer, type) or rate is None:
        raise ValueError(
            f"optimizer={optimizer!r} is neither the name of an optimizer nor an "
            "object such as tflearn.Adam(learning_rate=0.001)."
        )
    return float(rate)


class _ImportTFLearn:
    """Imports TFLearn when it is unpickled.

    It is pickled before an optimizer, because the modules that define optimizers can
    only be imported after TFLearn.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return import_tflearn, ()


def pack_optimizer(optimizer: Any) -> Any:
    """Return the picklable form of an optimizer of TFLearn or of the user."""
    if isinstance(optimizer, str):
        return optimizer
    unbuilt = copy.copy(optimizer)
    unbuilt.tensor, unbuilt.built = None, False
    return _ImportTFLearn(), unbuilt


def unpack_optimizer(packed: Any) -> Any:
    """Undo :func:`pack_optimizer`."""
    return packed[1] if isinstance(packed, tuple) else packed

"""The weights of a transformer: their source, and whether they are those of its fit."""

from __future__ import annotations

import hashlib
import re
from numbers import Integral
from typing import Protocol, cast

import numpy as np
from sklearn.exceptions import NotFittedError

from skvgg import weights
from skvgg._extraction.settings import Parameters
from skvgg._store.cache import Cache
from skvgg._typing import RandomState
from skvgg.weights import Source, WeightsLike, as_source


class Transformer(Parameters, Protocol):
    """A transformer whose weights this module finds: VGG19Features."""

    weights: WeightsLike
    random_state: RandomState
    #: Fitted attributes, if there are any.
    seed_: int
    weights_fingerprint_: str


def draws_seed(transformer: Transformer) -> bool:
    """Return whether the weights are random, with a seed that `fit` draws."""
    has_seed = isinstance(transformer.random_state, Integral)
    return transformer.weights is None and not has_seed


def source_of(transformer: Transformer) -> Source:
    """Return the source of the weights.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If `fit` draws the weights, and was not called.
    """
    seed = None
    if transformer.weights is None:
        if not draws_seed(transformer):
            seed = int(cast(int, transformer.random_state))
        elif hasattr(transformer, "seed_"):
            seed = transformer.seed_
        else:
            raise NotFittedError(
                "This VGG19Features has weights=None and no int random_state, so fit "
                "draws its random weights. Call fit first, or set random_state."
            )
    return as_source(transformer.weights, seed)


def check_fingerprint(transformer: Transformer, fingerprint: str) -> None:
    """Raise if the fingerprint of the weights is another one than in `fit`."""
    if fingerprint != getattr(transformer, "weights_fingerprint_", fingerprint):
        raise ValueError(
            f"weights={transformer.weights!r} are not the weights that fit used, so "
            "their features differ from those that a model was fitted on. Restore the "
            "original file, or fit again."
        )


def checked_source(transformer: Transformer) -> Source:
    """Return the pinned source; raise if its weights are not those of `fit`."""
    source = source_of(transformer).pinned()
    if hasattr(transformer, "weights_fingerprint_"):
        cache = Cache(transformer.memory)
        try:
            check_fingerprint(transformer, weights_fingerprint(source, cache))
        finally:
            cache.close()
    return source


def weights_fingerprint(source: Source, cache: Cache) -> str:
    """Return the fingerprint of weights; read their file only if it is not cached.

    A file is identified by its path, inode, size and times of change.
    """
    source = source.pinned()  # what is cached belongs to this identity
    if not source.takes_reading:
        return source.fingerprint()
    version = weights.FINGERPRINT_VERSION
    identity = repr(("weights", version, source.identify()))
    key = hashlib.blake2b(identity.encode(), digest_size=20).digest()
    known = cache.get([key])
    text = known[key].tobytes().decode("ascii", "replace") if key in known else ""
    if re.fullmatch(r"[ -~]+", text):
        return text
    fingerprint = source.fingerprint()
    cache.put({key: np.frombuffer(fingerprint.encode(), np.uint8)})
    return fingerprint

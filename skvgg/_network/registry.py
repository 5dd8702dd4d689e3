"""The networks in memory, and the transformers that use them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable, Mapping
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from skvgg._definition.vocabulary import Precision
from skvgg._network.vgg19 import VGG19
from skvgg._runtime.tensorflow import device_here
from skvgg.weights import Source, Weights

#: Networks that a transformer and its clones keep. A search over weights in threads
#: alternates between several.
_PER_TRANSFORMER = 2

_networks: WeakValueDictionary[Hashable, VGG19] = WeakValueDictionary()

#: Not attributes of the transformers, which are compared, copied and pickled.
_recent: WeakKeyDictionary[Any, deque[VGG19]] = WeakKeyDictionary()

#: The last network survives its transformers: in workers of joblib, Dask, Ray or Spark,
#: each task has its own transformer.
_last_of_all: deque[VGG19] = deque(maxlen=1)

_LOCK = threading.RLock()


def share(transformer: Any, clone: Any) -> None:
    """Share the networks of a transformer with its clone."""
    with _LOCK:
        _recent[clone] = _recent_of(transformer)


def get_network(
    transformer: Any,
    source: Source,
    precision: Precision,
    shapes: dict[str, tuple[int, ...]],
    verbose: int = 0,
) -> VGG19:
    """Return the network of a transformer with the layers in `shapes` loaded.

    The network stays in memory while the transformer or one of its clones exists, until
    they have used two other networks. In any case it stays until this process uses
    another network.

    Parameters
    ----------
    transformer : object
        The transformer that needs the network.
    source : Source
        Source of the weights; a changed file is another network.
    precision : {"float32", "tensorfloat32", "float16", "bfloat16"}
        Precision of the network.
    shapes : dict of str to tuple of int
        Names of the required layers and the shapes of their kernels.
    verbose : int, default=0
        1 shows a progress bar for downloads.
    """
    source = source.pinned()
    # Random fully connected layers depend on the image size.
    bound_to = shapes.get("fc1") if source.fits_any_size else None
    key = (source.identify(), precision, bound_to, device_here())
    with _LOCK:
        network = _networks.get(key)
        if network is None:
            network = _networks[key] = VGG19(precision)

    def load(missing: Mapping[str, tuple[int, ...]]) -> Weights:
        return source.load(missing, verbose)

    network.require(shapes, load)
    with _LOCK:
        for recent in (_recent_of(transformer), _last_of_all):
            if network in recent:
                recent.remove(network)
            recent.append(network)
    return network


def release_networks() -> None:
    """Release the memory of all networks in this process.

    A process keeps the network it used last. Each transformer and its clones keep the
    last two networks they used. Released networks are loaded again when a transformer
    needs them.

    Examples
    --------
    >>> import skvgg
    >>> skvgg.release_networks()
    """
    with _LOCK:
        for recent in (_last_of_all, *_recent.values()):
            recent.clear()


def _recent_of(transformer: Any) -> deque[VGG19]:
    """Return the networks that a transformer used last."""
    return _recent.setdefault(transformer, deque(maxlen=_PER_TRANSFORMER))

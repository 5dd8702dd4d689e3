"""Which networks are in memory, and for whom."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable, Mapping
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from skvgg._network.precision import Precision
from skvgg._network.vgg19 import VGG19
from skvgg._runtime.tensorflow import device_here
from skvgg.weights import Identity, Source, Weights


class _RecentNetworks:
    """The networks used last, up to so many of them."""

    def __init__(self, n_most: int) -> None:
        self._networks: deque[VGG19] = deque(maxlen=n_most)

    def keep(self, network: VGG19) -> None:
        if network in self._networks:
            self._networks.remove(network)
        self._networks.append(network)

    def clear(self) -> None:
        self._networks.clear()


#: Networks that a transformer and its clones keep: a search over weights that runs in
#: threads goes to and fro between some.
_PER_TRANSFORMER = 2

_networks: WeakValueDictionary[Hashable, VGG19] = WeakValueDictionary()

#: Not attributes of the transformers, for those are compared, copied and pickled.
_recent: WeakKeyDictionary[Any, _RecentNetworks] = WeakKeyDictionary()

#: Whose transformers are gone: in a worker of joblib, Dask, Ray or Spark they live for
#: one task, and the next task has others.
_last_of_all = _RecentNetworks(1)

_LOCK = threading.RLock()


def share(transformer: Any, clone: Any) -> None:
    """Let a clone use the networks of a transformer, and keep them as long."""
    with _LOCK:
        _recent[clone] = _recent_of(transformer)


def get_network(
    transformer: Any,
    source: Source,
    identity: Identity,
    precision: Precision,
    shapes: dict[str, tuple[int, ...]],
    verbose: int = 0,
) -> VGG19:
    """Return the network of a transformer, loaded as far as `shapes` say.

    It stays in memory as long as this transformer or one of its clones exists and they
    have not used two others since; and, whoever exists, until this process uses another
    one.

    Parameters
    ----------
    transformer : object
        Who asks.
    source : Source
        Where the weights come from.
    identity : tuple
        From its `identify`: a file that has changed is another network.
    precision : {"float32", "tensorfloat32", "float16", "bfloat16"}
        What it computes in.
    shapes : dict of str to tuple of int
        Layers needed and the shapes of their kernels.
    verbose : int, default=0
        1 shows the progress of a download.
    """
    # Random weights have a fully connected layer for each size of images.
    bound_to = shapes.get("fc1") if source.fits_any_size else None
    key = (identity, precision, bound_to, device_here())
    with _LOCK:
        network = _networks.get(key)
        if network is None:
            network = _networks[key] = VGG19(precision)

    def load(missing: Mapping[str, tuple[int, ...]]) -> Weights:
        loaded = source.load(missing, verbose)
        if source.identify() != identity:
            raise ValueError(
                f"weights={loaded.source} changed while they were read. Try again when "
                "they are written."
            )
        return loaded

    network.require(shapes, load)
    with _LOCK:
        _recent_of(transformer).keep(network)
        _last_of_all.keep(network)
    return network


def release_networks() -> None:
    """Let the memory of all networks of this process go.

    By itself, a process keeps the network used last, and each transformer shares with
    its clones the two that they used last. A transformer that needs one again loads it
    again.

    Examples
    --------
    >>> import skvgg
    >>> skvgg.release_networks()
    """
    with _LOCK:
        for recent in (_last_of_all, *_recent.values()):
            recent.clear()


def _recent_of(transformer: Any) -> _RecentNetworks:
    return _recent.setdefault(transformer, _RecentNetworks(_PER_TRANSFORMER))

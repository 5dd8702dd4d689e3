"""Which networks are in memory: one for each weights, while a transformer uses it."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Hashable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from skvgg import weights
from skvgg._network import VGG19
from skvgg._precision import Precision

_networks: WeakValueDictionary[Hashable, VGG19] = WeakValueDictionary()


class _Shelf:
    """The network that a transformer and its clones used last."""

    network: VGG19 | None = None


#: Not attributes of the transformers, for those are compared, copied and pickled.
_shelves: WeakKeyDictionary[Any, _Shelf] = WeakKeyDictionary()

#: That of a worker process, whose transformers live for one task. A worker ends when it
#: has had nothing to do for a while.
_worker_shelf = _Shelf()

_LOCK = threading.RLock()


def share(transformer: Any, clone: Any) -> None:
    """Let a clone use the network of a transformer, and keep it in memory with it."""
    with _LOCK:
        _shelves[clone] = _shelves.setdefault(transformer, _Shelf())


def get_network(
    transformer: Any,
    source: weights.Source,
    identity: tuple,
    seed: int | None,
    precision: Precision,
    shapes: dict[str, tuple[int, ...]],
) -> VGG19:
    """Return the network of a transformer, loaded as far as `shapes` say.

    It stays in memory until this transformer and its clones use another one, or are
    gone, and all others that use it too.

    Parameters
    ----------
    transformer : object
        Who asks.
    source, seed
        As in :func:`skvgg.weights.load`.
    identity : tuple
        From :func:`skvgg.weights.identify`: a file that has changed is another network.
    precision : {"float32", "tensorfloat32", "float16", "bfloat16"}
        What it computes in.
    shapes : dict of str to tuple of int
        Layers needed and the shapes of their kernels.
    """
    key = (identity, seed, precision)
    with _LOCK:
        network = _networks.get(key)
        if network is None:
            network = VGG19(partial(weights.load, source, seed=seed), precision)
        network.require(shapes)
        _networks[key] = network
        _shelves.setdefault(transformer, _Shelf()).network = network
        if multiprocessing.parent_process() is not None:
            _worker_shelf.network = network
    return network

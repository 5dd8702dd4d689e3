"""Passes in this process: run batches through the network, decode in parallel.

This module does not depend on estimators or TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np

from skvgg._definition.architecture import Output
from skvgg._extraction.ledger import Ledger
from skvgg._extraction.recipe import Recipe
from skvgg._images import Content, decode_together
from skvgg._runtime.interrupt import stoppable
from skvgg._runtime.threads import threads
from skvgg._store.cache import Cache

#: Takes pixels of shape (n, height, width, 3); returns an array of shape
#: (n, n_features) for each output.
Compute = Callable[[np.ndarray, Sequence[Output]], list[np.ndarray]]


@dataclass(frozen=True)
class Shortcut:
    """A pass that starts from cached outputs of another recipe.

    Attributes
    ----------
    recipe : Recipe
        The other recipe, all of whose outputs are needed.
    compute : callable
        Takes an array for each of these outputs; returns an array for each requested
        output.
    """

    recipe: Recipe
    compute: Callable[[list[np.ndarray], Sequence[Output]], list[np.ndarray]]


@dataclass(frozen=True)
class LocalPasses:
    """Passes in this process.

    While a batch is in the network, other threads read, look up and decode the next
    one: Pillow, hashing and TensorFlow release the GIL. If only one thread is allowed,
    everything runs sequentially.

    Attributes
    ----------
    recipe : Recipe
        How rows are computed from an image.
    cache : Cache
        Where the shortcut looks up outputs.
    compute : callable
        The network; called only if an image has to go through it, from another thread,
        one batch at a time.
    batch_size : int
        Number of images that go through the network together.
    max_pixels : int or None
        See :func:`skvgg._images.decode`.
    shortcut : Shortcut or None
        A faster pass for images with cached outputs.
    """

    recipe: Recipe
    cache: Cache
    compute: Compute
    batch_size: int
    max_pixels: int | None
    shortcut: Shortcut | None = None

    @contextmanager
    def begun(self, ledger: Ledger, readers: Executor) -> Iterator[_LocalRun]:
        """Accept images; on exit, wait until all have gone through the network.

        Even after an error, the results of the current batch are kept; but not after
        Ctrl-C, which ends it after a layer.
        """
        with threads(1) as network:
            run = _LocalRun(self, ledger, readers, network)
            try:
                yield run
                run.send_rest()
            except KeyboardInterrupt:
                run.stop()
                raise
            finally:
                run.take()


class _LocalRun:
    """The passes of one run."""

    def __init__(
        self, passes: LocalPasses, ledger: Ledger, readers: Executor, network: Executor
    ) -> None:
        self._passes = passes
        self._ledger = ledger
        self._readers = readers
        self._network = network
        self._stop = Event()
        self._waiting: list[tuple[int, bytes, np.ndarray]] = []
        self._waiting_stored: list[tuple[int, bytes, list[np.ndarray]]] = []
        self._in_network: tuple[Sequence[int], Sequence[bytes], Future[Any]] | None = (
            None
        )

    def add(self, contents: dict[int, Content]) -> None:
        """Add images, by index."""
        self._decode(self._take_shortcut(contents))

    def _take_shortcut(self, contents: dict[int, Content]) -> dict[int, Content]:
        """Send images with cached outputs on the shortcut; return the others."""
        shortcut = self._passes.shortcut
        if shortcut is None:
            return contents
        digests = {index: content.digest for index, content in contents.items()}
        found = shortcut.recipe.look_up(self._passes.cache, digests)
        left = {}
        for index, content in contents.items():
            if index not in found:
                left[index] = content
                continue
            self._waiting_stored.append((index, content.digest, found[index]))
            if len(self._waiting_stored) == self._passes.batch_size:
                self._send_stored(shortcut)
        return left

    def _decode(self, contents: dict[int, Content]) -> None:
        """Decode images; send full batches into the network."""
        ledger, recipe = self._ledger, self._passes.recipe
        max_pixels = self._passes.max_pixels
        decoded = decode_together(contents, recipe.framing, max_pixels, self._readers)
        for index, content in contents.items():
            with ledger.noting():
                pixels = decoded.pop(index).result()
                ledger.warn_once(content.warnings)
                if recipe.view is not None:
                    pixels = recipe.view(pixels, content.digest)
                self._waiting.append((index, content.digest, pixels))
            if index in ledger.bad:
                ledger.count(bad=1)
            if len(self._waiting) == self._passes.batch_size:
                self._send()

    def send_rest(self) -> None:
        """Send the last, incomplete batches."""
        self._send()
        if self._passes.shortcut is not None:
            self._send_stored(self._passes.shortcut)

    def _send(self) -> None:
        """Send the waiting images into the network, after the previous batch."""
        self.take()
        if not self._waiting:
            return
        indices, digests, pixels = zip(*self._waiting, strict=True)
        self._waiting = []
        batch, outputs = np.stack(pixels), self._passes.recipe.all_outputs
        compute = stoppable(self._passes.compute, self._stop)
        blocks = self._network.submit(compute, batch, outputs)
        self._in_network = (indices, digests, blocks)

    def _send_stored(self, shortcut: Shortcut) -> None:
        """Do the same for images with cached outputs."""
        self.take()
        if not self._waiting_stored:
            return
        indices, digests, stored = zip(*self._waiting_stored, strict=True)
        self._waiting_stored = []
        batch = [np.stack(some) for some in zip(*stored, strict=True)]
        outputs = self._passes.recipe.all_outputs
        compute = stoppable(shortcut.compute, self._stop)
        blocks = self._network.submit(compute, batch, outputs)
        self._in_network = (indices, digests, blocks)

    def take(self) -> None:
        """Wait for the current batch, and pass on its results."""
        if self._in_network is None:
            return
        indices, digests, future = self._in_network
        self._in_network = None
        try:
            blocks = future.result()
        except KeyboardInterrupt:
            self.stop()
            raise
        self._ledger.computed(indices, digests, blocks)

    def stop(self) -> None:
        """End the current batch after a layer, and drop its results."""
        self._stop.set()
        self._in_network = None

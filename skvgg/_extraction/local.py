"""Passes in this process: run batches through the network, decode in parallel.

This module does not depend on estimators or TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Self

import numpy as np

from skvgg._extraction.recipe import Recipe, Unit
from skvgg._extraction.results import Results
from skvgg._images import Content, decode_together
from skvgg._runtime.interrupt import stoppable
from skvgg._runtime.threads import threads
from skvgg._store.cache import Cache


@dataclass(frozen=True)
class Shortcut:
    """A pass that starts from cached outputs of another recipe.

    Attributes
    ----------
    recipe : Recipe
        The other recipe, all of whose outputs are needed.
    compute : callable
        Takes an array for each of these outputs; returns an array for each output of
        the run.
    """

    recipe: Recipe
    compute: Callable[[list[np.ndarray]], list[np.ndarray]]


@dataclass
class _Queue:
    """What waits for one kind of pass: images and views, digests, and inputs."""

    compute: Callable[..., list[np.ndarray]]
    stack: Callable[[Sequence[Any]], Any]
    units: list[Unit] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)

    def add(self, unit: Unit, digest: bytes, more: Any) -> None:
        self.units.append(unit)
        self.digests.append(digest)
        self.inputs.append(more)

    def take(self) -> tuple[list[Unit], list[bytes], Any]:
        """Empty the queue; return units, digests and the batch."""
        taken = self.units, self.digests, self.stack(self.inputs)
        self.units, self.digests, self.inputs = [], [], []
        return taken


class LocalPasses:
    """Passes in this process: a context manager that accepts images.

    While a batch is in the network, other threads read, look up and decode the next
    one: Pillow, hashing and TensorFlow release the GIL. If only one thread is allowed,
    everything runs sequentially. When the context exits, all images have gone through
    the network. Even after an error, the results of the current batch are kept; but not
    after Ctrl-C, which ends it after a layer.

    Parameters
    ----------
    recipe : Recipe
        How outputs are computed from an image.
    cache : Cache
        Where the shortcut looks up outputs.
    results : Results
        Receives the outputs.
    compute : callable
        The network: takes pixels of shape (n, height, width, 3) and returns an array of
        shape (n, n_features) for each output. It is called only if an image has to go
        through it, from another thread, one batch at a time.
    batch_size : int
        Number of images that go through the network together.
    shortcut : Shortcut or None
        A faster pass for images with cached outputs.
    """

    def __init__(
        self,
        recipe: Recipe,
        cache: Cache,
        results: Results,
        compute: Callable[[np.ndarray], list[np.ndarray]],
        batch_size: int,
        shortcut: Shortcut | None = None,
    ) -> None:
        self._recipe = recipe
        self._cache = cache
        self._results = results
        self._batch_size = batch_size
        self._shortcut = shortcut
        self._decoded = _Queue(compute, np.stack)
        self._stored = _Queue(
            shortcut.compute if shortcut else compute,
            lambda rows: [np.stack(part) for part in zip(*rows, strict=True)],
        )
        self._stop = Event()
        self._running: tuple[list[Unit], list[bytes], Future[Any]] | None = None
        self._network: Executor
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._network = self._stack.enter_context(threads(1))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._stack:
            try:
                if kind is None:
                    self._send(self._decoded)
                    self._send(self._stored)
                elif issubclass(kind, KeyboardInterrupt):
                    self._interrupt()
            except KeyboardInterrupt:
                self._interrupt()
                raise
            finally:
                self._finish()

    def add(
        self, contents: Mapping[int, Content], units: Sequence[Unit], readers: Executor
    ) -> None:
        """Add views of images; `contents` has their images, by index."""
        if self._shortcut is not None:
            units = self._take_shortcut(self._shortcut, contents, units)
        views: dict[int, list[int]] = {}
        for index, view in units:
            views.setdefault(index, []).append(view)
        needed = {index: contents[index] for index in views}
        framing = self._recipe.framing
        decoded = decode_together(needed, framing, readers)
        for index, content in needed.items():
            pixels = None
            with self._results.recording_errors():
                pixels = decoded.pop(index).result()
            if pixels is None:
                continue
            self._results.warn_once(content.warnings)
            for place in views[
                index
            ]:  # errors of the user's functions are not recorded
                change = self._recipe.views[place]
                seen = pixels if change is None else change(pixels, content.digest)
                self._put(self._decoded, (index, place), content.digest, seen)

    def _take_shortcut(
        self,
        shortcut: Shortcut,
        contents: Mapping[int, Content],
        units: Sequence[Unit],
    ) -> list[Unit]:
        """Send views with cached outputs on the shortcut; return the others."""
        digests = {unit: contents[unit[0]].digest for unit in units}
        keys = {u: shortcut.recipe.keys(digest, u[1]) for u, digest in digests.items()}
        found = shortcut.recipe.look_up(self._cache, keys)
        for unit, rows in found.items():
            self._put(self._stored, unit, digests[unit], rows)
        return [unit for unit in units if unit not in found]

    def _put(self, queue: _Queue, unit: Unit, digest: bytes, inputs: Any) -> None:
        queue.add(unit, digest, inputs)
        if len(queue.units) == self._batch_size:
            self._send(queue)

    def _send(self, queue: _Queue) -> None:
        """Send what waits into the network, after the previous batch."""
        self._finish()
        if queue.units:
            units, digests, batch = queue.take()
            compute = stoppable(queue.compute, self._stop)
            self._running = units, digests, self._network.submit(compute, batch)

    def _finish(self) -> None:
        """Wait for the current batch, and pass on its results."""
        if self._running is None:
            return
        units, digests, future = self._running
        self._running = None
        try:
            blocks = future.result()
        except KeyboardInterrupt:
            self._interrupt()
            raise
        self._results.add_computed(units, digests, blocks)

    def _interrupt(self) -> None:
        """End the current batch after a layer, and drop its results."""
        self._stop.set()
        self._running = None

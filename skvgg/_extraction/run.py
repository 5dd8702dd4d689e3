"""One run over images: hits and misses, batches, what is decoded meanwhile.

Knows neither estimators nor TensorFlow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import gen_batches

from skvgg._definition.architecture import PRETRAINED_IMAGE_SIZE, Output
from skvgg._extraction.recipe import Recipe
from skvgg._images import (
    Content,
    Framing,
    Images,
    decode_together,
    describe_unscaled,
    load_together,
    name_of,
)
from skvgg._runtime.threads import max_threads, threads
from skvgg._runtime.warn import warn
from skvgg._store.cache import Cache
from skvgg.exceptions import BadImageWarning

#: Images whose contents are in memory at the same time, undecoded: so many, or so
#: many a thread if that is more.
_READ_TOGETHER, _READ_BY_A_THREAD = 16, 2

#: Bad images that a warning names.
_TOLD_OF = 5

#: Takes pixels of shape (n, height, width, 3); returns an array of shape
#: (n, n_features) for each output.
Compute = Callable[[np.ndarray, Sequence[Output]], list[np.ndarray]]


@dataclass(frozen=True)
class Shortcut:
    """A pass that begins with what another recipe has stored.

    Attributes
    ----------
    recipe : Recipe
        The other one, all of whose outputs are needed.
    compute : callable
        Takes them, an array each; returns an array for each output wanted.
    """

    recipe: Recipe
    compute: Callable[[list[np.ndarray], Sequence[Output]], list[np.ndarray]]


def warn_of_bad(bad: dict[int, str]) -> None:
    """Warn of images whose rows are NaN."""
    some = "\n".join([*bad.values()][:_TOLD_OF])
    more = f"\nand {len(bad) - _TOLD_OF} more" if len(bad) > _TOLD_OF else ""
    message = (
        f"{len(bad)} of the images could not be used; their rows are NaN. (All of "
        "them: the attribute bad_images of this warning. In cross-validation, indices "
        f"are those of a fold.)\n{some}{more}"
    )
    warn(BadImageWarning(message, bad))


class Extraction:
    """One run over images.

    While a batch is in the network, the next one is read, looked up and decoded, in as
    many threads as are allowed: Pillow, hashing and TensorFlow let others run. With one
    thread allowed, everything runs in turn.

    Parameters
    ----------
    recipe : Recipe
        What becomes of an image.
    cache : Cache
        Where rows are looked up and stored.
    compute : callable
        The network; first called when an image has to go through it, and called
        from another thread, one batch after the other.
    batch_size : int
        Images that go through the network together.
    max_pixels : int or None
        See :func:`skvgg._images.decode`.
    skips_bad : bool
        Whether an image that cannot be used gets a row of NaN, or raises.
    report : callable
        Called with the number of images whose rows have been settled since,
        and the counts of hits and misses.
    shortcut : Shortcut or None
        A shorter way for images for which something is stored already.
    """

    def __init__(
        self,
        recipe: Recipe,
        cache: Cache,
        compute: Compute,
        batch_size: int,
        *,
        max_pixels: int | None,
        skips_bad: bool,
        report: Callable[[int, Counter], Any],
        shortcut: Shortcut | None = None,
    ) -> None:
        self._shortcut = shortcut
        self._recipe = recipe
        self._cache = cache
        self._compute = compute
        self._batch_size = batch_size
        self._max_pixels = max_pixels
        self._skips_bad = skips_bad
        self._report = report
        self._counts: Counter = Counter(hits=0, misses=0)  # and "bad", if any
        self._first: dict[bytes, int] = {}
        self._copies: list[tuple[int, int]] = []
        self._bad: dict[int, str] = {}
        #: What the outputs of each image are stored under, by its index.
        self.keys: dict[int, list[bytes]] = {}
        self._waiting: list[tuple[int, bytes, np.ndarray]] = []
        self._waiting_stored: list[tuple[int, bytes, list[np.ndarray]]] = []
        self._network: Executor
        self._readers: Executor
        self._in_network: tuple[Sequence[int], Sequence[bytes], Future] | None = None
        self._warned_unscaled = False

    def run(self, images: Images, rows: np.ndarray | None) -> dict[int, str]:
        """Fill `rows`, one an image; or, if that is None, nothing but the cache.

        Returns
        -------
        dict of int to str
            What is wrong with the images whose rows are NaN, by index.

        Raises
        ------
        ValueError, FileNotFoundError
            As :func:`skvgg._images.load` and :func:`skvgg._images.decode`; the
            rows computed before that are stored.
        """
        n_together = max(_READ_TOGETHER, _READ_BY_A_THREAD * max_threads())
        try:
            with threads(1) as self._network, threads() as self._readers:
                try:
                    for part in gen_batches(len(images), n_together):
                        self._settle(images, range(part.start, part.stop), rows)
                    self._send(rows)
                    self._send_stored(rows)
                finally:
                    self._take(rows)
        finally:
            self._cache.counts.update(self._counts)
        for copy, first in self._copies:
            self.keys[copy] = self.keys[first]
            if rows is not None:
                rows[copy] = rows[first]
            if first in self._bad:
                reason = self._bad[first].removeprefix(name_of(images[first], first))
                self._bad[copy] = name_of(images[copy], copy) + reason
        if rows is not None:
            rows[list(self._bad)] = np.nan
        return dict(sorted(self._bad.items()))

    def _settle(self, images: Images, indices: range, rows: np.ndarray | None) -> None:
        """Fill the rows that are known; decode the other images for a pass."""
        contents = self._load_new(images, indices)
        keys = {
            index: self._recipe.keys(content.digest)
            for index, content in contents.items()
        }
        self.keys.update(keys)
        found = self._cache.get([key for some in keys.values() for key in some])
        n_bad = sum(index in self._bad for index in indices)
        self._count(hits=len(indices) - len(contents) - n_bad, bad=n_bad)
        missing = {}
        for index, content in contents.items():
            if all(key in found for key in keys[index]):
                if rows is not None:
                    blocks = [found[key] for key in keys[index]]
                    np.concatenate(blocks, out=rows[index])
                self._count(hits=1)
            else:
                missing[index] = content
        self._decode(self._take_shortcut(missing, rows), rows)

    def _load_new(self, images: Images, indices: range) -> dict[int, Content]:
        """Return the contents that have not come before in this run, by index."""
        contents = {}
        items = {index: images[index] for index in indices}
        futures = load_together(items, self._max_pixels, self._readers)
        for index, loaded in futures.items():
            with self._noting(index):
                content = loaded.result()
            if index in self._bad:
                continue
            first = self._first.setdefault(content.digest, index)
            if first == index:
                contents[index] = content
            else:
                self._copies.append((index, first))
        return contents

    def _take_shortcut(
        self, contents: dict[int, Content], rows: np.ndarray | None
    ) -> dict[int, Content]:
        """Send on what is stored of images; return those of which it is not."""
        if self._shortcut is None:
            return contents
        keys = {
            index: self._shortcut.recipe.keys(content.digest)
            for index, content in contents.items()
        }
        found = self._cache.get([key for some in keys.values() for key in some])
        left = {}
        for index, content in contents.items():
            if not all(key in found for key in keys[index]):
                left[index] = content
                continue
            stored = [found[key] for key in keys[index]]
            self._waiting_stored.append((index, content.digest, stored))
            if len(self._waiting_stored) == self._batch_size:
                self._send_stored(rows)
        return left

    def _decode(self, contents: dict[int, Content], rows: np.ndarray | None) -> None:
        """Decode images; send whole batches of them into the network."""
        framing, max_pixels = self._recipe.framing, self._max_pixels
        decoded = decode_together(contents, framing, max_pixels, self._readers)
        for index, content in contents.items():
            with self._noting(index):
                pixels = decoded.pop(index).result()
                self._warn_unscaled(content)
                if self._recipe.view is not None:
                    pixels = self._recipe.view(pixels, content.digest)
                self._waiting.append((index, content.digest, pixels))
            if index in self._bad:
                self._count(bad=1)
            if len(self._waiting) == self._batch_size:
                self._send(rows)

    @contextmanager
    def _noting(self, index: int) -> Iterator[None]:
        """Note that an image is bad instead of raising, if that is wanted."""
        try:
            yield
        except (ValueError, OSError) as error:
            if not self._skips_bad:
                raise
            self._bad[index] = str(error)

    def _send(self, rows: np.ndarray | None) -> None:
        """Send the images that wait into the network, after those in it are out."""
        self._take(rows)
        if not self._waiting:
            return
        indices, digests, pixels = zip(*self._waiting, strict=True)
        self._waiting = []
        batch, outputs = np.stack(pixels), self._recipe.all_outputs
        blocks = self._network.submit(self._compute, batch, outputs)
        self._in_network = (indices, digests, blocks)

    def _send_stored(self, rows: np.ndarray | None) -> None:
        """Do the same for those of which something is stored."""
        self._take(rows)
        if not self._waiting_stored or self._shortcut is None:
            return
        indices, digests, stored = zip(*self._waiting_stored, strict=True)
        self._waiting_stored = []
        batch = [np.stack(some) for some in zip(*stored, strict=True)]
        outputs = self._recipe.all_outputs
        blocks = self._network.submit(self._shortcut.compute, batch, outputs)
        self._in_network = (indices, digests, blocks)

    def _take(self, rows: np.ndarray | None) -> None:
        """Wait for the images in the network; store what comes out."""
        if self._in_network is None:
            return
        indices, digests, future = self._in_network
        self._in_network = None
        blocks = future.result()
        n_wanted = len(self._recipe.outputs)
        if rows is not None:
            rows[list(indices)] = np.concatenate(blocks[:n_wanted], axis=1)
        some = {}
        for output, block in zip(self._recipe.all_outputs, blocks, strict=True):
            for digest, row in zip(digests, block, strict=True):
                key = self._recipe.key(digest, output)
                some[key] = self._recipe.to_stored(output, row)
        self._cache.put(some)
        self._count(misses=len(indices))

    def _count(self, **more: int) -> None:
        self._counts.update({name: n for name, n in more.items() if n})
        self._report(sum(more.values()), self._counts)

    def _warn_unscaled(self, content: Content) -> None:
        oddity = None if self._warned_unscaled else describe_unscaled(content)
        if oddity is not None:
            self._warned_unscaled = True
            rest = " (Further images of this call are not checked for this.)"
            warn(oddity + rest)


def find_bad(
    images: Images, max_pixels: int | None, report: Callable[[int, Counter], Any]
) -> dict[int, str]:
    """Return what is wrong with images, by index.

    A run as any other, so that it finds what any other would, but the network's part is
    to give rows without numbers.
    """
    output = Output("nothing", None)
    side = (PRETRAINED_IMAGE_SIZE, PRETRAINED_IMAGE_SIZE)
    extraction = Extraction(
        Recipe((output,), (), Framing(side, "stretch"), None),
        Cache(None),
        lambda pixels, _: [np.empty((len(pixels), 0), np.float32)],
        _READ_TOGETHER,
        max_pixels=max_pixels,
        skips_bad=True,
        report=report,
    )
    return extraction.run(images, np.empty((len(images), 0), np.float32))

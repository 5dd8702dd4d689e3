"""One run over images: look up cached outputs, and compute the missing ones.

This module does not depend on estimators or TensorFlow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from itertools import islice
from typing import Any, Protocol

import numpy as np

from skvgg._definition.architecture import PRETRAINED_IMAGE_SIZE, Output
from skvgg._extraction.local import LocalPasses
from skvgg._extraction.recipe import Recipe, Unit
from skvgg._extraction.results import Results, Rows
from skvgg._images import Content, Framing, Images, load_together, path_of
from skvgg._runtime.threads import max_threads, threads
from skvgg._runtime.warn import warn
from skvgg._store.cache import Cache
from skvgg.exceptions import BadImageWarning, ImageError

#: Number of undecoded images in memory at the same time: the maximum of a fixed number
#: and a number per thread.
_READ_TOGETHER, _READ_BY_A_THREAD = 16, 2

#: Maximum number of bad images that a warning names.
_N_NAMED = 5


class Passes(AbstractContextManager["Passes"], Protocol):
    """How images go through the network; when the context exits, all are done."""

    def add(
        self, contents: Mapping[int, Content], units: Sequence[Unit], readers: Executor
    ) -> None:
        """Add views of images; `contents` has their images, by index."""


def run(
    images: Images | Mapping[int, Any],
    recipe: Recipe,
    cache: Cache,
    results: Results,
    passes: Passes,
    units: Collection[Unit] | None = None,
) -> None:
    """Find or compute the outputs of images.

    Each image is read once, and images of the same content go through the network once.

    Parameters
    ----------
    images : sequence, or mapping of int to image
        The images, by index.
    recipe : Recipe
        How outputs are computed from an image.
    cache : Cache
        Where outputs are looked up.
    results : Results
        Receives the outputs.
    passes : Passes
        How images without cached outputs go through the network.
    units : collection of (int, int) or None
        The images and views that are wanted; None for all.

    Raises
    ------
    ImageError
        As :func:`skvgg._images.load` and :func:`skvgg._images.decode`; outputs computed
        before the error are stored.
    """
    first_of: dict[bytes, int] = {}
    copies: list[tuple[int, int]] = []
    left = iter(images if isinstance(images, Mapping) else range(len(images)))
    n_together = max(_READ_TOGETHER, _READ_BY_A_THREAD * max_threads())
    try:
        with threads() as readers, passes:
            while indices := list(islice(left, n_together)):
                items = {index: images[index] for index in indices}
                contents = _load(items, recipe.framing.max_pixels, results, readers)
                for index, content in [*contents.items()]:
                    first = first_of.setdefault(content.digest, index)
                    if first != index:
                        copies.append((first, index))
                        results.count(hits=len(recipe.views))
                        del contents[index]
                keys = {
                    (index, view): recipe.keys(content.digest, view)
                    for index, content in contents.items()
                    for view in range(len(recipe.views))
                    if units is None or (index, view) in units
                }
                results.keys.update(keys)
                found = recipe.look_up(cache, keys)
                for unit, blocks in found.items():
                    results.add_cached(unit, blocks)
                missing = [unit for unit in keys if unit not in found]
                passes.add(contents, missing, readers)
        for first, copy in copies:
            results.copy(first, copy, path_of(images[copy]))
    finally:
        results.close()


def _load(
    items: Mapping[int, Any],
    max_pixels: int | None,
    results: Results,
    readers: Executor,
) -> dict[int, Content]:
    """Return the contents of the images that can be read, by index."""
    contents = {}
    for index, loaded in load_together(items, max_pixels, readers).items():
        with results.recording_errors():
            contents[index] = loaded.result()
    return contents


def find_bad(
    images: Images, max_pixels: int | None, report: Callable[[int, Counter[str]], Any]
) -> dict[int, ImageError]:
    """Return the problems of bad images, by index.

    This is a regular run, so it finds the same problems, but with a network that
    returns empty rows.
    """
    side = (PRETRAINED_IMAGE_SIZE, PRETRAINED_IMAGE_SIZE)
    framing = Framing(side, "stretch", max_pixels=max_pixels)
    cache = Cache(None)
    recipe = Recipe((Output("nothing", None),), (), framing, None)
    rows = Rows(len(images), 0)
    results = Results(recipe, cache, rows, skips_bad=True, report=report, warn=warn)

    def compute(pixels: np.ndarray) -> list[np.ndarray]:
        return [np.empty((len(pixels), 0), np.float32)]

    passes = LocalPasses(recipe, cache, results, compute, _READ_TOGETHER)
    run(images, recipe, cache, results, passes)
    return results.bad


def warn_of_bad(bad: dict[int, ImageError], n_images: int) -> None:
    """Warn about images whose rows are NaN."""
    first = "\n".join(map(str, [*bad.values()][:_N_NAMED]))
    more = f"\nand {len(bad) - _N_NAMED} more" if len(bad) > _N_NAMED else ""
    message = (
        f"{len(bad)} of {n_images} images could not be used; their rows are NaN. (The "
        "attribute bad_images of this warning lists all of them. In cross-validation, "
        f"indices refer to the fold.)\n{first}{more}"
    )
    warn(BadImageWarning(message, bad))

"""One call: settings, network and cache brought together for a run over images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from skvgg._definition.architecture import PIXELS, Output, parameter_shapes
from skvgg._definition.preprocessing import PREPROCESSINGS
from skvgg._extraction.recipe import Recipe
from skvgg._extraction.run import Extraction, warn_of_bad
from skvgg._extraction.settings import Settings
from skvgg._extraction.views import View
from skvgg._images import Images
from skvgg._network.engines import choose_method
from skvgg._network.registry import get_network
from skvgg._network.vgg19 import FORWARD_VERSION, VGG19
from skvgg._runtime.progress import progress_bar
from skvgg._runtime.tensorflow import at_device_of_this_thread
from skvgg._runtime.warn import warn
from skvgg._store.cache import Cache
from skvgg.weights import Source


class Job:
    """What one call does with images; made anew for each.

    Parameters
    ----------
    owner : object
        The estimator, for which networks stay in memory.
    settings : Settings
        What to compute, and how.
    source : Source
        Where the weights come from.
    cache : Cache
        Where rows are looked up and stored.
    fingerprint : str or None
        That of the weights; None if rows are kept nowhere, so that it is not needed.
    view : View or None
        What is done to the images first.
    map_dtype : {"float32", "float16"}
        What whole maps are stored in.
    bar : tqdm or None
        A progress bar to move on; None makes one if the settings say so.
    """

    def __init__(
        self,
        owner: Any,
        settings: Settings,
        source: Source,
        cache: Cache,
        fingerprint: str | None,
        *,
        view: View | None = None,
        map_dtype: str = "float32",
        bar: Any = None,
    ) -> None:
        self._owner = owner
        self._settings = settings
        self._source = source
        self._identity = source.identify()  # raises if there is no such file
        self._cache = cache
        self._recipe = Recipe(
            settings.outputs,
            settings.also_stored,
            settings.framing,
            None if fingerprint is None else self._network_key(fingerprint),
            view,
            map_dtype,
        )
        self._bar = bar
        self._network: VGG19 | None = None
        self._n_done = self._n_first = 0
        self._trouble: str | None = None

    def _network_key(self, fingerprint: str) -> tuple:
        # "auto" follows from the weights, so it needs not be looked up.
        settings = self._settings
        key: tuple = (FORWARD_VERSION, fingerprint, settings.preprocessing)
        return key if settings.precision == "float32" else (*key, settings.precision)

    def rows(self, images: Images) -> np.ndarray:
        """Return a row an image; warn of those that cannot be used.

        Returns
        -------
        ndarray of shape (n, n_features), float32
        """
        rows = np.empty((len(images), self._settings.n_features), np.float32)
        self._run(images, rows)
        return rows

    def keys(self, images: Images) -> list[list[bytes]]:
        """See that the outputs of images are in the cache; return their keys there.

        Returns
        -------
        list of list of bytes
            For each image the keys of its outputs.
        """
        keys = self._run(images, None).keys
        return [keys[index] for index in range(len(images))]

    def _run(self, images: Images, rows: np.ndarray | None) -> Extraction:
        settings = self._settings
        with ExitStack() as stack:
            bar = self._bar or stack.enter_context(
                progress_bar(
                    total=len(images),
                    unit="image",
                    disable=not settings.verbose,
                )
            )

            def report(n_more: int, counts: Counter) -> None:
                bar.set_postfix(counts, refresh=False)
                bar.update(n_more)

            extraction = Extraction(
                self._recipe,
                self._cache,
                at_device_of_this_thread(self._compute),
                settings.batch_size,
                max_pixels=settings.max_pixels,
                skips_bad=settings.skips_bad,
                report=report,
            )
            bad = extraction.run(images, rows)
        if bad and self._recipe.view is None:  # said once, not for each view
            warn_of_bad(bad)
        if self._trouble is not None:
            warn(self._trouble)
        return extraction

    def _compute(
        self, pixels: np.ndarray, outputs: Sequence[Output]
    ) -> list[np.ndarray]:
        """Run a batch through the network, which is loaded for the first one.

        It is called in another thread, one batch after the other.
        """
        settings = self._settings
        layers = [output for output in outputs if output.layer != PIXELS]
        if self._network is None:
            self._network = self._load_network([output.layer for output in layers])
        network = self._network
        preprocessing = PREPROCESSINGS.get(
            settings.preprocessing, network.preprocessing
        )
        self._n_first = self._n_first or len(pixels)
        method = choose_method(
            settings.engine, settings.precision, self._n_done, self._n_first
        )
        self._n_done += len(pixels)
        blocks = network.features(pixels, layers, preprocessing, method, self._note)
        by_output = dict(zip(layers, blocks, strict=True))
        flat = pixels.reshape(len(pixels), -1)
        return [by_output.get(output, flat) for output in outputs]

    def _note(self, trouble: str) -> None:
        """Keep a warning for the thread of the user."""
        self._trouble = trouble

    def _load_network(self, layers: list[str]) -> VGG19:
        settings = self._settings
        shapes = parameter_shapes(layers, settings.image_size)
        return get_network(
            self._owner,
            self._source,
            self._identity,
            settings.precision,
            shapes,
            settings.verbose,
        )

"""One call: what to compute from images, with which weights; here or on workers."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from skvgg._definition.architecture import Output, get_layer
from skvgg._definition.vocabulary import Precision
from skvgg._extraction.fitted_weights import (
    Transformer,
    check_fingerprint,
    weights_fingerprint,
)
from skvgg._extraction.local import LocalPasses, Shortcut
from skvgg._extraction.network_pass import (
    MAP_DTYPE,
    NetworkPass,
    TrainedOn,
    outputs_up_to,
)
from skvgg._extraction.recipe import Recipe, Unit
from skvgg._extraction.results import Results, Rows
from skvgg._extraction.run import run, warn_of_bad
from skvgg._extraction.settings import Settings
from skvgg._extraction.views import View
from skvgg._extraction.workers import (
    Done,
    WorkerPasses,
    split_unseen,
    uses_workers,
    worker_name,
)
from skvgg._images import Images, Switch, all_switches, using_switches
from skvgg._network.precision import computed_in
from skvgg._network.vgg19 import FORWARD_VERSION
from skvgg._runtime.progress import progress_bar
from skvgg._runtime.tensorflow import at_device_of_this_thread
from skvgg._runtime.warn import warn
from skvgg._store.cache import Cache, InMemory
from skvgg._version import __version__
from skvgg.weights import Source


@dataclass(frozen=True, eq=False)  # its fields may not be hashable
class Extraction:
    """What to compute from images, and with which weights.

    Workers receive a copy of it.

    Attributes
    ----------
    settings : Settings
        The validated parameters.
    source : Source
        The source of the weights, pinned before its fingerprint was taken.
    fingerprint : str or None
        Fingerprint of the weights; None if rows are neither cached nor computed by
        workers.
    precision : {"float32", "tensorfloat32", "float16", "bfloat16"}
        The precision of the computations on this processor.
    views : tuple of View or None
        The views of each image; None is the image itself.
    map_dtype : {"float32", "float16"}
        The dtype of stored maps.
    trained_on : TrainedOn or None
        The maps that trained layers started from, to start from the same maps. If they
        are cached, only the trained layers run.
    """

    settings: Settings
    source: Source
    fingerprint: str | None
    precision: Precision
    views: tuple[View | None, ...] = (None,)
    map_dtype: str = "float32"
    trained_on: TrainedOn | None = None

    def rows(
        self, images: Images, cache: Cache, owner: Any, *, averages: bool = True
    ) -> np.ndarray:
        """Return the features of images; warn about images that cannot be used.

        Parameters
        ----------
        images : sequence of length n
        cache : Cache
            Where outputs are looked up and stored.
        owner : object
            The network stays in memory as long as its owner does.
        averages : bool
            Whether to average over the views.

        Returns
        -------
        ndarray of shape (1 or n_views, n, n_features), float32
        """
        n_features, n_views = self.settings.n_features, len(self.views)
        rows = Rows(len(images), n_features, n_views, averages)
        self._run_and_warn(images, cache, owner, rows)
        return rows.values

    def keys(self, images: Images, cache: Cache, owner: Any) -> list[list[list[bytes]]]:
        """Compute outputs that are not cached; return the keys of all.

        Returns
        -------
        list of list of list of bytes
            For each view and image, the keys of its outputs.
        """
        keys = self._run_and_warn(images, cache, owner, None).keys
        n_images, n_views = len(images), len(self.views)
        return [[keys[i, view] for i in range(n_images)] for view in range(n_views)]

    def _run_and_warn(
        self, images: Images, cache: Cache, owner: Any, rows: Rows | None
    ) -> Results:
        results = self.run(images, cache, owner, rows)
        if results.bad:
            warn_of_bad(results.bad, len(images))
        return results

    def run(
        self,
        images: Images | Mapping[int, Any],
        cache: Cache,
        owner: Any,
        rows: Rows | None = None,
        *,
        units: Collection[Unit] | None = None,
        warn: Callable[[Warning | str], Any] = warn,
    ) -> Results:
        """Run over images, given as a sequence or by index, or over some views."""
        settings, recipe = self.settings, self._recipe
        total = len(images) * len(self.views)
        with progress_bar(
            total=total, unit="image", disable=not settings.verbose
        ) as bar:

            def report(n_more: int, counts: Counter[str]) -> None:
                bar.set_postfix(counts, refresh=False)
                bar.update(n_more)

            results = Results(
                recipe,
                cache,
                rows,
                skips_bad=settings.skips_bad,
                report=report,
                warn=warn,
            )
            network = NetworkPass(
                owner,
                settings,
                self.source,
                self.precision,
                recipe.all_outputs,
                self._map,
            )
            passes = (
                self._worker_passes(results)
                if uses_workers(settings.n_jobs)
                else self._local_passes(cache, results, network)
            )
            run(images, recipe, cache, results, passes, units)
        if network.warning is not None:
            warn(network.warning)
        return results

    def _worker_passes(self, results: Results) -> WorkerPasses:
        settings = replace(self.settings, verbose=0, n_jobs=1, skips_bad=True)
        task = WorkerTask(
            replace(self, settings=settings, source=self.source.absolute()),
            FORWARD_VERSION,
            all_switches(),
        )
        return WorkerPasses(
            task, results, self.settings.n_jobs, self.settings.batch_size
        )

    def _local_passes(
        self, cache: Cache, results: Results, network: NetworkPass
    ) -> LocalPasses:
        shortcut = None
        if self._map is not None and cache.keeps:
            shortcut = Shortcut(
                self._recipe_of_map, at_device_of_this_thread(network.from_maps)
            )
        return LocalPasses(
            self._recipe,
            cache,
            results,
            at_device_of_this_thread(network.from_pixels),
            self.settings.batch_size,
            shortcut,
        )

    @cached_property
    def _recipe(self) -> Recipe:
        settings, key = self.settings, None
        if self.fingerprint is not None:
            key = self._network_key(self.fingerprint)
            if self._map is not None:
                key = (*key, self._map, MAP_DTYPE)
        return Recipe(
            settings.outputs,
            settings.also_stored,
            settings.framing,
            key,
            self.views,
            self.map_dtype,
        )

    def _network_key(self, fingerprint: str) -> tuple[Any, ...]:
        # "auto" preprocessing follows from the weights, so it is not resolved. Other
        # precisions than float32 have their own keys.
        key = (FORWARD_VERSION, fingerprint, self.settings.preprocessing)
        return key if self.precision == "float32" else (*key, self.precision)

    # Fine-tuned weights

    @cached_property
    def _map(self) -> Output | None:
        """The map that the trained layers start from, if they are needed."""
        if self.trained_on is None:
            return None
        settings, start = self.settings, self.trained_on.start
        outputs = tuple(dict.fromkeys(settings.outputs + settings.also_stored))
        is_needed = len(outputs_up_to(start, outputs)) < len(outputs)
        return (
            Output(start, None) if is_needed and get_layer(start).is_spatial else None
        )

    @property
    def _recipe_of_map(self) -> Recipe:
        """The recipe of the stored maps, and of the outputs that are not above them."""
        assert self._map is not None
        assert self.trained_on is not None
        return replace(
            self._recipe,
            outputs=(
                self._map,
                *outputs_up_to(self._map.layer, self._recipe.all_outputs),
            ),
            also_stored=(),
            network_key=self._network_key(self.trained_on.fingerprint),
            map_dtype=MAP_DTYPE,
        )


def extraction_of(
    transformer: Transformer,
    settings: Settings,
    source: Source,
    cache: Cache,
    views: tuple[View | None, ...],
    trained_on: TrainedOn | None = None,
) -> Extraction:
    """Return the extraction of a transformer with these settings and weights.

    Raises
    ------
    ValueError
        If its weights are not those of its fit.
    """
    source, fingerprint = source.pinned(), None
    is_fitted = hasattr(transformer, "weights_fingerprint_")
    if transformer.memory is not None or is_fitted or uses_workers(settings.n_jobs):
        fingerprint = weights_fingerprint(source, cache)
        check_fingerprint(transformer, fingerprint)
    precision = computed_in(settings.precision)
    return Extraction(
        settings, source, fingerprint, precision, views, trained_on=trained_on
    )


@dataclass(frozen=True, eq=False)
class WorkerTask:
    """What a worker needs to run an extraction as the main process would.

    Parameters
    ----------
    extraction : Extraction
        The extraction of the main process; its source is absolute.
    forward_version : int
        :data:`FORWARD_VERSION` of the main process.
    switches : tuple of Switch
        Pillow's switches in the main process.
    """

    extraction: Extraction
    forward_version: int
    switches: tuple[Switch, ...]

    def __call__(self, items: dict[int, Any], units: Collection[Unit]) -> Done:
        """Return the results for views of images, by index.

        Raises
        ------
        RuntimeError
            If this worker has another version of the forward pass, or other weights.
        """
        self._check_version()
        extraction = replace(self.extraction, source=self._checked_source())
        seen, unseen = split_unseen(items)
        cache, warnings = InMemory(), list[Warning | str]()
        with using_switches(self.switches):
            results = extraction.run(
                seen, cache, self, units={*units}, warn=warnings.append
            )
        keys, bad = results.keys, results.bad
        return Done(worker_name(), keys, cache.arrays, bad, unseen, warnings)

    def __sizeof__(self) -> int:
        """Return the approximate size when sent to a worker."""
        return object.__sizeof__(self) + sys.getsizeof(self.extraction.source)

    def _check_version(self) -> None:
        if self.forward_version != FORWARD_VERSION:
            raise RuntimeError(
                f"Worker {worker_name()} has skvgg {__version__}, whose features "
                f"have version {FORWARD_VERSION}; those of the main process have "
                f"version {self.forward_version}. Install the same version of skvgg "
                "on both."
            )

    def _checked_source(self) -> Source:
        """Return the source, pinned to the weights of the main process, or raise."""
        try:
            source = self.extraction.source.pinned()
            found = source.fingerprint()
        except OSError as error:
            raise FileNotFoundError(
                f"Worker {worker_name()} cannot read the weights, but the main process "
                f"can: {error} Use a path that all workers see."
            ) from error
        if found != self.extraction.fingerprint:
            raise RuntimeError(
                f"Worker {worker_name()} has other weights than the main process: the "
                f"fingerprint is {found!r}, expected {self.extraction.fingerprint!r}. "
                "Give all workers the same file."
            )
        return source

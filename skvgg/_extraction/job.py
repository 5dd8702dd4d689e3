"""One call: combines settings, network and cache for a run over images."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import gen_batches

from skvgg._definition.architecture import (
    LAYER_NAMES,
    PIXELS,
    Output,
    get_layer,
    map_shape,
    parameter_shapes,
)
from skvgg._definition.preprocessing import PREPROCESSINGS
from skvgg._definition.vocabulary import Precision
from skvgg._extraction.local import LocalPasses, Shortcut
from skvgg._extraction.recipe import Recipe, weights_fingerprint
from skvgg._extraction.run import Extraction, warn_of_bad
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
from skvgg._network.engines import arithmetic, choose_method
from skvgg._network.precision import computed_in
from skvgg._network.registry import get_network
from skvgg._network.vgg19 import FORWARD_VERSION, VGG19
from skvgg._runtime.progress import progress_bar
from skvgg._runtime.tensorflow import at_device_of_this_thread
from skvgg._runtime.warn import warn
from skvgg._store.cache import Cache, InMemory
from skvgg._version import __version__
from skvgg.weights import Source

#: The dtype of the stored maps that fine-tuning starts from.
MAP_DTYPE = "float16"

#: Number of images whose maps are in memory between the two passes.
_MAPS_TOGETHER = 16


class TrainedOn(NamedTuple):
    """The maps that the layers of a fine-tuned estimator were trained on."""

    #: The layer that computed the maps.
    start: str
    #: Fingerprint of the weights that computed the maps.
    fingerprint: str


class Job:
    """The extraction of one call.

    With fine-tuned weights, a pass may have two parts: the layers below, whose map is
    rounded as in training, and the trained layers. If the map is cached, only the
    second part runs.

    Parameters
    ----------
    owner : object
        The estimator; networks stay in memory as long as it does.
    settings : Settings
        The validated parameters.
    source : Source
        The source of the weights, pinned before its fingerprint was taken.
    cache : Cache
        Where rows are looked up and stored.
    fingerprint : str or None
        Fingerprint of the weights; None if rows are not cached and it is not needed.
    view : View or None
        The view of the images; None for the images themselves.
    map_dtype : {"float32", "float16"}
        The dtype of stored maps.
    trained_on : TrainedOn or None
        The maps that the trained layers started from, to start from the same maps.
    bar : tqdm or None
        A progress bar to update; None creates one depending on `verbose`.
    precision : {"float32", "tensorfloat32", "float16", "bfloat16"} or None
        The precision; None for the precision of the settings on this processor.
    warn : callable
        Called with warnings for the user.
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
        trained_on: TrainedOn | None = None,
        bar: Any = None,
        precision: Precision | None = None,
        warn: Callable[[str], Any] = warn,
    ) -> None:
        self._owner = owner
        self._settings = settings
        self._precision = precision or computed_in(settings.precision)
        self._arithmetic = arithmetic(settings.engine, self._precision)
        self._warn = warn
        self._source = source.pinned()  # raises if there is no such file
        self._cache = cache
        self._uses_workers = uses_workers(settings.n_jobs)
        if self._uses_workers and fingerprint is None:
            fingerprint = weights_fingerprint(self._source, cache)
        self._fingerprint = fingerprint
        self._recipe = Recipe(
            settings.outputs,
            settings.also_stored,
            settings.framing,
            None if fingerprint is None else self._network_key(fingerprint),
            view,
            map_dtype,
        )
        self._trained_on = trained_on
        self._map = self._map_of_training()
        if self._map is not None and fingerprint is not None:
            key = (*self._network_key(fingerprint), self._map, MAP_DTYPE)
            self._recipe = replace(self._recipe, network_key=key)
        self._bar = bar
        self._network: VGG19 | None = None
        self._trouble: str | None = None

    def _network_key(self, fingerprint: str) -> tuple[Any, ...]:
        # "auto" preprocessing follows from the weights, so it is not resolved. Other
        # arithmetic than float32 has its own keys.
        key: tuple[Any, ...] = (
            FORWARD_VERSION,
            fingerprint,
            self._settings.preprocessing,
        )
        name = self._arithmetic
        return key if name == "float32" else (*key, name)

    def rows(self, images: Images) -> np.ndarray:
        """Return one row per image; warn about images that cannot be used.

        Returns
        -------
        ndarray of shape (n, n_features), float32
        """
        rows = np.empty((len(images), self._settings.n_features), np.float32)
        self._run_and_warn(images, rows)
        return rows

    def keys(self, images: Images) -> list[list[bytes]]:
        """Compute outputs of images that are not cached; return the keys of all.

        Returns
        -------
        list of list of bytes
            The keys of the outputs of each image.
        """
        keys = self._run_and_warn(images, None)
        return [keys[index] for index in range(len(images))]

    def _run_and_warn(
        self, images: Images, rows: np.ndarray | None
    ) -> dict[int, list[bytes]]:
        keys, bad = self.run(images, rows)
        if bad and self._recipe.view is None:  # warn once, not for each view
            warn_of_bad(bad, len(images))
        return keys

    def run(
        self, images: Images | Mapping[int, Any], rows: np.ndarray | None = None
    ) -> tuple[dict[int, list[bytes]], dict[int, str]]:
        """Run over images, given as a sequence or by index.

        Returns
        -------
        keys : dict of int to list of bytes
            Keys of the outputs of each image, by index.
        bad : dict of int to str
            Problems of bad images, by index.
        """
        settings = self._settings
        with ExitStack() as stack:
            bar = self._bar or stack.enter_context(
                progress_bar(
                    total=len(images),
                    unit="image",
                    disable=not settings.verbose,
                )
            )

            def report(n_more: int, counts: Counter[str]) -> None:
                bar.set_postfix(counts, refresh=False)
                bar.update(n_more)

            extraction = Extraction(
                self._recipe,
                self._cache,
                self._passes(),
                max_pixels=settings.max_pixels,
                skips_bad=settings.skips_bad,
                report=report,
                warn=self._warn,
            )
            bad = extraction.run(images, rows)
        if self._trouble is not None:
            self._warn(self._trouble)
        return extraction.keys, bad

    def _passes(self) -> LocalPasses | WorkerPasses:
        if self._uses_workers:
            settings = self._settings
            return WorkerPasses(
                self._for_worker(), settings.n_jobs, settings.batch_size
            )
        return LocalPasses(
            self._recipe,
            self._cache,
            at_device_of_this_thread(self._compute),
            self._settings.batch_size,
            self._settings.max_pixels,
            self._shortcut(),
        )

    def _for_worker(self) -> WorkerJob:
        assert self._fingerprint is not None
        return WorkerJob(
            replace(self._settings, verbose=0, n_jobs=1, skips_bad=True),
            self._source.absolute(),
            self._fingerprint,
            FORWARD_VERSION,
            view=self._recipe.view,
            map_dtype=self._recipe.map_dtype,
            trained_on=self._trained_on,
            precision=self._precision,
            arithmetic=self._arithmetic,
            switches=all_switches(),
        )

    def _compute(
        self, pixels: np.ndarray, outputs: Sequence[Output]
    ) -> list[np.ndarray]:
        """Run a batch through the network.

        This is called in another thread, one batch at a time.
        """
        layers = [output for output in outputs if output.layer != PIXELS]
        if self._map is None:
            blocks = self._pass(pixels, layers, layers)
            by_output = dict(zip(layers, blocks, strict=True))
            flat = pixels.reshape(len(pixels), -1)
            return [by_output.get(output, flat) for output in outputs]
        below = (self._map, *_up_to(self._map.layer, outputs))
        done = [
            self._compute_above(self._pass(pixels[part], below, outputs), outputs)
            for part in gen_batches(len(pixels), _MAPS_TOGETHER)
        ]
        return [np.concatenate(blocks) for blocks in zip(*done, strict=True)]

    # Fine-tuned weights

    def _map_of_training(self) -> Output | None:
        """Return the map that the trained layers start from, if they are needed."""
        if self._trained_on is None:
            return None
        start, outputs = self._trained_on.start, self._recipe.all_outputs
        is_needed = len(_up_to(start, outputs)) < len(outputs)
        is_map = get_layer(start).is_spatial
        return Output(start, None) if is_needed and is_map else None

    def _shortcut(self) -> Shortcut | None:
        """Return the shortcut that starts from cached maps."""
        if self._map is None or not self._cache.keeps:
            return None
        assert self._trained_on is not None
        recipe = replace(
            self._recipe,
            outputs=(self._map, *_up_to(self._map.layer, self._recipe.all_outputs)),
            also_stored=(),
            network_key=self._network_key(self._trained_on.fingerprint),
            map_dtype=MAP_DTYPE,
        )
        return Shortcut(recipe, at_device_of_this_thread(self._compute_above))

    def _compute_above(
        self, blocks: Sequence[np.ndarray], outputs: Sequence[Output]
    ) -> list[np.ndarray]:
        """Return outputs computed from the map below the trained layers.

        Parameters
        ----------
        blocks : sequence of ndarray of shape (n, n_features)
            The map, and the outputs in `outputs` that are not above it.
        outputs : sequence of Output
        """
        assert self._map is not None
        start = self._map.layer
        below = _up_to(start, outputs)
        above = [output for output in outputs if output not in below]
        rounding = replace(self._recipe, map_dtype=MAP_DTYPE)
        rounded = [rounding.to_stored(self._map, row) for row in blocks[0]]
        shape = map_shape(get_layer(start), self._settings.image_size)
        maps = np.stack(rounded).astype(np.float32).reshape(-1, *shape)
        computed = self._pass(maps, above, outputs, start)
        by_output = dict(zip(below, blocks[1:], strict=True))
        by_output |= dict(zip(above, computed, strict=True))
        return [by_output[output] for output in outputs]

    def _pass(
        self,
        inputs: np.ndarray,
        wanted: Sequence[Output],
        outputs: Sequence[Output],
        start: str | None = None,
    ) -> list[np.ndarray]:
        """Run a batch through the network, which is loaded for the first batch.

        Parameters
        ----------
        inputs : ndarray
            Pixels, or maps of the layer `start`.
        wanted : sequence of Output
            Outputs to compute.
        outputs : sequence of Output
            All outputs of the run, whose layers are loaded.
        """
        settings = self._settings
        if self._network is None:
            self._network = self._load_network([o.layer for o in outputs])
        network = self._network
        preprocessing = PREPROCESSINGS.get(
            settings.preprocessing, network.preprocessing
        )
        method = choose_method(settings.engine, self._precision)
        some = inputs, wanted, preprocessing, method, self._note
        if start is None:
            return network.features(*some)
        size = settings.image_size
        return network.features(*some, start=start, image_size=size)

    def _note(self, trouble: str) -> None:
        """Keep a warning, to emit it in the calling thread."""
        self._trouble = trouble

    def _load_network(self, layers: list[str]) -> VGG19:
        settings = self._settings
        shapes = parameter_shapes(layers, settings.image_size)
        return get_network(
            self._owner,
            self._source,
            self._precision,
            shapes,
            settings.verbose,
        )


def _up_to(layer: str, outputs: Sequence[Output]) -> tuple[Output, ...]:
    """Return the outputs that are not above a layer."""
    return tuple(
        output
        for output in outputs
        if output.layer == PIXELS
        or LAYER_NAMES.index(output.layer) <= LAYER_NAMES.index(layer)
    )


@dataclass(frozen=True, eq=False)  # its fields may not be hashable
class WorkerJob:
    """The picklable part of a :class:`Job` that a worker needs to run it.

    Parameters
    ----------
    settings, source, fingerprint, view, map_dtype, trained_on, precision
        As in the :class:`Job` of the main process.
    forward_version : int
        :data:`FORWARD_VERSION` of the main process.
    arithmetic : str
        :func:`skvgg._network.engines.arithmetic` of the main process.
    switches : tuple of Switch
        Pillow's switches in the main process.
    """

    settings: Settings
    source: Source
    fingerprint: str
    forward_version: int
    view: View | None
    map_dtype: str
    trained_on: TrainedOn | None
    precision: Precision
    arithmetic: str
    switches: tuple[Switch, ...]

    def __call__(self, items: dict[int, Any]) -> Done:
        """Return the results for images, by index.

        Raises
        ------
        RuntimeError
            If this worker has another version of the forward pass, another arithmetic,
            or other weights.
        """
        self._check_version()
        self._check_arithmetic()
        source = self._checked_source()
        seen, unseen = split_unseen(items)
        rows, oddities = InMemory(), list[str]()
        job = Job(
            self,
            self.settings,
            source,
            rows,
            self.fingerprint,
            view=self.view,
            map_dtype=self.map_dtype,
            trained_on=self.trained_on,
            precision=self.precision,
            warn=oddities.append,
        )
        with using_switches(self.switches):
            keys, bad = job.run(seen)
        return Done(worker_name(), keys, rows.arrays, bad, unseen, oddities)

    def __sizeof__(self) -> int:
        """Return the approximate size when sent to a worker."""
        return object.__sizeof__(self) + sys.getsizeof(self.source)

    def _check_version(self) -> None:
        if self.forward_version != FORWARD_VERSION:
            raise RuntimeError(
                f"Worker {worker_name()} has skvgg {__version__}, whose features "
                f"have version {FORWARD_VERSION}; those of the main process have "
                f"version {self.forward_version}. Install the same version of skvgg "
                "on both."
            )

    def _check_arithmetic(self) -> None:
        found = arithmetic(self.settings.engine, self.precision)
        if found != self.arithmetic:
            raise RuntimeError(
                f"Worker {worker_name()} has another processor than the main process: "
                f"it computes in {found!r} instead of {self.arithmetic!r}, so its "
                "features differ. Set precision='float32' or engine='direct', or use "
                "workers with the same kind of processor."
            )

    def _checked_source(self) -> Source:
        """Return the source, pinned to the weights of the main process, or raise."""
        try:
            source = self.source.pinned()
            found = source.fingerprint()
        except OSError as error:
            raise FileNotFoundError(
                f"Worker {worker_name()} cannot read the weights, but the main process "
                f"can: {error} Use a path that all workers see."
            ) from error
        if found != self.fingerprint:
            raise RuntimeError(
                f"Worker {worker_name()} has other weights than the main process: the "
                f"fingerprint is {found!r}, expected {self.fingerprint!r}. Give all "
                "workers the same file."
            )
        return source

"""Passes in the workers of joblib's backend: processes or machines of a cluster.

This module does not depend on estimators or TensorFlow.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from joblib.parallel import get_active_backend

from skvgg._extraction.recipe import Unit
from skvgg._extraction.results import Results
from skvgg._images import Content
from skvgg._version import __version__
from skvgg.exceptions import (
    ImageError,
    ImageNotFoundError,
    ImageWarning,
    describe_image,
)

#: Number of tasks per worker and group, for backends that return results in groups.
_TASKS_IN_A_GROUP = 4

#: Objects larger than this many bytes are sent to workers once, not with every task.
_LARGE = 1_000_000


@dataclass
class Done:
    """The results that a worker returns.

    Attributes
    ----------
    worker : str
        Name of the worker.
    keys : dict of (int, int) to list of bytes
        Keys of the outputs of each image and view.
    arrays : dict of bytes to ndarray
        All outputs by key, in their stored form.
    bad : dict of int to ImageError
        Problems of bad images, by index.
    unseen : dict of int to ImageError
        Images whose files the worker cannot read, by index.
    warnings : list of Warning or str
        Warnings for the user.
    """

    worker: str
    keys: dict[Unit, list[bytes]]
    arrays: dict[bytes, np.ndarray]
    bad: dict[int, ImageError]
    unseen: dict[int, ImageError]
    warnings: list[Warning | str]


#: Takes images by index, as paths, bytes or arrays, and the views that are wanted.
Work = Callable[[dict[int, Any], list[Unit]], Done]
#: The arguments of one call.
Task = tuple[dict[int, Any], list[Unit]]


def uses_workers(n_jobs: int | None) -> bool:
    """Return whether images are sent to workers; with Dask, even if there is one."""
    if n_jobs == 1:
        return False
    backend, _ = get_active_backend()
    return hasattr(backend, "client") or effective_n_jobs(n_jobs) > 1


def worker_name() -> str:
    """Return the host and process id of this process, for error messages."""
    return f"{socket.gethostname()!r} (process {os.getpid()})"


def split_unseen(
    items: dict[int, Any],
) -> tuple[dict[int, Any], dict[int, ImageError]]:
    """Split images into those that this worker can read, and errors of the others."""
    seen, unseen = dict[int, Any](), dict[int, ImageError]()
    for index, item in items.items():
        try:
            if isinstance(item, str):
                with open(item, "rb"):
                    pass
            seen[index] = item
        except OSError as error:
            unseen[index] = ImageNotFoundError(
                index,
                item,
                f"worker {worker_name()} cannot read this file ({error.strerror}), but "
                "the main process can",
                "Use a folder that all workers see under the same path, or pass the "
                "bytes of files.",
            )
    return seen, unseen


class WorkerPasses:
    """Passes in the workers of joblib's backend: a context manager that accepts images.

    Paths, bytes and arrays are sent to the workers when the context exits, and outputs
    are returned.

    Parameters
    ----------
    work : callable
        The function that workers apply to images; it is pickled.
    results : Results
        Receives the outputs.
    n_jobs : int or None
        As :class:`joblib.Parallel` takes it.
    batch_size : int
        Maximum number of images that are sent together.
    """

    def __init__(
        self, work: Work, results: Results, n_jobs: int | None, batch_size: int
    ) -> None:
        self._work = work
        self._results = results
        self._n_jobs = n_jobs
        self._batch_size = batch_size
        self._paths: dict[int, str | bytes | None] = {}
        self._items: dict[int, Any] = {}
        self._views: dict[int, list[int]] = {}
        self._errors: dict[int, Exception] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._items:
            self._send()

    def add(
        self, contents: Mapping[int, Content], units: Sequence[Unit], readers: Executor
    ) -> None:
        """Add views of images; images that are files are sent as paths."""
        for index, view in units:
            self._views.setdefault(index, []).append(view)
        for index in dict.fromkeys(index for index, _ in units):
            content = contents[index]
            self._paths[index] = content.path
            self._results.warn_once(content.warnings)  # PIL images are decoded already
            self._items[index] = content.data if content.file is None else content.file

    def _send(self) -> None:
        """Send all images and store the results as they arrive.

        Raises
        ------
        ImageError
            If an image cannot be used and is not skipped, or if a worker cannot read
            it; raised after the results of all tasks sent before.
        RuntimeError
            If the backend loses tasks.
        """
        left = set(self._items)
        for done in _results(self._work, self._tasks(), self._n_jobs):
            self._take(done)
            left -= {index for index, _ in done.keys} | {*done.bad, *done.unseen}
        if self._errors:
            raise self._errors[min(self._errors)]
        if left:
            first = describe_image(min(left), self._paths[min(left)])
            raise RuntimeError(
                f"joblib's backend returned no result for {len(left)} image(s), first "
                f"{first}. Try again, or use another backend."
            )

    def _tasks(self) -> Iterator[Task]:
        """Yield the images of each task, and which views are wanted."""
        left = iter(self._items.items())
        n_together = self._n_together()
        while not self._errors and (items := dict(islice(left, n_together))):
            yield items, [(i, view) for i in items for view in self._views[i]]

    def _n_together(self) -> int:
        """Return the number of images per task that balances the tasks of workers."""
        n_workers = effective_n_jobs(self._n_jobs)
        n_of_each = -(-len(self._items) // n_workers)
        n_tasks_of_each = max(-(-n_of_each // self._batch_size), 1)
        return max(-(-n_of_each // n_tasks_of_each), 1)

    def _take(self, done: Done) -> None:
        """Check and store the results of a worker."""
        results = self._results
        # The worker was given absolute paths; messages name those of the user.
        results.warn_once(map(self._of_user, done.warnings))
        for index, error in done.bad.items():
            if not results.record(self._of_user(error)):
                self._errors[index] = self._of_user(error)
        for index, error in done.unseen.items():
            self._errors[index] = self._of_user(error)
        changed = [u for u, keys in done.keys.items() if keys != results.keys[u]]
        for index, _ in changed:
            self._errors[index] = ImageError(
                index,
                self._paths[index],
                f"another image on worker {done.worker} than in the main process: the "
                "file has changed, or the worker has another file under this path",
                "Try again, use a folder that all workers share, or pass the bytes of "
                "files.",
            )
        if not changed:
            good = [unit for unit in done.keys if unit[0] not in done.bad]
            results.add_stored(good, done.arrays)

    def _of_user(self, problem: Any) -> Any:
        """Return an error or a warning with the path that the user has given."""
        if not isinstance(problem, ImageError | ImageWarning):
            return problem
        return problem.of(problem.index, self._paths[problem.index])


def _do(work: Work, items: dict[int, Any], units: list[Unit]) -> Done:
    """Run a task. The function is an argument, so that Dask can send it once."""
    return work(items, units)


def _results(work: Work, tasks: Iterator[Task], n_jobs: int | None) -> Iterator[Done]:
    """Yield the results of tasks as they are completed, or in groups."""
    backend, _ = get_active_backend()
    n_workers = effective_n_jobs(n_jobs)
    if hasattr(backend, "client"):
        yield from _results_of_dask(backend, work, tasks, n_workers)
        return
    calls = (delayed(_do)(work, *task) for task in tasks)
    try:
        parallel = Parallel(n_jobs, batch_size=1, return_as="generator_unordered")
    except ValueError:  # unsupported by some backends, such as Ray's and Spark's
        parallel = None
    if parallel is not None:
        yield from parallel(calls)
        return
    with Parallel(n_jobs, batch_size=1) as parallel:  # the same workers for all groups
        while group := list(islice(calls, _TASKS_IN_A_GROUP * n_workers)):
            yield from parallel(group)


def _results_of_dask(
    backend: Any, work: Work, tasks: Iterator[Task], n_workers: int
) -> Iterator[Done]:
    """Yield the results of tasks of joblib's Dask backend as they are completed.

    This uses the Dask client, because :class:`joblib.Parallel` (joblib 1.6) waits
    forever for tasks that Dask gives up, such as one that has killed several workers.

    Raises
    ------
    RuntimeError
        If a worker does not have skvgg.
    """
    from distributed import as_completed

    client = backend.client
    _check_import(client)
    there: Any = work
    if sys.getsizeof(work) > _LARGE:
        # To all workers, because data on one worker is lost if it stops.
        there = client.scatter(work, broadcast=True, hash=False)
    running = as_completed()

    def send(n: int) -> None:
        for task in islice(tasks, n):
            running.add(client.submit(_do, there, *task, pure=False))

    with backend.retrieval_context():  # lets a worker run other tasks meanwhile
        send(_TASKS_IN_A_GROUP * n_workers)
        for future in running:
            yield future.result()
            send(1)


def _check_import(client: Any) -> None:
    """Raise if a worker does not have skvgg, because Dask would wait forever."""
    answers = client.run(exec, "import skvgg", on_error="return")
    for worker, answer in answers.items():
        if isinstance(answer, ImportError):
            raise RuntimeError(
                f"The Dask worker {worker} cannot import skvgg ({answer}). Install "
                f"skvgg {__version__} there."
            )

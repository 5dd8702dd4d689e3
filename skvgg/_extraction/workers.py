"""Passes in the workers of joblib's backend: processes or machines of a cluster.

This module does not depend on estimators or TensorFlow.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from joblib.parallel import get_active_backend

from skvgg._extraction.ledger import Ledger
from skvgg._images import Content, name_of
from skvgg._version import __version__

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
    keys : dict of int to list of bytes
        Keys of the outputs of each image, by index.
    arrays : dict of bytes to ndarray
        All outputs by key, in their stored form.
    bad : dict of int to str
        Problems of bad images, by index.
    unseen : dict of int to str
        Reasons why the worker cannot read the files of images, by index.
    oddities : list of str
        Warnings for the user.
    """

    worker: str
    keys: dict[int, list[bytes]]
    arrays: dict[bytes, np.ndarray]
    bad: dict[int, str]
    unseen: dict[int, str]
    oddities: list[str]


#: Takes images by index, as paths, bytes or arrays.
Work = Callable[[dict[int, Any]], Done]


def uses_workers(n_jobs: int | None) -> bool:
    """Return whether images are sent to workers; with Dask, even if there is one."""
    if n_jobs == 1:
        return False
    backend, _ = get_active_backend()
    return hasattr(backend, "client") or effective_n_jobs(n_jobs) > 1


def worker_name() -> str:
    """Return the host and process id of this process, for error messages."""
    return f"{socket.gethostname()!r} (process {os.getpid()})"


def split_unseen(items: dict[int, Any]) -> tuple[dict[int, Any], dict[int, str]]:
    """Split images into those that this worker can read, and reasons for the others."""
    seen, unseen = {}, {}
    for index, item in items.items():
        try:
            if isinstance(item, str):
                with open(item, "rb"):
                    pass
            seen[index] = item
        except OSError as error:
            unseen[index] = (
                f"{name_of(item, index)}: worker {worker_name()} cannot read this file "
                f"({error.strerror}), but the main process can. Use a folder that all "
                "workers see under the same path, or pass the bytes of files."
            )
    return seen, unseen


@dataclass(frozen=True)
class WorkerPasses:
    """Passes in the workers of joblib's backend.

    Paths, bytes and arrays are sent to the workers, and rows are returned.

    Attributes
    ----------
    work : callable
        The function that workers apply to images; it is pickled.
    n_jobs : int or None
        As :class:`joblib.Parallel` takes it.
    batch_size : int
        Maximum number of images that are sent together.
    """

    work: Work
    n_jobs: int | None
    batch_size: int

    @contextmanager
    def begun(self, ledger: Ledger, readers: Executor) -> Iterator[_WorkerRun]:
        """Collect images; on exit, send them to workers and collect the results."""
        run = _WorkerRun(self, ledger)
        yield run
        run.send()


@dataclass
class _WorkerRun:
    """The passes of one run."""

    passes: WorkerPasses
    ledger: Ledger
    names: dict[int, str] = field(default_factory=dict)
    items: dict[int, Any] = field(default_factory=dict)
    errors: dict[int, Exception] = field(default_factory=dict)

    def add(self, contents: dict[int, Content]) -> None:
        """Collect images by index; images that are files are sent as paths."""
        for index, content in contents.items():
            self.names[index] = content.name
            self.ledger.warn_of(content)  # PIL images are decoded already
            self.items[index] = content.data if content.path is None else content.path

    def send(self) -> None:
        """Send all images and store the results as they arrive.

        Raises
        ------
        ValueError, FileNotFoundError
            If an image cannot be used and is not skipped, or if a worker cannot read
            it; raised after the results of all tasks sent before.
        RuntimeError
            If the backend loses tasks.
        """
        if not self.items:
            return
        passes, left = self.passes, set(self.items)
        for done in _results(passes.work, self._tasks(), passes.n_jobs):
            self._take(done)
            left -= done.keys.keys() | done.bad.keys() | done.unseen.keys()
        if self.errors:
            raise self.errors[min(self.errors)]
        if left:
            raise RuntimeError(
                f"joblib's backend returned no result for {len(left)} image(s), first "
                f"{self.names[min(left)]}. Try again, or use another backend."
            )

    def _tasks(self) -> Iterator[dict[int, Any]]:
        """Yield the images of each task, by index."""
        left = iter(self.items.items())
        n_together = self._n_together()
        while not self.errors and (some := dict(islice(left, n_together))):
            yield some

    def _n_together(self) -> int:
        """Return the number of images per task that balances the tasks of workers."""
        n_workers = effective_n_jobs(self.passes.n_jobs)
        n_of_each = -(-len(self.items) // n_workers)
        n_tasks_of_each = max(-(-n_of_each // self.passes.batch_size), 1)
        return max(-(-n_of_each // n_tasks_of_each), 1)

    def _take(self, done: Done) -> None:
        """Check and store the results of a worker."""
        for oddity in done.oddities:
            named = self._renamed(oddity, done.keys)
            names = (name for name in self.names.values() if named.startswith(name))
            self.ledger.warn_once(named, next(names, ""))
        for index, message in done.bad.items():
            trouble = self._renamed(message, [index])
            if not self.ledger.note(index, trouble):
                self.errors[index] = ValueError(trouble)
        for index, message in done.unseen.items():
            self.errors[index] = FileNotFoundError(self._renamed(message, [index]))
        changed = [i for i, keys in done.keys.items() if keys != self.ledger.keys[i]]
        for index in changed:
            self.errors[index] = ValueError(
                f"{self.names[index]} is another image on worker {done.worker} than in "
                "the main process: the file has changed, or the worker has another "
                "file under this path. Try again, use a folder that all workers share, "
                "or pass the bytes of files."
            )
        if not changed:
            good = [index for index in done.keys if index not in done.bad]
            self.ledger.came_home(good, done.arrays)
        self.ledger.count(bad=sum(index in self.ledger.bad for index in done.bad))

    def _renamed(self, message: str, indices: Iterable[int]) -> str:
        """Replace the image name in a worker's message by the name for the user."""
        for index in indices:
            name = name_of(self.items[index], index)
            if message.startswith(name):
                return self.names[index] + message.removeprefix(name)
        return message


def _do(work: Work, items: dict[int, Any]) -> Done:
    """Run a task. The function is an argument, so that Dask can send it once."""
    return work(items)


def _results(
    work: Work, tasks: Iterator[dict[int, Any]], n_jobs: int | None
) -> Iterator[Done]:
    """Yield the results of tasks as they are completed, or in groups."""
    backend, _ = get_active_backend()
    n_workers = effective_n_jobs(n_jobs)
    if hasattr(backend, "client"):
        yield from _results_of_dask(backend, work, tasks, n_workers)
        return
    calls = (delayed(_do)(work, items) for items in tasks)
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
    backend: Any, work: Work, tasks: Iterator[dict[int, Any]], n_workers: int
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
        for items in islice(tasks, n):
            running.add(client.submit(_do, there, items, pure=False))

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

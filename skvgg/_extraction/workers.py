"""Passes in the workers of joblib's backend: processes, or the machines of a cluster.

Knows neither estimators nor TensorFlow.
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

import skvgg
from skvgg._extraction.ledger import Ledger
from skvgg._images import Content, name_of

#: Tasks of a worker between two times that rows come home, where they cannot come as
#: they are done.
_TASKS_IN_A_GROUP = 4

#: Bytes of what does not travel with every task.
_LARGE = 1_000_000


@dataclass
class Done:
    """What a worker sends home.

    Attributes
    ----------
    worker : str
        Its name.
    keys : dict of int to list of bytes
        What the outputs of each image are known by, by its index.
    arrays : dict of bytes to ndarray
        All outputs by key, as they are stored.
    bad : dict of int to str
        What is wrong with images.
    unseen : dict of int to str
        Images whose files the worker cannot read, and why.
    oddities : list of str
        What the user should be told of.
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
    """Return whether images go to workers, as Dask's do if there is only one."""
    if n_jobs == 1:
        return False
    backend, _ = get_active_backend()
    return hasattr(backend, "client") or effective_n_jobs(n_jobs) > 1


def worker_name() -> str:
    """Return where this process runs, for errors."""
    return f"{socket.gethostname()!r} (process {os.getpid()})"


def split_unseen(items: dict[int, Any]) -> tuple[dict[int, Any], dict[int, str]]:
    """Return the images that this worker can read, and why it cannot read others."""
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
                f"({error.strerror}), and the process that asked can. Use a folder "
                "that all workers see under the same path, or pass the bytes of files."
            )
    return seen, unseen


@dataclass(frozen=True)
class WorkerPasses:
    """Passes in the workers of joblib's backend.

    Paths, bytes and arrays travel there, and rows come back.

    Attributes
    ----------
    work : callable
        What a worker does with images; it is pickled.
    n_jobs : int or None
        As :class:`joblib.Parallel` takes it.
    batch_size : int
        Images that are sent together, at most.
    """

    work: Work
    n_jobs: int | None
    batch_size: int

    @contextmanager
    def begun(self, ledger: Ledger, readers: Executor) -> Iterator[_WorkerRun]:
        """Take images; at the end, send them all, and take what comes home."""
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
    said: set[str] = field(default_factory=set)

    def add(self, contents: dict[int, Content]) -> None:
        """Keep images, by index: those that came as files by their paths alone."""
        for index, content in contents.items():
            self.names[index] = content.name
            self.items[index] = content.data if content.path is None else content.path

    def send(self) -> None:
        """Send all images; store what comes home, as it comes.

        Raises
        ------
        ValueError, FileNotFoundError
            If an image cannot be used and is not to be skipped, or a worker cannot
            read it; when all that was sent before has come home.
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
                f"joblib's backend gave no result for {len(left)} of the images, the "
                f"first of them {self.names[min(left)]}. Try again, or another backend."
            )

    def _tasks(self) -> Iterator[dict[int, Any]]:
        """Yield images by index, as many as go to a worker together."""
        left = iter(self.items.items())
        n_together = self._n_together()
        while not self.errors and (some := dict(islice(left, n_together))):
            yield some

    def _n_together(self) -> int:
        """Return a number of images with which all workers have as many tasks."""
        n_workers = effective_n_jobs(self.passes.n_jobs)
        n_of_each = -(-len(self.items) // n_workers)
        n_tasks_of_each = max(-(-n_of_each // self.passes.batch_size), 1)
        return max(-(-n_of_each // n_tasks_of_each), 1)

    def _take(self, done: Done) -> None:
        """Check and keep what a worker has made of images."""
        for oddity in done.oddities:
            self._warn(oddity, done.keys)
        for index, message in done.bad.items():
            trouble = self._renamed(message, [index])
            if not self.ledger.note(index, trouble):
                self.errors[index] = ValueError(trouble)
        for index, message in done.unseen.items():
            self.errors[index] = FileNotFoundError(self._renamed(message, [index]))
        changed = [i for i, keys in done.keys.items() if keys != self.ledger.keys[i]]
        for index in changed:
            self.errors[index] = ValueError(
                f"{self.names[index]} is another image for worker {done.worker} than "
                "for the process that asked: the file changed meanwhile, or that "
                "worker has another one under its path. Try again, use a folder that "
                "all workers share, or pass the bytes of files."
            )
        if not changed:
            good = [index for index in done.keys if index not in done.bad]
            self.ledger.came_home(good, done.arrays)
        self.ledger.count(bad=sum(index in self.ledger.bad for index in done.bad))

    def _warn(self, oddity: str, indices: Iterable[int]) -> None:
        """Warn of what a worker found odd, unless another one has said the same."""
        named = self._renamed(oddity, indices)
        names = (name for name in self.names.values() if named.startswith(name))
        what = named.removeprefix(next(names, ""))
        if what not in self.said:
            self.said.add(what)
            self.ledger.warn(named)

    def _renamed(self, message: str, indices: Iterable[int]) -> str:
        """Return a worker's message with the name that an image has for the user."""
        for index in indices:
            name = name_of(self.items[index], index)
            if message.startswith(name):
                return self.names[index] + message.removeprefix(name)
        return message


def _do(work: Work, items: dict[int, Any]) -> Done:
    """Do a task. The work is an argument, so that Dask can send it once."""
    return work(items)


def _results(
    work: Work, tasks: Iterator[dict[int, Any]], n_jobs: int | None
) -> Iterator[Done]:
    """Yield the results of tasks as they are done, or in groups."""
    backend, _ = get_active_backend()
    n_workers = effective_n_jobs(n_jobs)
    if hasattr(backend, "client"):
        yield from _results_of_dask(backend, work, tasks, n_workers)
        return
    calls = (delayed(_do)(work, items) for items in tasks)
    try:
        parallel = Parallel(n_jobs, batch_size=1, return_as="generator_unordered")
    except ValueError:  # a backend that cannot do this, as Ray's and Spark's
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
    """Yield the results of tasks of joblib's Dask backend as they are done.

    By its client: :class:`joblib.Parallel` waits for ever for a task that Dask gives up
    (joblib 1.6), as one that has killed several workers.

    Raises
    ------
    RuntimeError
        If a worker has no skvgg.
    """
    from distributed import as_completed

    client = backend.client
    _check_import(client)
    there: Any = work
    if sys.getsizeof(work) > _LARGE:
        # To all, as what one worker alone has is lost with it.
        there = client.scatter(work, broadcast=True, hash=False)
    running = as_completed()

    def send(n: int) -> None:
        for items in islice(tasks, n):
            running.add(client.submit(_do, there, items, pure=False))

    with backend.retrieval_context():  # a task of a worker lets others run meanwhile
        send(_TASKS_IN_A_GROUP * n_workers)
        for future in running:
            yield future.result()
            send(1)


def _check_import(client: Any) -> None:
    """Raise if a worker has no skvgg: Dask would wait for its answer for ever."""
    answers = client.run(exec, "import skvgg", on_error="return")
    for worker, answer in answers.items():
        if isinstance(answer, ImportError):
            raise RuntimeError(
                f"The Dask worker {worker} cannot import skvgg ({answer}). Install "
                f"version {skvgg.__version__} of it there."
            )

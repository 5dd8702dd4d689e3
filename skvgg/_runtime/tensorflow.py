"""Import TensorFlow without its log messages, and find out where it computes.

TensorFlow's C++ code writes to the console when it is imported, when it first looks
for a GPU, and when it first runs a session. No setting silences it completely
(``TF_CPP_MIN_LOG_LEVEL=3`` leaves most of it in TensorFlow 2.21). So during these three
steps, lines in the format of its log are removed from standard error.
"""

from __future__ import annotations

import os
import random
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, wraps
from typing import Any

import numpy as np

from skvgg._runtime.threads import max_threads, n_cores

#: A line of TensorFlow's log, and the two unprefixed lines that belong to one.
_LOG_LINE = re.compile(
    rb"[IWE]\d{4} \d\d:\d\d:|WARNING: All log messages before absl::InitializeLog"
    rb"|To enable the following instructions:"
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWE] "
)

#: A tensor; TensorFlow has no types that a type checker could use.
Tensor = Any

_LOCK = threading.RLock()

_started = False
_forked_too_late = False


def _after_fork_in_child() -> None:
    global _forked_too_late
    _forked_too_late = _forked_too_late or _has_run()


def _has_run() -> bool:
    """Return whether TensorFlow has started threads, for us or for user code."""
    context = _eager_context()
    return _started or bool(context is not None and context._initialized)


def _eager_context() -> Any:
    """Return TensorFlow's eager context, or None if it does not exist yet."""
    module = sys.modules.get("tensorflow.python.eager.context")
    return getattr(module, "_context", None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def import_tensorflow() -> Any:
    """Return the module ``tensorflow``, imported and initialized without messages.

    Raises
    ------
    RuntimeError
        If the process was forked after TensorFlow had run. The fork has no copies of
        TensorFlow's threads and would wait for them forever.
    """
    if _forked_too_late:
        raise RuntimeError(
            "This process was forked after TensorFlow had run in its parent, so "
            "TensorFlow would hang. Use joblib's default backend 'loky', or the start "
            "method 'spawn' or 'forkserver' of multiprocessing."
        )
    global _started
    _started = True  # before the lock, so that a fork never waits for it
    with _LOCK:
        return _start()


@cache
def _start() -> Any:
    random_state = random.getstate()  # the import of TensorFlow changes it
    with quiet_log():
        import tensorflow as tf

        _limit_threads(tf)
        _grow_memory(tf)
        config = tf.compat.v1.ConfigProto(
            device_count={"GPU": 0},  # a session would reserve all of its memory
            # TensorFlow's threads serve the whole process. The first session or eager
            # operation sets their number.
            intra_op_parallelism_threads=(
                tf.config.threading.get_intra_op_parallelism_threads()
            ),
            inter_op_parallelism_threads=(
                tf.config.threading.get_inter_op_parallelism_threads()
            ),
        )
        with (
            tf.Graph().as_default(),
            tf.compat.v1.Session(config=config) as session,
        ):
            session.run(tf.constant(0))
    random.setstate(random_state)
    return tf


def _limit_threads(tf: Any) -> None:
    """Limit TensorFlow to the allowed number of threads; by default it uses all cores.

    This has no effect if the user has set the number of threads, or has already used
    TensorFlow.
    """
    limit, config = max_threads(), tf.config.threading
    if limit >= n_cores():
        return
    for variable, n_threads, set_threads in (
        (
            "TF_NUM_INTRAOP_THREADS",
            config.get_intra_op_parallelism_threads(),
            config.set_intra_op_parallelism_threads,
        ),
        (
            "TF_NUM_INTEROP_THREADS",
            config.get_inter_op_parallelism_threads(),
            config.set_inter_op_parallelism_threads,
        ),
    ):
        if not n_threads and not os.environ.get(variable):
            with suppress(RuntimeError):
                set_threads(limit)


def n_threads_of_network() -> int:
    """Return the number of threads of a network: TensorFlow's, if the user set it."""
    n_set = import_tensorflow().config.threading.get_intra_op_parallelism_threads()
    variable = os.environ.get("TF_NUM_INTRAOP_THREADS", "")
    return n_set or (int(variable) if variable.isdigit() else 0) or max_threads()


def _grow_memory(tf: Any) -> None:
    """Let TensorFlow allocate GPU memory as needed instead of all at once.

    This has no effect after user code has used a GPU.
    """
    for gpu in tf.config.list_physical_devices("GPU"):
        with suppress(RuntimeError, ValueError):
            tf.config.experimental.set_memory_growth(gpu, True)


def device_here() -> str | None:
    """Return the device set by ``with tf.device(...)`` in this thread, or None."""
    context = _eager_context()
    return (context.device_name or None) if context is not None else None


def at_device_of_this_thread(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that computes on the device of this thread in any thread.

    ``with tf.device(...)`` affects the current thread only.
    """
    device = device_here()
    if device is None:
        return function

    @wraps(function)
    def there(*args: Any) -> Any:
        with import_tensorflow().device(device):
            return function(*args)

    return there


@contextmanager
def eagerly() -> Iterator[None]:
    """Execute eagerly, even within ``with tf.Graph().as_default():``.

    ``tf.init_scope`` leaves functions that are being traced, but not user graphs.

    Raises
    ------
    RuntimeError
        If the shapes of tensors are those of TensorFlow 1, in the whole process.
    """
    tf = import_tensorflow()
    if not isinstance(tf.TensorShape([1])[0], int):
        raise RuntimeError(
            "tf.compat.v1.disable_v2_behavior() or disable_v2_tensorshape() was called "
            "in this process, and the network needs the tensor shapes of TensorFlow 2. "
            "Call tf.compat.v1.enable_v2_tensorshape() after it, or use "
            "tf.compat.v1.disable_eager_execution() instead."
        )
    with tf.__internal__.eager_context.eager_mode():
        yield


def has_gpu() -> bool:
    """Return whether TensorFlow computes on a GPU in this thread."""
    return _process_has_gpu() and "CPU" not in (device_here() or "")


@cache
def _process_has_gpu() -> bool:
    return bool(import_tensorflow().config.list_logical_devices("GPU"))


def as_array(tensor: Any) -> np.ndarray:
    """Return a view of a CPU tensor as an array; do not change it.

    The method ``numpy`` of tensors makes a copy.
    """
    return np.asarray(memoryview(tensor))


def as_tensor(array: np.ndarray) -> Any:
    """Return a view of an array as a tensor; the array must not be changed anymore."""
    tf = import_tensorflow()
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def compiled(function: Callable[..., Any], signature: Sequence[Any]) -> Any:
    """Return a function of tensors as a concrete function with one signature.

    ``tf.function`` counts traces by line of code. It would warn about frequent
    retracing if several graphs came from the same lines.
    """
    tf = import_tensorflow()
    # Autograph is not needed here, and leaves files in the temporary folder.
    return tf.function(
        function,
        input_signature=signature,
        autograph=False,
    ).get_concrete_function()


_QUIET_LOCK = threading.Lock()
_n_quiet = 0
_end_diversion: Callable[[], None]


@contextmanager
def quiet_log() -> Iterator[None]:
    """Remove lines of TensorFlow's log from standard error; pass on all other lines.

    This affects the whole process, so use it briefly. Several threads may use it at the
    same time: the first one starts the filter and the last one stops it.
    """
    global _n_quiet, _end_diversion
    with _QUIET_LOCK:
        if not _n_quiet:
            _end_diversion = _divert()
        _n_quiet += 1
    try:
        yield
    finally:
        with _QUIET_LOCK:
            _n_quiet -= 1
            if not _n_quiet:
                _end_diversion()


def _divert() -> Callable[[], None]:
    """Send standard error through a filter; return a function that stops it.

    Nothing is filtered if the process has no standard error or no free descriptor.
    """
    with suppress(Exception):  # sys.stderr may be None, anything, or broken
        sys.stderr.flush()
    with ExitStack() as undo:

        def keep(descriptor: int) -> int:
            undo.callback(os.close, descriptor)
            return descriptor

        try:
            original, target = keep(os.dup(2)), keep(os.dup(2))
            read_end, write_end = map(keep, os.pipe())
        except OSError:
            return lambda: None
        pipe = os.fstat(write_end)
        reader = threading.Thread(target=_pass_on, args=(read_end, target), daemon=True)
        reader.start()
        os.dup2(write_end, 2)
        os.close(write_end)
        undo.pop_all()

    def end() -> None:
        with suppress(OSError):  # standard error was closed or replaced meanwhile
            if os.path.samestat(os.fstat(2), pipe):
                # This closes the last write end of the pipe and so ends the reader,
                # unless a process started meanwhile has inherited the pipe.
                os.dup2(original, 2)
        os.close(original)
        reader.join(timeout=1)

    return end


def _pass_on(source: int, target: int) -> None:
    with os.fdopen(source, "rb") as lines, os.fdopen(target, "wb", 0) as out:
        for line in lines:
            if not _LOG_LINE.match(line):
                with suppress(OSError):  # standard error is a broken pipe
                    out.write(line)

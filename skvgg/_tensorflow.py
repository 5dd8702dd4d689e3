"""Importing TensorFlow without its noise.

TensorFlow's C++ code writes to the console when it is imported, when it first
looks for a GPU and when it first runs a session; no setting silences that
altogether (``TF_CPP_MIN_LOG_LEVEL=3`` leaves most of it in TensorFlow 2.21).
So, for the length of those three, the lines that are of its log's form are
taken out of what the process writes to standard error.
"""

from __future__ import annotations

import os
import random
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import joblib

from skvgg._threads import max_threads

#: A line of TensorFlow's log, and the two unprefixed lines that belong to one.
_LOG_LINE = re.compile(
    rb"[IWE]\d{4} \d\d:\d\d:|WARNING: All log messages before absl::InitializeLog"
    rb"|To enable the following instructions:"
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWE] "
)

_LOCK = threading.RLock()

_forked_too_late = False


def _after_fork_in_child() -> None:
    global _forked_too_late
    _forked_too_late = _forked_too_late or _has_run()


def _has_run() -> bool:
    """Return whether TensorFlow, used by us or by the user, has started threads."""
    if _start.cache_info().currsize:
        return True
    context = getattr(
        sys.modules.get("tensorflow.python.eager.context"), "_context", None
    )
    return bool(context is not None and context._initialized)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def import_tensorflow() -> Any:
    """Return the module ``tensorflow``, imported and started in silence.

    Raises
    ------
    RuntimeError
        In a process that was forked after TensorFlow had run: its threads are
        not in the copy, and it would wait for them for ever.
    """
    if _forked_too_late:
        raise RuntimeError(
            "This process was forked after TensorFlow had run in its parent, and "
            "TensorFlow would hang in it. Use joblib's default backend, loky, or "
            "multiprocessing's 'spawn' or 'forkserver'."
        )
    with _LOCK:
        return _start()


def import_keras() -> Any:
    """Return the module ``keras`` that TensorFlow brings."""
    import_tensorflow()
    import keras

    return keras


@cache
def _start() -> Any:
    random_state = random.getstate()  # importing TensorFlow draws from it
    with quiet_log():
        import tensorflow as tf

        _limit_threads(tf)
        _grow_memory(tf)
        # Without GPU, since a session would reserve all of its memory.
        config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
        with (
            tf.Graph().as_default(),
            tf.compat.v1.Session(config=config) as session,
        ):
            session.run(tf.constant(0))
    random.setstate(random_state)
    return tf


def _limit_threads(tf: Any) -> None:
    """Let TensorFlow keep to ``OMP_NUM_THREADS``, which it does not read itself.

    Changes nothing where the user has set its threads, or has begun to use it.
    """
    config = tf.config.threading
    if max_threads() < joblib.cpu_count():
        with suppress(RuntimeError):
            if not config.get_intra_op_parallelism_threads():
                config.set_intra_op_parallelism_threads(max_threads())


def _grow_memory(tf: Any) -> None:
    """Let each GPU's memory be taken as needed; TensorFlow would take all at once.

    Changes nothing once the user's code has used a GPU: it is then too late.
    """
    for gpu in tf.config.list_physical_devices("GPU"):
        with suppress(RuntimeError, ValueError):
            tf.config.experimental.set_memory_growth(gpu, True)


@cache
def has_gpu() -> bool:
    """Return whether TensorFlow computes on a GPU here."""
    return bool(import_tensorflow().config.list_logical_devices("GPU"))


def compiled(
    function: Callable, signature: Sequence[Any], *, by_xla: bool = False
) -> Any:
    """Return a function of tensors as a graph that takes this signature alone.

    Called through ``tf.function``, which counts by the lines of code, several graphs of
    the same lines look like one that is traced too often, and TensorFlow warns.

    Parameters
    ----------
    function : callable
        Takes tensors, or lists of them, and returns one.
    signature : sequence of tf.TensorSpec or list of tf.TensorSpec
        What it takes.
    by_xla : bool
        Whether XLA compiles it, when it is first called.
    """
    tf = import_tensorflow()
    # Autograph has nothing to do here and leaves files in the temporary folder.
    return tf.function(
        function,
        input_signature=signature,
        autograph=False,
        jit_compile=by_xla or None,
    ).get_concrete_function()


@contextmanager
def quiet_log() -> Iterator[None]:
    """Keep lines of TensorFlow's log from standard error; let all others pass.

    Affects the whole process, so it is for short stretches only.
    """
    try:
        original = os.dup(2)
    except OSError:  # the process has no standard error
        yield
        return
    if sys.stderr:
        sys.stderr.flush()
    read_end, write_end = os.pipe()
    reader = threading.Thread(target=_pass_on, args=(read_end, original), daemon=True)
    reader.start()
    os.dup2(write_end, 2)
    os.close(write_end)
    try:
        yield
    finally:
        os.dup2(original, 2)  # closes the pipe's last write end, which ends the reader
        # unless a process started meanwhile inherited it: then it reads on.
        reader.join(timeout=1)


def _pass_on(source: int, target: int) -> None:
    with os.fdopen(source, "rb") as lines, os.fdopen(target, "wb", 0) as out:
        for line in lines:
            if not _LOG_LINE.match(line):
                out.write(line)

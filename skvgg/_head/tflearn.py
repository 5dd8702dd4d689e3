"""Import TFLearn with current TensorFlow, without global side effects.

TFLearn 0.5.0 was written for TensorFlow 1. This module is the only place that works
around two obstacles to its import:

- It uses two removed names, ``nest.is_sequence`` and ``PIL.Image.ANTIALIAS``. They are
  patched in only during the import.
- Its import switches the whole process to TensorFlow 1 behavior. The function that does
  so is disabled during the import.

:mod:`skvgg._head.dense` builds and trains networks with it.
"""

from __future__ import annotations

import importlib
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any
from unittest import mock

from skvgg._runtime.tensorflow import import_tensorflow

#: TFLearn and TensorFlow's switch for deprecation warnings hold global state.
LOCK = threading.RLock()


def import_tflearn() -> Any:
    """Import and return ``tflearn`` without its side effects on TensorFlow.

    A plain ``import tflearn`` fails with current TensorFlow, and would otherwise turn
    off eager execution in the whole process. After one call of this function, ``import
    tflearn`` works too.

    Returns
    -------
    module
        TFLearn.

    Examples
    --------
    >>> from skvgg import TFLearnMLPClassifier, import_tflearn
    >>> tflearn = import_tflearn()
    >>> momentum = tflearn.Momentum(learning_rate=0.05, momentum=0.8)
    >>> head = TFLearnMLPClassifier(optimizer=momentum)
    """
    with LOCK:
        return _import_tflearn()


@cache
def _import_tflearn() -> Any:
    tf = import_tensorflow()
    # ``tf.compat.v1`` is a different object before this import, which TFLearn does too.
    v1 = importlib.import_module("tensorflow.compat.v1")
    nest = importlib.import_module("tensorflow.python.util.nest")
    pil_image = importlib.import_module("PIL.Image")
    with ExitStack() as stack:
        stack.enter_context(tf.Graph().as_default())
        stack.enter_context(mock.patch.object(v1, "disable_v2_behavior"))
        for module, name, value in (
            (nest, "is_sequence", nest.is_nested),
            (pil_image, "ANTIALIAS", pil_image.Resampling.LANCZOS),
        ):
            if not hasattr(module, name):
                stack.enter_context(mock.patch.object(module, name, value, create=True))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # SyntaxWarnings in TFLearn's source
        stack.enter_context(no_deprecation_warnings())
        return importlib.import_module("tflearn")


@contextmanager
def no_deprecation_warnings() -> Iterator[None]:
    """Keep TensorFlow from logging that TFLearn uses deprecated functions."""
    deprecation = importlib.import_module("tensorflow.python.util.deprecation")
    with deprecation.silence():
        yield

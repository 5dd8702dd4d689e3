"""TFLearn on today's TensorFlow, with no trace left on the user's own.

TFLearn 0.5.0 was written for TensorFlow 1. What stands in the way of its import,
and what is done about it here and nowhere else:

- it reads two names that are gone, ``nest.is_sequence`` and
  ``PIL.Image.ANTIALIAS``: they exist while it is imported, and only then;
- its import switches the whole process to TensorFlow 1's behaviour: that
  function does nothing while it is imported.

How networks are built and trained with it stands in :mod:`skvgg._head.dense`.
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
    """Return the module ``tflearn``, without its effects on TensorFlow.

    ``import tflearn`` by itself fails on today's TensorFlow, and would turn off
    eager execution in the whole process if it did not. After one call of this
    function it works as well.

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
    # ``tf.compat.v1`` is another object until this import, which TFLearn makes.
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

"""Progress bars show a job and cannot fail it."""

import errno
import io
import sys

import numpy as np
import pytest

from skvgg import TFLearnMLPClassifier, VGG19Features
from skvgg._runtime.progress import progress_bar
from skvgg._runtime.tensorflow import import_tensorflow
from skvgg.datasets import find_bad_images


class Broken(io.StringIO):
    """A stream that fails as a pipe without a reader does, or a full disk."""

    def __init__(self, code):
        super().__init__()
        self.code = code

    def write(self, text):
        raise OSError(self.code, "no")

    def flush(self):
        self.write("")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS = {
    "pipe": lambda: Broken(errno.EPIPE),
    "disk": lambda: Broken(errno.ENOSPC),
    "closed": closed,
    "None": lambda: None,
    "anything": object,
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_standard_error_that_fails_does_not_fail_the_job(tiles, monkeypatch, name):
    import_tensorflow()  # its loggers would keep the broken stream
    X, y = tiles[0][:40], tiles[1][:40]
    monkeypatch.setattr(sys, "stderr", STREAMS[name]())
    assert find_bad_images(X, verbose=1) == {}
    features = VGG19Features(
        None, layer="block1_pool", image_size=32, random_state=0, verbose=1
    )
    rows = features.transform(X)
    assert np.isfinite(rows).all()
    TFLearnMLPClassifier((4,), max_iter=2, verbose=1).fit(rows[:, :16], y)


def test_a_standard_error_that_breaks_meanwhile_does_not_fail_the_job(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    done = []
    for step in progress_bar(range(4), mininterval=0):
        done.append(step)
        if step == 1:
            stream.close()
    assert done == [0, 1, 2, 3]


def test_what_can_be_shown_is(monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    assert [*progress_bar(range(3), unit="step")] == [0, 1, 2]
    assert "3/3" in stream.getvalue()

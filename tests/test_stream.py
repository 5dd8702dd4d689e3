"""Learning from a file of rows that memory does not hold."""

import os
import sys

import pytest

from .conftest import run_python

STREAM = """
import resource, sys
import numpy as np
from sklearn.linear_model import SGDClassifier

from skvgg import transform_to_file

class Blobs:
    "Rows of two classes, 4 kB each, out of their numbers."

    def transform(self, X):
        noise = np.random.default_rng(X[0]).normal(size=(len(X), 1000))
        return (noise + (X % 2)[:, None]).astype("f4")

n, path = 40_000, sys.argv[1]
y = np.arange(n) % 2
linear = SGDClassifier(random_state=0)
linear.partial_fit(np.zeros((2, 1000), "f4"), [0, 1], classes=[0, 1])  # is imported

used = next(line for line in open("/proc/self/status") if line.startswith("VmData"))
limit = int(used.split()[1]) * 1024 + 64 * 2**20
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

transform_to_file(Blobs(), np.arange(n), path, chunk_size=1000)
rows = np.load(path, mmap_mode="r")
for start in range(0, n // 2, 1000):
    linear.partial_fit(rows[start : start + 1000], y[start : start + 1000])
for start in range(n // 2, n, 1000):
    assert linear.score(rows[start : start + 1000], y[start : start + 1000]) > 0.99
print(rows.nbytes)
try:
    np.load(path)
except MemoryError:
    print("too large for memory")
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="limits of memory as Linux has them"
)
def test_a_stream_is_learned_from_where_the_rows_do_not_fit(tmp_path):
    path = tmp_path / "rows.npy"
    n_bytes, said = run_python(STREAM, path).stdout.splitlines()
    assert int(n_bytes) == 160_000_000 > 2 * 64 * 2**20
    assert os.path.getsize(path) > 160_000_000
    assert said == "too large for memory"

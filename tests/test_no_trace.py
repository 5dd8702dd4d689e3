"""Nothing of skvgg stays behind in the user's TensorFlow, NumPy or console."""

import json
import os
import subprocess
import sys

import pytest

from .conftest import run_python

IMPORT_ONLY = """
import sys
import skvgg
from skvgg import TFLearnMLPClassifier, VGG19Features, datasets
VGG19Features().get_feature_names_out()
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"tensorflow", "keras", "tflearn", "h5py"}, loaded
"""

USE = """
import importlib, json, logging, os, random, sys, tempfile, threading, warnings
import numpy as np
import PIL.Image
from sklearn.preprocessing import StandardScaler

StandardScaler().fit([[1.0]])  # what scikit-learn imports in fit is not ours
np.random.seed(0)
random.seed(0)
def state():
    return {
        "numpy": np.random.get_state()[1].tolist() + [np.random.get_state()[2]],
        "random": hash(random.getstate()),
        "environ": dict(os.environ),
        "filters": len(warnings.filters),
        "threshold": logging.getLogger().level,
        "files": sorted(os.listdir(tempfile.gettempdir())),
        "logs": os.path.exists("/tmp/tflearn_logs"),
        "pil": hasattr(PIL.Image, "ANTIALIAS"),
        "dask": any(name.startswith(("dask", "distributed")) for name in sys.modules),
    }

if "tensorflow first" in sys.argv:
    import tensorflow as tf
    tf.constant(1) + 1
    names = set(dir(importlib.import_module("tensorflow.python.util.nest")))
    print("TF SPOKE UNTIL HERE", file=sys.stderr, flush=True)

before = state()
from skvgg import TFLearnMLPClassifier, VGG19Features
X = np.arange(4 * 32 * 32).reshape(4, 32, 32) % 251
features = VGG19Features(None, layer="block1_pool", image_size=32, random_state=0)
rows = features.fit_transform(X)
y = ["a", "b"] * 2
clf = TFLearnMLPClassifier((8,), max_iter=2).fit(rows, y)
clf.predict(rows)
after = state()

import tensorflow as tf
import keras
nest = importlib.import_module("tensorflow.python.util.nest")
if "tensorflow first" in sys.argv:
    assert set(dir(nest)) == names
model = keras.Sequential([keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(np.ones((4, 2)), np.ones(4), verbose=0)
double = tf.function(lambda x: 2 * x)
import tflearn  # the user's own import comes too late to do harm
try:
    tf.random.set_seed(0)
    eager = tf.executing_eagerly()
finally:
    print(json.dumps({
        "before": before,
        "after": after,
        "eager": eager,
        "double": float(double(tf.constant(3.0))),
        "is_sequence": hasattr(nest, "is_sequence"),
        "v2": bool(tf.compat.v1.resource_variables_enabled()),
        "default graph": len(tf.compat.v1.get_default_graph().get_operations()),
        "disable": tf.compat.v1.disable_v2_behavior.__name__,
    }))
"""


def test_import_loads_neither_tensorflow_nor_tflearn():
    run_python(IMPORT_ONLY)


@pytest.fixture(scope="module", params=["skvgg first", "tensorflow first"])
def used(request, tmp_path_factory):
    """What a process says of itself before and after it used skvgg."""
    patch = pytest.MonkeyPatch()
    patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("tmp")))
    done = run_python(USE, request.param)
    patch.undo()
    return json.loads(done.stdout.splitlines()[-1]), done


def test_tensorflow_still_is_eager(used):
    told, _ = used
    assert told["eager"]
    assert told["double"] == 6.0
    assert told["v2"]


def test_tensorflow_has_no_new_names_and_all_of_its_own(used):
    told, _ = used
    assert not told["is_sequence"]
    assert not told["after"]["pil"]
    assert told["disable"] == "disable_v2_behavior"
    assert told["default graph"] == 0


@pytest.mark.parametrize(
    "what", ["numpy", "random", "threshold", "files", "logs", "dask"]
)
def test_state_is_as_before(used, what):
    told, _ = used
    assert told["after"][what] == told["before"][what]


@pytest.mark.parametrize("what", ["environ", "filters"])
@pytest.mark.parametrize("used", ["tensorflow first"], indirect=True)
def test_what_tensorflow_itself_changes_is_as_it_left_it(used, what):
    told, _ = used
    assert told["after"][what] == told["before"][what]


def test_console_is_silent(used):
    _, done = used
    assert done.stderr.rpartition("TF SPOKE UNTIL HERE\n")[2] == ""
    assert len(done.stdout.splitlines()) == 1


def test_extraction_says_nothing_of_its_own():
    """TensorFlow would warn of several functions traced from the same lines."""
    code = """
import numpy as np
from skvgg import VGG19Features
rng = np.random.default_rng(0)
for side in (32, 40, 64):
    engine = "winograd" if side == 64 else "direct"
    pixels = rng.integers(0, 256, (4, side, side, 3), np.uint8)
    features = VGG19Features(
        None, random_state=0, layer="block2_pool", image_size=side, engine=engine
    )
    assert len(features.transform(pixels)) == 4
"""
    done = run_python(code)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("n_threads", [pytest.param("1", marks=pytest.mark.slow), "2"])
def test_within_a_graph_of_the_users_images_are_transformed_all_the_same(
    monkeypatch, n_threads
):
    monkeypatch.setenv("OMP_NUM_THREADS", n_threads)
    code = """
import numpy as np
import tensorflow as tf
from skvgg import VGG19Features, release_networks
X = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
for engine in ("direct", "winograd"):
    features = VGG19Features(
        None, random_state=0, layer="block2_pool", image_size=32, engine=engine
    )
    graph = tf.Graph()
    with graph.as_default():
        rows = features.transform(X)
        assert not tf.executing_eagerly()
    assert not graph.get_operations()
    release_networks()
    np.testing.assert_array_equal(rows, features.transform(X))
    with graph.as_default():
        np.testing.assert_array_equal(rows, features.transform(X))
"""
    run_python(code)


def test_other_lines_on_standard_error_pass():
    code = """
import os, sys
from skvgg._runtime.tensorflow import quiet_log
with quiet_log():
    os.write(2, b"I0000 00:00:1795472015.436  2639 port.cc:153] noise\\n")
    print("a warning of the user's", file=sys.stderr)
    os.write(2, b"E0000 00:00:1795472015.436  2639 cuda.cc:52] more noise\\n")
print("after", file=sys.stderr)
"""
    assert run_python(code).stderr == "a warning of the user's\nafter\n"


def test_a_process_without_standard_error_works():
    run_python(
        "import os; os.close(2)\n"
        "from skvgg._runtime.tensorflow import import_tensorflow\n"
        "assert import_tensorflow().executing_eagerly()"
    )


@pytest.mark.parametrize(
    "before",
    [
        "",
        "sys.stderr = open(2, 'w', closefd=False); sys.stderr.write('unwritten')",
        "sys.stderr = None",
        "sys.stderr = open(os.devnull, 'w'); sys.stderr.close()",
        "sys.stderr = object()",
    ],
)
def test_a_standard_error_that_nobody_reads_does_no_harm(before):
    """As in ``job.py 2>&1 | head -1``."""
    code = f"""
import os, sys, threading, time
from skvgg._runtime.tensorflow import quiet_log
{before}
was, failed = os.fstat(2), []
threading.excepthook = failed.append
with quiet_log():
    n_threads = threading.active_count()
    os.write(2, b"a line of the user's\\n")
    for _ in range(20):  # as long as it takes a reader that fails to do so
        time.sleep(0.02)
    files = [open(os.devnull) for _ in range(5)]
assert os.path.samestat(os.fstat(2), was)
assert not failed
assert n_threads == 2
print("works", flush=True)
os._exit(0)  # Python itself would complain of what it cannot write
"""
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=write_end,
            check=False,
        )
    finally:
        os.close(write_end)
    assert (done.returncode, done.stdout) == (0, b"works\n")


def test_threads_that_silence_tensorflow_together_leave_standard_error_as_it_was():
    code = """
import os, sys, threading
from skvgg._runtime.tensorflow import quiet_log
was = os.fstat(2)
entered, left = threading.Event(), threading.Event()

def first():
    with quiet_log():
        entered.set()
        assert begun.wait(10)
    left.set()

begun = threading.Event()
thread = threading.Thread(target=first)
thread.start()
assert entered.wait(10)
with quiet_log():
    begun.set()
    assert left.wait(10)
    os.write(2, b"I0000 00:00:1795472015.436  2639 port.cc:153] noise\\n")
thread.join()
assert os.path.samestat(os.fstat(2), was)
print("after", file=sys.stderr)
"""
    assert run_python(code).stderr == "after\n"


def test_a_standard_error_that_was_replaced_meanwhile_stays():
    code = """
import os
from skvgg._runtime.tensorflow import quiet_log
with quiet_log():
    other = os.open(os.devnull, os.O_WRONLY)
    os.dup2(other, 2)
assert os.path.samestat(os.fstat(2), os.stat(os.devnull))
"""
    run_python(code)

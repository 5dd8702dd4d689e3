"""Nothing of skvgg stays behind in the user's TensorFlow, NumPy or console."""

import json

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


@pytest.mark.parametrize("what", ["numpy", "random", "threshold", "files", "logs"])
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
for side in (32, 40, 48, 56, 64):
    engine = "winograd" if side == 64 else "direct"
    pixels = rng.integers(0, 256, (16, side, side, 3), np.uint8)
    features = VGG19Features(
        None, random_state=0, layer="block3_pool", image_size=side, engine=engine
    )
    assert len(features.transform(pixels)) == 16
"""
    done = run_python(code)
    assert (done.stdout, done.stderr) == ("", "")


def test_other_lines_on_standard_error_pass():
    code = """
import os, sys
from skvgg._tensorflow import quiet_log
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
        "from skvgg._tensorflow import import_tensorflow\n"
        "assert import_tensorflow().executing_eagerly()"
    )

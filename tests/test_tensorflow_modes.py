"""Everything works however the user has set up TensorFlow, or says what to do."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skvgg import VGG19Features
from skvgg.plotting import SaliencyDisplay

from .conftest import run_python

CODE = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np
import tensorflow as tf
{set_up}
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from skvgg import *
from skvgg.plotting import SaliencyDisplay

rng = np.random.default_rng(0)
rows, labels = rng.normal(size=(30, 4)), np.arange(30) % 3
optimizers = "sgd", "adam", import_tflearn().Momentum()
for optimizer, random_state in zip(optimizers, (None, 0, 0)):
    head = TFLearnMLPClassifier(
        (8, 4), optimizer=optimizer, max_iter=2, random_state=random_state
    )
    head.fit(rows, labels).partial_fit(rows, labels).predict(rows)
TFLearnMLPRegressor((8,), max_iter=2).fit(rows, labels)
print("heads", end=" ")

images = np.load(sys.argv[1])
y = np.arange(len(images)) % 2
settings = {{"layer": ("block2_pool", "block3_pool"), "image_size": 32}}
for random_state in (None, 0):
    model = VGG19Classifier(
        None if random_state is None else "hed", trainable="block3", max_iter=1,
        head=(4,), dropout=0.2, random_state=random_state, **settings,
    ).fit(images, y)
    model.predict(images)
SaliencyDisplay.from_estimator(model, images[0], layer="block2_pool")
features = VGG19Features("hed", pooling="avg", **settings)
model = make_pipeline(features, LogisticRegression()).fit(images, y)
display = SaliencyDisplay.from_estimator(model, images[0], layer="block3_conv1")
np.save(sys.argv[2], display.saliency)
print("network")
"""


@pytest.mark.filterwarnings("ignore:.*lbfgs failed to converge")
@pytest.mark.parametrize(
    "set_up",
    [
        "tf.config.experimental.enable_op_determinism()",
        "tf.compat.v1.disable_eager_execution()",
        pytest.param(
            "tf.compat.v1.disable_v2_behavior(); tf.compat.v1.enable_v2_tensorshape()",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_heads_fine_tuning_and_saliency_work_in_each_mode_of_tensorflow(
    tiles, tmp_path, set_up
):
    images = tiles[0][:8]
    np.save(tmp_path / "images.npy", images)
    paths = tmp_path / "images.npy", tmp_path / "saliency.npy"
    done = run_python(CODE.format(set_up=set_up), *paths)
    assert done.stdout == "heads network\n"
    features = VGG19Features(
        "hed", layer=("block2_pool", "block3_pool"), pooling="avg", image_size=32
    )
    model = make_pipeline(features, LogisticRegression()).fit(images, np.arange(8) % 2)
    here = SaliencyDisplay.from_estimator(model, images[0], layer="block3_conv1")
    np.testing.assert_allclose(
        np.load(paths[1]), here.saliency, atol=1e-3 * here.saliency.max()
    )


def test_tensor_shapes_of_tensorflow_1_are_refused_with_the_way_out():
    code = """
import numpy as np
import tensorflow as tf
tf.compat.v1.disable_v2_behavior()
from skvgg import TFLearnMLPClassifier, VGG19Features
TFLearnMLPClassifier((4,), max_iter=1).fit(np.eye(4), [0, 0, 1, 1])
features = VGG19Features(None, layer="block1_pool", image_size=32, random_state=0)
images = np.zeros((1, 32, 32, 3), np.uint8)
try:
    features.fit_transform(images)
except RuntimeError as error:
    print(error)
tf.compat.v1.enable_v2_tensorshape()
print(features.fit_transform(images).shape)
"""
    said = run_python(code).stdout
    assert "Call tf.compat.v1.enable_v2_tensorshape() after it" in said
    assert said.endswith("(1, 16384)\n")

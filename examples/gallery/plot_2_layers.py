"""
Which stage of the network serves best?
=======================================

Late layers of a network respond to objects, early ones to textures. Cross-validation
tells which of them separates sound solar cells from defective ones, under
electroluminescence [1]_. Every stage and pooling is scored, and each photo goes through
the network once.

Instead of choosing one, a linear model can take the features of all stages that an L1
penalty selects, the idea of Head2Toe [2]_.

.. [1] C. Buerhop-Lutz et al., "A benchmark for visual identification of defective
   solar cells in electroluminescence imagery", EU PVSEC 2018. License of the
   photos: CC BY-NC-SA 4.0.
.. [2] U. Evci et al., "Head2Toe: Utilizing intermediate representations for better
   transfer learning", ICML 2022.
"""

import tempfile

import matplotlib.pyplot as plt
import numpy as np
from elpv_dataset.utils import load_dataset
from sklearn.base import clone
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skvgg import VGG19Features
from skvgg.plotting import LayerScoreDisplay, SaliencyDisplay

N_PER_CLASS = 150

# %%
# The photos
# ----------
# Monocrystalline cells on whose state the experts agree, the same number of each class.

photos, defect, kind = load_dataset()
rng = np.random.default_rng(0)
chosen = [
    rng.permutation(np.flatnonzero((kind == "mono") & (defect == state)))[:N_PER_CLASS]
    for state in (0, 1)
]
cells = photos[np.concatenate(chosen)]
labels = np.repeat(["sound", "defective"], N_PER_CLASS)
train, test, y_train, y_test = train_test_split(
    cells, labels, test_size=1 / 3, stratify=labels, random_state=0
)

# %%
# One linear model, on each stage in turn
# ---------------------------------------

cache = tempfile.TemporaryDirectory()
features = VGG19Features(
    "hed", image_size=64, memory=cache.name, memory_layers="stages"
)
model = make_pipeline(
    features, StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)
)
scores = LayerScoreDisplay.from_estimator(
    model, train, y_train, cv=5, score_name="Accuracy"
)
for layer, means in zip(scores.layers, scores.mean_scores, strict=True):
    both = zip(scores.poolings, means, strict=True)
    print(layer, *(f"{pooling} {mean:.3f}" for pooling, mean in both))

# %%
# The best stage, and all of them
# -------------------------------
# The best of them, and all of them with the features that an L1 penalty selects, on
# photos that neither has seen. (Of 100 photos, the standard error is 0.04.)

model.set_params(**scores.best_params).fit(train, y_train)
print(f"{scores.best_layer} alone: {model.score(test, y_test):.3f}")

all_stages = make_pipeline(
    clone(features).set_params(layer=scores.layers, pooling="avg"),
    StandardScaler(),
    SelectFromModel(LinearSVC(C=0.02, penalty="l1", dual=False, random_state=0)),
    LogisticRegression(C=0.1, max_iter=1000),
).fit(train, y_train)
selected = all_stages[2].get_support()
print(
    f"all stages: {all_stages.score(test, y_test):.3f}, by {selected.sum()} of "
    f"{len(selected)} features"
)

# %%
# What a prediction is based on
# -----------------------------
# Grad-CAM on the model with all stages, beside the photo. Look at the corners of the
# cell: a model may be right for a reason that has nothing to do with defects.

defective = test[y_test == "defective"][0]
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
left.imshow(defective, cmap="gray")
left.set_axis_off()
SaliencyDisplay.from_estimator(
    all_stages, defective, layer="block3_conv4", target="defective", ax=right
)
cache.cleanup()
plt.show()

"""
Wrong labels and near duplicates
================================

Two things distort a score, and no error tells you: wrong labels, and training images
that, slightly changed, are also in the test set. The features show both. Here, we add
both to photos of solar cells [1]_, so that we know what there is to find.

.. [1] C. Buerhop-Lutz et al., "A benchmark for visual identification of defective
   solar cells in electroluminescence imagery", EU PVSEC 2018. License of the
   photos: CC BY-NC-SA 4.0.
"""

import tempfile
from io import BytesIO

import matplotlib.pyplot as plt
import numpy as np
from elpv_dataset.utils import load_dataset
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvgg import VGG19Features
from skvgg.plotting import MistakesDisplay, NeighborsDisplay

# %%
# Photos with planted faults
# --------------------------
# Monocrystalline cells on whose state the experts agree. Five labels are swapped, and
# four training photos come again in the test part, smaller and compressed.

photos, defect, kind = load_dataset()
rng = np.random.default_rng(0)
chosen = rng.permutation(np.flatnonzero((kind == "mono") & np.isin(defect, (0, 1))))[
    :300
]
labels = np.where(defect[chosen] == 1, "defective", "sound")
train, test = list(photos[chosen[:220]]), list(photos[chosen[220:]])
y_train = labels[:220].copy()

swapped = rng.choice(len(train), 5, replace=False)
y_train[swapped] = np.where(y_train[swapped] == "sound", "defective", "sound")


def change(photo):
    """Return a photo of 250 instead of 300 pixels, compressed as a JPEG."""
    file = BytesIO()
    Image.fromarray(photo).resize((250, 250)).save(file, "JPEG", quality=75)
    return file.getvalue()


copied = rng.choice(len(train), 4, replace=False)
test += [change(train[i]) for i in copied]

# %%
# The labels that a classifier does not believe
# ---------------------------------------------
# :class:`~skvgg.plotting.MistakesDisplay` predicts each photo by a model that has not
# learned from it, and draws those with the worst loss. A red frame means that the label
# is suspected to be wrong. It is a list to look through: some are hard photos.

cache = tempfile.TemporaryDirectory()
features = VGG19Features(
    "hed",
    layer=("block3_pool", "block4_pool"),
    pooling="avg",
    image_size=64,
    memory=cache.name,
)
model = make_pipeline(
    features, StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)
)
mistakes = MistakesDisplay.from_estimator(model, train, y_train, n_images=12)
found = np.isin(swapped, mistakes.label_errors).sum()
print(f"{len(mistakes.label_errors)} suspected labels; {found} of the 5 are among them")

# %%
# Photos that are in both parts
# -----------------------------
# :class:`~skvgg.plotting.NeighborsDisplay` finds them by the distance of their
# features, which the compression hardly changes. Nothing goes through the network
# twice.

neighbors = NeighborsDisplay.from_estimator(features, train, test, n_neighbors=4)
across = neighbors.pairs[neighbors.is_across]
found = np.isin(copied, across[:, 0]).sum()
print(f"{len(across)} pairs across the parts; {found} of the 4 are among them")
cache.cleanup()
plt.show()

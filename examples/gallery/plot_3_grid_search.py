"""
A grid search in which no image runs twice
==========================================

A grid search asks for the features of each image again and again: for each candidate,
in each fold, to fit and to score. With ``memory=``, each image goes through the network
once, and with ``memory_layers=``, this holds even in a search over the layers.
"""

import tempfile

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skvgg import VGG19Features

# %%
# The search
# ----------
# Five stages of the network, two ways to pool them and three strengths of the penalty,
# in five folds: 150 fits. The cache lies in a temporary folder here; a folder that
# stays, such as ``memory="~/.cache/skvgg"``, serves the next session, too.

images, digits = load_digits(return_X_y=True)
images = (images.reshape(-1, 8, 8)[:300] * 255 / 16).astype(np.uint8)
digits = digits[:300]

cache = tempfile.TemporaryDirectory()
features = VGG19Features(
    "hed",
    layer="block4_pool",
    pooling="avg",
    image_size=32,
    memory=cache.name,
    memory_layers="stages",
)
model = Pipeline(
    [
        ("features", features),
        ("scaler", StandardScaler()),
        ("classifier", LogisticRegression(tol=1e-2, max_iter=1000)),
    ]
)
grid = {
    "features__layer": [f"block{i}_pool" for i in range(1, 6)],
    "features__pooling": ["avg", "max"],
    "classifier__C": [0.001, 0.01, 0.1],
}
search = GridSearchCV(model, grid, cv=5).fit(images, digits)
print(search.best_params_)
print(f"cross-validated accuracy: {search.best_score_:.3f}")

# %%
# What it cost
# ------------
# :meth:`~skvgg.VGG19Features.cache_info` counts. Without a cache, each row that the
# search used would have been a pass of an image through the network.

first = features.cache_info()
used = first.hits + first.misses
print(f"{used:,} rows used, {first.misses} passes for {len(images)} images")

# %%
# Another search over the same images, here with other penalties, needs no pass at all.

others = {**grid, "features__pooling": ["avg"], "classifier__C": [0.003, 0.03]}
GridSearchCV(model, others, cv=5).fit(images, digits)
second = features.cache_info().misses - first.misses
print(f"{second} passes in the second search")
cache.cleanup()

# %%
# Both at a glance
# ----------------

results = search.cv_results_
scores = np.reshape(results["mean_test_score"], (len(grid["classifier__C"]), -1))
candidates = [
    f"{layer}, {pooling}"
    for layer in grid["features__layer"]
    for pooling in grid["features__pooling"]
]

figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 4.5), layout="constrained", width_ratios=(3, 2)
)
image = left.imshow(scores.T, aspect="auto", cmap="viridis")
for (column, row), score in np.ndenumerate(scores):
    color = "white" if score < image.norm.vmin + np.ptp(scores) / 2 else "black"
    left.text(column, row, f"{score:.3f}", ha="center", va="center", color=color)
left.set_xticks(range(len(scores)), [f"C = {C}" for C in grid["classifier__C"]])
left.set_yticks(range(len(candidates)), candidates)
left.set_title("Cross-validated accuracy")

per_image = np.array([used, first.misses, second]) / len(images)
names = ["without\na cache", "with\nmemory=", "the next\nsearch"]
bars = right.bar(names, per_image, color=["lightgray", "tab:blue", "tab:blue"])
right.bar_label(bars, [f"{n:.0f}" for n in per_image])
right.set_title("Passes through the network per image")
right.spines[["top", "right"]].set_visible(False)
plt.show()

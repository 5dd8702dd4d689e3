"""
More images than fit into memory
================================

The features of images go to a file, chunk by chunk, and two classifiers learn from
batches of it. Neither the images nor the features are ever in memory as a whole. The
same code works where the file is written by the workers of a cluster.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import StandardScaler

from skvgg import TFLearnMLPClassifier, VGG19Features, transform_to_file

images, digits = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8) * 255 / 16  # gray pixels, 0 to 255

# %%
# From images to a file
# ---------------------
# If this is interrupted, or the machine goes down, the same call goes on where it was.
# With ``n_jobs`` set in the transformer, the workers of joblib's backend compute the
# rows: processes of this machine, or a cluster of Dask, Ray or Spark.

folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "rows.npy"
features = VGG19Features("hed", layer="block4_pool", pooling="avg", image_size=32)
transform_to_file(features, images, path)

rows = np.load(path, mmap_mode="r")  # reads what is indexed, when it is indexed
print(
    f"{rows.shape[0]:,} rows of {rows.shape[1]} features, {rows.nbytes:,} bytes on disk"
)

# %%
# From the file to classifiers
# ----------------------------
# A fifth is held out. Batches come in random order. Each is sorted, because
# disks read faster in order.

rng = np.random.default_rng(0)
is_test = np.arange(len(rows)) % 5 == 0
test, train = np.flatnonzero(is_test), np.flatnonzero(~is_test)


def batches(indices, size=100):
    """Yield rows and labels of shuffled batches."""
    shuffled = rng.permutation(indices)
    for start in range(0, len(shuffled), size):
        batch = np.sort(shuffled[start : start + size])
        yield rows[batch], digits[batch]


# %%
# scikit-learn's linear classifier needs standardized features, so a first pass over the
# file learns means and deviations. The dense head standardizes features itself, by the
# first batch.

scaler = StandardScaler()
for X, _ in batches(train):
    scaler.partial_fit(X)
linear = SGDClassifier(loss="log_loss", alpha=0.01, random_state=0)
dense = TFLearnMLPClassifier((64,), random_state=0)


def held_out_accuracy():
    """Return the accuracy of both classifiers on the held-out images."""
    correct = np.zeros(2)
    for X, y in batches(test):
        predictions = linear.predict(scaler.transform(X)), dense.predict(X)
        correct += [np.count_nonzero(predicted == y) for predicted in predictions]
    return correct / len(test)


classes = np.unique(digits)
n_seen, accuracies = [], []
for _ in range(2):
    for X, y in batches(train):
        linear.partial_fit(scaler.transform(X), y, classes=classes)
        dense.partial_fit(X, y, classes=classes)
        n_seen.append(len(y) + (n_seen[-1] if n_seen else 0))
        accuracies.append(held_out_accuracy())
print("linear: {:.3f}, dense: {:.3f}".format(*accuracies[-1]))

# %%
# Accuracy as the batches come in
# -------------------------------

figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
ax.plot(n_seen, accuracies, marker=".")
ax.axvline(len(train), color="gray", linestyle=":")
ax.text(len(train), 0.5, " second epoch", color="gray")
ax.legend(["SGDClassifier", "TFLearnMLPClassifier"], loc="lower right")
ax.set(xlabel="Images learned from", ylabel="Accuracy on held-out images", ylim=(0, 1))
folder.cleanup()
plt.show()

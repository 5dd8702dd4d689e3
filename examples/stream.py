"""
Learning from more rows than memory
===================================

The rows of images go to a file, chunk by chunk, and linear and dense classifiers learn
from batches of it. Neither the images nor the rows are ever in memory as a whole.
"""

import os
import tempfile

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import StandardScaler

from skvgg import TFLearnMLPClassifier, VGG19Features, transform_to_file

images, digits = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8) * 255 / 16  # gray pixels, 0 to 255

features = VGG19Features("hed", layer="block4_pool", pooling="avg", image_size=32)
path = os.path.join(tempfile.mkdtemp(), "rows.npy")
transform_to_file(features, images, path, verbose=1)  # goes on if it was interrupted

rows = np.load(path, mmap_mode="r")  # reads what is indexed, when it is indexed
rng = np.random.default_rng(0)
test = np.arange(len(rows)) % 5 == 0
test, train = np.flatnonzero(test), np.flatnonzero(~test)


def batches(indices, size=200):
    """Yield batches in random order, each sorted, as disks read forward."""
    shuffled = rng.permutation(indices)
    for start in range(0, len(shuffled), size):
        some = np.sort(shuffled[start : start + size])
        yield rows[some], digits[some]


# scikit-learn's linear classifier wants standardized features ...
scaler = StandardScaler()
for X, _ in batches(train):
    scaler.partial_fit(X)
linear = SGDClassifier(loss="log_loss", alpha=0.01, random_state=0)
# ... which the dense head does by itself, by the first batch.
dense = TFLearnMLPClassifier((64,), random_state=0)
classes = np.unique(digits)
for _ in range(5):
    for X, y in batches(train):
        linear.partial_fit(scaler.transform(X), y, classes=classes)
        dense.partial_fit(X, y, classes=classes)

scores = np.zeros(2)
for X, y in batches(test):
    predictions = linear.predict(scaler.transform(X)), dense.predict(X)
    scores += [(predicted == y).sum() for predicted in predictions]
print("linear: {:.3f}, dense: {:.3f}".format(*scores / len(test)))

"""
A first classifier
==================

What to try first when there are few images: the features of a pretrained network, and a
linear classifier. Here, 200 handwritten digits are enough to read nine out of ten
others.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvgg import VGG19Features

# %%
# The images
# ----------
# scikit-learn's digits are arrays of 8 x 8 gray pixels in 0..16, one image per row.
# :class:`~skvgg.VGG19Features` expects pixels in 0..255.

images, digits = load_digits(return_X_y=True)
images = (images.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
train, test, y_train, y_test = train_test_split(
    images, digits, train_size=200, stratify=digits, random_state=0
)

# %%
# The classifier
# --------------
# The transformer is a step of a pipeline like any other. It resizes each image, and
# returns the mean of each channel of the fourth stage: 512 features.

features = VGG19Features("hed", layer="block4_pool", pooling="avg", image_size=32)
model = make_pipeline(features, StandardScaler(), LogisticRegression(C=0.01))
model.fit(train, y_train)
predicted = model.predict(test)
accuracy = (predicted == y_test).mean()

# %%
# The same classifier on the pixels themselves is what the network has to beat.

pixels = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
pixels.fit(train.reshape(len(train), -1), y_train)
pixel_accuracy = pixels.score(test.reshape(len(test), -1), y_test)
print(f"VGG19 features: {accuracy:.3f}, raw pixels: {pixel_accuracy:.3f}")

# %%
# What it confuses
# ----------------

figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 4.8), layout="constrained", width_ratios=(1, 1)
)
ConfusionMatrixDisplay.from_predictions(y_test, predicted, colorbar=False, ax=left)
left.set_title(f"{len(test)} held-out digits, accuracy {accuracy:.3f}")

wrong = np.flatnonzero(predicted != y_test)[:16]
right.set_title("Digits that were misread")
right.set_axis_off()
for place, i in enumerate(wrong):
    x, y = place % 4 / 4, 0.75 - place // 4 / 4
    tile = right.inset_axes((x, y, 0.24, 0.18))
    tile.imshow(test[i], cmap="gray")
    tile.set_title(f"{y_test[i]} read as {predicted[i]}", size=8)
    tile.set_axis_off()
plt.show()

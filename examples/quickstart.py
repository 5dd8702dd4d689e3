"""
Handwritten digits from 200 examples
====================================

Features of a pretrained network, a linear classifier on top: what to try first when
there is very little data.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvgg import VGG19Features

images, digits = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8) * 255 / 16  # gray pixels, 0 to 255
train, test, y_train, y_test = train_test_split(
    images, digits, train_size=200, stratify=digits, random_state=0
)

features = VGG19Features("hed", layer="block4_pool", pooling="avg", image_size=32)
model = make_pipeline(features, StandardScaler(), LogisticRegression(C=0.01))
model.fit(train, y_train)
score = model.score(test, y_test)

raw = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
raw_score = raw.fit(train.reshape(200, -1), y_train).score(
    test.reshape(len(test), -1), y_test
)
print(f"VGG19 features: {score:.3f}, raw pixels: {raw_score:.3f}")

ConfusionMatrixDisplay.from_estimator(model, test, y_test, colorbar=False)
plt.title(f"{len(test)} held-out digits, accuracy {score:.3f}")
plt.savefig("quickstart.png", dpi=100)

"""
Fine-tuning, or another stage?
==============================

:class:`~skvgg.VGG19Classifier` trains the last layers of the network along with a head.
Before that pays, it has to beat what costs nothing: the features of another stage, as
they are. Here, both are tried on handwritten digits, with weights that come from an
edge detector.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skvgg import VGG19Classifier

images, digits = load_digits(return_X_y=True)
images = (images.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
train, test, y_train, y_test = train_test_split(
    images, digits, train_size=200, test_size=400, stratify=digits, random_state=0
)

# %%
# Three ways
# ----------
# A logistic regression on the last stage as it is; the same, and then three epochs in
# which the convolutions of that stage are trained; a logistic regression on the stage
# below. The frozen layers process each image once: the epochs read what they gave.

settings = {
    "block5, as it is": {"layer": "block5_pool", "trainable": None},
    "block5, fine-tuned": {"layer": "block5_pool", "trainable": "block5"},
    "block4, as it is": {"layer": "block4_pool", "trainable": None},
}
models, accuracies, seconds = {}, [], []
for name, parameters in settings.items():
    model = VGG19Classifier(
        "hed", **parameters, image_size=32, max_iter=3, random_state=0
    )
    start = time.perf_counter()
    models[name] = model.fit(train, y_train)
    seconds.append(time.perf_counter() - start)
    accuracies.append(model.score(test, y_test))
    print(f"{name:18}  accuracy {accuracies[-1]:.3f}, fitted in {seconds[-1]:.0f} s")

# %%
# The stage below suits these images better than the last one, and needs no training:
# compare the stages first (:ref:`sphx_glr_gallery_plot_2_layers.py`), and fine-tune
# from the best of them. :doc:`/finetuning` has a larger case, in which fine-tuning from
# block4 gained 0.4 points.

history = models["block5, fine-tuned"].history_
epochs = np.arange(1, len(history["loss"]) + 1)

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
bars = left.bar(
    list(settings), accuracies, color=["lightgray", "tab:orange", "tab:blue"]
)
left.bar_label(bars, [f"{accuracy:.3f}" for accuracy in accuracies])
left.set(ylim=(0, 1.05), title=f"Accuracy on {len(test)} held-out digits")
left.spines[["top", "right"]].set_visible(False)
right.plot(epochs, history["loss"], marker=".", color="tab:orange")
right.set(xlabel="Epoch", title="Loss while block5 is trained", ylim=(0, None))
right.set_xticks(epochs)
right.spines[["top", "right"]].set_visible(False)
plt.show()

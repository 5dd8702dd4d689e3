"""
A regressor: how noisy is a photo?
==================================

The features serve regression just as well. Here, noise of different strength is added
to crops of two photos, and a dense head learns to estimate its standard deviation. It
learns from the left halves of the photos, and is tested on the right ones.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_images
from sklearn.metrics import PredictionErrorDisplay, mean_absolute_error
from sklearn.pipeline import make_pipeline

from skvgg import TFLearnMLPRegressor, VGG19Features

# %%
# Crops of known noise
# --------------------

photos = load_sample_images().images
rng = np.random.default_rng(0)


def noisy_crops(halves, n, size=96):
    """Return crops of photos, and the standard deviation of the noise in each."""
    noise = rng.uniform(0, 40, n)
    crops = np.empty((n, size, size, 3), np.uint8)
    for i, deviation in enumerate(noise):
        half = halves[i % len(halves)]
        top, left = rng.integers(0, (half.shape[0] - size, half.shape[1] - size))
        crop = half[top : top + size, left : left + size]
        crops[i] = np.clip(crop + rng.normal(0, deviation, crop.shape), 0, 255)
    return crops, noise


middle = photos[0].shape[1] // 2
crops, noise = noisy_crops([photo[:, :middle] for photo in photos], 400)
new_crops, new_noise = noisy_crops([photo[:, middle:] for photo in photos], 200)

# %%
# The regressor
# -------------
# Noise is a matter of texture, so the first stages know most about it.
# :class:`~skvgg.TFLearnMLPRegressor` standardizes features and targets itself.

model = make_pipeline(
    VGG19Features(
        "hed",
        layer=("block1_pool", "block2_pool", "block3_pool"),
        pooling="avg",
        image_size=96,
    ),
    TFLearnMLPRegressor((64,), random_state=0),
)
model.fit(crops, noise)
estimates = model.predict(new_crops)
error = mean_absolute_error(new_noise, estimates)
guess = mean_absolute_error(new_noise, np.full(len(new_noise), np.median(noise)))
print(f"mean absolute error: {error:.1f} of 255; always the median: {guess:.1f}")

# %%
# Estimates for the other halves
# ------------------------------

figure = plt.figure(figsize=(10, 4.5), layout="constrained")
left, right = figure.subfigures(1, 2)
ax = left.subplots()
PredictionErrorDisplay.from_predictions(
    new_noise, estimates, kind="actual_vs_predicted", ax=ax
)
ax.set(xlabel="Estimated noise", ylabel="Noise added")
ax.set_title(f"Mean absolute error: {error:.1f} gray levels")

shown = np.argsort(new_noise)[:: len(new_noise) // 8][:8]
for ax, i in zip(right.subplots(2, 4).flat, shown, strict=True):
    ax.imshow(new_crops[i])
    ax.set_title(f"{new_noise[i]:.0f}\nestimate {estimates[i]:.0f}", size=9)
    ax.set_axis_off()
right.suptitle("Standard deviation of the noise")
plt.show()

"""
Bad files among the images
==========================

Folders of images from the web or from old disks contain files that are not images:
truncated files, empty files, an error page with the name of a photo. This example finds
them before a fit, and predicts on a list that contains some.
"""

import tempfile
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvgg import BadImageWarning, VGG19Features
from skvgg.datasets import find_bad_images, load_image_folder

# %%
# A typical folder
# ------------------------
# Crops of two photos, one subfolder per class, all good at first ...

folder = tempfile.TemporaryDirectory()
rng = np.random.default_rng(0)
for name, photo in zip(("temple", "flower"), load_sample_images().images, strict=True):
    (Path(folder.name) / name).mkdir()
    for i in range(40):
        top, left = rng.integers(0, (photo.shape[0] - 128, photo.shape[1] - 128))
        crop = Image.fromarray(photo[top : top + 128, left : left + 128])
        crop.save(Path(folder.name) / name / f"{i:02}.jpg")

photos = load_image_folder(folder.name)

# %%
# We damage five of them in ways that happen to files.

fates = {
    3: lambda content: content[: len(content) // 2],
    17: lambda content: b"",
    28: lambda content: b"<html><title>404 Not Found</title></html>",
    45: lambda content: content[:2] + rng.bytes(len(content) - 2),
    60: lambda content: content[:100],
}
for i, fate in fates.items():
    path = Path(photos.data[i])
    path.write_bytes(fate(path.read_bytes()))

# %%
# Finding them before a fit
# -------------------------
# :func:`~skvgg.datasets.find_bad_images` decodes each image as the transformer would,
# and tells what is wrong, by index.

bad = find_bad_images(photos.data)
for error in bad.values():
    print(f"{Path(error.path).name}: {error.reason}")
good = np.delete(np.arange(len(photos.data)), list(bad))
print(f"{len(good)} of {len(photos.data)} files are good")

# %%
# The classifier learns from the good ones. The even ones are for training here, the odd
# ones, bad ones among them, are the new images.

is_even = good % 2 == 0
train = good[is_even]
model = make_pipeline(
    VGG19Features("hed", layer="block4_pool", pooling="avg", image_size=64),
    StandardScaler(),
    LogisticRegression(),
)
model.fit(photos.data[train], photos.target[train])

# %%
# New images that nobody has checked
# ----------------------------------
# With ``on_error="nan"``, a bad image becomes a row of NaN, and one warning at the end
# holds all reasons. The good ones are predicted.

new = np.arange(1, len(photos.data), 2)
model.set_params(vgg19features__on_error="nan")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", BadImageWarning)
    rows = model[0].transform(photos.data[new])
(warning,) = caught
print(f"{len(warning.message.bad_images)} of {len(new)} new images are bad")

is_readable = ~np.isnan(rows).any(axis=1)
predictions = np.full(len(new), None)
predictions[is_readable] = photos.target_names[model[1:].predict(rows[is_readable])]

# %%
# What became of each
# -------------------

figure, axes = plt.subplots(2, 6, figsize=(10, 4), layout="constrained")
n_bad = np.count_nonzero(~is_readable)
shown = np.sort(
    np.append(
        np.flatnonzero(~is_readable),
        np.flatnonzero(is_readable)[:: is_readable.sum() // (12 - n_bad)][: 12 - n_bad],
    )
)
for ax, i in zip(axes.flat, shown, strict=True):
    ax.set(xticks=[], yticks=[])
    if is_readable[i]:
        ax.imshow(Image.open(photos.data[new[i]]))
        ax.set_title(predictions[i])
    else:
        size = Path(photos.data[new[i]]).stat().st_size
        ax.text(0.5, 0.5, f"{size:,} bytes", ha="center", transform=ax.transAxes)
        ax.set_title("not readable", color="tab:red")
        ax.set_aspect("equal")
figure.suptitle("New images: predicted, or marked as unreadable")
folder.cleanup()
plt.show()

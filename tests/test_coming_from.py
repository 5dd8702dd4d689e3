"""The tables of the page for users of other libraries."""

import re
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from skvgg._definition.architecture import LAYERS, parameter_shapes
from skvgg.weights import load

PAGE = (Path(__file__).parents[1] / "docs" / "coming_from.rst").read_text()


def torchvision_names():
    """Return the names of torchvision's outputs, from the first to the last."""
    table = PAGE[PAGE.index("The layers, each after its ReLU") :]
    left = re.findall(r"^   \* - (``features.*)$", table, re.MULTILINE)
    numbers = re.findall(r"``(?:features)?\.(\d+)``", " ".join(left))
    return [f"features.{number}" for number in numbers]


def test_the_outputs_of_torchvision_have_the_numbers_of_the_page(tmp_path):
    convs = [layer.name for layer in LAYERS if layer.kind == "conv"]
    names = [layer.name for layer in LAYERS if layer.is_spatial]
    outputs = dict(zip(names, torchvision_names(), strict=True))
    shapes = parameter_shapes(convs, (32, 32))
    rng = np.random.default_rng(0)
    kernels = {name: rng.normal(size=shapes[name]).astype("f4") for name in convs}
    tensors = {}
    for name in convs:
        before_relu = int(outputs[name].partition(".")[2]) - 1
        kernel = np.ascontiguousarray(kernels[name].transpose(3, 2, 0, 1))
        tensors[f"features.{before_relu}.weight"] = kernel
        tensors[f"features.{before_relu}.bias"] = np.zeros(len(kernel), "f4")
    save_file(tensors, tmp_path / "vgg19.safetensors")
    loaded = load(tmp_path / "vgg19.safetensors", shapes).parameters
    for name in convs:
        np.testing.assert_array_equal(loaded[name][0], kernels[name])

"""Readers of weights: the same features as Keras has with the same numbers."""

import pickle
import sys
import zipfile

import numpy as np
import pytest
import scipy.io
from safetensors.numpy import save_file
from sklearn.base import clone

from skvgg import VGG19Features, weights
from skvgg._definition.architecture import BLOCKS

from .conftest import relative_error


@pytest.fixture(scope="module")
def parameters(keras_top):
    """Kernels and biases of Keras' network, by Keras' names."""
    model, _ = keras_top
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)


@pytest.fixture(scope="module")
def expected(keras_top, images):
    """What Keras makes of images preprocessed as the format's owners do."""
    model, _ = keras_top
    import keras

    head = keras.Model(
        model.input, [model.get_layer(name).output for name in ("block5_pool", "fc2")]
    )
    x = images.astype(np.float32)
    torch = (x / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    cases = {
        "caffe": keras.applications.vgg19.preprocess_input(x.copy()),
        "torch": torch.astype(np.float32),
        "rgb": x - np.float32((123.68, 116.779, 103.939)),
    }
    return {
        name: [np.reshape(y, (2, -1)) for y in head.predict(x, verbose=0)]
        for name, x in cases.items()
    }


def torch_state(parameters, names):
    """What torchvision or timm keep: OIHW, channels first where maps are flattened."""
    state, number = {}, 0
    for block, (_, depth) in enumerate(BLOCKS, start=1):
        for conv in range(1, depth + 1):
            kernel, bias = parameters[f"block{block}_conv{conv}"]
            state[f"features.{number}.weight"] = kernel.transpose(3, 2, 0, 1)
            state[f"features.{number}.bias"] = bias
            number += 2
        number += 1
    for name, prefix, shape in names:
        kernel, bias = parameters[name]
        if name == "fc1":
            maps = kernel.reshape(7, 7, 512, 4096)
            kernel = maps.transpose(2, 0, 1, 3).reshape(-1, 4096)
        state[f"{prefix}.weight"] = kernel.T.reshape(shape)
        state[f"{prefix}.bias"] = bias
    return {name: np.ascontiguousarray(array) for name, array in state.items()}


TORCHVISION = [("fc1", "classifier.0", (4096, -1)), ("fc2", "classifier.3", (4096, -1))]
TIMM = [
    ("fc1", "pre_logits.fc1", (4096, 512, 7, 7)),
    ("fc2", "pre_logits.fc2", (4096, 4096, 1, 1)),
]


def matconvnet(parameters, old):
    """Return MatConvNet's struct of layers, as SciPy writes it."""
    layers = []
    for name, (kernel, bias) in parameters.items():
        if name == "predictions":
            continue
        theirs = name.replace("block", "conv").replace("_conv", "_")
        theirs = {"fc1": "fc6", "fc2": "fc7"}.get(name, theirs)
        if name == "fc1":
            kernel = kernel.reshape(7, 7, 512, 4096)
        elif name == "fc2":
            kernel = kernel.reshape(1, 1, 4096, 4096)
        layer = {"name": theirs, "type": "conv"}
        if old:
            layer |= {"filters": kernel, "biases": bias[None]}
        else:
            cell = np.empty(2, object)
            cell[:] = [kernel, bias[None]]
            layer["weights"] = cell
        layers.append(layer)
        layers.append({"name": f"relu{theirs}", "type": "relu"})
    cells = np.empty(len(layers), object)
    cells[:] = layers
    return {"layers": cells}


def check(path, images, expected):
    for layer, rows in zip(("block5_pool", "fc2"), expected, strict=True):
        actual = VGG19Features(path, layer=layer).transform(images)
        assert relative_error(actual, rows) <= 1e-5


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(TORCHVISION, id="torchvision"),
        pytest.param(TIMM, id="timm", marks=pytest.mark.slow),
    ],
)
def test_safetensors_are_put_into_our_order(
    parameters, images, expected, tmp_path, names
):
    path = tmp_path / "vgg19.bin"  # known by its content
    save_file(torch_state(parameters, names), path)
    check(path, images, expected["torch"])


@pytest.mark.parametrize("old", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_matconvnet(parameters, images, expected, tmp_path, old):
    path = tmp_path / "imagenet-vgg-verydeep-19.mat"
    scipy.io.savemat(path, matconvnet(parameters, old))
    check(path, images, expected["rgb"])


@pytest.mark.parametrize("preprocessing", ["caffe", "torch"])
def test_our_own_files(parameters, images, expected, tmp_path, preprocessing):
    path = tmp_path / "vgg19.npz"
    weights.save(path, parameters, preprocessing)
    assert [file.name for file in tmp_path.iterdir()] == ["vgg19.npz"]
    check(path, images, expected[preprocessing])


def test_half_precision_is_read_as_float32(parameters, tmp_path):
    state = torch_state(parameters, [])
    half = {name: array.astype(np.float16) for name, array in state.items()}
    rows = []
    for name, arrays in (("full", state), ("half", half)):
        save_file(arrays, tmp_path / name)
        rows.append(features(tmp_path / name).transform(TILE + np.uint8(99)))
    assert rows[1].dtype == np.float32
    assert 1e-6 < relative_error(rows[1], rows[0]) < 1e-2


def test_a_failed_save_leaves_the_file_as_it_was(parameters, tmp_path):
    path = tmp_path / "vgg19.npz"
    kernel, bias = parameters["block1_conv1"]
    weights.save(path, {"block1_conv1": (kernel, bias)})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="could not convert"):
        weights.save(path, {"block1_conv1": (np.array(["x"]), bias)})
    with pytest.raises(ValueError, match="preprocessing='keras' is unknown; expected"):
        weights.save(path, {}, "keras")
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["vgg19.npz"]


# Bad files


@pytest.fixture
def small(parameters):
    """The first two layers: enough for what goes wrong at once."""
    return {name: parameters[name] for name in ("block1_conv1", "block1_conv2")}


def features(path):
    return VGG19Features(path, layer="block1_pool", image_size=32)


TILE = np.zeros((1, 32, 32, 3), np.uint8)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("what", ["kernel", "bias"])
def test_a_file_with_nan_names_the_layer(small, tmp_path, value, what):
    path = tmp_path / "bad.npz"
    arrays = [array.copy() for array in small["block1_conv2"]]
    arrays[what == "bias"].flat[5] = value
    weights.save(path, {**small, "block1_conv2": arrays})
    message = f"the {what} of layer 'block1_conv2' contains NaN"
    with pytest.raises(ValueError, match=message):
        features(path).transform(TILE)


def test_a_wrong_shape_names_the_layer(small, tmp_path):
    kernel, bias = small["block1_conv2"]
    path = tmp_path / "bad.safetensors"
    state = {"features.0.weight": kernel.transpose(3, 2, 0, 1), "features.0.bias": bias}
    save_file({name: np.ascontiguousarray(a) for name, a in state.items()}, path)
    with pytest.raises(ValueError, match=r"'block1_conv1' has shape \(3, 3, 64, 64\)"):
        features(path).transform(TILE)


def test_without_safetensors_the_error_says_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "vgg19.safetensors"
    save_file({"features.0.bias": np.zeros(64, np.float32)}, path)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match="pip install safetensors"):
        features(path).transform(TILE)


def test_batch_normalisation_is_refused(tmp_path):
    path = tmp_path / "vgg19_bn.safetensors"
    save_file({"features.1.running_mean": np.zeros(64, np.float32)}, path)
    with pytest.raises(ValueError, match="batch normalization"):
        features(path).transform(TILE)


def test_a_mat_of_something_else_is_refused(tmp_path):
    path = tmp_path / "other.mat"
    scipy.io.savemat(path, {"x": np.zeros(3)})
    with pytest.raises(
        ValueError, match=r"other\.mat.*variable 'layers' .* is missing"
    ):
        features(path).transform(TILE)


@pytest.mark.parametrize("form", ["npz", "safetensors", "mat"])
@pytest.mark.parametrize("share", [0.3, 0.99])
def test_a_truncated_file_is_named(parameters, tmp_path, form, share):
    some = {name: parameters[name] for name in list(parameters)[:4]}
    path = tmp_path / f"cut.{form}"
    if form == "npz":
        weights.save(path, some)
    elif form == "mat":
        scipy.io.savemat(path, matconvnet(some, False))
    else:
        save_file(torch_state(parameters, []), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ValueError, match=rf"cut\.{form}'"):
        features(path).transform(TILE)


@pytest.mark.parametrize("name", ["vgg19.pth", "old.pth", "list.npy", "bvlc.npy"])
def test_pickles_are_refused_with_the_way_out(tmp_path, name):
    path = tmp_path / name
    if name == "vgg19.pth":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("vgg19/data.pkl", b"\x80\x02}.")
    elif name == "old.pth":
        path.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")
    else:
        np.save(path, np.array({"conv1_1": 1}, object), allow_pickle=True)
    way = "save_file" if name.endswith("pth") else r"weights\.save"
    with pytest.raises(ValueError, match=rf"{name}.*pickle.*{way}"):
        features(path).fit(TILE)


# The weights that fit saw


def test_other_weights_under_the_same_path_are_an_error(small, parameters, tmp_path):
    path = tmp_path / "vgg19.npz"
    convolutions = {n: p for n, p in parameters.items() if n.startswith("block")}
    weights.save(path, convolutions)
    fitted = features(path).fit(TILE)
    rows = fitted.transform(TILE)
    stored = pickle.dumps(fitted)
    moved = path.rename(tmp_path / "elsewhere.npz")
    path.write_bytes(moved.read_bytes())  # another file with the same content
    np.testing.assert_array_equal(pickle.loads(stored).transform(TILE), rows)
    weights.save(path, {n: (k + 1, b) for n, (k, b) in convolutions.items()})
    for model in (fitted, pickle.loads(stored)):
        with pytest.raises(
            ValueError, match=r"vgg19\.npz.*not the weights that fit used"
        ):
            model.transform(TILE)
    assert not np.array_equal(clone(fitted).fit(TILE).transform(TILE), rows)

"""Every output of the network is that of keras.applications.VGG19."""

import numpy as np
import pytest
from PIL import Image

from skvgg import VGG19Features, weights
from skvgg._definition.architecture import LAYER_NAMES, LAYERS, parameter_shapes

from .conftest import randomize_biases, relative_error

SPATIAL = [layer.name for layer in LAYERS if layer.is_spatial]
TOLERANCE = 1e-5


def keras_outputs(model, images, names):
    """Return the outputs of Keras' model for uint8 images, flattened."""
    import keras

    x = keras.applications.vgg19.preprocess_input(images.astype("float32"))
    outputs = [model.get_layer(name).output for name in names]
    maps = keras.Model(model.input, outputs).predict(x, verbose=0)
    return dict(zip(names, maps if len(names) > 1 else [maps], strict=True))


def split_by_layer(rows, expected):
    """Cut the concatenated rows back into one array a layer."""
    ends = np.cumsum([y[0].size for y in expected.values()])
    return dict(zip(expected, np.split(rows, ends[:-1], axis=1), strict=True))


def random_images(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def outputs_at_224(keras_top):
    model, path = keras_top
    images = random_images(2, 224, 224, 3)
    expected = keras_outputs(model, images, LAYER_NAMES)
    rows = VGG19Features(path, layer=LAYER_NAMES).transform(images)
    return split_by_layer(rows, expected), expected


@pytest.mark.parametrize("name", LAYER_NAMES)
def test_output_at_224(outputs_at_224, name):
    actual, expected = outputs_at_224
    assert relative_error(actual[name], expected[name].reshape(2, -1)) <= TOLERANCE


@pytest.mark.parametrize("size", [(64, 64), (97, 130)])
def test_spatial_outputs_at_other_sizes(keras_notop, size):
    model, path = keras_notop
    images = random_images(3, *size, 3)
    expected = keras_outputs(model, images, SPATIAL)
    rows = VGG19Features(path, layer=SPATIAL, image_size=size).transform(images)
    actual = split_by_layer(rows, expected)
    for name in SPATIAL:
        error = relative_error(actual[name], expected[name].reshape(3, -1))
        assert error <= TOLERANCE, name


@pytest.mark.parametrize(("pooling", "reduce"), [("avg", np.mean), ("max", np.max)])
def test_pooling_is_the_mean_or_maximum_of_each_channel(keras_notop, pooling, reduce):
    model, path = keras_notop
    images = random_images(2, 64, 64, 3)
    expected = keras_outputs(model, images, ["block3_conv2", "block5_pool"])
    rows = VGG19Features(
        path, layer=["block3_conv2", "block5_pool"], pooling=pooling, image_size=64
    ).transform(images)
    pooled = [reduce(y, axis=(1, 2)) for y in expected.values()]
    assert relative_error(rows, np.hstack(pooled)) <= TOLERANCE


@pytest.mark.parametrize("preprocessing", ["caffe", "torch", "none"])
def test_preprocessing_is_that_of_keras(keras_notop, preprocessing):
    import keras

    model, path = keras_notop
    images = random_images(2, 64, 64, 3)
    x = images.astype("float32")
    if preprocessing != "none":
        x = keras.applications.imagenet_utils.preprocess_input(x, mode=preprocessing)
    expected = model.predict(x, verbose=0).reshape(2, -1)
    rows = VGG19Features(
        path, layer="block5_pool", image_size=64, preprocessing=preprocessing
    ).transform(images)
    assert relative_error(rows, expected) <= TOLERANCE


@pytest.mark.parametrize("preprocessing", ["caffe", "torch"])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_files_give_what_pillow_and_keras_give(
    keras_notop, photos, tmp_path, form, preprocessing
):
    """The straightforward path: open, resize, preprocess, predict."""
    model, path = keras_notop
    files = [tmp_path / f"{i}.{form.lower()}" for i in range(2)]
    for file, photo in zip(files, photos, strict=True):
        Image.fromarray(photo).resize((250, 190)).save(file, form)
    opened = [Image.open(file).convert("RGB") for file in files]
    small = [image.resize((64, 64), Image.Resampling.BILINEAR) for image in opened]
    x = np.stack([np.asarray(image, np.float32) for image in small])
    if preprocessing == "caffe":
        import keras

        x = keras.applications.vgg19.preprocess_input(x)
    else:
        x = ((x / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)).astype("f4")
    expected = model.predict(x, verbose=0).reshape(2, -1)
    rows = VGG19Features(
        path, layer="block5_pool", image_size=64, preprocessing=preprocessing
    ).transform(files)
    assert relative_error(rows, expected) <= TOLERANCE


def test_float_images_give_what_keras_gives(keras_notop):
    model, path = keras_notop
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3))
    expected = keras_outputs(model, images, ["block2_pool"])["block2_pool"]
    rows = VGG19Features(path, layer="block2_pool", image_size=64).transform(images)
    assert relative_error(rows, expected.reshape(2, -1)) <= TOLERANCE


def test_random_network_with_a_small_top_is_that_of_keras():
    """weights=None takes fc1 at any size: check it against a Keras model."""
    import keras

    shapes = parameter_shapes(["fc1"], (32, 64))
    drawn = weights.load(None, shapes, seed=3)
    model = keras.applications.VGG19(weights=None, input_shape=(32, 64, 3))
    for name, (kernel, bias) in drawn.parameters.items():
        model.get_layer(name).set_weights([kernel, bias])
    images = random_images(2, 32, 64, 3)
    expected = keras_outputs(model, images, ["fc1"])["fc1"]
    rows = VGG19Features(None, image_size=(32, 64), random_state=3).transform(images)
    assert relative_error(rows, expected) <= TOLERANCE


@pytest.fixture(scope="module")
def small_model():
    import keras

    model = keras.applications.VGG19(
        weights=None, include_top=False, input_shape=(32, 32, 3)
    )
    return randomize_biases(model)


def write_keras1_file(model, path):
    """Write the layout of the ImageNet files that Keras offers for download."""
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}_W_1:0", f"{layer.name}_b_1:0"]
            arrays = layer.get_weights()
            group.attrs["weight_names"] = [n.encode() for n in names[: len(arrays)]]
            for name, array in zip(names, arrays, strict=False):
                group[name] = array


def write_without_names(model, path):
    """Write what early Keras 3 wrote: layers told apart by their number."""
    import h5py

    model.save_weights(path)
    with h5py.File(path, "r+") as file:
        for group in file["layers"].values():
            group["vars"].attrs.clear()


def write_nested(model, path):
    """Write a model that has the VGG19 as one of its layers."""
    import keras

    outer = keras.Sequential([keras.Input((32, 32, 3)), model, keras.layers.Flatten()])
    outer.save_weights(path)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning")
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("keras3.weights.h5", lambda model, path: model.save_weights(path)),
        ("model.h5", lambda model, path: model.save(path)),
        ("keras1.h5", write_keras1_file),
        ("early.weights.h5", write_without_names),
        ("nested.weights.h5", write_nested),
    ],
)
def test_every_layout_of_keras_files_is_read(small_model, tmp_path, name, write):
    path = tmp_path / name
    write(small_model, path)
    images = random_images(2, 32, 32, 3)
    expected = keras_outputs(small_model, images, ["block5_conv4"])["block5_conv4"]
    features = VGG19Features(str(path), layer="block5_conv4", image_size=32)
    rows = features.transform(images)
    assert relative_error(rows, expected.reshape(2, -1)) <= TOLERANCE

import numpy as np
import pytest

from skvgg._definition import architecture


def test_table_is_that_of_keras_layer_by_layer(keras_top):
    model, _ = keras_top
    names = [layer.name for layer in model.layers][1:-1]  # input, predictions
    assert list(architecture.LAYER_NAMES) == names


def test_parameter_shapes_are_those_of_keras(keras_top):
    model, _ = keras_top
    shapes = architecture.parameter_shapes(["fc2"], (224, 224))
    for name, shape in shapes.items():
        assert model.get_layer(name).kernel.shape == shape
    n_parameters = sum(int(np.prod(s)) + s[-1] for s in shapes.values())
    predictions = model.get_layer("predictions").count_params()
    assert n_parameters == model.count_params() - predictions


@pytest.mark.parametrize("name", architecture.LAYER_NAMES)
def test_n_features_is_the_size_of_keras_output(keras_top, name):
    model, _ = keras_top
    size = np.prod(model.get_layer(name).output.shape[1:])
    assert architecture.n_features(name, (224, 224), None) == size


def test_there_are_16_convolutions_and_5_poolings():
    kinds = [layer.kind for layer in architecture.LAYERS]
    assert kinds.count("conv") == 16
    assert kinds.count("pool") == 5

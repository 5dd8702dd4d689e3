"""Definition of VGG19 without TensorFlow: layers, shapes, pixel normalization."""

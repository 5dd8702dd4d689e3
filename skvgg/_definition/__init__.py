"""What VGG19 is: its layers, their shapes, what it expects of pixels. No TensorFlow."""

"""The network in TensorFlow: its layers, its engines, which networks are in memory."""

"""The network in TensorFlow: its layers, its engines, and which ones are in memory."""

"""The network in TensorFlow: layers, engines, and a registry of loaded networks."""

"""Dense heads: training with TFLearn, prediction with NumPy."""

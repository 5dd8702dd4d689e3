"""Dense heads: training by TFLearn, prediction in NumPy."""

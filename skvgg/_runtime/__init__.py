"""Process-wide services: TensorFlow, threads, seeds, warnings, progress bars."""

"""What a process has: TensorFlow, threads, seeds, warnings, progress bars."""

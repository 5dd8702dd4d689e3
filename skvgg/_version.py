"""The version of skvgg."""

__version__ = "0.1.0"

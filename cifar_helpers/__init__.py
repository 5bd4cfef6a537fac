"""Support package of the notebook series: see README.md."""

__version__ = "0.1.0"

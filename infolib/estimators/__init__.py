"""Estimators of entropy and information from samples, in bits."""

from infolib._lazy import attributes

__all__ = ["binning", "chance", "discrete", "knn", "lanczos", "renyi", "truth", "uncertainty"]
__getattr__, __dir__ = attributes(__name__, __all__)

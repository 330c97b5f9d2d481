"""What the layers of a network retain, discard and share: the papers' measures on models and data, in bits."""

from infolib._lazy import attributes

__all__ = ["discarding", "information_plane", "lenses", "neuron_importance", "synergy", "transfer"]
__getattr__, __dir__ = attributes(__name__, __all__)

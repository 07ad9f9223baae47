"""What a user can put right: one line per error, naming the remedy."""

from __future__ import annotations


class SymGNNError(Exception):
    """Something outside the code is wrong: a file, a structure, an option, an installation.

    The message is one line and says what to do. Everything else is a bug and keeps its traceback.
    """


class ModelError(SymGNNError):
    """A model file cannot be used, or the device that it should run on is absent."""


class StructureError(SymGNNError):
    """A structure cannot be read, or a graph cannot be built from it."""


class ConfigError(SymGNNError):
    """A configuration has an unknown key or a value out of range."""


class DatasetError(SymGNNError):
    """A data set lacks labels, or does not hold what its name promises."""


class Interrupted(SymGNNError):  # noqa: N818  Ctrl-C is no error
    """Ctrl-C during long work. The message says what was kept of it."""


class SymGNNWarning(UserWarning):
    """The result may not be what a user expects: one line that says why."""


class NovelStructureWarning(SymGNNWarning):
    """A model was asked about surroundings unlike those that it was trained on."""


class RelatedStructuresWarning(SymGNNWarning):
    """A validation structure is nearly one of the training structures."""


class RoundingWarning(SymGNNWarning):
    """A model makes much of how numbers are rounded."""

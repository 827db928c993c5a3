"""The errors pg2lib raises for what a user can mend.

Each message says what was expected, what came, where, and the way out. A bare ``assert`` marks a bug of
our own; these classes mark input that has to change.
"""


class PG2Error(Exception):
    """Base class of every error that pg2lib raises on purpose."""


class ConfigError(PG2Error, ValueError):
    """A configuration has an unknown key, a wrong value, or fields that contradict each other."""


class DataError(PG2Error, ValueError):
    """A data set, an annotation file, an image or a pose cannot be used as it is."""


class MissingKeypointsError(DataError):
    """A data set has no keypoint file where its reader looks for one."""


class CheckpointError(PG2Error, RuntimeError):
    """A pipeline folder or a training checkpoint is missing, incomplete, or made for another configuration."""


class NoPersonError(PG2Error, ValueError):
    """The pose detector finds nobody in an image."""


class TrainingDivergedError(PG2Error, RuntimeError):
    """A loss became NaN or infinite; the message names the step, the loss and the last good checkpoint."""

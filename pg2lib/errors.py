"""The exceptions that pg2lib raises for what a user can correct.

Each message says what was expected, what came, in which file or field, and what to do. An ``assert`` marks a bug of
pg2lib itself.
"""


class PG2Error(Exception):
    """Base class of the exceptions of pg2lib."""


class ConfigError(PG2Error, ValueError):
    """A configuration has an unknown key, a wrong value, or values that contradict each other."""


class DataError(PG2Error, ValueError):
    """A data set, an annotation file, an image or a pose cannot be used."""


class MissingKeypointsError(DataError):
    """A data set has no keypoint file where its reader looks for one."""


class CheckpointError(PG2Error, RuntimeError):
    """A pipeline folder or a training checkpoint is missing, incomplete, or made for another configuration."""


class NoPersonError(PG2Error, ValueError):
    """The pose detector finds no person in an image."""


class TrainingDivergedError(PG2Error, RuntimeError):
    """A loss became NaN or infinite; the message names the step, the loss and the last good checkpoint."""

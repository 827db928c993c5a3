"""The exceptions that pg2lib raises for what a user can correct.

Each message says what was expected, what came, in which file or field, and what to do. An ``assert`` marks a bug of
pg2lib itself.
"""

from __future__ import annotations

import errno


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


class WriteError(PG2Error, OSError):
    """A file or folder cannot be written: the disk is full, or the folder read-only. What was there before is kept.

    `pg2lib.files.writing` raises it.

    Attributes:
        errno, strerror, filename: As of every `OSError`; `filename` is what was to be written.
    """

    def __str__(self) -> str:
        return f"{self.filename} cannot be written: {self.strerror}. {way_out(self)}"


def way_out(error: OSError) -> str:
    """Return what to do about an error of the file system, as the start of a sentence."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
        return "Free some space on that disk, or write to another one"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "Make the folder writable, or write to another one"
    return "Correct this, or write to another place"

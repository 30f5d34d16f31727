"""Errors that the engine raises. Each message names the problem and may be shown to an operator."""


class BackupError(Exception):
    """A backup, verification or restore failed. No partial result was published."""


class BackupRefused(BackupError):
    """The database cannot be backed up, or the target database cannot take a restore.

    For example, the role lacks a privilege, the server is too old, or the target is not empty.
    """


class Stopped(BackupError):
    """The run was cancelled before it finished."""


class Damaged(BackupError):
    """A stored object is missing or differs from what was written.

    It was changed, truncated or replaced, or it was encrypted with another key.
    """


class StructureDiffers(BackupError):
    """A restored database does not have the structure of its source."""


class KeyMissing(BackupError):
    """None of the available keys decrypts this run."""

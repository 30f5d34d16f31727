"""The ways a backup says no. Each message names what is wrong and may be shown to an operator."""


class BackupError(Exception):
    """Something stands against it; nothing half done is offered as whole."""


class BackupRefused(BackupError):
    """This database or this target cannot be taken or filled: rights are missing, or it is not what it should
    be.
    """


class Stopped(BackupError):
    """Somebody asked the run to stop."""


class Damaged(BackupError):
    """What is stored is not what was stored: changed, cut, swapped, missing, or sealed with a key that is not
    here.
    """


class KeyMissing(BackupError):
    """No key that was given opens this run."""

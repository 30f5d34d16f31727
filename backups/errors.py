"""Errors of the backup services that the API reports."""

from core.errors import DomainError


class NotRestorable(DomainError):
    code = "not_restorable"
    status = 409
    message = "This backup cannot be restored."


class KeyElsewhere(DomainError):
    code = "key_elsewhere"
    status = 409
    message = "This server does not have the key to its backups. Ask its operator to restore the site."


class RestoreUnderWay(DomainError):
    code = "restore_under_way"
    status = 409
    message = "This site is already being restored."


class NotProvable(DomainError):
    code = "not_provable"
    status = 409
    message = "The content of this backup was not hashed, so it cannot be proven. One backup a day is hashed."


class TooManyRestores(DomainError):
    code = "too_many_restores"
    status = 409
    message = "This site has reached the maximum number of restores for today. Try again tomorrow."

"""The ways backups say no over the API."""

from core.errors import DomainError


class NotRestorable(DomainError):
    code = "not_restorable"
    status = 409
    message = "This backup cannot be restored."


class KeyElsewhere(DomainError):
    code = "key_elsewhere"
    status = 409
    message = "The key to the backups is not on this server. Ask whoever runs it to bring the site back."


class RestoreUnderWay(DomainError):
    code = "restore_under_way"
    status = 409
    message = "This site is being brought back already."


class NotProvable(DomainError):
    code = "not_provable"
    status = 409
    message = "The rows of this backup were not summed, so it cannot be proven. One a day is."


class TooManyRestores(DomainError):
    code = "too_many_restores"
    status = 409
    message = "This site was brought back often today. Wait until tomorrow."

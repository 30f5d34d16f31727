"""The ways backups say no over the API."""

from core.errors import DomainError


class NotRestorable(DomainError):
    code, status, message = "not_restorable", 409, "This backup cannot be restored."


class KeyElsewhere(DomainError):
    code, status, message = (
        "key_elsewhere",
        409,
        "The key to the backups is not on this server. Ask whoever runs it to bring the site back.",
    )


class RestoreUnderWay(DomainError):
    code, status, message = "restore_under_way", 409, "This site is being brought back already."


class NotProvable(DomainError):
    code, status, message = (
        "not_provable",
        409,
        "The rows of this backup were not summed, so it cannot be proven. One a day is.",
    )


class TooManyRestores(DomainError):
    code, status, message = "too_many_restores", 409, "This site was brought back often today. Wait until tomorrow."

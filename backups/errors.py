"""Errors of the backup services that the API reports."""

from datetime import datetime
from typing import Any

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


class RestorePointLater(DomainError):
    code = "restore_point_later"
    status = 409
    message = "Your site has changed since the last backup. The next backup becomes a restore point."

    def __init__(self, next_at: datetime) -> None:
        super().__init__()
        self.next_at = next_at

    @property
    def members(self) -> dict[str, Any]:
        return {"next_at": self.next_at.isoformat()}


class NotProvable(DomainError):
    code = "not_provable"
    status = 409
    message = "The content of this backup was not hashed, so it cannot be proven. One backup a day is hashed."


class TooManyRestores(DomainError):
    code = "too_many_restores"
    status = 409
    message = "This site has reached the maximum number of restores for today. Try again tomorrow."

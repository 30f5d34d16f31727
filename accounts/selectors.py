"""Queries that return values instead of querysets."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Q

from accounts.models import Session, User


@dataclass(frozen=True, slots=True)
class Factors:
    """The second factors of a user. `recovery_codes` counts the unused ones."""

    totp: bool
    passkeys: int
    recovery_codes: int

    @property
    def any(self) -> bool:
        """Whether the user has a second factor. Recovery codes alone do not count."""
        return self.totp or self.passkeys > 0

    @property
    def methods(self) -> list[str]:
        """Names of the methods that can answer a challenge."""
        counts = {"totp": self.totp, "passkey": self.passkeys, "recovery_code": self.recovery_codes}
        return [name for name, count in counts.items() if count]


def factors_of(user_id: UUID) -> Factors:
    """Return the second factors of a user. One query."""
    counts = (
        User.objects.get_queryset()
        .filter(pk=user_id)
        .annotate(
            apps=Count("totp", filter=~Q(totp__confirmed_at=None), distinct=True),
            keys=Count("passkeys", distinct=True),
            codes=Count("recovery_codes", filter=Q(recovery_codes__used_at=None), distinct=True),
        )
    )
    totp, passkeys, codes = counts.values_list("apps", "keys", "codes").first() or (0, 0, 0)
    return Factors(bool(totp), passkeys, codes)


def has_recent_proof(session_id: UUID, *, now: datetime) -> bool:
    """Return whether the user of a session authenticated within REAUTHENTICATION_AFTER. One query."""
    since = now - settings.REAUTHENTICATION_AFTER
    return Session.objects.filter(pk=session_id, proved_at__gt=since).exists()

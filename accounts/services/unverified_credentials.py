"""Removing what was added to an account before its address was verified."""

from datetime import datetime

from accounts.models import User
from accounts.selectors import factors_of
from accounts.services.api_keys import revoke_api_key
from accounts.services.mfa import reset_factors
from audit.actors import Actor
from audit.services import record


def remove_unverified_credentials(user: User, *, actor: Actor, now: datetime) -> None:
    """Remove second factors, API keys and identities that were added before the address was verified."""
    if factors_of(user.pk).any:
        reset_factors(user.pk, actor=actor)
    for key_id in list(user.api_keys.filter(revoked_at=None).values_list("pk", flat=True)):
        revoke_api_key(key_id, actor=actor, now=now)
    for identity in user.identities.all():
        record("identity.disconnected", actor=actor, subject=identity)
        identity.delete()

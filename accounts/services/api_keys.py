"""API keys: issued once, revoked at once."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from accounts.credentials import api_keys, revocation
from accounts.errors import TooManyObjects
from accounts.models import ApiKey, User
from accounts.services.roles import require_permissions_within
from audit.actors import Actor
from audit.services import record
from core.permissions import all_permissions

MAX_LIVE_KEYS_PER_OWNER = 50  # live keys of one owner


@transaction.atomic
def issue_api_key(owner_id: UUID, *, actor: Actor, now: datetime, **facts: Any) -> tuple[ApiKey, str]:
    """The stored key and its text, which cannot be shown again. `facts` are fields of ApiKey.

    Raises TooManyOfThese, and BeyondYourRights for a permission that its owner does not hold: it must not
    wake up later.
    """
    owner = (
        User.objects.alive().select_for_update(no_key=True).get(pk=owner_id)
    )  # parallel requests count one another
    require_permissions_within(set(facts["scopes"]) & set(all_permissions()), owner.permission_codes())
    if ApiKey.objects.live(now=now).filter(owner=owner).count() >= MAX_LIVE_KEYS_PER_OWNER:
        raise TooManyObjects
    prefix, text = api_keys.generate_key()
    key = ApiKey.objects.create(owner=owner, prefix=prefix, digest=api_keys.digest(text), **facts)
    record("api_key.issued", actor=actor, subject=key, scopes=key.scopes, expires_at=key.expires_at)
    return key, text


@transaction.atomic
def revoke_api_key(key_id: UUID, *, actor: Actor, now: datetime) -> bool:
    """End a key from its next request on. False when it was revoked already."""
    key = ApiKey.objects.select_for_update().get(pk=key_id)
    if key.revoked_at:
        return False
    key.revoked_at = now
    key.save(update_fields=["revoked_at"])
    record("api_key.revoked", actor=actor, subject=key)
    revocation.mirror_api_key_after_commit(key.pk)
    return True

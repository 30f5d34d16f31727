"""API keys: issuing and revoking."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db import transaction

from accounts.credentials import api_keys, revocation
from accounts.errors import TooManyObjects
from accounts.models import ApiKey, User
from accounts.services.roles import require_permissions_within
from audit.actors import Actor
from audit.services import record
from core.permissions import all_permissions

MAX_LIVE_KEYS_PER_OWNER = 50


@transaction.atomic
def issue_api_key(
    owner_id: UUID,
    *,
    label: str,
    scopes: Sequence[str],
    networks: Sequence[str] = (),
    requests_per_minute: int | None = None,
    expires_at: datetime | None = None,
    actor: Actor,
    now: datetime,
) -> tuple[ApiKey, str]:
    """Create an API key. Returns its row and its text, which cannot be shown again.

    Raises TooManyObjects beyond MAX_LIVE_KEYS_PER_OWNER, and PermissionsExceeded for a permission that the
    owner does not hold: the key must not gain it when the owner does later.
    """
    # Locks the owner, so that parallel requests count each other's keys.
    owner = User.objects.alive().select_for_update(no_key=True).get(pk=owner_id)
    require_permissions_within(set(scopes) & set(all_permissions()), owner.permission_codes())
    if ApiKey.objects.live(now=now).filter(owner=owner).count() >= MAX_LIVE_KEYS_PER_OWNER:
        raise TooManyObjects
    prefix, text = api_keys.generate_key()
    key = ApiKey.objects.create(
        owner=owner,
        prefix=prefix,
        digest=api_keys.digest(text),
        label=label,
        scopes=list(scopes),
        networks=list(networks),
        requests_per_minute=requests_per_minute,
        expires_at=expires_at,
    )
    record("api_key.issued", actor=actor, subject=key, scopes=key.scopes, expires_at=key.expires_at)
    return key, text


@transaction.atomic
def revoke_api_key(key_id: UUID, *, actor: Actor, now: datetime) -> bool:
    """Revoke a key from its next request on. Returns False when it was revoked already."""
    key = ApiKey.objects.select_for_update().get(pk=key_id)
    if key.revoked_at:
        return False
    key.revoked_at = now
    key.save(update_fields=["revoked_at"])
    record("api_key.revoked", actor=actor, subject=key)
    revocation.mirror_api_key_after_commit(key.pk)
    return True

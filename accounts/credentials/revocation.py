"""Revocation of sessions, access tokens and API keys.

The database is written first, then a tombstone in Redis, which the admission middleware checks on every
request. A tombstone lives as long as an access token. Rows record whether their tombstone was written;
`mirror_missing_tombstones` writes the missing ones.
"""

from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from redis import Redis

from accounts.credentials import api_keys
from accounts.credentials.tokens import PlatformAccessToken, verify_access_token
from accounts.models import ApiKey, Session, User
from core.admission.errors import TokenRevoked
from core.admission.principals import Principal
from core.storage import redis

TOMBSTONE_LIFETIME: timedelta = PlatformAccessToken.lifetime + timedelta(minutes=1)
TOMBSTONE_SECONDS = int(TOMBSTONE_LIFETIME.total_seconds())
COMPLETE_KEY = "gate:complete"


def revoke_sessions(user_id: UUID, *, now: datetime, session_ids: list[UUID] | None = None) -> list[UUID]:
    """Revoke these sessions of a user, or all of them. Returns the ids of those that were not revoked yet.

    Tombstones are written after the commit.
    """
    sessions = Session.objects.filter(user_id=user_id, revoked_at=None)
    if session_ids is not None:
        sessions = sessions.filter(pk__in=session_ids)
    with transaction.atomic():
        ended = list(sessions.select_for_update().values_list("pk", flat=True))
        Session.objects.filter(pk__in=ended).update(revoked_at=now)
        transaction.on_commit(lambda: mirror_sessions(ended), robust=True)
    return ended


def end_impersonations(sessions: QuerySet[Session], *, now: datetime) -> None:
    """Revoke these sessions, in which staff act as another user."""
    for pk, owner in list(sessions.filter(revoked_at=None).values_list("pk", "user_id")):
        revoke_sessions(owner, now=now, session_ids=[pk])


def raise_epoch(user_id: UUID, *, now: datetime) -> None:
    """End all access tokens of a user that were issued before, and all impersonations by and of the user."""
    with transaction.atomic():
        end_impersonations(
            Session.objects.filter(Q(impersonator=user_id) | Q(user=user_id, impersonator__isnull=False)),
            now=now,
        )
        User.objects.filter(pk=user_id).update(
            epoch=F("epoch") + 1, epoch_raised_at=now, epoch_mirrored_at=None
        )
        transaction.on_commit(lambda: mirror_epochs([user_id]), robust=True)


def mirror_api_key_after_commit(key_id: UUID) -> None:
    """Write the tombstone of an API key after the commit.

    Without it, processes that have cached the key accept it for up to a minute.
    """
    transaction.on_commit(lambda: _write_tombstones([key_id]), robust=True)


def _write_tombstones(ids: list[UUID]) -> bool:
    """Write tombstones of sessions or API keys. Returns False while Redis is unavailable."""
    try:
        redis.call(lambda client: _set_with_expiry(client, {f"revoked:{pk}": "1" for pk in ids}))
    except redis.RedisUnavailable:
        _clear_completeness_marker()
        return False
    return True


def _clear_completeness_marker() -> None:
    """Make every process ask the database about credentials, as soon as Redis answers again.

    Processes that have to connect again do so anyway (`AdmissionMiddleware`); this is for those whose
    connections outlive a frozen Redis.
    """
    redis.deliver(lambda client: client.delete(COMPLETE_KEY))


def mirror_sessions(session_ids: list[UUID]) -> None:
    """Write the tombstones of these sessions and record that they are written."""
    if not session_ids or not _write_tombstones(session_ids):
        return  # mirror_missing_tombstones tries again
    Session.objects.filter(pk__in=session_ids).update(mirrored_at=timezone.now())


def mirror_epochs(user_ids: list[UUID]) -> None:
    """Write the epochs of these users to Redis and record that they are written."""
    epochs = dict(User.objects.filter(pk__in=user_ids).values_list("pk", "epoch"))
    if not epochs:
        return
    try:
        redis.call(lambda client: _raise_epochs(client, epochs))
    except redis.RedisUnavailable:
        _clear_completeness_marker()
        return
    for pk, epoch in epochs.items():
        User.objects.filter(pk=pk, epoch=epoch).update(epoch_mirrored_at=timezone.now())


def _set_with_expiry(client: Redis, values: dict[str, str]) -> None:
    with client.pipeline(transaction=False) as pipe:
        for key, value in values.items():
            pipe.set(key, value, ex=TOMBSTONE_SECONDS)
        pipe.execute()


RAISE_EPOCH_SCRIPT = """
if tonumber(ARGV[1]) > tonumber(redis.call('GET', KEYS[1]) or -1) then
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
end
"""


def _raise_epochs(client: Redis, epochs: dict[UUID, int]) -> None:
    """Write epochs unless Redis has a higher one: two writers may arrive in either order."""
    with client.pipeline(transaction=False) as pipe:
        for pk, epoch in epochs.items():
            pipe.eval(RAISE_EPOCH_SCRIPT, 1, f"epoch:{pk}", epoch, TOMBSTONE_SECONDS)
        pipe.execute()


def mirror_missing_tombstones(*, now: datetime) -> int:
    """Write the tombstones that are missing and whose tokens may still be valid. Returns how many."""
    since = now - TOMBSTONE_LIFETIME
    sessions = list(
        Session.objects.filter(mirrored_at=None, revoked_at__gt=since).values_list("pk", flat=True)
    )
    users = list(
        User.objects.filter(epoch_mirrored_at=None, epoch_raised_at__gt=since).values_list("pk", flat=True)
    )
    mirror_sessions(sessions)
    mirror_epochs(users)
    return len(sessions) + len(users)


class CredentialAuthenticator:
    """Verifies credentials for the admission middleware (see `core.admission.authenticators`)."""

    def verify(self, token: str) -> Principal:
        return api_keys.verify_cached_key(token) if api_keys.is_api_key(token) else verify_access_token(token)

    def look_up(self, token: str) -> Principal:
        if not api_keys.is_api_key(token):
            raise TokenRevoked
        return api_keys.verify_key_in_database(token)

    def record_use(self, principal: Principal) -> None:
        if principal.scopes is not None:
            api_keys.record_key_use(principal)

    def is_active(self, principal: Principal) -> bool:
        """Return whether session and user are active and the epoch is current. One query."""
        if principal.scopes is not None:
            return api_keys.is_live(principal)
        return Session.objects.filter(
            pk=principal.session_id,
            user_id=principal.user_id,
            revoked_at=None,
            user__is_active=True,
            user__deleted_at=None,
            user__epoch__lte=principal.epoch,
        ).exists()

    def restore_tombstones(self) -> bool:
        """Write all tombstones into Redis; return whether it took them.

        Parallel revocations write their own.
        """
        since = timezone.now() - TOMBSTONE_LIFETIME
        values = {
            f"revoked:{pk}": "1"
            for model in (Session, ApiKey)
            for pk in model._default_manager.filter(revoked_at__gt=since).values_list("pk", flat=True)
        }
        epochs = dict(User.objects.filter(epoch_raised_at__gt=since).values_list("pk", "epoch"))
        try:
            redis.call(lambda client: _set_with_expiry(client, values))
            redis.call(lambda client: _raise_epochs(client, epochs))
            redis.call(lambda client: client.set(COMPLETE_KEY, "1"))
        except redis.RedisUnavailable:
            return False
        return True

"""Writes of the vault. Each write locks its owner's row first, see `vault.quotas`.

Permanent deletion is in `vault.purging`.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Length

from accounts.models import Session
from accounts.services.sessions import close_other_sessions
from audit.actors import Actor
from audit.services import record
from core.http.preconditions import IfMatch
from vault.envelopes import ENVELOPE_FIELDS, EnvelopeData, ciphertext_bytes_of, json_bytes_of
from vault.errors import (
    ItemExists,
    ItemsDiffer,
    QuotaReached,
    SessionRevoked,
    VaultExists,
    VersionSkipped,
)
from vault.models import MAX_FORMER_VERSIONS, MAX_VAULTS_PER_OWNER, FormerVersion, Item, Vault
from vault.purging import delete_former_versions, turn_into_tombstones
from vault.quotas import add_vault_weight, lock_holder, next_sequence, save_usage

COPY_TO_FORMER_VERSIONS = """
    INSERT INTO vault_formerversion (owner_id, item_id, created_at, ciphertext, iv, salt, alg, version)
    SELECT owner_id, id, now(), ciphertext, iv, salt, alg, version
    FROM vault_item
    WHERE id = %s
"""


@transaction.atomic
def create_vault(
    owner_id: UUID, vault_id: UUID, envelope: EnvelopeData, *, actor: Actor, session_id: UUID | None
) -> tuple[Vault, bool]:
    """Create a vault under an id that the client chose. Return it, and whether it is new.

    Sending the same vault again returns the stored one. Raises VaultExists, VersionSkipped, QuotaReached; and
    SessionRevoked when a password change ended the session while this waited for the lock, because the new
    password could not open the vault.
    """
    holder = lock_holder(owner_id)
    if session_id and Session.objects.filter(pk=session_id).exclude(revoked_at=None).exists():
        raise SessionRevoked
    existing = Vault.objects.filter(owner_id=owner_id, vault_id=vault_id).first()
    if existing:
        if existing.deleted_at or not envelope.equals(existing):
            raise VaultExists
        return existing, False
    _require_version(envelope, 1)
    if Vault.objects.filter(owner_id=owner_id).count() >= MAX_VAULTS_PER_OWNER:
        raise QuotaReached
    vault = Vault.objects.create(
        owner_id=owner_id,
        vault_id=vault_id,
        sequence=next_sequence(holder),
        weight=envelope.json_bytes,
        **envelope.to_fields(),
    )
    save_usage(holder, added_bytes=len(envelope.ciphertext))
    record("vault.created", actor=actor, subject=vault)
    return vault, True


@transaction.atomic
def change_vault(vault: Vault, envelope: EnvelopeData, *, actor: Actor, if_match: IfMatch) -> Vault:
    """Replace a vault's own record. Raises PreconditionFailed, VersionSkipped, VaultFull, QuotaReached."""
    holder = lock_holder(vault.owner_id)
    vault = Vault.objects.filter(deleted_at=None).get(pk=vault.pk)
    if_match.require_match(vault.version)
    _require_version(envelope, vault.version + 1)
    former_size = len(vault.ciphertext)
    add_vault_weight(vault, envelope.json_bytes - json_bytes_of(former_size))
    envelope.apply_to(vault, sequence=next_sequence(holder))
    vault.save()
    save_usage(holder, added_bytes=len(envelope.ciphertext) - former_size)
    record("vault.changed", actor=actor, subject=vault, version=vault.version)
    return vault


@transaction.atomic
def delete_vault(vault: Vault, *, actor: Actor, now: datetime, if_match: IfMatch) -> None:
    """Move a vault with everything in it to the trash, for 30 days. Raises PreconditionFailed."""
    holder = lock_holder(vault.owner_id)
    vault = Vault.objects.filter(deleted_at=None).get(pk=vault.pk)
    if_match.require_match(vault.version)
    Vault.objects.filter(pk=vault.pk).update(deleted_at=now, sequence=next_sequence(holder), updated_at=now)
    save_usage(holder)
    record("vault.deleted", actor=actor, subject=vault)


@transaction.atomic
def restore_vault(vault: Vault, *, actor: Actor) -> Vault:
    """Take a vault out of the trash.

    All its items get the new change number, because clients dropped them together with the vault.
    """
    holder = lock_holder(vault.owner_id)
    vault = Vault.objects.exclude(deleted_at=None).get(pk=vault.pk)
    vault.deleted_at = None
    vault.sequence = next_sequence(holder)
    vault.save(update_fields=["deleted_at", "sequence", "updated_at"])
    vault.items.filter(purged_at=None).update(sequence=vault.sequence)
    save_usage(holder)
    record("vault.restored", actor=actor, subject=vault)
    return vault


@transaction.atomic
def rotate_vault_key(
    vault: Vault,
    envelope: EnvelopeData,
    item_envelopes: dict[UUID, EnvelopeData],
    *,
    actor: Actor,
    session_id: UUID | None,
    now: datetime,
    if_match: IfMatch,
) -> Vault:
    """Replace a vault's key: store its own record and every item (by item id) re-encrypted, or nothing.

    Former versions and the trash of the vault are deleted, because the old key opens them. Other sessions of
    the owner end. Raises PreconditionFailed, ItemsDiffer, VersionSkipped, QuotaReached.
    """
    holder = lock_holder(vault.owner_id)
    vault = Vault.objects.filter(deleted_at=None).get(pk=vault.pk)
    if_match.require_match(vault.version)
    _require_version(envelope, vault.version + 1)
    items = {item.item_id: item for item in Item.objects.filter(vault=vault, deleted_at=None)}
    _require_all_items(items, item_envelopes)
    size_before = ciphertext_bytes_of([vault, *items.values()])
    size_after = ciphertext_bytes_of([envelope, *item_envelopes.values()])
    trashed = Item.objects.filter(vault=vault, purged_at=None).exclude(deleted_at=None)
    freed_size = delete_former_versions(FormerVersion.objects.filter(item__vault=vault))
    freed = turn_into_tombstones(trashed, holder, now=now)
    sequence = next_sequence(holder)
    vault.weight = envelope.json_bytes + sum(each.json_bytes for each in item_envelopes.values())
    envelope.apply_to(vault, sequence=sequence)
    vault.save()
    for item_id, item in items.items():
        item_envelopes[item_id].apply_to(item, sequence=sequence)
    Item.objects.bulk_update(items.values(), [*ENVELOPE_FIELDS, "sequence", "updated_at"], batch_size=500)
    save_usage(
        holder, added_bytes=size_after - size_before - freed_size - freed.size, added_items=-freed.items
    )
    record("vault.rotated", actor=actor, subject=vault, items=len(items), version=vault.version)
    if session_id:
        close_other_sessions(vault.owner_id, keep=session_id, actor=actor, now=now)
    return vault


@transaction.atomic
def create_item(
    vault: Vault, item_id: UUID, envelope: EnvelopeData, *, actor: Actor, if_match: IfMatch
) -> tuple[Item, bool]:
    """Create an item under an id that the client chose. Return it, and whether it is new.

    Sending the same item again returns the stored one. `if_match` is the version of the vault. Raises
    ItemExists, PreconditionFailed, VersionSkipped, VaultFull, QuotaReached.
    """
    holder = lock_holder(vault.owner_id)
    vault = Vault.objects.filter(deleted_at=None).get(pk=vault.pk)
    existing = Item.objects.filter(vault=vault, item_id=item_id).first()
    if existing:
        if existing.deleted_at or not envelope.equals(existing):
            raise ItemExists
        return existing, False
    if_match.require_match(vault.version)
    _require_version(envelope, 1)
    add_vault_weight(vault, envelope.json_bytes)
    item = Item.objects.create(
        owner_id=vault.owner_id,
        vault=vault,
        item_id=item_id,
        sequence=next_sequence(holder),
        **envelope.to_fields(),
    )
    save_usage(holder, added_bytes=len(envelope.ciphertext), added_items=1)
    record("vault_item.created", actor=actor, subject=item)
    return item, True


@transaction.atomic
def change_item(item: Item, envelope: EnvelopeData, *, actor: Actor, if_match: IfMatch) -> Item:
    """Replace an item, and keep its previous envelope among its last ten versions.

    Raises PreconditionFailed, VersionSkipped, VaultFull, QuotaReached.
    """
    holder = lock_holder(item.owner_id)
    item = _items_without_ciphertext().get(pk=item.pk)
    if_match.require_match(item.version)
    _require_version(envelope, item.version + 1)
    former_size = item.size  # type: ignore[attr-defined]  # annotated
    add_vault_weight(item.vault, envelope.json_bytes - json_bytes_of(former_size))
    with connection.cursor() as cursor:
        cursor.execute(COPY_TO_FORMER_VERSIONS, [item.pk])
    newest_dropped = item.version - MAX_FORMER_VERSIONS
    freed_size = 0
    if newest_dropped > 0:
        freed_size = delete_former_versions(item.former.filter(version__lte=newest_dropped))
    envelope.apply_to(item, sequence=next_sequence(holder))
    item.save()
    save_usage(holder, added_bytes=len(envelope.ciphertext) - freed_size)
    record("vault_item.changed", actor=actor, subject=item, version=item.version)
    return item


@transaction.atomic
def delete_item(item: Item, *, actor: Actor, now: datetime, if_match: IfMatch) -> None:
    """Move an item to the trash, for 30 days. Raises PreconditionFailed."""
    holder = lock_holder(item.owner_id)
    item = _items_without_ciphertext().get(pk=item.pk)
    if_match.require_match(item.version)
    Item.objects.filter(pk=item.pk).update(deleted_at=now, sequence=next_sequence(holder), updated_at=now)
    add_vault_weight(item.vault, -json_bytes_of(item.size))  # type: ignore[attr-defined]  # annotated
    save_usage(holder)
    record("vault_item.deleted", actor=actor, subject=item)


@transaction.atomic
def restore_item(item: Item, *, actor: Actor) -> Item:
    """Take an item out of the trash. Raises VaultFull."""
    holder = lock_holder(item.owner_id)
    trashed = Item.objects.filter(purged_at=None, vault__deleted_at=None).exclude(deleted_at=None)
    item = trashed.select_related("vault").get(pk=item.pk)
    add_vault_weight(item.vault, json_bytes_of(len(item.ciphertext)))
    item.deleted_at = None
    item.sequence = next_sequence(holder)
    item.save(update_fields=["deleted_at", "sequence", "updated_at"])
    save_usage(holder)
    record("vault_item.restored", actor=actor, subject=item)
    return item


def _items_without_ciphertext() -> QuerySet[Item]:
    """Return the items outside the trash with their vaults. `size` replaces the ciphertext, up to 1 MiB."""
    items: Any = Item.objects.filter(deleted_at=None, vault__deleted_at=None).select_related("vault")
    rows: QuerySet[Item] = items.annotate(size=Length("ciphertext")).defer("ciphertext")
    return rows


def _require_version(envelope: EnvelopeData, version: int) -> None:
    if envelope.version != version:
        raise VersionSkipped


def _require_all_items(items: dict[UUID, Item], envelopes: dict[UUID, EnvelopeData]) -> None:
    """Raise ItemsDiffer unless there is the next version of each item, and nothing else."""
    if items.keys() != envelopes.keys():
        raise ItemsDiffer
    if any(envelopes[item_id].version != item.version + 1 for item_id, item in items.items()):
        raise ItemsDiffer

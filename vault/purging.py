"""Permanent deletion of vaults, items and former versions. A purged item leaves a tombstone."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet, Sum
from django.db.models.functions import Length
from django.utils import timezone

from audit.actors import Actor
from audit.services import record
from core.http.preconditions import IfMatch
from vault.models import FormerVersion, Holder, Item, Vault
from vault.quotas import lock_holder, next_sequence, save_usage

TOMBSTONE_RETENTION = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class FreedUsage:
    """Bytes of ciphertext and number of items that a deletion freed."""

    size: int
    items: int


@transaction.atomic
def purge_vault(vault: Vault, *, actor: Actor, if_match: IfMatch) -> None:
    """Delete a vault in the trash permanently, with everything in it. Raises PreconditionFailed."""
    holder = lock_holder(vault.owner_id)
    vault = Vault.objects.exclude(deleted_at=None).get(pk=vault.pk)
    if_match.require_match(vault.version)
    record("vault.purged", actor=actor, subject=vault)
    freed = _delete_vault_rows(vault)
    save_usage(holder, added_bytes=-freed.size, added_items=-freed.items)


@transaction.atomic
def purge_item(item: Item, *, actor: Actor, now: datetime, if_match: IfMatch) -> None:
    """Delete an item in the trash permanently, except for its tombstone. Raises PreconditionFailed."""
    holder = lock_holder(item.owner_id)
    trashed = Item.objects.filter(pk=item.pk, purged_at=None).exclude(deleted_at=None)
    if_match.require_match(trashed.get().version)
    record("vault_item.purged", actor=actor, subject=item)
    freed = turn_into_tombstones(trashed, holder, now=now)
    save_usage(holder, added_bytes=-freed.size, added_items=-freed.items)


def purge_expired(before: datetime) -> int:
    """Delete permanently what was moved to the trash before `before`. Return how many vaults and items.

    Tombstones of items stay for a year, for clients that were offline. Needs the tenancy context `system`.
    """
    Item.objects.filter(purged_at__lt=before - TOMBSTONE_RETENTION).delete()
    purged_count = 0
    vaults = Vault.objects.filter(deleted_at__lt=before)
    items = Item.objects.filter(deleted_at__lt=before, purged_at=None)
    owners = {*vaults.values_list("owner_id", flat=True), *items.values_list("owner_id", flat=True)}
    for owner_id in sorted(owners):
        with transaction.atomic():
            holder = lock_holder(owner_id)
            freed = [turn_into_tombstones(items.filter(owner_id=owner_id), holder, now=timezone.now())]
            for vault in vaults.filter(owner_id=owner_id):
                freed.append(_delete_vault_rows(vault))
                purged_count += 1
            item_count = sum(each.items for each in freed)
            save_usage(holder, added_bytes=-sum(each.size for each in freed), added_items=-item_count)
            purged_count += item_count
    return purged_count


def turn_into_tombstones(trashed: QuerySet[Item], holder: Holder, *, now: datetime) -> FreedUsage:
    """Delete the ciphertext and the former versions of items, and keep their rows."""
    size: int = trashed.aggregate(size=Sum(Length("ciphertext"), default=0))["size"]
    size += delete_former_versions(FormerVersion.objects.filter(item__in=trashed))
    count = trashed.update(purged_at=now, sequence=next_sequence(holder), ciphertext=b"")
    return FreedUsage(size, count)


def delete_former_versions(versions: QuerySet[FormerVersion]) -> int:
    """Delete former versions of items. Return how many bytes of ciphertext they had."""
    size: int = versions.aggregate(size=Sum(Length("ciphertext"), default=0))["size"]
    versions.delete()
    return size


def _delete_vault_rows(vault: Vault) -> FreedUsage:
    items = Item.objects.filter(vault=vault, purged_at=None)
    size = len(vault.ciphertext) + delete_former_versions(FormerVersion.objects.filter(item__vault=vault))
    size += items.aggregate(size=Sum(Length("ciphertext"), default=0))["size"]
    count = items.count()
    vault.delete()
    return FreedUsage(size, count)

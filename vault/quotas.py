"""The per-owner row that every write of the vault locks first: change numbers, quota, and size of a vault.

The lock makes the writes of one owner run one after another. So quotas hold under parallel requests, and a
client that has read the changes up to a number has seen every change up to it.
"""

from uuid import UUID

from django.conf import settings
from django.db.models import F, Sum

from core import quotas
from vault.envelopes import MAX_REQUEST_BYTES
from vault.errors import QuotaReached, VaultFull
from vault.models import Holder, Vault

# Bytes of a key rotation request that are not envelopes.
REQUEST_RESERVE_BYTES = 64 * 1024


def lock_holder(owner_id: UUID) -> Holder:
    """Return the owner's row, created when missing and locked until the transaction ends."""
    rows = Holder.objects.select_for_update(no_key=True).filter(owner_id=owner_id)
    holder = rows.first()
    if holder is None:
        Holder.objects.bulk_create([Holder(owner_id=owner_id)], ignore_conflicts=True)
        holder = rows.get()
    return holder


def next_sequence(holder: Holder) -> int:
    """Return the next change number of the owner. Everything that one write changes shares it."""
    holder.sequence += 1
    return holder.sequence


def save_usage(holder: Holder, *, added_bytes: int = 0, added_items: int = 0) -> None:
    """Save the owner's row with its new usage. Both numbers may be negative.

    Raises QuotaReached when usage grew beyond the quota of vaults, and QuotaExceeded when it grew beyond the
    storage quota of the owner.
    """
    holder.size = holder.size + added_bytes
    holder.items = holder.items + added_items
    if added_bytes > 0 and holder.size > settings.VAULT_BYTES:
        raise QuotaReached
    if added_items > 0 and holder.items > settings.VAULT_ITEMS:
        raise QuotaReached
    holder.save(update_fields=["sequence", "size", "items"])
    quotas.require_room(holder.owner_id, added=added_bytes)


def measure_vaults_of(owner_id: UUID) -> dict[str, int]:
    """Return the stored bytes of a user's vaults, for `core.quotas`."""
    return {"vault": Holder.objects.filter(owner_id=owner_id).aggregate(size=Sum("size", default=0))["size"]}


def add_vault_weight(vault: Vault, added_bytes: int) -> None:
    """Add to the JSON bytes that a request with the whole vault needs. The number may be negative.

    Raises VaultFull when the vault would outgrow such a request: its key could not be rotated any more.
    """
    if added_bytes > 0 and vault.weight + added_bytes > MAX_REQUEST_BYTES - REQUEST_RESERVE_BYTES:
        raise VaultFull
    if added_bytes:
        vault.weight += added_bytes
        Vault.objects.filter(pk=vault.pk).update(weight=F("weight") + added_bytes)

"""What happens to vaults when the password of their owner is replaced.

A vault's own record is encrypted with a key that is derived from the password. So a new password comes
together with every record re-encrypted, or it is refused.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from accounts.models import User
from audit import actors
from audit.services import record
from audit.subjects import Subject
from core import tenancy
from vault.envelopes import EnvelopeData, json_bytes_of
from vault.errors import VaultsDiffer, VaultsSealed
from vault.models import Holder, Vault
from vault.quotas import add_vault_weight, lock_holder, next_sequence


def reencrypt_or_delete_vaults(owner_id: UUID, now: datetime, lost: bool, records: Any) -> None:
    """Prepare the vaults for a new password. Registered with `core.lifecycle.on_password_replaced`.

    `records` are the re-encrypted records of all vaults by vault id, those in the trash included, or None.
    Without records the vaults are deleted when the old password is `lost`, because its salt is deleted too
    and the vaults could never be opened again. Raises VaultsSealed, VaultsDiffer, VaultFull.
    """
    with tenancy.context(tenancy.SYSTEM):
        holder = lock_holder(owner_id)
        vaults = list(Vault.objects.filter(owner_id=owner_id))
        if records is not None:
            _store_records(holder, {vault.vault_id: vault for vault in vaults}, records)
        elif lost:
            _delete_vaults(holder, vaults)
        elif vaults:
            raise VaultsSealed


def _store_records(holder: Holder, vaults: dict[UUID, Vault], records: dict[UUID, EnvelopeData]) -> None:
    """Replace the own record of every vault. Raises VaultsDiffer, VaultFull.

    The quota is not enforced here: a full quota must not prevent a password change, and records are small.
    """
    if vaults.keys() != records.keys() or any(
        records[vault_id].version != vault.version + 1 for vault_id, vault in vaults.items()
    ):
        raise VaultsDiffer
    owner = actors.user(User(pk=holder.owner_id))
    sequence = next_sequence(holder)
    for vault_id, vault in vaults.items():
        envelope = records[vault_id]
        holder.size += len(envelope.ciphertext) - len(vault.ciphertext)
        add_vault_weight(vault, envelope.json_bytes - json_bytes_of(len(vault.ciphertext)))
        envelope.apply_to(vault, sequence=sequence)
        vault.save()
        record("vault.changed", actor=owner, subject=vault, version=vault.version)
    holder.save()


def _delete_vaults(holder: Holder, vaults: list[Vault]) -> None:
    for vault in vaults:
        record(
            "vault.lost", actor=actors.SYSTEM, subject=Subject("vault", vault.pk, owner_id=holder.owner_id)
        )
    Vault.objects.filter(pk__in=[vault.pk for vault in vaults]).delete()
    holder.size = 0
    holder.items = 0
    holder.save()

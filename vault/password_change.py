"""A new password for who has vaults: their own records are sealed anew together with it, or nothing happens."""

from datetime import datetime
from typing import Any
from uuid import UUID

from accounts.models import User
from audit import actors
from audit.services import record
from audit.subjects import Subject
from core import tenancy
from vault.errors import VaultsDiffer, VaultsSealed
from vault.models import Holder, Vault
from vault.services import EnvelopeData, hold, next_number, seal, weigh, weight_of


def reencrypt_or_delete_vaults(owner_id: UUID, now: datetime, lost: bool, brought: Any) -> None:
    """Take the vaults' own records that were `brought` for a new password, by vault id, those in the trash
    too. Where the old one is `lost` the vaults go: its salt goes too, so nobody could ever open them. Raises
    VaultsSealed, VaultsDiffer, VaultFull.
    """
    with tenancy.context(tenancy.SYSTEM):
        holder = hold(owner_id)
        vaults = list(Vault.objects.filter(owner_id=owner_id))
        if brought is not None:
            _seal_anew(holder, {vault.vault_id: vault for vault in vaults}, brought)
        elif lost:
            _give_up(holder, vaults)
        elif vaults:
            raise VaultsSealed


def _seal_anew(holder: Holder, there: dict[UUID, Vault], records: dict[UUID, EnvelopeData]) -> None:
    """No quota stands in the way of another password: records are small, and there are few."""
    if there.keys() != records.keys() or any(
        records[pk].version != vault.version + 1 for pk, vault in there.items()
    ):
        raise VaultsDiffer
    sequence = next_number(holder)
    for pk, vault in there.items():
        holder.size += len(records[pk].ciphertext) - len(vault.ciphertext)
        weigh(vault, records[pk].weight - weight_of(len(vault.ciphertext)))
        seal(vault, records[pk], sequence=sequence)
        record(
            "vault.changed", actor=actors.user(User(pk=holder.owner_id)), subject=vault, version=vault.version
        )
    holder.save()


def _give_up(holder: Holder, vaults: list[Vault]) -> None:
    for vault in vaults:
        record(
            "vault.lost", actor=actors.SYSTEM, subject=Subject("vault", vault.pk, owner_id=holder.owner_id)
        )
    Vault.objects.filter(pk__in=[vault.pk for vault in vaults]).delete()
    holder.size = holder.items = 0
    holder.save()

"""A new password for who has vaults: their own records are sealed anew together with it, or nothing happens."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from accounts.models import Kdf
from accounts.services import set_password
from audit import actors
from audit.actors import Actor
from audit.services import Subject, record
from core import tenancy
from vault.errors import VaultsDiffer, VaultsSealed
from vault.models import Vault
from vault.services import Sealed, hold, keep, next_number, seal, weigh, weight_of


@transaction.atomic
def change_password(
    owner_id: UUID, password: str, kdf: Kdf, records: dict[UUID, Sealed], *, actor: Actor, now: datetime
) -> None:
    """Replace the password of a blind account, which must have been checked, and the own record of each vault, those in the
    trash too. Raises VaultsDiffer, VaultFull, QuotaReached, and what `set_password` raises.
    """
    set_password(owner_id, password, kdf=kdf, actor=actor, now=now, sealed_anew=True)  # people before their vaults
    holder = hold(owner_id)
    there = {vault.vault_id: vault for vault in Vault.objects.filter(owner_id=owner_id)}
    if there.keys() != records.keys() or any(records[pk].version != vault.version + 1 for pk, vault in there.items()):
        raise VaultsDiffer
    sequence, grown = next_number(holder), 0
    for pk, vault in there.items():
        grown += len(records[pk].ciphertext) - len(vault.ciphertext)
        weigh(vault, records[pk].weight - weight_of(len(vault.ciphertext)))
        seal(vault, records[pk], sequence=sequence)
        record("vault.changed", actor=actor, subject=vault, version=vault.version)
    keep(holder, size=grown)


def before_new_secret(owner_id: UUID, now: datetime, lost: bool) -> None:
    """Vaults go when the password that opens them is lost: its salt goes too, so nobody could ever open them. Raises
    VaultsSealed when it is known.
    """
    with tenancy.context(tenancy.SYSTEM):
        holder = hold(owner_id)
        vaults = Vault.objects.filter(owner_id=owner_id)
        if not lost and vaults.exists():
            raise VaultsSealed
        for vault in vaults:
            record("vault.lost", actor=actors.SYSTEM, subject=Subject("vault", vault.pk, owner_id=owner_id))
        vaults.delete()
        holder.size = holder.items = 0
        holder.save()

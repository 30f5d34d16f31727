"""Every write of the vault.

Each holds its owner's row first, so that writes of one person come one after another: quotas hold, and
whoever reads changes up to a number has seen all of them.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Sum
from django.db.models.functions import Length
from django.utils import timezone

from accounts.models import Session
from accounts.services.sessions import close_other_sessions
from audit.actors import Actor
from audit.services import record
from core.http.preconditions import IfMatch
from vault.errors import (
    ItemExists,
    ItemsDiffer,
    QuotaReached,
    SessionOver,
    VaultExists,
    VaultFull,
    VersionSkipped,
)
from vault.models import HISTORY, MAX_VAULTS, FormerVersion, Holder, Item, Vault

BODY_BYTES = 10 * 1024 * 1024  # of a request that has a whole vault
OVERHEAD = 320  # bytes of JSON around one envelope at most
FIELDS = ("ciphertext", "iv", "salt", "alg", "version")
TOMBSTONE = {"ciphertext": b""}
TOMBSTONES_KEPT = timedelta(days=365)
KEEP_FORMER = """
    INSERT INTO vault_formerversion (owner_id, item_id, created_at, ciphertext, iv, salt, alg, version)
    SELECT owner_id, id, now(), ciphertext, iv, salt, alg, version FROM vault_item WHERE id = %s"""


@dataclass(frozen=True, slots=True)
class Sealed:
    """An envelope as it came: bytes, and the version that it was made for."""

    ciphertext: bytes
    iv: bytes
    salt: bytes
    version: int
    alg: str

    @property
    def weight(self) -> int:
        return weight_of(len(self.ciphertext))

    def facts(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in FIELDS}

    def same(self, row: Vault | Item) -> bool:
        return all(
            getattr(self, name)
            == (bytes(value) if isinstance(value := getattr(row, name), memoryview) else value)
            for name in FIELDS
        )


def hold(owner_id: UUID) -> Holder:
    """The owner's row, held until the transaction ends."""
    rows = Holder.objects.select_for_update(no_key=True).filter(owner_id=owner_id)
    found = rows.first()
    if not found:
        Holder.objects.bulk_create([Holder(owner_id=owner_id)], ignore_conflicts=True)
    return found or rows.get()


def next_number(holder: Holder) -> int:
    """The number of the next change, for all that changes at once."""
    holder.sequence += 1
    return holder.sequence


def keep(holder: Holder, *, size: int = 0, items: int = 0) -> None:
    """Write the owner's row back. Raises QuotaReached when it grew past what one may have."""
    holder.size = holder.size + size
    holder.items = holder.items + items
    grown = (size > 0 and holder.size > settings.VAULT_BYTES) or (
        items > 0 and holder.items > settings.VAULT_ITEMS
    )
    if grown:
        raise QuotaReached
    holder.save(update_fields=["sequence", "size", "items"])


@transaction.atomic
def create_vault(
    owner_id: UUID, vault_id: UUID, sealed: Sealed, *, actor: Actor, session_id: UUID | None
) -> tuple[Vault, bool]:
    """The vault, and whether it is new: the same one sent again is the same one.

    Raises VaultExists, VersionSkipped, QuotaReached; and SessionOver when another password ended the session
    meanwhile, because that would not open it.
    """
    holder = hold(owner_id)
    if session_id and Session.objects.filter(pk=session_id).exclude(revoked_at=None).exists():
        raise SessionOver
    found = Vault.objects.filter(owner_id=owner_id, vault_id=vault_id).first()
    if found:
        if found.deleted_at or not sealed.same(found):
            raise VaultExists
        return found, False
    _first(sealed)
    if Vault.objects.filter(owner_id=owner_id).count() >= MAX_VAULTS:
        raise QuotaReached
    made = Vault.objects.create(
        owner_id=owner_id,
        vault_id=vault_id,
        sequence=next_number(holder),
        weight=sealed.weight,
        **sealed.facts(),
    )
    keep(holder, size=len(sealed.ciphertext))
    record("vault.created", actor=actor, subject=made)
    return made, True


@transaction.atomic
def change_vault(vault: Vault, sealed: Sealed, *, actor: Actor, if_match: IfMatch) -> Vault:
    """Replace a vault's own record. Raises PreconditionFailed, VersionSkipped, VaultFull, QuotaReached."""
    holder = hold(vault.owner_id)
    vault = Vault.objects.filter(deleted_at=None).get(pk=vault.pk)
    if_match.require_match(vault.version)
    _follows(sealed, vault.version)
    size = len(sealed.ciphertext) - len(vault.ciphertext)
    weigh(vault, sealed.weight - weight_of(len(vault.ciphertext)))
    seal(vault, sealed, sequence=next_number(holder))
    keep(holder, size=size)
    record("vault.changed", actor=actor, subject=vault, version=vault.version)
    return vault


@transaction.atomic
def delete_vault(vault: Vault, *, actor: Actor, now: datetime, if_match: IfMatch) -> None:
    """Into the trash, with everything in it, for 30 days. Raises PreconditionFailed."""
    holder = hold(vault.owner_id)
    vault = Vault.objects.filter(deleted_at=None).get(pk=vault.pk)
    if_match.require_match(vault.version)
    Vault.objects.filter(pk=vault.pk).update(deleted_at=now, sequence=next_number(holder), updated_at=now)
    keep(holder)
    record("vault.deleted", actor=actor, subject=vault)


@transaction.atomic
def restore_vault(vault: Vault, *, actor: Actor) -> Vault:
    """Back from the trash; all its items count as changed, for clients that have dropped them."""
    holder = hold(vault.owner_id)
    vault = Vault.objects.exclude(deleted_at=None).get(pk=vault.pk)
    vault.deleted_at = None
    vault.sequence = next_number(holder)
    vault.save(update_fields=["deleted_at", "sequence", "updated_at"])
    vault.items.filter(purged_at=None).update(sequence=vault.sequence)
    keep(holder)
    record("vault.restored", actor=actor, subject=vault)
    return vault


@transaction.atomic
def create_item(
    vault: Vault, item_id: UUID, sealed: Sealed, *, actor: Actor, if_match: IfMatch
) -> tuple[Item, bool]:
    """The item, and whether it is new.

    Raises ItemExists, PreconditionFailed when the vault is another version by now, VersionSkipped, VaultFull,
    QuotaReached.
    """
    holder = hold(vault.owner_id)
    vault = Vault.objects.filter(deleted_at=None).get(pk=vault.pk)
    found = Item.objects.filter(vault=vault, item_id=item_id).first()
    if found:
        if found.deleted_at or not sealed.same(found):
            raise ItemExists
        return found, False
    if_match.require_match(vault.version)
    _first(sealed)
    weigh(vault, sealed.weight)
    made = Item.objects.create(
        owner_id=vault.owner_id, vault=vault, item_id=item_id, sequence=next_number(holder), **sealed.facts()
    )
    keep(holder, size=len(sealed.ciphertext), items=1)
    record("vault_item.created", actor=actor, subject=made)
    return made, True


@transaction.atomic
def change_item(item: Item, sealed: Sealed, *, actor: Actor, if_match: IfMatch) -> Item:
    """Replace an item; what it was is kept among its last ten versions.

    Raises PreconditionFailed, VersionSkipped, VaultFull, QuotaReached.
    """
    holder = hold(item.owner_id)
    item = _heads().get(pk=item.pk)
    if_match.require_match(item.version)
    _follows(sealed, item.version)
    weigh(item.vault, sealed.weight - weight_of(item.size))  # type: ignore[attr-defined]  # annotated
    with connection.cursor() as cursor:
        cursor.execute(KEEP_FORMER, [item.pk])
    oldest = item.version - HISTORY
    dropped = _drop_former(item.former.filter(version__lte=oldest)) if oldest > 0 else 0
    seal(item, sealed, sequence=next_number(holder))
    keep(holder, size=len(sealed.ciphertext) - dropped)
    record("vault_item.changed", actor=actor, subject=item, version=item.version)
    return item


@transaction.atomic
def delete_item(item: Item, *, actor: Actor, now: datetime, if_match: IfMatch) -> None:
    """Into the trash for 30 days. Raises PreconditionFailed."""
    holder = hold(item.owner_id)
    item = _heads().get(pk=item.pk)
    if_match.require_match(item.version)
    Item.objects.filter(pk=item.pk).update(deleted_at=now, sequence=next_number(holder), updated_at=now)
    weigh(item.vault, -weight_of(item.size))  # type: ignore[attr-defined]  # annotated
    keep(holder)
    record("vault_item.deleted", actor=actor, subject=item)


@transaction.atomic
def restore_item(item: Item, *, actor: Actor) -> Item:
    """Back from the trash, as it was. Raises VaultFull."""
    holder = hold(item.owner_id)
    trash = Item.objects.filter(purged_at=None, vault__deleted_at=None).exclude(deleted_at=None)
    item = trash.select_related("vault").get(pk=item.pk)
    weigh(item.vault, weight_of(len(item.ciphertext)))
    item.deleted_at = None
    item.sequence = next_number(holder)
    item.save(update_fields=["deleted_at", "sequence", "updated_at"])
    keep(holder)
    record("vault_item.restored", actor=actor, subject=item)
    return item


@transaction.atomic
def purge_vault(vault: Vault, *, actor: Actor, if_match: IfMatch) -> None:
    """Out of the trash for good, with everything in it. Raises PreconditionFailed."""
    holder = hold(vault.owner_id)
    vault = Vault.objects.exclude(deleted_at=None).get(pk=vault.pk)
    if_match.require_match(vault.version)
    record("vault.purged", actor=actor, subject=vault)
    size, count = _remove(vault)
    keep(holder, size=-size, items=-count)


@transaction.atomic
def purge_item(item: Item, *, actor: Actor, now: datetime, if_match: IfMatch) -> None:
    """Out of the trash for good; a tombstone stays. Raises PreconditionFailed."""
    holder = hold(item.owner_id)
    trash = Item.objects.filter(pk=item.pk, purged_at=None).exclude(deleted_at=None)
    if_match.require_match(trash.get().version)
    record("vault_item.purged", actor=actor, subject=item)
    size, count = _empty(trash, holder, now=now)
    keep(holder, size=-size, items=-count)


@transaction.atomic
def rotate(
    vault: Vault,
    sealed: Sealed,
    items: dict[UUID, Sealed],
    *,
    actor: Actor,
    session_id: UUID | None,
    now: datetime,
    if_match: IfMatch,
) -> Vault:
    """Replace a vault's key: its own record and every item anew, or nothing.

    What the old key encrypted goes: former versions and the trash. Other sessions of the owner end. Raises
    PreconditionFailed, ItemsDiffer, VersionSkipped, QuotaReached.
    """
    holder = hold(vault.owner_id)
    vault = Vault.objects.filter(deleted_at=None).get(pk=vault.pk)
    if_match.require_match(vault.version)
    _follows(sealed, vault.version)
    there = {item.item_id: item for item in Item.objects.filter(vault=vault, deleted_at=None)}
    if there.keys() != items.keys() or any(
        items[pk].version != item.version + 1 for pk, item in there.items()
    ):
        raise ItemsDiffer
    before = len(vault.ciphertext) + sum(len(item.ciphertext) for item in there.values())
    dropped = _drop_former(FormerVersion.objects.filter(item__vault=vault))
    trashed, count = _empty(
        Item.objects.filter(vault=vault, purged_at=None).exclude(deleted_at=None), holder, now=now
    )
    sequence = next_number(holder)
    vault.weight = sealed.weight + sum(item.weight for item in items.values())
    seal(vault, sealed, sequence=sequence)
    for pk, item in there.items():
        seal(item, items[pk], sequence=sequence, save=False)
    Item.objects.bulk_update(there.values(), [*FIELDS, "sequence", "updated_at"], batch_size=500)
    after = len(sealed.ciphertext) + sum(len(item.ciphertext) for item in items.values())
    keep(holder, size=after - before - dropped - trashed, items=-count)
    record("vault.rotated", actor=actor, subject=vault, items=len(items), version=vault.version)
    if session_id:
        close_other_sessions(vault.owner_id, keep=session_id, actor=actor, now=now)
    return vault


def purge(before: datetime) -> int:
    """Empty the trash of what was deleted before then; return how many.

    Items leave a tombstone for clients that have not heard, for a year. In context `system`.
    """
    Item.objects.filter(purged_at__lt=before - TOMBSTONES_KEPT).delete()
    gone = 0
    vaults = Vault.objects.filter(deleted_at__lt=before)
    items = Item.objects.filter(deleted_at__lt=before, purged_at=None)
    owners = {*vaults.values_list("owner_id", flat=True), *items.values_list("owner_id", flat=True)}
    for owner_id in sorted(owners):
        with transaction.atomic():
            holder = hold(owner_id)
            size, count = _empty(items.filter(owner_id=owner_id), holder, now=timezone.now())
            for vault in vaults.filter(owner_id=owner_id):
                more, items_too = _remove(vault)
                size = size + more
                count = count + items_too
                gone = gone + 1
            keep(holder, size=-size, items=-count)
            gone += count
    return gone


def _remove(vault: Vault) -> tuple[int, int]:
    """Delete a vault; return how many bytes and items that frees."""
    held = Item.objects.filter(vault=vault, purged_at=None)
    size = len(vault.ciphertext) + _drop_former(FormerVersion.objects.filter(item__vault=vault))
    size += held.aggregate(size=Sum(Length("ciphertext"), default=0))["size"]
    count = held.count()
    vault.delete()
    return size, count


def personal_data(person: UUID) -> Iterator[tuple[str, Any]]:
    """Vaults as they are stored, everything that it takes to open them with the password.

    In context `system`.
    """
    rows = Vault.objects.filter(owner_id=person).order_by("id")
    yield "vaults.json", [{"vault_id": vault.vault_id, **_exported(vault)} for vault in rows]
    items = Item.objects.filter(owner_id=person, purged_at=None).select_related("vault").order_by("id")
    yield (
        "vault_items.jsonl",
        (
            {"vault_id": item.vault.vault_id, "item_id": item.item_id, **_exported(item)}
            for item in items.iterator(chunk_size=100)
        ),
    )


def _exported(row: Vault | Item) -> dict[str, Any]:
    encoded = {name: base64.b64encode(getattr(row, name)).decode() for name in ("ciphertext", "iv", "salt")}
    return {
        **encoded,
        "version": row.version,
        "alg": row.alg,
        "created_at": row.created_at,
        "deleted_at": row.deleted_at,
    }


def weight_of(size: int) -> int:
    """Bytes of JSON that an envelope takes at most, by its ciphertext's."""
    return size * 4 // 3 + OVERHEAD


def _heads() -> Any:
    """Items that are there, with their vault; `size` in place of a ciphertext, which may be large."""
    there = Item.objects.filter(deleted_at=None, vault__deleted_at=None).select_related("vault")
    return there.annotate(size=Length("ciphertext")).defer("ciphertext")


def _first(sealed: Sealed) -> None:
    if sealed.version != 1:
        raise VersionSkipped


def _follows(sealed: Sealed, version: int) -> None:
    if sealed.version != version + 1:
        raise VersionSkipped


def weigh(vault: Vault, more: int) -> None:
    """Count what a request with the whole vault grows by.

    Raises VaultFull: its key could not be changed any more.
    """
    if more > 0 and vault.weight + more > BODY_BYTES - 64 * 1024:
        raise VaultFull
    if more:
        vault.weight += more
        Vault.objects.filter(pk=vault.pk).update(weight=F("weight") + more)


def seal(row: Vault | Item, sealed: Sealed, *, sequence: int, save: bool = True) -> None:
    for name, value in sealed.facts().items():
        setattr(row, name, value)
    row.sequence = sequence
    if save:
        row.save()


def _drop_former(rows: Any) -> int:
    """Delete former versions; return how many bytes they had."""
    size: int = rows.aggregate(size=Sum(Length("ciphertext"), default=0))["size"]
    rows.delete()
    return size


def _empty(trash: Any, holder: Holder, *, now: datetime) -> tuple[int, int]:
    """Turn items into tombstones; return how many bytes and items that frees."""
    facts = trash.aggregate(size=Sum(Length("ciphertext"), default=0))
    former = _drop_former(FormerVersion.objects.filter(item__in=trash))
    count = trash.update(purged_at=now, sequence=next_number(holder), **TOMBSTONE)
    return facts["size"] + former, count

"""Reads of the vault: what is there, and what changed since."""

from dataclasses import dataclass
from itertools import islice
from typing import Any
from uuid import UUID

from django.db.models import F

from vault.errors import CursorUnknown
from vault.models import Holder, Item, Vault

PAGE_BYTES = 4 * 1024 * 1024
PAGE_ROWS = 500


@dataclass(frozen=True, slots=True)
class Changes:
    """`rows` are vaults and items in the order of their last change; `until` is the number to go on from."""

    rows: list[Vault | Item]
    until: int
    more: bool


def changes_since(owner_id: UUID, since: int) -> Changes:
    """What changed after number `since`, each with its last state, at most 4 MiB of ciphertext or 500 rows of it (more of one
    number, which stay together). Four queries. Raises CursorUnknown for a number that is not reached yet: a backup was
    restored.

    The owner's number is read first. Writes hold it until they are committed, so whatever has a lower one is there.
    """
    reached = Holder.objects.filter(owner_id=owner_id).values_list("sequence", flat=True).first() or 0
    if since > reached:
        raise CursorUnknown
    new: dict[str, Any] = {"owner_id": owner_id, "sequence__gt": since, "sequence__lte": reached}
    vaults = Vault.objects.filter(**new).order_by("sequence")
    items = Item.objects.filter(**new).order_by("sequence").annotate(in_vault=F("vault__vault_id"))
    rows: list[Vault | Item] = sorted(
        [*islice(vaults.iterator(PAGE_ROWS), PAGE_ROWS), *_page(items)], key=lambda row: row.sequence
    )
    kept: list[Vault | Item] = []
    size = 0
    for row in rows:
        if kept and row.sequence != kept[-1].sequence and (size > PAGE_BYTES or len(kept) >= PAGE_ROWS):
            break
        kept.append(row)
        size += len(row.ciphertext)
    until = kept[-1].sequence if kept else reached
    more = vaults.filter(sequence__gt=until).exists() or items.filter(sequence__gt=until).exists()
    return Changes(kept, until, more)


def _page(items: Any) -> list[Item]:
    """Enough items for a page, and all that share the last one's number: a changed key gives all items of a vault one."""
    found = list(items[: PAGE_ROWS + 1])
    if len(found) > PAGE_ROWS:
        found += items.filter(sequence=found[-1].sequence).exclude(pk__in=[item.pk for item in found])
    return found

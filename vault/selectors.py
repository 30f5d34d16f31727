"""Reads of the vault: changes since a cursor, and the data export of an owner."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import BinaryField, Case, F, QuerySet, Value, When
from django.db.models.functions import Length

from core import lifecycle
from vault.errors import CursorUnknown
from vault.models import Item, Vault

MAX_PAGE_BYTES = 4 * 1024 * 1024
MAX_PAGE_ROWS = 500


@dataclass(frozen=True, slots=True)
class ChangesPage:
    """One page of changes.

    `rows` are vaults and items in the order of their last change, and have their ciphertext as `shown`.
    `last_sequence` is the change number where the next page continues.
    """

    rows: list[Vault | Item]
    last_sequence: int
    has_more: bool


def changes_since(owner_id: UUID, since: int) -> ChangesPage:
    """Return what changed after change number `since`, each row once with its present state.

    A page ends after the change that takes it past 4 MiB of ciphertext or to 500 rows; rows that share one
    change number stay together. Five queries; the ciphertext of rows on other pages is not read. Raises
    CursorUnknown when `since` is above the owner's newest change number, as after a restored backup.

    The owner's row is locked against writes until the transaction ends, so that all queries see one state.
    """
    newest_sequence = _lock_newest_sequence(owner_id)
    if since > newest_sequence:
        raise CursorUnknown
    changed: dict[str, Any] = {
        "owner_id": owner_id,
        "sequence__gt": since,
        "sequence__lte": newest_sequence,
    }
    vaults = Vault.objects.filter(**changed)
    items = Item.objects.filter(**changed)
    sizes = sorted([*_sequences_and_sizes(vaults), *_sequences_and_sizes(items)])
    last_sequence = _last_sequence_of_page(sizes) if sizes else newest_sequence
    rows: list[Vault | Item] = [
        *_with_shown_ciphertext(vaults.filter(sequence__lte=last_sequence)),
        *_with_shown_ciphertext(
            items.filter(sequence__lte=last_sequence).annotate(in_vault=F("vault__vault_id"))
        ),
    ]
    # Not from `sizes`: it ends after a page of rows, which may all share the last change number of this page.
    has_more = last_sequence < newest_sequence
    return ChangesPage(sorted(rows, key=lambda row: row.sequence), last_sequence, has_more)


def _lock_newest_sequence(owner_id: UUID) -> int:
    """Return the owner's newest change number, or 0, and lock it until the transaction ends.

    Writers of this owner wait for the lock; other readers do not.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT sequence FROM vault_holder WHERE owner_id = %s FOR SHARE", [owner_id])
        row = cursor.fetchone()
    return row[0] if row else 0


def _sequences_and_sizes(rows: QuerySet[Any]) -> list[tuple[int, int]]:
    """Return change number and bytes of the first changes, one more than a page may have."""
    size = Case(When(deleted_at=None, then=Length("ciphertext")), default=Value(0))
    return list(
        rows.order_by("sequence").annotate(size=size).values_list("sequence", "size")[: MAX_PAGE_ROWS + 1]
    )


def _last_sequence_of_page(sizes: list[tuple[int, int]]) -> int:
    """Return the last change number of the page that begins with these changes.

    A page has at least one change number, even when its rows are larger than a page.
    """
    last_sequence = sizes[0][0]
    page_bytes = 0
    for row_count, (sequence, row_bytes) in enumerate(sizes):
        is_full = page_bytes > MAX_PAGE_BYTES or row_count >= MAX_PAGE_ROWS
        if sequence != last_sequence and is_full:
            break
        last_sequence = sequence
        page_bytes = page_bytes + row_bytes
    return last_sequence


def _with_shown_ciphertext(rows: Any) -> Any:
    """Replace the ciphertext by `shown`, which is empty for deleted rows."""
    shown = Case(When(deleted_at=None, then=F("ciphertext")), default=Value(b""), output_field=BinaryField())
    return rows.annotate(shown=shown).defer("ciphertext")


def personal_data(owner_id: UUID) -> Iterator[lifecycle.ExportedFile]:
    """Yield the vault part of an owner's data export: vaults and items as they are stored.

    Together with the key derivation parameters in `account.json` it is enough to decrypt them with the
    password. Needs the tenancy context `system`.
    """
    vaults = Vault.objects.filter(owner_id=owner_id).order_by("id")
    yield (
        "vaults.json",
        lambda: [{"vault_id": vault.vault_id, **_exported_envelope(vault)} for vault in vaults],
    )
    items = Item.objects.filter(owner_id=owner_id, purged_at=None).select_related("vault").order_by("id")
    yield (
        "vault_items.jsonl",
        lambda: (
            {"vault_id": item.vault.vault_id, "item_id": item.item_id, **_exported_envelope(item)}
            for item in items.iterator(chunk_size=100)
        ),
    )


def _exported_envelope(row: Vault | Item) -> dict[str, Any]:
    encoded = {name: base64.b64encode(getattr(row, name)).decode() for name in ("ciphertext", "iv", "salt")}
    return {
        **encoded,
        "version": row.version,
        "alg": row.alg,
        "created_at": row.created_at,
        "deleted_at": row.deleted_at,
    }

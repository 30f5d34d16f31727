"""Reads of the vault: what is there, and what changed since."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import BinaryField, Case, F, Value, When
from django.db.models.functions import Length

from vault.errors import CursorUnknown
from vault.models import Item, Vault

PAGE_BYTES = 4 * 1024 * 1024
PAGE_ROWS = 500


@dataclass(frozen=True, slots=True)
class Changes:
    """`rows` are vaults and items in the order of their last change; `until` is the number to go on from."""

    rows: list[Vault | Item]
    until: int
    more: bool


def changes_since(owner_id: UUID, since: int) -> Changes:
    """What changed after number `since`, each with its last state, at most 4 MiB of ciphertext or 500 rows of
    it (more of one number, which stay together). Five queries, and no ciphertext is read that is not in the
    answer: rows have it as `shown`. Raises CursorUnknown for a number that is not reached yet: a backup was
    restored.

    The owner's row is held against writes until the transaction ends: what is read belongs to one moment.
    """
    reached = _reached(owner_id)
    if since > reached:
        raise CursorUnknown
    new: dict[str, Any] = {"owner_id": owner_id, "sequence__gt": since, "sequence__lte": reached}
    vaults = Vault.objects.filter(**new)
    items = Item.objects.filter(**new)
    heads = sorted([*_heads(vaults), *_heads(items)])
    until = _cut(heads) if heads else reached
    page = {"sequence__lte": until}
    rows: list[Vault | Item] = [
        *_whole(vaults.filter(**page)),
        *_whole(items.filter(**page).annotate(in_vault=F("vault__vault_id"))),
    ]
    return Changes(sorted(rows, key=lambda row: row.sequence), until, bool(heads) and heads[-1][0] > until)


def _reached(owner_id: UUID) -> int:
    """The number of the last change.

    Writers of this person wait until the transaction ends, other readers do not.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT sequence FROM vault_holder WHERE owner_id = %s FOR SHARE", [owner_id])
        found = cursor.fetchone()
    return found[0] if found else 0


def _heads(rows: Any) -> list[tuple[int, int]]:
    """Number and bytes of the first that changed, one more than a page may have."""
    size = Case(When(deleted_at=None, then=Length("ciphertext")), default=Value(0))
    return list(
        rows.order_by("sequence").annotate(size=size).values_list("sequence", "size")[: PAGE_ROWS + 1]
    )


def _cut(heads: list[tuple[int, int]]) -> int:
    """The last number of the page that begins with these: at least one, whatever it takes."""
    until = heads[0][0]
    size = 0
    for count, (sequence, more) in enumerate(heads):
        if sequence != until and (size > PAGE_BYTES or count >= PAGE_ROWS):
            break
        until = sequence
        size = size + more
    return until


def _whole(rows: Any) -> Any:
    shown = Case(When(deleted_at=None, then=F("ciphertext")), default=Value(b""), output_field=BinaryField())
    return rows.annotate(shown=shown).defer("ciphertext")

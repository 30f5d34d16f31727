"""Hooks to soft-delete, restore, purge, export and erase all data of a user or a site.

Each app registers its handlers in `AppConfig.ready()`, so that the code that closes an account need not
import those apps. A subject is `"person"` (a user) or `"site"`. What is soft-deleted is purged after 30 days
(`SOFT_DELETE_FOR` in the settings) by `core.tasks.purge_deleted`, in the order of the `on_purge` handlers.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.db import transaction

from core import tenancy

Subject = Literal["person", "site"]
SoftDeleteHandler = Callable[[UUID, datetime], None]
PurgeHandler = Callable[[datetime], int]
ExportedFile = tuple[str, Callable[[], Any]]
ExportHandler = Callable[[UUID], Iterator[ExportedFile]]
EraseHandler = Callable[[UUID | None, frozenset[str]], dict[str, int]]
PasswordHandler = Callable[[UUID, datetime, bool, Any], None]

_soft_delete_handlers: dict[Subject, list[SoftDeleteHandler]] = {"person": [], "site": []}
_restore_handlers: dict[Subject, list[SoftDeleteHandler]] = {"person": [], "site": []}
_purge_handlers: list[PurgeHandler] = []
_export_handlers: list[ExportHandler] = []
_erase_handlers: list[EraseHandler] = []
_password_handlers: list[PasswordHandler] = []


def on_soft_delete(subject: Subject, handler: SoftDeleteHandler) -> None:
    """Register `handler(id, deleted_at)`, which soft-deletes the rows of a subject.

    It runs in the transaction of the caller.
    """
    _soft_delete_handlers[subject].append(handler)


def on_restore(subject: Subject, handler: SoftDeleteHandler) -> None:
    """Register `handler(id, deleted_at)`, which restores the rows that were deleted with a subject."""
    _restore_handlers[subject].append(handler)


def on_purge(handler: PurgeHandler) -> None:
    """Register `handler(before)`, which deletes for good what was soft-deleted earlier than `before`.

    It deletes dependent rows first and returns the number of rows.
    """
    _purge_handlers.append(handler)


def on_export(handler: ExportHandler) -> None:
    """Register `handler(id)`, which yields the files of personal data of a user.

    Each item is a path in the archive and a function that reads the file: it returns a JSON value, or for a
    path that ends in `.jsonl` an iterator of JSON values. An archive is built in several steps, and each step
    calls the handler again and reads only the files that are missing. Naming the files must therefore be
    cheap. A file whose path changes between two steps is in the archive under both paths.
    """
    _export_handlers.append(handler)


def on_erase(handler: EraseHandler) -> None:
    """Register `handler(id, addresses)`, which deletes the personal data of a user for good.

    It runs in one transaction with the others, in context `system`, and returns the number of deleted rows by
    name. `addresses` holds the present and former email addresses of the user. An address without an account
    has no id.
    """
    _erase_handlers.append(handler)


def on_password_replaced(handler: PasswordHandler) -> None:
    """Register `handler(id, now, old_password_lost, reencrypted)` for zero-knowledge passwords.

    It is called when such a password is replaced, in the same transaction, with the user's row locked.
    `reencrypted` is what the client encrypted under the new password, or None. When `old_password_lost`, the
    handler deletes what only the old password decrypts. It raises a DomainError when the password must not be
    replaced.
    """
    _password_handlers.append(handler)


def soft_delete(subject: Subject, pk: UUID, *, deleted_at: datetime) -> None:
    """Soft-delete what belongs to a subject, in the caller's transaction."""
    for handler in _soft_delete_handlers[subject]:
        handler(pk, deleted_at)


def restore(subject: Subject, pk: UUID, *, deleted_at: datetime) -> None:
    """Restore what was soft-deleted together with a subject at `deleted_at`."""
    for handler in _restore_handlers[subject]:
        handler(pk, deleted_at)


def purge_expired(*, before: datetime) -> int:
    """Delete for good what was soft-deleted earlier than `before`; return the number of rows.

    Apps run in reverse order of registration, so that sites are deleted before their owners. Each app has a
    transaction of its own.
    """
    count = 0
    for handler in reversed(_purge_handlers):
        with transaction.atomic():
            count += handler(before)
    return count


def export_personal_data(pk: UUID) -> Iterator[ExportedFile]:
    """Yield the files of personal data of a user, in the order of registration. See `on_export`."""
    for handler in _export_handlers:
        yield from handler(pk)


def replace_password(pk: UUID, *, now: datetime, old_password_lost: bool, reencrypted: Any) -> None:
    """Call the handlers of `on_password_replaced`. Raises the DomainError of a handler that refuses."""
    for handler in _password_handlers:
        handler(pk, now, old_password_lost, reencrypted)


def erase_personal_data(pk: UUID | None, addresses: frozenset[str]) -> dict[str, int]:
    """Delete the personal data of a user for good; return the number of deleted rows by name.

    Apps run in reverse order of registration, all in one transaction.
    """
    count: Counter[str] = Counter()
    with tenancy.context(tenancy.SYSTEM):
        for handler in reversed(_erase_handlers):
            count.update(handler(pk, addresses))
    return dict(count)

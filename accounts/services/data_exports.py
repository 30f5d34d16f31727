"""Archives of a user's personal data: a worker builds a ZIP file, and its owner gets a link for 24 hours.

The link works only for its owner, who must be signed in: a forwarded or stolen mail reveals nothing.

Workers build an archive in steps (`export_archives`), and the exports of all users take turns. The archive
is stored as encrypted parts in the object store (`export_parts`). The key is only in the database row, so
deleting the row makes the parts unreadable, even in a bucket that forbids deletion.
"""

import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import chain

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from accounts.errors import ExportFailed, ExportTooLarge, TooManyObjects
from accounts.models import DataExport, User
from accounts.services import export_parts
from accounts.services.export_archives import write_step
from accounts.services.export_parts import PartWriter
from audit import actors
from audit.services import record
from core import encryption
from core.errors import NotFound
from core.jobs import mail, queue
from core.storage.database import current_time

LINK_LIFETIME = timedelta(hours=24)
MAX_EXPORTS_PER_DAY = 5
LINK_PURPOSE = "data export"


@transaction.atomic
def request_export(user: User, *, now: datetime) -> DataExport:
    """Request an archive. Returns the pending request when there is one.

    Raises TooManyObjects beyond MAX_EXPORTS_PER_DAY.
    """
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    if pending := user.exports.filter(status__in=DataExport.OPEN).first():
        return pending
    if user.exports.filter(created_at__gt=now - timedelta(days=1)).count() >= MAX_EXPORTS_PER_DAY:
        raise TooManyObjects
    export = DataExport.objects.create(user=user, key=secrets.token_hex(32), due_at=Now())
    record("export.requested", actor=actors.user(user), subject=export)
    queue.enqueue("accounts.tasks.make_exports")
    return export


def make_exports(*, now: datetime) -> int:
    """Build the requested archives, step by step and in turn. Returns how many were completed."""
    return queue.run_due(DataExport, _run_step, now=now)


def _run_step(export: DataExport) -> None:
    """Build a further step of an archive. Raises ContinueLater unless it was the last one.

    Raises PermanentFailure when the archive is too large.
    """
    for attempt in range(export.finished_attempt + 1, export.attempts):
        export_parts.delete_parts_of_attempt(export, attempt)  # its worker may have been killed
    writer = PartWriter(export)
    try:
        is_complete = write_step(export, writer)
    except ExportTooLarge as error:
        if _save_failure(export, error):
            export_parts.delete_stored_parts(export.pk)
        raise queue.PermanentFailure(error.code) from None
    except Exception:
        export_parts.delete_parts_of_attempt(export, export.attempts)
        raise
    is_saved = _save_progress(export, writer, is_complete=is_complete)
    if not is_saved:
        _delete_unusable_parts(export)
    if not (is_saved and is_complete):
        raise queue.ContinueLater


def _save_progress(export: DataExport, writer: PartWriter, *, is_complete: bool) -> bool:
    """Store what a step has built, and mail the link to a complete archive.

    Returns False when the row was deleted, or another worker has claimed it after the lease ended.
    """
    now = current_time()
    changes = {
        "finished_attempt": export.attempts,
        "steps": export.steps,
        "members": [] if is_complete else export.members,
        "parts": writer.parts,
        "size": writer.size,
        "expires_at": now + LINK_LIFETIME if is_complete else None,
    }
    with transaction.atomic():
        is_saved = _claimed_row(export).update(**changes) == 1
        if is_saved and is_complete:
            record("export.made", actor=actors.SYSTEM, subject=export, bytes=writer.size)
            mail.enqueue_mail(
                export.user.email,
                "export_ready",
                person=export.user_id,
                until=now + LINK_LIFETIME,
                link=f"{settings.FRONT_END_URL}/data-export#{token_of(export)}",
            )
    return is_saved


def _save_failure(export: DataExport, error: ExportTooLarge) -> bool:
    """Mark an export as failed for good, forget its parts and mail its owner.

    Returns False when the row was deleted or claimed by another worker.
    """
    with transaction.atomic():
        is_saved = _claimed_row(export).update(
            status=DataExport.Status.DEAD, error=error.code, steps=[], members=[], parts=0, size=0
        )
        if is_saved:
            record("export.failed", actor=actors.SYSTEM, subject=export, reason=error.code)
            mail.enqueue_mail(export.user.email, "export_failed", person=export.user_id, reason=error.message)
    return bool(is_saved)


def _claimed_row(export: DataExport) -> QuerySet[DataExport]:
    """Return the row as long as no other worker has claimed it."""
    return DataExport.objects.filter(pk=export.pk, attempts=export.attempts)


def _delete_unusable_parts(export: DataExport) -> None:
    """Delete the parts of a step that could not be saved; all parts when the export was deleted."""
    if DataExport.objects.filter(pk=export.pk).exists():
        export_parts.delete_parts_of_attempt(export, export.attempts)
    else:
        export_parts.delete_stored_parts(export.pk)


def token_of(export: DataExport) -> str:
    """Return the signed token of a download link."""
    return encryption.make_token(LINK_PURPOSE, export.pk)


def open_export(user: User, token: str, *, now: datetime) -> tuple[DataExport, Iterator[bytes]]:
    """Return the archive of a download link of `user` and an iterator over its decrypted parts.

    Raises NotFound, also for the link of another user, and ObjectStoreUnavailable.
    """
    pk = encryption.verify_token(LINK_PURPOSE, token)
    export = user.exports.filter(pk=pk, expires_at__gt=now).first() if pk else None
    if export is None:
        raise NotFound
    parts = export_parts.read_parts(export)
    # Read before the response starts, so that an unavailable store still becomes an error response.
    first_part = next(parts)
    record("export.downloaded", actor=actors.user(user), subject=export)
    return export, chain([first_part], parts)


def failure_of(export: DataExport) -> ExportFailed | ExportTooLarge | None:
    """Return why an archive was not built, for its owner; None unless the export has failed for good."""
    if export.status != DataExport.Status.DEAD:
        return None
    return ExportTooLarge() if export.error == ExportTooLarge.code else ExportFailed()


def delete_expired_exports(*, now: datetime) -> int:
    """Delete archives with an expired link, and failed ones after LINK_LIFETIME. Returns how many.

    Also deletes parts that remained in the store when their export was deleted.
    """
    expired = DataExport.objects.filter(expires_at__lt=now)
    failed = DataExport.objects.filter(status=DataExport.Status.DEAD, created_at__lt=now - LINK_LIFETIME)
    count = 0
    for export in [*expired, *failed]:
        export_parts.delete_stored_parts(export.pk)
        count += export.delete()[0]
    export_parts.delete_orphaned_parts()
    return count

"""Archives of a user's personal data: a worker builds a ZIP file, and its owner gets a link for 24 hours.

The link works only for its owner, who must be signed in: a forwarded or stolen mail reveals nothing.

The archive is stored as encrypted parts in the object store. The key is only in the database row, so deleting
the row makes the parts unreadable, even in a bucket that forbids deletion.
"""

import base64
import json
import os
import secrets
import zipfile
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from functools import partial
from tempfile import TemporaryFile
from typing import IO, Any
from uuid import UUID

import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from accounts.errors import TooManyObjects
from accounts.models import DataExport, EmailProof, User
from audit import actors
from audit.services import record
from core import encryption, lifecycle, tenancy
from core.errors import NotFound
from core.jobs import mail, queue
from core.models import Mail
from core.storage.object_store import ObjectStoreUnavailable, object_store

LINK_LIFETIME = timedelta(hours=24)
MAX_EXPORTS_PER_DAY = 5
PART_BYTES = 4 * 1024 * 1024
NONCE_BYTES = 12
LINK_PURPOSE = "data export"
README_TEXT = """All personal data that this installation stores about you, as of {now:%Y-%m-%d %H:%M} UTC.

Files that end in .json contain one JSON value. Files that end in .jsonl contain one JSON value per line.
Passwords, keys and codes are not included: the installation stores only one-way hashes of them.
"""

log = structlog.get_logger(__name__)


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
    """Build the requested archives. Returns how many were built."""
    return queue.run_due(DataExport, partial(_build_and_store_archive, now=now), now=now)


def _build_and_store_archive(export: DataExport, *, now: datetime) -> None:
    store = object_store()
    attempt = export.attempts
    with TemporaryFile() as file:
        with tenancy.context(tenancy.SYSTEM):
            _write_archive(file, export.user_id, now=now)
        size = file.tell()
        parts = 0
        file.seek(0)
        while part := file.read(PART_BYTES):
            store.create(_part_key(export, attempt, parts), _encrypt_part(export, parts, part))
            parts += 1
    with transaction.atomic():
        # The row may have been deleted, or another worker may have claimed it after the lease ended.
        rows = DataExport.objects.filter(pk=export.pk, attempts=attempt)
        if rows.update(parts=parts, size=size, expires_at=now + LINK_LIFETIME):
            record("export.made", actor=actors.SYSTEM, subject=export, bytes=size)
            mail.enqueue_mail(
                export.user.email,
                "export_ready",
                person=export.user_id,
                until=now + LINK_LIFETIME,
                link=f"{settings.FRONT_END_URL}/data-export#{token_of(export)}",
            )
        else:
            delete_stored_parts([export.pk])


def _write_archive(file: IO[bytes], person: UUID, *, now: datetime) -> None:
    """Write the ZIP file value by value, so that only the largest value is in memory."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", README_TEXT.format(now=now))
        for path, value in lifecycle.export_personal_data(person):
            lines = value if path.endswith(".jsonl") else [value]
            indent = None if path.endswith(".jsonl") else 2
            with archive.open(path, "w", force_zip64=True) as member:
                for line in lines:
                    text = json.dumps(line, default=str, ensure_ascii=False, indent=indent)
                    member.write(text.encode("utf-8", "replace") + b"\n")


def _part_key(export: DataExport, attempt: int, number: int) -> str:
    """Return the object key of a part. Objects are never overwritten, so each attempt has its own keys."""
    return f"exports/{export.pk}/{attempt}/{number}"


def _encrypt_part(export: DataExport, number: int, part: bytes) -> bytes:
    """Return nonce and AES-256-GCM ciphertext. Export and part number are authenticated."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(bytes.fromhex(export.key)).encrypt(nonce, part, f"{export.pk}/{number}".encode())


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
    # Read before the response starts, so that an unavailable store still becomes an error response.
    first_part = _read_and_decrypt_part(export, 0)
    record("export.downloaded", actor=actors.user(user), subject=export)
    return export, _iterate_parts(export, first_part)


def _iterate_parts(export: DataExport, first_part: bytes) -> Iterator[bytes]:
    yield first_part
    for number in range(1, export.parts):
        yield _read_and_decrypt_part(export, number)


def _read_and_decrypt_part(export: DataExport, number: int) -> bytes:
    """Return the plain bytes of a part. Raises ObjectStoreUnavailable, also when the part is missing."""
    stored = object_store().read(_part_key(export, export.attempts, number))
    if stored is None:
        raise ObjectStoreUnavailable("part missing")
    return AESGCM(bytes.fromhex(export.key)).decrypt(
        stored[:NONCE_BYTES], stored[NONCE_BYTES:], f"{export.pk}/{number}".encode()
    )


def delete_expired_exports(*, now: datetime) -> int:
    """Delete archives with an expired link, and failed ones after LINK_LIFETIME. Returns how many."""
    expired = DataExport.objects.filter(expires_at__lt=now)
    failed = DataExport.objects.filter(status=DataExport.Status.DEAD, created_at__lt=now - LINK_LIFETIME)
    count = 0
    for export in [*expired, *failed]:
        delete_stored_parts([export.pk])
        count += export.delete()[0]
    return count


def delete_stored_parts(exports: Iterable[UUID]) -> None:
    """Delete the stored parts of these archives.

    Parts that the store does not delete are logged and left: without the key in the row they are unreadable.
    """
    for pk in exports:
        try:
            for key in object_store().keys(f"exports/{pk}/"):
                object_store().delete(key)
        except ObjectStoreUnavailable as error:
            log.warning("export_parts_left", export=str(pk), reason=str(error))


def export_account_data(person: UUID) -> Iterator[tuple[str, Any]]:
    """Yield the personal data of this app as pairs of file path and JSON value.

    Callback for `core.lifecycle.on_export`.
    """
    user = User.objects.get_queryset().get(pk=person)
    yield "account.json", _account_values(user)
    for name, (rows, fields) in _exported_fields(user).items():
        yield f"{name}.json", list(rows.order_by("created_at").values(*fields))
    yield "sessions.json", _exported_sessions(user)
    totp = getattr(user, "totp", None)
    yield (
        "second_factors.json",
        {
            "authenticator_app_since": totp.confirmed_at if totp else None,
            "recovery_codes_left": user.recovery_codes.filter(used_at=None).count(),
        },
    )


def _account_values(user: User) -> dict[str, Any]:
    fields = [
        "id",
        "email",
        "name",
        "age",
        "scheme",
        "is_active",
        "email_verified_at",
        "created_at",
        "updated_at",
        "deleted_at",
    ]
    kdf = None
    if user.kdf:
        kdf = {"iterations": user.kdf.iterations, "salt": base64.b64encode(user.kdf.salt).decode()}
    roles = sorted(role.name for role in user.roles.all())
    return {**{name: getattr(user, name) for name in fields}, "kdf": kdf, "roles": roles}


def _exported_sessions(user: User) -> list[dict[str, Any]]:
    """Return the sessions of a user. The device of staff who acted as the user is left out."""
    fields = ["created_at", "rotated_at", "expires_at", "revoked_at", "agent", "network", "impersonator_id"]
    rows = list(user.sessions.order_by("created_at").values(*fields))
    return [{**row, "agent": "", "network": ""} if row["impersonator_id"] else row for row in rows]


def _exported_fields(user: User) -> dict[str, tuple[Any, list[str]]]:
    """Return rows and field names for each file of rows that belong to a user."""
    return {
        "passkeys": (user.passkeys, ["name", "created_at", "last_used_at"]),
        "providers": (user.identities, ["provider", "issuer", "subject", "created_at", "last_used_at"]),
        "api_keys": (
            user.api_keys,
            [
                "label",
                "prefix",
                "scopes",
                "networks",
                "created_at",
                "expires_at",
                "last_used_at",
                "revoked_at",
            ],
        ),
        "mailed_links": (
            EmailProof.objects.filter(email=user.email),
            ["purpose", "email", "created_at", "expires_at", "used_at"],
        ),
        "mails": (Mail.objects.filter(person=user.pk), ["to", "template", "created_at", "sent_at", "status"]),
        "exports": (user.exports, ["created_at", "expires_at", "size"]),
    }

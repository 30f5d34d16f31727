"""One's data: an archive of everything personal, made by a worker, for a day at a link of its owner's.

The archive is a ZIP file, kept in encrypted parts in the object store. The key is in the row alone: when that
goes, the parts are noise, also where a bucket lets nobody delete them.
"""

import base64
import json
import os
import secrets
import zipfile
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from tempfile import TemporaryFile
from typing import Any
from uuid import UUID

import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.db import transaction

from accounts.errors import LinkRefused, TooManyOfThese
from accounts.models import DataExport, EmailProof, User
from audit import actors
from audit.actors import ANONYMOUS
from audit.services import record
from core import encryption, lifecycle, tenancy
from core.jobs import mail, queue
from core.models import Mail
from core.storage.object_store import ObjectStoreUnavailable, object_store

LIFETIME = timedelta(hours=24)
MOST_A_DAY = 5
PART_BYTES = 4 * 1024 * 1024
SIGNATURE = "data export"
READ_ME = """Everything personal that this installation has about you, made {now:%Y-%m-%d %H:%M} UTC.

Files that end in .json are one JSON value, those that end in .jsonl one JSON value a line. Passwords, keys and codes are
not here: only what cannot be turned back of them is stored.
"""

log = structlog.get_logger(__name__)


@transaction.atomic
def request_export(user: User, *, now: datetime) -> DataExport:
    """Ask for an archive; one that is being made already is the answer.

    Raises TooManyOfThese past five a day.
    """
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    if going := user.exports.filter(state__in=DataExport.OPEN).first():
        return going
    if user.exports.filter(created_at__gt=now - timedelta(days=1)).count() >= MOST_A_DAY:
        raise TooManyOfThese
    made = DataExport.objects.create(user=user, key=secrets.token_hex(32), due_at=now)
    record("export.requested", actor=actors.user(user), subject=made)
    queue.enqueue("accounts.tasks.make_exports")
    return made


def make_exports(*, now: datetime) -> int:
    """Make the archives that were asked for; return how many."""
    waiting = queue.claim(DataExport, now=now, limit=2)
    return sum(queue.run(export, lambda export=export: _make(export, now=now), now=now) for export in waiting)  # type: ignore[misc]


def _make(export: DataExport, *, now: datetime) -> None:
    store = object_store()
    attempt = export.attempts
    with TemporaryFile() as file:
        with tenancy.context(tenancy.SYSTEM):
            _write(file, export.user_id, now=now)
        size = file.tell()
        parts = 0
        file.seek(0)
        while part := file.read(PART_BYTES):
            store.create(_place(export, attempt, parts), _seal(export, parts, part))
            parts += 1
    with transaction.atomic():
        rows = DataExport.objects.filter(
            pk=export.pk, attempts=attempt
        )  # it may be gone, or somebody else's turn
        if rows.update(parts=parts, size=size, expires_at=now + LIFETIME):
            record("export.made", actor=actors.SYSTEM, subject=export, bytes=size)
            mail.enqueue_mail(export.user.email, "export_ready", person=export.user_id)
        else:
            drop_parts([export.pk])


def _write(file: Any, person: UUID, *, now: datetime) -> None:
    """The archive, value by value: the largest of them is all that is in memory."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", READ_ME.format(now=now))
        for path, value in lifecycle.export_personal_data(person):
            lines = value if path.endswith(".jsonl") else [value]
            indent = None if path.endswith(".jsonl") else 2
            with archive.open(path, "w", force_zip64=True) as member:
                for line in lines:
                    text = json.dumps(line, default=str, ensure_ascii=False, indent=indent)
                    member.write(text.encode("utf-8", "replace") + b"\n")


def _place(export: DataExport, attempt: int, number: int) -> str:
    return f"exports/{export.pk}/{attempt}/{number}"


def _seal(export: DataExport, number: int, part: bytes) -> bytes:
    nonce = os.urandom(12)
    return nonce + AESGCM(bytes.fromhex(export.key)).encrypt(nonce, part, f"{export.pk}/{number}".encode())


def token_of(export: DataExport) -> str:
    return encryption.make_token(SIGNATURE, export.pk)


def open_export(token: str, *, now: datetime) -> tuple[DataExport, Iterator[bytes]]:
    """The archive behind a link, part by part. Raises LinkRefused, ObjectStoreAway."""
    pk = encryption.verify_token(SIGNATURE, token)
    good = DataExport.objects.filter(expires_at__gt=now, user__deleted_at=None, user__is_active=True)
    export = good.filter(pk=pk).first() if pk else None
    if export is None:
        raise LinkRefused
    first = _open(export, 0)  # before the answer begins: a store that is away is still a refusal then
    record("export.downloaded", actor=ANONYMOUS, subject=export)
    return export, _parts(export, first)


def _parts(export: DataExport, first: bytes) -> Iterator[bytes]:
    yield first
    for number in range(1, export.parts):
        yield _open(export, number)


def _open(export: DataExport, number: int) -> bytes:
    sealed = object_store().read(_place(export, export.attempts, number))
    if sealed is None:
        raise ObjectStoreUnavailable("part missing")
    return AESGCM(bytes.fromhex(export.key)).decrypt(
        sealed[:12], sealed[12:], f"{export.pk}/{number}".encode()
    )


def delete_expired_exports(*, now: datetime) -> int:
    """Delete archives whose link has ended, or that were never made, with their parts; return how many."""
    ended = DataExport.objects.filter(expires_at__lt=now)
    stuck = DataExport.objects.filter(state=DataExport.State.DEAD, created_at__lt=now - LIFETIME)
    gone = 0
    for export in [*ended, *stuck]:
        drop_parts([export.pk])
        gone += export.delete()[0]
    return gone


def drop_parts(exports: Iterable[UUID]) -> None:
    """Delete the parts of these archives, as far as the store lets us: without their keys they are noise
    anyway.
    """
    for pk in exports:
        try:
            for key in object_store().keys(f"exports/{pk}/"):
                object_store().delete(key)
        except ObjectStoreUnavailable as error:
            log.warning("export_parts_left", export=str(pk), reason=str(error))


def personal_data(person: UUID) -> Iterator[tuple[str, Any]]:
    """What accounts know of a person."""
    user = User.objects.get_queryset().get(pk=person)
    named = [
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
    roles = sorted(role.name for role in user.roles.all())
    kdf = (
        {"iterations": user.kdf.iterations, "salt": base64.b64encode(user.kdf.salt).decode()}
        if user.kdf
        else None
    )
    yield "account.json", {**{name: getattr(user, name) for name in named}, "kdf": kdf, "roles": roles}
    kept: dict[str, tuple[Any, list[str]]] = {
        "sessions": (
            user.sessions,
            ["created_at", "rotated_at", "expires_at", "revoked_at", "agent", "network", "impersonator_id"],
        ),
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
        "mails": (Mail.objects.filter(person=person), ["to", "template", "created_at", "sent_at", "state"]),
        "exports": (user.exports, ["created_at", "expires_at", "size"]),
    }
    for name, (rows, fields) in kept.items():
        yield f"{name}.json", list(rows.order_by("created_at").values(*fields))
    totp = getattr(user, "totp", None)
    yield (
        "second_factors.json",
        {
            "authenticator_app_since": totp.confirmed_at if totp else None,
            "recovery_codes_left": user.recovery_codes.filter(used_at=None).count(),
        },
    )

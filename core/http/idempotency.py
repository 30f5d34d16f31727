"""`Idempotency-Key`: a POST that is sent twice acts once and answers the same.

The row is unique on (principal, digest of the key, route) and inserted in the caller's transaction, so a
parallel twin waits on it. The answer is encrypted under a key derived from the client's key, of which only a
digest is kept, and from SECRET_KEY: a client's key may be easy to guess.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.db import transaction
from django.http import HttpResponse
from django.template.response import SimpleTemplateResponse
from django.utils import timezone
from rest_framework.request import Request

from core import encryption
from core.errors import DomainError, FieldProblem, Invalid
from core.models import StoredAnswer

LIFETIME = timedelta(hours=24)
STORED_HEADERS = ("ETag", "Location", "Cache-Control")
NONCE = bytes(12)  # each key encrypts one answer only: its salt is random


class IdempotencyKeyReused(DomainError):
    code = "idempotency_key_reused"
    status = 422
    message = "This Idempotency-Key was used with another body."


class _Rollback(Exception):
    """Carries an answer that is not to be stored out of the transaction."""

    def __init__(self, response: HttpResponse) -> None:
        self.response = response


def execute_once(
    request: Request, principal: UUID, key: str, answer: Callable[[], HttpResponse]
) -> HttpResponse:
    """The stored answer for `key`, or `answer()` stored with what it changed. 5xx leave nothing.

    Raises KeyReused.
    """
    if not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable():
        raise Invalid(
            [
                FieldProblem(
                    "", "idempotency_key", "An Idempotency-Key has 1 to 255 printable ASCII characters."
                )
            ]
        )
    body = json.dumps(request.data, sort_keys=True).encode()
    try:
        with transaction.atomic():
            row, created = StoredAnswer.objects.get_or_create(
                principal=principal,
                key_digest=hashlib.sha256(key.encode()).hexdigest(),
                route=hashlib.sha256(request.path.encode()).hexdigest(),
                defaults={"body_digest": hashlib.sha256(body).hexdigest()},
            )
            if not created:
                return _stored(row, key, body)
            response = answer()
            if isinstance(response, SimpleTemplateResponse):
                response.render()
            if response.status_code >= 500:
                raise _Rollback(response)
            row.answer = _encrypt_response(response, key, bytes(row.salt))
            row.save(update_fields=["answer"])
            return response
    except _Rollback as carried:
        return carried.response


def delete_expired(*, before: Any = None) -> int:
    """Delete answers older than a day; return how many."""
    moment = before or timezone.now() - LIFETIME
    return StoredAnswer.objects.filter(created_at__lt=moment).delete()[0]


def _ciphers(key: str, salt: bytes) -> Iterator[AESGCM]:
    for secret in encryption.derived_keys("idempotency"):
        yield AESGCM(HKDF(hashes.SHA256(), 32, salt, b"getyousite idempotency").derive(secret + key.encode()))


def _decrypt_response(row: StoredAnswer, key: str) -> bytes:
    for cipher in _ciphers(key, bytes(row.salt)):
        with suppress(InvalidTag):
            return cipher.decrypt(NONCE, bytes(row.answer or b""), None)
    raise encryption.Undecryptable


def _encrypt_response(response: HttpResponse, key: str, salt: bytes) -> bytes:
    headers = {name: response[name] for name in STORED_HEADERS if name in response}
    facts = {
        "status": response.status_code,
        "type": response.get("Content-Type", ""),
        "headers": headers,
    }
    return next(_ciphers(key, salt)).encrypt(
        NONCE, json.dumps(facts).encode() + b"\n" + response.content, None
    )


def _stored(row: StoredAnswer, key: str, body: bytes) -> HttpResponse:
    if row.body_digest != hashlib.sha256(body).hexdigest():
        raise IdempotencyKeyReused
    facts, _, content = _decrypt_response(row, key).partition(b"\n")
    known = json.loads(facts)
    response = HttpResponse(
        content, status=known["status"], content_type=known["type"] or None, headers=known["headers"]
    )
    response["Idempotency-Replayed"] = "true"
    return response

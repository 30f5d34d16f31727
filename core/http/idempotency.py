"""The Idempotency-Key header: a POST that is repeated with the same key has its effect once.

A repeated request gets the stored response of the first one. The row is unique on (principal, digest of the
key, route) and is inserted in the caller's transaction, so a parallel request with the same key waits for the
first to finish. The response is encrypted under a key derived from the client's key, of which only a digest
is stored, and from SECRET_KEY, because a client's key may be easy to guess.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from uuid import UUID

import orjson
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
from core.models import IdempotentResponse

LIFETIME = timedelta(hours=24)
STORED_HEADERS = ("ETag", "Location", "Cache-Control")
NONCE = bytes(12)  # constant, because each derived key has a random salt and encrypts one response only


class IdempotencyKeyReused(DomainError):
    code = "idempotency_key_reused"
    status = 422
    message = "This Idempotency-Key was used with another body."


class _Rollback(Exception):
    """Rolls back the transaction and carries the response that must not be stored."""

    def __init__(self, response: HttpResponse) -> None:
        self.response = response


def execute_once(
    request: Request,
    principal: UUID,
    key: str,
    handler: Callable[[], HttpResponse],
    *,
    check_access: Callable[[], None],
) -> HttpResponse:
    """Return the stored response for `key`; without one, call `handler` and store its response.

    The response is stored in the transaction of the handler. With a 5xx response nothing is stored and the
    changes of the handler are rolled back. Raises Invalid for a malformed key, and IdempotencyKeyReused when
    the key was used with another body. `check_access` raises when the caller may not repeat the request any
    more; it is called before a stored response is returned.
    """
    if not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable():
        detail = "An Idempotency-Key has 1 to 255 printable ASCII characters."
        raise Invalid([FieldProblem("", "idempotency_key", detail)])
    body = orjson.dumps(request.data, option=orjson.OPT_SORT_KEYS)
    try:
        with transaction.atomic():
            row, created = IdempotentResponse.objects.get_or_create(
                principal=principal,
                key_digest=hashlib.sha256(key.encode()).hexdigest(),
                route=hashlib.sha256(request.path.encode()).hexdigest(),
                defaults={"body_digest": hashlib.sha256(body).hexdigest()},
            )
            if not created:
                check_access()
                return _stored_response(row, key, body)
            response = handler()
            if isinstance(response, SimpleTemplateResponse):
                response.render()
            if response.status_code >= 500:
                raise _Rollback(response)
            row.response = _encrypt_response(response, key, bytes(row.salt))
            row.save(update_fields=["response"])
            return response
    except _Rollback as rollback:
        return rollback.response


def delete_expired(*, before: datetime | None = None) -> int:
    """Delete the responses stored before `before`, by default a day ago; return the number of rows."""
    before = before or timezone.now() - LIFETIME
    return IdempotentResponse.objects.filter(created_at__lt=before).delete()[0]


def _ciphers(key: str, salt: bytes) -> Iterator[AESGCM]:
    """Yield a cipher for SECRET_KEY, which encrypts, and for each of its fallbacks."""
    for secret in encryption.derived_keys("idempotency"):
        yield AESGCM(HKDF(hashes.SHA256(), 32, salt, b"getyousite idempotency").derive(secret + key.encode()))


def _decrypt_response(row: IdempotentResponse, key: str) -> bytes:
    """Return metadata and content of the stored response. Raises Undecryptable."""
    for cipher in _ciphers(key, bytes(row.salt)):
        with suppress(InvalidTag):
            return cipher.decrypt(NONCE, bytes(row.response or b""), None)
    raise encryption.Undecryptable


def _encrypt_response(response: HttpResponse, key: str, salt: bytes) -> bytes:
    headers = {name: response[name] for name in STORED_HEADERS if name in response}
    metadata = {
        "status": response.status_code,
        "type": response.get("Content-Type", ""),
        "headers": headers,
    }
    plaintext = json.dumps(metadata).encode() + b"\n" + response.content
    return next(_ciphers(key, salt)).encrypt(NONCE, plaintext, None)


def _stored_response(row: IdempotentResponse, key: str, body: bytes) -> HttpResponse:
    """Return the stored response. Raises IdempotencyKeyReused when it is for another body."""
    if row.body_digest != hashlib.sha256(body).hexdigest():
        raise IdempotencyKeyReused
    header, _, content = _decrypt_response(row, key).partition(b"\n")
    metadata = json.loads(header)
    response = HttpResponse(
        content,
        status=metadata["status"],
        content_type=metadata["type"] or None,
        headers=metadata["headers"],
    )
    response["Idempotency-Replayed"] = "true"
    return response

"""Encryption at rest and signatures, with keys derived from SECRET_KEY (HKDF-SHA256, RFC 5869).

SECRET_KEY encrypts and signs. The older keys in SECRET_KEY_FALLBACKS only decrypt and verify.
"""

import hashlib
import hmac
import os
from collections.abc import Iterator
from functools import lru_cache
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.apps import apps
from django.conf import settings
from django.db import connection, models

NONCE_BYTES = 12
MAX_TOKEN_CHARACTERS = 200  # the tokens of `make_token` have 97


class Undecryptable(Exception):
    """No key decrypts this value: SECRET_KEY was changed without keeping the old value as a fallback."""


@lru_cache(maxsize=64)
def _derive(secret: str, purpose: str) -> bytes:
    return HKDF(hashes.SHA256(), 32, None, f"getyousite {purpose}".encode()).derive(secret.encode())


def derived_keys(purpose: str) -> Iterator[bytes]:
    """Yield the keys of 32 bytes for `purpose`. The first one encrypts and signs."""
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        yield _derive(secret, purpose)


def sign(purpose: str, text: str) -> str:
    """Return the HMAC-SHA256 of `text` under the key for `purpose`, in hexadecimal. It is deterministic."""
    return hmac.new(next(derived_keys(purpose)), text.encode(), hashlib.sha256).hexdigest()


def verify_signature(purpose: str, text: str, mac: str) -> bool:
    """Return whether `mac` is the signature of `text` under SECRET_KEY or one of its fallbacks.

    Compares with every key in constant time, so that the duration does not depend on the result.
    """
    matches = [
        hmac.compare_digest(hmac.new(key, text.encode(), hashlib.sha256).hexdigest().encode(), mac.encode())
        for key in derived_keys(purpose)
    ]
    return any(matches)


def make_token(purpose: str, pk: UUID) -> str:
    """Return a bearer token for a row: its id and the signature of the id. The token is never stored."""
    return f"{pk.hex}.{sign(purpose, pk.hex)}"


def verify_token(purpose: str, text: str) -> UUID | None:
    """Return the id in a token of `make_token`; None when the signature does not match. Runs no query."""
    pk, _, mac = text.partition(".")
    if len(text) > MAX_TOKEN_CHARACTERS or not text.isascii() or not verify_signature(purpose, pk, mac):
        return None
    return UUID(pk)


def encrypt(plaintext: bytes, *, associated_data: str) -> bytes:
    """Encrypt with AES-256-GCM; return the random nonce (12 bytes) and the ciphertext.

    `associated_data`, such as the table and column, is authenticated: with other data decryption fails, so a
    value cannot be copied to another column.
    """
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(next(derived_keys("at rest"))).encrypt(nonce, plaintext, associated_data.encode())


def decrypt(encrypted: bytes, *, associated_data: str) -> bytes:
    """Return the plaintext of a value of `encrypt`. Raises Undecryptable."""
    nonce = encrypted[:NONCE_BYTES]
    ciphertext = encrypted[NONCE_BYTES:]
    for key in derived_keys("at rest"):
        try:
            return AESGCM(key).decrypt(nonce, ciphertext, associated_data.encode())
        except (InvalidTag, ValueError):
            continue
    raise Undecryptable


def uses_current_key(encrypted: bytes, *, associated_data: str) -> bool:
    """Return whether SECRET_KEY, and not one of its fallbacks, decrypts this value."""
    nonce = encrypted[:NONCE_BYTES]
    ciphertext = encrypted[NONCE_BYTES:]
    try:
        AESGCM(next(derived_keys("at rest"))).decrypt(nonce, ciphertext, associated_data.encode())
    except (InvalidTag, ValueError):
        return False
    return True


class EncryptedTextField(models.BinaryField):
    """A text field that is encrypted in the database. Queries cannot filter by its value.

    `manage.py rotate_keys` encrypts the values again after SECRET_KEY was changed.
    """

    # For django-stubs: in Python the value is text, although the column holds bytes.
    _pyi_private_set_type: str  # type: ignore[assignment]
    _pyi_private_get_type: str  # type: ignore[assignment]

    @property
    def associated_data(self) -> str:
        return f"{self.model._meta.db_table}.{self.column}"

    def _check_str_default_value(self) -> list[Any]:
        return []  # BinaryField requires a default of type bytes; the default of this field is text

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if isinstance(value, str):
            value = encrypt(value.encode(), associated_data=self.associated_data)
        return super().get_db_prep_value(value, connection, prepared)

    def from_db_value(self, value: Any, *_: Any) -> str | None:
        if value is None:
            return None
        return decrypt(bytes(value), associated_data=self.associated_data).decode()

    def value_to_string(self, obj: models.Model) -> str:
        return ""  # a serialised fixture must not contain the plaintext


def reencrypt_all() -> int:
    """Encrypt under SECRET_KEY what an older key encrypted; return the number of changed values.

    Raises Undecryptable.
    """
    return sum(
        _reencrypt_column(model, field)
        for model in apps.get_models()
        for field in model._meta.concrete_fields
        if isinstance(field, EncryptedTextField)
    )


def _reencrypt_column(model: type[models.Model], field: EncryptedTextField) -> int:
    table = connection.ops.quote_name(model._meta.db_table)
    column = connection.ops.quote_name(field.column or "")
    pk = connection.ops.quote_name(model._meta.pk.column or "")
    associated_data = field.associated_data
    changed = 0
    with connection.cursor() as cursor:
        # The names come from our models, not from users.
        cursor.execute(f"SELECT {pk}, {column} FROM {table} WHERE {column} IS NOT NULL")  # noqa: S608
        rows = [(key, bytes(value)) for key, value in cursor.fetchall()]
        for key, value in rows:
            if uses_current_key(value, associated_data=associated_data):
                continue
            reencrypted = encrypt(
                decrypt(value, associated_data=associated_data), associated_data=associated_data
            )
            # The last condition keeps a value that another transaction wrote since the SELECT.
            cursor.execute(
                f"UPDATE {table} SET {column} = %s WHERE {pk} = %s AND {column} = %s",  # noqa: S608
                [reencrypted, key, value],
            )
            changed += cursor.rowcount
    return changed

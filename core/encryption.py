"""Keys derived from SECRET_KEY (HKDF-SHA256, RFC 5869): they encrypt at rest what a copy of the database must
not show, and authenticate what leaves us and comes back. Older values in SECRET_KEY_FALLBACKS still read, and
only the first writes.
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
MAX_TOKEN_CHARACTERS = 200  # characters; ours have 97


class Undecryptable(Exception):
    """No key that we have opens this: SECRET_KEY was changed without keeping the old one as a fallback."""


@lru_cache(maxsize=64)
def _derive(secret: str, purpose: str) -> bytes:
    return HKDF(hashes.SHA256(), 32, None, f"getyousite {purpose}".encode()).derive(secret.encode())


def derived_keys(purpose: str) -> Iterator[bytes]:
    """Keys of 32 bytes for `purpose`: the first writes, all read."""
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        yield _derive(secret, purpose)


def sign(purpose: str, text: str) -> str:
    """HMAC-SHA256 of `text` under the key for `purpose`, hexadecimal: the same each time it is asked for."""
    return hmac.new(next(derived_keys(purpose)), text.encode(), hashlib.sha256).hexdigest()


def verify_signature(purpose: str, text: str, mac: str) -> bool:
    """Whether `mac` is ours for `text`, under this SECRET_KEY or an older one.

    Takes the same time either way.
    """
    found = [
        hmac.compare_digest(hmac.new(key, text.encode(), hashlib.sha256).hexdigest().encode(), mac.encode())
        for key in derived_keys(purpose)
    ]
    return any(found)


def make_token(purpose: str, pk: UUID) -> str:
    """`id.HMAC` for a row: whoever has it may do what the row stands for. Computed, never stored."""
    return f"{pk.hex}.{sign(purpose, pk.hex)}"


def verify_token(purpose: str, text: str) -> UUID | None:
    """The id in a token of ours; None for any other text. No query."""
    pk, _, mac = text.partition(".")
    if len(text) > MAX_TOKEN_CHARACTERS or not text.isascii() or not verify_signature(purpose, pk, mac):
        return None
    return UUID(pk)


def encrypt(plain: bytes, *, place: str) -> bytes:
    """AES-256-GCM with a random nonce before the ciphertext.

    `place` is authenticated: elsewhere it does not open.
    """
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(next(derived_keys("at rest"))).encrypt(nonce, plain, place.encode())


def decrypt(sealed: bytes, *, place: str) -> bytes:
    """What `encrypt` was given. Raises Undecryptable."""
    nonce = sealed[:NONCE_BYTES]
    body = sealed[NONCE_BYTES:]
    for key in derived_keys("at rest"):
        try:
            return AESGCM(key).decrypt(nonce, body, place.encode())
        except (InvalidTag, ValueError):
            continue
    raise Undecryptable


def is_current(sealed: bytes, *, place: str) -> bool:
    """Whether the first key opens this."""
    try:
        AESGCM(next(derived_keys("at rest"))).decrypt(
            sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place.encode()
        )
    except (InvalidTag, ValueError):
        return False
    return True


class EncryptedTextField(models.BinaryField):
    """Text that only this installation can read.

    It cannot be searched; `manage.py rotate_keys` writes it anew.
    """

    _pyi_private_set_type: str  # type: ignore[assignment]  # for django-stubs: in Python it is text
    _pyi_private_get_type: str  # type: ignore[assignment]

    @property
    def place(self) -> str:
        return f"{self.model._meta.db_table}.{self.column}"

    def _check_str_default_value(self) -> list[Any]:
        return []  # a BinaryField asks for bytes; here the default is text

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        sealed = encrypt(value.encode(), place=self.place) if isinstance(value, str) else value
        return super().get_db_prep_value(sealed, connection, prepared)

    def from_db_value(self, value: Any, *_: Any) -> str | None:
        return None if value is None else decrypt(bytes(value), place=self.place).decode()

    def value_to_string(self, obj: models.Model) -> str:
        return ""  # a dump for people never has it


def reencrypt_all() -> int:
    """Encrypt anew, under the first key, what an older one encrypted; return how many values.

    Raises Undecryptable.
    """
    return sum(
        _renew_column(model, field)
        for model in apps.get_models()
        for field in model._meta.concrete_fields
        if isinstance(field, EncryptedTextField)
    )


def _renew_column(model: type[models.Model], field: EncryptedTextField) -> int:
    table, column, pk = (
        connection.ops.quote_name(name or "")
        for name in (model._meta.db_table, field.column, model._meta.pk.column)
    )
    renewed = 0
    with connection.cursor() as cursor:
        # Our own names.
        cursor.execute(f"SELECT {pk}, {column} FROM {table} WHERE {column} IS NOT NULL")  # noqa: S608
        old = [
            (key, bytes(value))
            for key, value in cursor.fetchall()
            if not is_current(bytes(value), place=field.place)
        ]
        for key, value in old:
            fresh = encrypt(decrypt(value, place=field.place), place=field.place)
            statement = f"UPDATE {table} SET {column} = %s WHERE {pk} = %s AND {column} = %s"  # noqa: S608
            cursor.execute(statement, [fresh, key, value])
            renewed += cursor.rowcount
    return renewed

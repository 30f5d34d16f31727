"""Session store of the Django admin that stores a digest of the session key.

A copy of the database therefore contains no usable session cookie.
"""

import hashlib
from typing import Any

from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.contrib.sessions.base_session import AbstractBaseSession


def session_key_digest(key: str) -> str:
    """Return 160 bits of SHA-256 in hexadecimal, because the column has 40 characters."""
    return hashlib.sha256(key.encode()).hexdigest()[:40]


class SessionStore(DatabaseStore):
    """Database session store whose rows are keyed by `session_key_digest` of the cookie."""

    def _get_session_from_db(self) -> Any:
        cookie = self._session_key
        try:
            self._session_key = session_key_digest(cookie) if cookie else cookie
            session = super()._get_session_from_db()  # type: ignore[misc]
        finally:
            self._session_key = cookie
        if session is None:
            self._session_key = None
        return session

    def exists(self, session_key: str) -> bool:
        return super().exists(session_key_digest(session_key))

    def create_model_instance(self, data: dict[str, Any]) -> AbstractBaseSession:
        row = super().create_model_instance(data)
        row.session_key = session_key_digest(row.session_key)
        return row

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            super().delete(session_key_digest(key))

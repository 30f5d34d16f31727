"""Authentication backend of the Django admin. Uses the same services as the API."""

from typing import Any
from uuid import UUID

from django.contrib.auth.backends import BaseBackend
from django.http import HttpRequest

from accounts.credentials.password_validators import MAX_PASSWORD_BYTES
from accounts.errors import CredentialsRefused
from accounts.models import MAX_EMAIL_CHARACTERS, User
from accounts.responses import device_of
from accounts.services import sign_in


class PasswordBackend(BaseBackend):
    """Signs in by e-mail address and password, throttled like the API."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **_: Any
    ) -> User | None:
        """Return the user of an address and a password, or None. Raises TooManyAttempts, HashingBusy."""
        if (
            request is None
            or not username
            or not password
            or len(username) > MAX_EMAIL_CHARACTERS
            or len(password.encode()) > MAX_PASSWORD_BYTES
        ):
            return None
        try:
            return sign_in.check_credentials(username, password, device=device_of(request))
        except CredentialsRefused:
            return None

    def get_user(self, user_id: UUID) -> User | None:  # type: ignore[override]
        return User.objects.alive().filter(pk=user_id, is_active=True).prefetch_related("roles").first()

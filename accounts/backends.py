"""How the admin's sign-in form checks who comes: by the same services as the API."""

from typing import Any
from uuid import UUID

from django.contrib.auth.backends import BaseBackend
from django.http import HttpRequest

from accounts.errors import CredentialsRefused
from accounts.models import User
from accounts.responses import device_of
from accounts.services import sign_in


class PasswordBackend(BaseBackend):
    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **_: Any
    ) -> User | None:
        """The user of an address and a password. Raises TooManyAttempts, HashingBusy."""
        if (
            request is None
            or not username
            or not password
            or len(username) > 254
            or len(password.encode()) > 1024
        ):
            return None
        try:
            return sign_in.check_credentials(username, password, device=device_of(request))
        except CredentialsRefused:
            return None

    def get_user(self, user_id: UUID) -> User | None:  # type: ignore[override]
        return User.objects.alive().filter(pk=user_id, is_active=True).prefetch_related("roles").first()

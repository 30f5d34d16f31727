"""How the admin's sign-in form checks a password: by the same service as the API."""

from typing import Any
from uuid import UUID

from django.contrib.auth.backends import BaseBackend
from django.http import HttpRequest

from accounts.errors import CredentialsRefused
from accounts.models import User
from accounts.services import check_credentials


class PasswordBackend(BaseBackend):
    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **_: Any
    ) -> User | None:
        if not username or not password or len(password.encode()) > 1024:
            return None
        try:
            return check_credentials(username, password)
        except CredentialsRefused:
            return None

    def get_user(self, user_id: UUID) -> User | None:  # type: ignore[override]
        return User.objects.alive().filter(pk=user_id, is_active=True).prefetch_related("roles").first()

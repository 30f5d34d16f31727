"""DRF authentication by the principal that the admission middleware has verified. Runs no query."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts.errors import MfaEnrolmentRequired, ReauthenticationRequired
from accounts.models import User
from accounts.selectors import factors_of, has_recent_proof
from core.admission.errors import TokenRevoked
from core.admission.principals import Principal
from core.permissions import Permission


class Caller:
    """`request.user` of API views: a signed-in user, or a program with one of their API keys.

    `pk` and `role_names` come from the credential; other values load the user's row.
    """

    is_authenticated = True
    is_anonymous = False

    def __init__(self, principal: Principal) -> None:
        self.pk: UUID = principal.user_id
        self.session_id: UUID = principal.session_id
        self.role_names = principal.roles
        self.is_key = principal.scopes is not None
        self.impersonator = principal.impersonator

    @property
    def id(self) -> UUID:
        return self.pk

    def row(self) -> User:
        """Return the user's row with its roles, loaded once per request. Raises TokenRevoked."""
        if not hasattr(self, "_row"):
            user = User.objects.alive().prefetch_related("roles").filter(pk=self.pk).first()
            if user is None:  # deleted after the token was issued, and Redis has lost the tombstone
                raise TokenRevoked
            self._row = user
        return self._row

    def may(self, permission: Permission) -> bool:
        """Return whether a role of the user grants `permission`. Always False during impersonation.

        Raises MfaEnrolmentRequired for a permitted user without a second factor when STAFF_MFA_REQUIRED.
        """
        allowed = self.impersonator is None and self.row().may(permission)
        if allowed and settings.STAFF_MFA_REQUIRED and not factors_of(self.pk).any:
            raise MfaEnrolmentRequired
        return allowed

    def require_recent_proof(self) -> None:
        """Raise ReauthenticationRequired unless the user authenticated within REAUTHENTICATION_AFTER.

        One query. API keys are exempt: they cannot authenticate again and are limited by their scopes.
        """
        if not self.is_key and not has_recent_proof(self.session_id, now=timezone.now()):
            raise ReauthenticationRequired


class PrincipalAuthentication(BaseAuthentication):
    """Returns the principal that the admission middleware verified."""

    def authenticate(self, request: Request) -> tuple[Any, Principal] | None:
        principal = request._request.admission.principal  # type: ignore[attr-defined]
        return (Caller(principal), principal) if principal else None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'


class PrincipalAuthenticationScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """OpenAPI security scheme of PrincipalAuthentication."""

    target_class = PrincipalAuthentication
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An access token (JWT) or an API key (gys_...).",
        }

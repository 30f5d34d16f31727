"""Who the caller of an API view is: read from what the gate verified, without a query."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts.errors import MfaEnrolmentRequired, ReauthenticationRequired
from accounts.models import User
from accounts.selectors import factors_of, proved_lately
from core.admission.errors import TokenRevoked
from core.admission.principals import Principal
from core.permissions import Permission


class Caller:
    """A signed-in user, or a program with a key of theirs.

    `pk` and `role_names` come from the credential; anything else loads the row.
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
        """The user's row with its roles, read once for each request."""
        if not hasattr(self, "_row"):
            found = User.objects.alive().prefetch_related("roles").filter(pk=self.pk).first()
            if found is None:  # closed since the token was minted, and Redis did not know
                raise TokenRevoked
            self._row = found
        return self._row

    def may(self, permission: Permission) -> bool:
        """Whether a role of theirs says so; no right is used in somebody else's name.

        Raises MfaEnrolmentRequired for staff without a second factor, where this installation asks for one.
        """
        allowed = self.impersonator is None and self.row().may(permission)
        if allowed and settings.STAFF_MFA_REQUIRED and not factors_of(self.pk).any:
            raise MfaEnrolmentRequired
        return allowed

    def require_recent_proof(self) -> None:
        """Raise ReauthenticationRequired unless the user proved their identity within the last minutes.

        One query. An API key cannot prove anything again: its scopes are its bounds.
        """
        if not self.is_key and not proved_lately(self.session_id, now=timezone.now()):
            raise ReauthenticationRequired


class PrincipalAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Any, Principal] | None:
        principal = request._request.admission.principal  # type: ignore[attr-defined]
        return (Caller(principal), principal) if principal else None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'


class PrincipalAuthenticationScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = PrincipalAuthentication
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An access token (JWT) or an API key (gys_...).",
        }

"""Permissions and API key scopes of accounts, and the DRF permission for recent authentication."""

from typing import Any

from django.utils import timezone
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts.errors import ReauthenticationRequired
from accounts.selectors import has_recent_proof
from core.permissions import also_for_keys, permission, scope

USERS_READ = permission("users.read", "See all accounts")
USERS_WRITE = permission("users.write", "Create, change, disable and delete accounts, and assign roles")
USERS_IMPERSONATE = permission("users.impersonate", "Act as a user without permissions, for half an hour")
ROLES_READ = permission("roles.read", "See roles and permissions")
ROLES_WRITE = permission("roles.write", "Create, change and delete roles")
also_for_keys(USERS_READ, USERS_WRITE, ROLES_READ)
ACCOUNT_READ = scope("account.read", "Read your own account")


class RecentProof(BasePermission):
    """Requires recent authentication for the actions in the view's `sensitive`.

    API keys are exempt: they cannot reauthenticate and are limited by their scopes. Raises
    ReauthenticationRequired.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        if request.user.is_key or getattr(view, "action", None) not in view.sensitive:  # type: ignore[union-attr]
            return True
        if not has_recent_proof(request.user.session_id, now=timezone.now()):  # type: ignore[union-attr]
            raise ReauthenticationRequired
        return True

"""Permission classes that ask for platform permissions."""

from typing import Any, cast

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from core.permissions import Caller, Permission


def allow(*needed: Permission) -> type[BasePermission]:
    """A permission class for holders of all `needed`."""

    class Allowed(BasePermission):
        all_of = needed

        def has_permission(self, request: Request, view: Any) -> bool:
            caller = cast(Caller, request.user)
            return bool(request.user.is_authenticated) and all(caller.may(item) for item in needed)

    return Allowed


def allow_by_action(needed: dict[str, Permission]) -> type[BasePermission]:
    """A permission class that asks for another permission for each action; an action that is not named is
    refused.
    """

    class Allowed(BasePermission):
        by_action = needed

        def has_permission(self, request: Request, view: Any) -> bool:
            permission = needed.get(view.action)
            caller = cast(Caller, request.user)
            return bool(request.user.is_authenticated and permission and caller.may(permission))

    return Allowed

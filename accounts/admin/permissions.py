"""What the signed-in member of staff may do."""

from typing import cast

from django.http import HttpRequest

from accounts.models import User


def permissions_of_staff(request: HttpRequest) -> frozenset[str]:
    """Return the permissions of the signed-in staff, who can neither grant nor change more than these."""
    return cast(User, request.user).permission_codes()

"""Row locks that services of accounts share."""

from accounts.errors import CredentialsRefused
from accounts.models import User


def lock_active_user(user: User) -> None:
    """Lock the row of a user to whom another credential is being added.

    Raises CredentialsRefused when the account was disabled or its epoch was raised since `user` was loaded:
    a flow that began before a password reset must not finish after it.
    """
    rows = (
        User.objects.alive()
        .select_for_update(no_key=True)
        .filter(pk=user.pk, is_active=True, epoch=user.epoch)
    )
    if not rows.exists():
        raise CredentialsRefused

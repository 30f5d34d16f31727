"""Tenancy contexts and the row-level security policies that depend on them.

The context of a transaction says for whom it acts: `user:<uuid>`, `public` (visitors of published sites) or
`system` (staff in the admin, periodic jobs, commands). It is the PostgreSQL setting `app.context`. Without a
context, the policies show no row and accept none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db import connection, transaction

SYSTEM = "system"
PUBLIC = "public"
SETTING = "app.context"


def user_context(user_id: UUID) -> str:
    """Return the context that acts for a user."""
    return f"user:{user_id}"


@contextmanager
def context(value: str) -> Iterator[None]:
    """Run the block in a transaction with the context `value`, then restore the previous context.

    Releasing a savepoint does not undo `set_config(..., true)`, so a nested context restores the setting
    itself. After an error PostgreSQL restores it, because a rollback also rolls back the setting.
    """
    outermost = not connection.in_atomic_block
    with transaction.atomic():
        previous = "" if outermost else current()
        _set(value)
        yield
        if not outermost:
            _set(previous)


def current() -> str:
    """Return the context of the current transaction; an empty text without one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(current_setting(%s, true), '')", [SETTING])
        return str(cursor.fetchone()[0])


def _set(value: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config(%s, %s, true)", [SETTING, value])

"""Tenancy contexts and the row-level security policies that depend on them.

The context of a transaction says for whom it acts: `user:<uuid>`, `public` (visitors of published sites) or
`system` (staff in the admin, periodic jobs, commands). It is the PostgreSQL setting `app.context`. Without a
context, the policies show no row and accept none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db import connection, migrations, transaction

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


FUNCTIONS = """
CREATE FUNCTION app_context() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT NULLIF(current_setting('app.context', true), '') $$;
CREATE FUNCTION app_user() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT substring(current_setting('app.context', true) FROM '^user:(.{36})$')::uuid $$;
"""
DROP_FUNCTIONS = "DROP FUNCTION app_user(); DROP FUNCTION app_context();"


def isolate(table: str, *, site_column: str = "site_id", published: str | None = None) -> migrations.RunSQL:
    """Return a migration operation that enables row-level security on `table`.

    Context `system` sees all rows. A user sees the rows of the sites to which they have access. `published`
    is an SQL condition for the rows that `public` may read. The condition may read another table with
    policies only when the policies of that table do not read this one, or PostgreSQL reports a recursion.
    """
    # The names come from our migrations, not from users.
    member = (
        f"{site_column} IN "  # noqa: S608
        "(SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()))"
    )
    system = "(SELECT app_context()) = 'system'"
    forward = [
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY tenant ON {table} USING ({system} OR {member}) WITH CHECK ({system} OR {member})",
    ]
    if published:
        forward.append(
            f"CREATE POLICY published ON {table} FOR SELECT "
            f"USING ((SELECT app_context()) = 'public' AND ({published}))"
        )
    policies = ["tenant", *(["published"] if published else [])]
    backward = [
        *(f"DROP POLICY {name} ON {table}" for name in policies),
        f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
    ]
    return migrations.RunSQL(";\n".join(forward) + ";", ";\n".join(backward) + ";")


def only_writers_write(table: str, *, site_column: str = "site_id") -> migrations.RunSQL:
    """Return a migration operation, for after `isolate`, that allows writes only to members who may write.

    A member with the role `viewer` reads the rows of `table` and changes none.
    """
    # The names come from our migrations, not from users.
    writer = (
        f"{site_column} IN "  # noqa: S608
        "(SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer')"
    )
    allowed = f"((SELECT app_context()) = 'system' OR {writer})"
    checks = {"insert": f"WITH CHECK {allowed}", "update": f"USING {allowed}", "delete": f"USING {allowed}"}
    forward = [
        f"CREATE POLICY writers_{verb} ON {table} AS RESTRICTIVE FOR {verb.upper()} {check}"
        for verb, check in checks.items()
    ]
    backward = [f"DROP POLICY writers_{verb} ON {table}" for verb in checks]
    return migrations.RunSQL(";\n".join(forward) + ";", ";\n".join(backward) + ";")

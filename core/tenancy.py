"""The second fence between customers: who a transaction acts for, and the row-level security that holds it to
that.

A context is `user:<uuid>`, `public` (published rows) or `system` (staff admin, listed jobs, commands).
Without one, the policies show no row and accept none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db import connection, migrations, transaction

SYSTEM = "system"
PUBLIC = "public"
SETTING = "app.context"


def user_context(user_id: UUID) -> str:
    return f"user:{user_id}"


@contextmanager
def context(value: str) -> Iterator[None]:
    """Run the block in a transaction that acts for `value`, and put back what was there before it.

    Leaving a savepoint does not undo `set_config(..., true)`, so a nested context restores it by hand. After
    an error PostgreSQL has done so itself: rolling back restores the setting too.
    """
    outermost = not connection.in_atomic_block
    with transaction.atomic():
        previous = "" if outermost else current()
        _set(value)
        yield
        if not outermost:
            _set(previous)


def current() -> str:
    """The context of the running transaction; empty without one."""
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
    """A migration step that fences `table`: `system` sees all, a member the rows of the sites they have
    access to.

    `published` is an SQL condition for what `public` may read. It may read other fenced tables only when
    their policies do not read this one.
    """
    # Names from our migrations.
    member = f"{site_column} IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()))"  # noqa: S608
    system = "(SELECT app_context()) = 'system'"
    forward = [
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY tenant ON {table} USING ({system} OR {member}) WITH CHECK ({system} OR {member})",
    ]
    if published:
        forward.append(
            f"CREATE POLICY published ON {table} FOR SELECT USING ((SELECT app_context()) = 'public' AND ({published}))"
        )
    names = ["tenant", *(["published"] if published else [])]
    backward = [
        *(f"DROP POLICY {name} ON {table}" for name in names),
        f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
    ]
    return migrations.RunSQL(";\n".join(forward) + ";", ";\n".join(backward) + ";")


def only_writers_write(table: str, *, site_column: str = "site_id") -> migrations.RunSQL:
    """A migration step after `isolate`: members whose role is `viewer` read the rows of `table` and change
    none.
    """
    # Names from our migrations.
    writer = f"{site_column} IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer')"  # noqa: S608
    allowed = f"((SELECT app_context()) = 'system' OR {writer})"
    checks = {"insert": f"WITH CHECK {allowed}", "update": f"USING {allowed}", "delete": f"USING {allowed}"}
    forward = [
        f"CREATE POLICY writers_{verb} ON {table} AS RESTRICTIVE FOR {verb.upper()} {check}"
        for verb, check in checks.items()
    ]
    backward = [f"DROP POLICY writers_{verb} ON {table}" for verb in checks]
    return migrations.RunSQL(";\n".join(forward) + ";", ";\n".join(backward) + ";")

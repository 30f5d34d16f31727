"""What a restore requires of its target: an empty database, and roles and extensions on its server."""

from typing import Any

import psycopg
from psycopg import sql

from backups.engine.errors import BackupRefused
from backups.engine.manifest import Manifest
from backups.engine.schema.catalogue import IS_USER_SCHEMA, not_from_extension

EXISTING_OBJECTS_QUERY = f"""
SELECT n.nspname || '.' || c.relname
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {IS_USER_SCHEMA} AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
    AND {not_from_extension("pg_class", "c")}
UNION ALL
SELECT n.nspname || '.' || p.proname || '()'
FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE {IS_USER_SCHEMA} AND {not_from_extension("pg_proc", "p")}
UNION ALL
SELECT n.nspname || '.' || t.typname
FROM pg_type t
JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE {IS_USER_SCHEMA} AND t.typtype IN ('d', 'e', 'r') AND {not_from_extension("pg_type", "t")}
UNION ALL
SELECT 'the schema ' || n.nspname
FROM pg_namespace n
WHERE {IS_USER_SCHEMA} AND n.nspname <> 'public' AND {not_from_extension("pg_namespace", "n")}
ORDER BY 1
LIMIT 5"""


# Extensions of the server, and whether the role may create them or they exist already.
EXTENSIONS_QUERY = """
SELECT
    v.name,
    bool_or(
        v.installed OR v.trusted OR NOT v.superuser
        OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
    )
FROM pg_available_extension_versions v
GROUP BY v.name"""


def find_existing_objects(connection: psycopg.Connection[Any]) -> list[str]:
    """Return the names of up to five objects of a database. An empty database has none."""
    return [row[0] for row in connection.execute(EXISTING_OBJECTS_QUERY).fetchall()]


def ensure_server_has_what_is_needed(connection: psycopg.Connection[Any], manifest: Manifest) -> None:
    """Raise BackupRefused when roles of policies or extensions are missing on the server."""
    catalogue = manifest.schema.catalogue
    roles = connection.execute("SELECT rolname FROM pg_roles").fetchall()
    if missing_roles := set(catalogue["policy_roles"]) - {row[0] for row in roles}:
        statements = [sql.SQL("CREATE ROLE {};").format(sql.Identifier(role)) for role in missing_roles]
        raise BackupRefused(
            f"Policies name roles that this server does not have: {', '.join(sorted(missing_roles))}."
            f" Create them first: {' '.join(statement.as_string() for statement in statements)}"
        )
    extensions = connection.execute(EXTENSIONS_QUERY).fetchall()
    if missing_extensions := set(catalogue["extensions"]) - {row[0] for row in extensions}:
        raise BackupRefused(
            f"This server does not have the extensions {', '.join(sorted(missing_extensions))}."
            " Install them on the server first."
        )
    creatable = {name for name, may_be_created in extensions if may_be_created}
    if forbidden_extensions := set(catalogue["extensions"]) - creatable:
        raise BackupRefused(
            f"Only a superuser may create the extensions {', '.join(sorted(forbidden_extensions))}."
            " Let a superuser create them in the target first."
        )

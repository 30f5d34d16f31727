"""The empty databases that drills restore into."""

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.conf import settings
from psycopg import sql

from backups import config
from backups.engine.errors import BackupRefused
from backups.engine.restore_target import find_existing_objects
from backups.engine.schema.catalogue import IS_USER_SCHEMA, not_from_extension
from backups.services.runs import get_backup_state

# The comment of a database while a drill uses it: what a killed drill left there may be deleted.
DRILL_COMMENT = "A drill of a backup uses this database and deletes its content."
DATABASE_IDENTITY_QUERY = """
SELECT (SELECT system_identifier FROM pg_control_system()), oid::bigint
FROM pg_database
WHERE datname = current_database()"""
# What a restore creates outside of schemas.
OTHER_OBJECTS_QUERY = """
SELECT 'the extension ' || extname FROM pg_extension WHERE extname <> 'plpgsql'
UNION ALL
SELECT 'the publication ' || pubname FROM pg_publication
UNION ALL
SELECT 'the event trigger ' || evtname FROM pg_event_trigger"""

# Statements that delete what a restore created, and create the schema `public` as in a new database.
CLEANING_QUERY = f"""
SELECT format('DROP EVENT TRIGGER %I', t.evtname) FROM pg_event_trigger t
UNION ALL
SELECT format('DROP PUBLICATION %I', p.pubname) FROM pg_publication p
UNION ALL
SELECT format('DROP SCHEMA %I CASCADE', n.nspname)
FROM pg_namespace n
WHERE {IS_USER_SCHEMA} AND {not_from_extension("pg_namespace", "n")}
UNION ALL
SELECT format('DROP EXTENSION IF EXISTS %I CASCADE', e.extname)
FROM pg_extension e
WHERE e.extname <> 'plpgsql'
UNION ALL
SELECT 'CREATE SCHEMA public AUTHORIZATION pg_database_owner'
UNION ALL
SELECT 'COMMENT ON SCHEMA public IS ''standard public schema'''
"""  # noqa: S608 - constants of ours


@contextmanager
def drill_database() -> Iterator[str]:
    """Yield the DSN of an empty database, and delete its content at the end.

    The database is created if the role may do that. Otherwise it is BACKUP_DRILL_DATABASE_URL itself, which
    must be empty. What a killed drill left behind is deleted first. Raises BackupRefused, psycopg.Error.
    """
    dsn = settings.BACKUP_DRILL_DATABASE_URL or config.database_dsn()
    with psycopg.connect(dsn, autocommit=True) as connection:
        role = connection.execute(
            "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        if role and role[0]:
            with _new_database(connection, dsn) as new_dsn:
                yield new_dsn
        elif settings.BACKUP_DRILL_DATABASE_URL:
            _ensure_other_database(connection)
            with _cleaned_database(connection):
                yield dsn
        else:
            raise BackupRefused(
                "A drill needs a database: give the role CREATEDB, or set BACKUP_DRILL_DATABASE_URL to an"
                " empty database."
            )


def _ensure_other_database(connection: psycopg.Connection[Any]) -> None:
    """Raise BackupRefused when the database is that of this installation."""
    with psycopg.connect(config.database_dsn()) as own_connection:
        own_identity = own_connection.execute(DATABASE_IDENTITY_QUERY).fetchone()
    if connection.execute(DATABASE_IDENTITY_QUERY).fetchone() == own_identity:
        raise BackupRefused("BACKUP_DRILL_DATABASE_URL is the database of this installation.")


@contextmanager
def _new_database(connection: psycopg.Connection[Any], dsn: str) -> Iterator[str]:
    database_name = str(psycopg.conninfo.conninfo_to_dict(config.database_dsn())["dbname"])
    installation = hashlib.sha256(bytes(get_backup_state().id_key)).hexdigest()[:8]
    prefix = f"{database_name[:35]}_drill_{installation}_"
    name = f"{prefix}{secrets.token_hex(4)}"
    leftovers = connection.execute(
        "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [prefix]
    ).fetchall()
    for (leftover,) in leftovers:
        drop_database(connection, leftover)
    statement = "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'"
    connection.execute(sql.SQL(statement).format(sql.Identifier(name)))
    try:
        yield psycopg.conninfo.make_conninfo(dsn, dbname=name)
    finally:
        drop_database(connection, name)


@contextmanager
def _cleaned_database(connection: psycopg.Connection[Any]) -> Iterator[None]:
    name = connection.info.dbname
    comment = connection.execute(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
    ).fetchone()
    if comment == (DRILL_COMMENT,):
        _delete_content(connection)
    others = [row[0] for row in connection.execute(OTHER_OBJECTS_QUERY).fetchall()]
    if existing := [*find_existing_objects(connection), *others]:
        raise BackupRefused(f"BACKUP_DRILL_DATABASE_URL is not empty: it has {', '.join(existing)}.")
    statement = sql.SQL("COMMENT ON DATABASE {} IS {}")
    connection.execute(statement.format(sql.Identifier(name), sql.Literal(DRILL_COMMENT)))
    try:
        yield
    finally:
        _delete_content(connection)
        connection.execute(statement.format(sql.Identifier(name), sql.NULL))


def _delete_content(connection: psycopg.Connection[Any]) -> None:
    with connection.transaction():
        for (statement,) in connection.execute(CLEANING_QUERY).fetchall():
            connection.execute(statement.encode())


def drop_database(connection: psycopg.Connection[Any], name: str) -> None:
    """Drop a database and end its sessions. Raises psycopg.Error."""
    statement = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name))
    try:
        connection.execute(statement + sql.SQL(" WITH (FORCE)"))
    except psycopg.errors.InsufficientPrivilege:
        # FORCE may not end an autovacuum worker, but a plain DROP makes it leave.
        connection.execute(statement)

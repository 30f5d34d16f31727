"""The engine's objects as the settings of this installation define them: database, programs, store, keys."""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.db import connections

from backups.engine.encryption import Keys, parse_keys
from backups.engine.repository import Repository
from backups.engine.schema.postgres_programs import PostgresPrograms
from backups.engine.source import Source
from backups.engine.table_names import TableName
from backups.object_stores import BackupStore, open_backup_store
from config import embedded_servers
from core import tenancy

# A connection to a server that disappeared is noticed within a minute.
KEEPALIVE_OPTIONS = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60000,
}
# The state that increments are compared with is useless in another database.
EXCLUDED_TABLES = frozenset({TableName("public", "backups_backupstate")})
# The salts of visitor ids are meant to be lost.
UNLOGGED_TABLES = frozenset({TableName("public", "analytics_salt")})
# How the catalogue prints the beginning of every policy of ours: those of `core.tenancy` and of the vault.
POLICY_PREFIX = "((( SELECT public.app_context() AS app_context) = 'system'::text) OR "


def database_dsn() -> str:
    """Return a libpq connection string for the application's own database."""
    database: dict[str, Any] = connections["default"].settings_dict
    excluded_options = {"pool", "application_name"}
    options = {key: value for key, value in database["OPTIONS"].items() if key not in excluded_options}
    return psycopg.conninfo.make_conninfo(
        host=database["HOST"],
        port=database["PORT"],
        user=database["USER"],
        password=database["PASSWORD"],
        dbname=database["NAME"],
        **{**KEEPALIVE_OPTIONS, **options},
    )


def source() -> Source:
    """Return the database to back up.

    With BACKUP_DATABASE_URL the role there must see every row. Otherwise the application's own role is used
    in the context `system`, and each run verifies that the policies show it every row.
    """
    if settings.BACKUP_DATABASE_URL:
        return Source(settings.BACKUP_DATABASE_URL, {}, EXCLUDED_TABLES, UNLOGGED_TABLES)
    session_settings = {tenancy.SETTING: tenancy.SYSTEM, "row_security": "on"}
    return Source(database_dsn(), session_settings, EXCLUDED_TABLES, UNLOGGED_TABLES, POLICY_PREFIX)


def programs() -> PostgresPrograms:
    """Return the folders of pg_dump: PG_DUMP_DIR alone if it is set, else PATH, then the wheel's folder."""
    if settings.PG_DUMP_DIR:
        return PostgresPrograms((settings.PG_DUMP_DIR,))
    folders = [Path(folder) for folder in os.get_exec_path()]
    wheel = embedded_servers.postgres_programs()
    return PostgresPrograms((*folders, *([wheel] if wheel else [])))


def keys(*, identities: tuple[bytes, ...] = ()) -> Keys:
    """Return the configured keys, and the given private keys of recipients. Raises ValueError, OSError."""
    texts = settings.BACKUP_KEYS
    if settings.BACKUP_KEYS_FILE:
        texts = Path(settings.BACKUP_KEYS_FILE).read_text().split()
    return Keys(parse_keys(texts), parse_keys(settings.BACKUP_RECIPIENTS), identities)


def store() -> BackupStore:
    """Return the store at BACKUP_STORE_URL.

    It is cached, because creating an S3 client takes a tenth of a second. Raises ValueError.
    """
    return _open_cached_store(
        settings.BACKUP_STORE_URL, settings.BACKUP_S3_REGION, settings.BACKUP_BYTES_PER_SECOND
    )


@lru_cache(maxsize=1)
def _open_cached_store(url: str, region: str, bytes_per_second: int) -> BackupStore:
    return open_backup_store(url, region=region, bytes_per_second=bytes_per_second)


def repository(*, identities: tuple[bytes, ...] = ()) -> Repository:
    """Return the runs in the store. Raises ValueError, OSError."""
    return Repository(store(), keys(identities=identities))


def can_decrypt_backups() -> bool:
    """Whether this server has a master key and can read its own backups. Raises ValueError, OSError."""
    return bool(keys().masters)

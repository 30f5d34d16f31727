"""Where backups come from, where they go, and with which keys: the engine's parts, as this installation is
set up.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.db import connections

from backups.engine.encryption import Keys, read_keys
from backups.engine.repository import Repository
from backups.engine.source import Source
from backups.object_stores import BackupStore, open_backup_store
from core import tenancy

# A connection whose other end is gone without a word is noticed within a minute.
ALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60000}
# Rows that are not taken: what this server compares with, which says nothing elsewhere.
LEFT_OUT = frozenset({"public.backups_backupstate"})
# How the catalogue writes the beginning of each of our policies: `core.tenancy.isolate` and the vault's own.
ADMITS = "((( SELECT public.app_context() AS app_context) = 'system'::text) OR "


def dsn() -> str:
    """The application's own database, as libpq wants to hear of it."""
    facts: dict[str, Any] = connections["default"].settings_dict
    more = {key: value for key, value in facts["OPTIONS"].items() if key not in {"pool", "application_name"}}
    return psycopg.conninfo.make_conninfo(
        host=facts["HOST"],
        port=facts["PORT"],
        user=facts["USER"],
        password=facts["PASSWORD"],
        dbname=facts["NAME"],
        **{**ALIVE, **more},
    )


def source() -> Source:
    """A role that sees everything by right, or our own in context `system`, once its policies are found to
    let it.
    """
    if settings.BACKUP_DATABASE_URL:
        return Source(settings.BACKUP_DATABASE_URL, {}, LEFT_OUT)
    return Source(dsn(), {tenancy.SETTING: tenancy.SYSTEM, "row_security": "on"}, LEFT_OUT, ADMITS)


def keys(*, identities: tuple[bytes, ...] = ()) -> Keys:
    """The keys of this installation, and private halves that somebody brought. Raises ValueError, OSError."""
    texts = settings.BACKUP_KEYS
    if settings.BACKUP_KEYS_FILE:
        texts = Path(settings.BACKUP_KEYS_FILE).read_text().split()
    return Keys(read_keys(texts), read_keys(settings.BACKUP_RECIPIENTS), identities)


def store() -> BackupStore:
    """The store at BACKUP_STORE_URL; a client of S3 takes a tenth of a second to make, and serves for long."""
    return _opened(settings.BACKUP_STORE_URL, settings.BACKUP_S3_REGION, settings.BACKUP_BYTES_PER_SECOND)


@lru_cache(maxsize=1)
def _opened(url: str, region: str, bytes_per_second: int) -> BackupStore:
    return open_backup_store(url, region=region, bytes_per_second=bytes_per_second)


def repository(*, identities: tuple[bytes, ...] = ()) -> Repository:
    return Repository(store(), keys(identities=identities))


def readable() -> bool:
    """Whether this server can open what it stores."""
    return bool(keys().masters)

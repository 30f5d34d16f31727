import secrets

import psycopg
import pytest
from psycopg import sql

from backups.engine.encryption import Keys
from backups.services.drill_databases import drop_database
from backups.tests.helpers import ROWS, TABLES, BackupChain, run_sql, server_dsn
from core.storage.object_store import FolderStore


@pytest.fixture
def create_database(django_db_setup):
    """A function that creates an empty database and returns its DSN. The databases are dropped at the end."""
    names = []

    def create():
        name = f"engine_{secrets.token_hex(6)}"
        with psycopg.connect(server_dsn("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        names.append(name)
        return server_dsn(name)

    yield create
    with psycopg.connect(server_dsn("postgres"), autocommit=True) as connection:
        for name in names:
            drop_database(connection, name)


@pytest.fixture
def source_dsn(create_database):
    """The DSN of a database with a few tables and rows."""
    dsn = create_database()
    run_sql(dsn, TABLES, *ROWS)
    return dsn


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


@pytest.fixture
def keys():
    return Keys(masters=(secrets.token_bytes(32),))


@pytest.fixture
def chain(source_dsn, store, keys):
    return BackupChain(source_dsn, store, keys)


@pytest.fixture
def backup_folder(settings, tmp_path):
    """The folder that this installation's backups go to."""
    settings.BACKUP_STORE_URL = f"file://{tmp_path}/store"
    return tmp_path / "store"

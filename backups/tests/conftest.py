import secrets

import psycopg
import pytest
from django.db import connections
from psycopg import sql

from backups.engine.encryption import Keys
from backups.services.checks import drop
from core.storage.object_store import FolderStore


def dsn_of(name):
    facts = connections["default"].settings_dict
    return psycopg.conninfo.make_conninfo(
        host=facts["HOST"], port=facts["PORT"], user=facts["USER"], password=facts["PASSWORD"], dbname=name
    )


@pytest.fixture
def databases(django_db_setup):
    """Makes empty databases, and drops them at the end."""
    made = []

    def make():
        name = f"engine_{secrets.token_hex(6)}"
        with psycopg.connect(dsn_of("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        made.append(name)
        return dsn_of(name)

    yield make
    with psycopg.connect(dsn_of("postgres"), autocommit=True) as connection:
        for name in made:
            drop(connection, name)


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


@pytest.fixture
def keys():
    return Keys(masters=(secrets.token_bytes(32),))

"""An attacker with every right on the database, and a trail that starts empty."""

import shutil

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from audit.chain import sealing
from audit.tests.trail_helpers import record_entries, sign_and_store
from config.testing import WORKER_FOLDER
from core.storage import object_store
from tests.database import superuser_dsn

AUDIT_TABLES = ("entry", "seal", "pending", "personal", "checkpoint", "stub", "logline")


@pytest.fixture
def superuser(transactional_db):
    """A superuser's connection on which triggers do not fire."""
    with psycopg.connect(superuser_dsn(connection.settings_dict["NAME"]), autocommit=True) as attacker:
        attacker.execute("SET session_replication_role = replica")
        yield attacker


@pytest.fixture
def trail(superuser, settings):
    """An empty trail, and an object store of its own. Returns the folder of the object store."""
    superuser.execute("; ".join(f"TRUNCATE audit_{table}" for table in AUDIT_TABLES))
    folder = WORKER_FOLDER / "objects"
    if folder.is_file():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)
    settings.OBJECT_STORE_URL = f"file://{folder}"
    object_store.object_store.cache_clear()
    yield folder
    object_store.object_store.cache_clear()


@pytest.fixture
def sealed_entries(trail):
    """The ids of twenty sealed entries with a stored checkpoint at the twentieth."""
    entries = record_entries(20)
    sealing.seal_pending()
    sign_and_store()
    return entries


assert settings.DEVELOPMENT

"""An attacker with every right on the database, and a trail that starts empty."""

import json
import os
import shutil
from urllib.parse import urlsplit

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from config import embedded
from config.testing import VAR, WORKER
from core import objects


@pytest.fixture
def superuser(transactional_db):
    """A superuser's connection on which triggers do not fire."""
    facts = json.loads((embedded._home(VAR) / "postgres.json").read_text())
    with psycopg.connect(
        host="127.0.0.1",
        port=urlsplit(os.environ["DATABASE_URL"]).port,
        user="postgres",
        password=facts["superuser_password"],
        dbname=connection.settings_dict["NAME"],
        autocommit=True,
    ) as attacker:
        attacker.execute("SET session_replication_role = replica")
        yield attacker


@pytest.fixture
def trail(superuser, settings):
    """An empty trail and an object store of its own."""
    tables = ("entry", "seal", "pending", "personal", "checkpoint", "stub", "logline")
    superuser.execute("; ".join(f"TRUNCATE audit_{table}" for table in tables))
    folder = VAR / f"objects-{WORKER}"
    folder.unlink() if folder.is_file() else shutil.rmtree(folder, ignore_errors=True)
    settings.OBJECT_STORE_URL = f"file://{folder}"
    objects.object_store.cache_clear()
    yield folder
    objects.object_store.cache_clear()


assert settings.DEVELOPMENT

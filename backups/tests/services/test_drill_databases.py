"""The databases that drills use: a new one, or an empty one of the operator."""

import secrets

import psycopg
import pytest
from psycopg import sql

from backups import config
from backups.engine.errors import BackupRefused
from backups.engine.restore_target import find_existing_objects
from backups.services import checks
from backups.services.drill_databases import DRILL_COMMENT, drill_database
from backups.tests.helpers import database_url, execute_backup, run_sql, server_dsn
from tests.database import superuser_dsn

pytestmark = [pytest.mark.django_db, pytest.mark.commits, pytest.mark.usefixtures("backup_folder")]


@pytest.fixture
def limited_dsn(django_db_setup):
    """The DSN of an empty database of a role without CREATEDB, which owns it."""
    name = f"limited_{secrets.token_hex(4)}"
    identifier = sql.Identifier(name)
    with psycopg.connect(superuser_dsn("postgres"), autocommit=True) as server:
        server.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'limited'").format(identifier))
        server.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(identifier))
        yield psycopg.conninfo.make_conninfo(server_dsn(name), user=name, password="limited")
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))
        server.execute(sql.SQL("DROP ROLE {}").format(identifier))


def existing_objects(dsn):
    with psycopg.connect(dsn) as connection:
        return find_existing_objects(connection)


def test_drill_run_uses_an_empty_database_of_a_role_without_createdb(settings, limited_dsn):
    run = execute_backup()
    settings.BACKUP_DRILL_DATABASE_URL = database_url(limited_dsn)

    checks.drill_run(run)
    name = psycopg.conninfo.conninfo_to_dict(limited_dsn)["dbname"]
    run_sql(
        limited_dsn,
        f"COMMENT ON DATABASE {name} IS '{DRILL_COMMENT}'",
        "CREATE TABLE left_by_a_killed_drill (a int)",
    )
    checks.drill_run(run)

    run.refresh_from_db()
    assert run.proven_at
    assert existing_objects(limited_dsn) == []


def test_drill_database_refuses_a_database_that_is_not_empty(settings, limited_dsn):
    settings.BACKUP_DRILL_DATABASE_URL = database_url(limited_dsn)
    run_sql(limited_dsn, "CREATE TABLE theirs (a int)")

    with pytest.raises(BackupRefused, match=r"not empty: it has public\.theirs"), drill_database():
        pass

    assert existing_objects(limited_dsn) == ["public.theirs"]


def test_drill_database_refuses_the_database_of_this_installation(settings, limited_dsn, monkeypatch):
    monkeypatch.setattr(config, "database_dsn", lambda: limited_dsn)
    settings.BACKUP_DRILL_DATABASE_URL = database_url(limited_dsn)

    with pytest.raises(BackupRefused, match="is the database of this installation"), drill_database():
        pass


def test_drill_database_says_what_it_needs(settings, limited_dsn, monkeypatch):
    monkeypatch.setattr(config, "database_dsn", lambda: limited_dsn)

    with (
        pytest.raises(BackupRefused, match="CREATEDB, or set BACKUP_DRILL_DATABASE_URL"),
        drill_database(),
    ):
        pass

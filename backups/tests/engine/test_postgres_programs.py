"""Finding pg_dump and pg_restore, and running them."""

import os
import subprocess

import psycopg
import pytest

from backups import config
from backups.engine.errors import BackupRefused, Stopped
from backups.engine.schema import postgres_programs
from backups.engine.schema.postgres_programs import PostgresPrograms, dump_schema
from backups.tests.helpers import run_sql


def make_program(folder, version):
    """A program that only tells its version."""
    folder.mkdir()
    path = folder / "pg_dump"
    path.write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {version}.3 (Debian)'\n")
    path.chmod(0o755)
    return path


def test_find_program_returns_the_first_program_that_is_new_enough(tmp_path):
    make_program(tmp_path / "old", 15)
    newer = make_program(tmp_path / "newer", 17)
    newest = make_program(tmp_path / "newest", 18)
    programs = PostgresPrograms((tmp_path / "none", tmp_path / "old", newer.parent, newest.parent))

    assert programs.find_program("pg_dump", minimum_version=16) == newer
    assert programs.find_program("pg_dump", minimum_version=18) == newest


def test_find_program_names_the_package_to_install(tmp_path):
    make_program(tmp_path / "old", 15)

    with pytest.raises(BackupRefused, match=r"here it is version 15.*postgresql-client-18.*PG_DUMP_DIR"):
        PostgresPrograms((tmp_path / "old",)).find_program("pg_dump", minimum_version=18)
    with pytest.raises(BackupRefused, match="is not installed"):
        PostgresPrograms((tmp_path,)).find_program("pg_restore", minimum_version=18)


def test_programs_uses_only_pg_dump_dir_when_it_is_set(settings, tmp_path):
    settings.PG_DUMP_DIR = tmp_path

    assert config.programs() == PostgresPrograms((tmp_path,))


def test_dump_schema_never_has_the_password_on_the_command_line(source_dsn, monkeypatch):
    commands = []
    popen = subprocess.Popen

    def record(command, *arguments, **options):
        commands.append(" ".join(map(str, command)))
        return popen(command, *arguments, **options)

    monkeypatch.setattr(postgres_programs.subprocess, "Popen", record)
    program = config.programs().find_program("pg_dump", minimum_version=18)

    assert dump_schema(program, source_dsn).startswith(b"PGDMP")
    assert "dbname=engine_" in commands[0]
    assert "password" not in commands[0]


def test_dump_schema_reports_the_message_of_the_program(source_dsn):
    program = config.programs().find_program("pg_dump", minimum_version=18)

    with pytest.raises(BackupRefused, match="snapshot"):
        dump_schema(program, source_dsn, snapshot="00000000-00000000-1")


def test_dump_schema_stops_for_a_session_that_holds_the_lock(source_dsn, monkeypatch):
    monkeypatch.setattr(postgres_programs, "LOCK_TIMEOUT", "200ms")
    program = config.programs().find_program("pg_dump", minimum_version=18)
    with psycopg.connect(source_dsn) as holder:
        holder.execute("LOCK TABLE page IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Stopped, match="needed the lock first"):
            dump_schema(program, source_dsn)


def test_dump_schema_is_killed_when_the_run_is_cancelled(source_dsn, tmp_path):
    program = tmp_path / "pg_dump"
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    program.chmod(0o755)

    def stop_when_started():
        if (tmp_path / "pid").exists():
            raise Stopped("cancelled")

    with pytest.raises(Stopped):
        dump_schema(program, source_dsn, raise_if_stopped=stop_when_started)

    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    run_sql(source_dsn, "SELECT 1")

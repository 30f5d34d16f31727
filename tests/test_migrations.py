"""The migrations: they make the schema that is recorded in `tests/schema.sql`, and each has a way back."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.db import connection
from psycopg import sql

from config.embedded_servers import postgres_programs
from tests.stack import ROOT

RECORDED = Path(__file__).parent / "schema.sql"
APPS = ("backups", "vault", "analytics", "sites", "accounts", "audit", "core")


@pytest.fixture(scope="module")
def scratch_url(django_db_setup: None) -> Iterator[str]:
    """The URL of an empty database of the tests' server."""
    server = connection.settings_dict
    base = f"postgresql://{server['USER']}:{server['PASSWORD']}@{server['HOST']}:{server['PORT']}"
    name = f"migrations_{os.getpid()}"
    with psycopg.connect(f"{base}/postgres", autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield f"{base}/{name}"
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def migrate(url, *targets):
    """Run `migrate` once for each of `targets` (its arguments), in one process."""
    commands = "; ".join(f"call_command('migrate', *{target!r}, verbosity=0)" for target in targets)
    script = f"import django; django.setup(); from django.core.management import call_command; {commands}"
    environ = {**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "config.settings"}
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environ, check=True, timeout=120)


def dump_schema(url):
    """The statements of `pg_dump --schema-only`, sorted; columns of a table are sorted, partitions are left
    out.
    """
    programs = postgres_programs()
    assert programs
    options = ["--schema-only", "--no-owner", "--no-privileges", "--exclude-table=audit_entry_2*"]
    options += ["--exclude-table=analytics_event_2*"]
    text = subprocess.run(
        [programs / "pg_dump", *options, url], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    text = re.sub(r"^(--|\\(un)?restrict).*$", "", text, flags=re.MULTILINE)
    return sorted(normalise(statement) for statement in re.split(r";\n", text) if statement.strip())


def normalise(statement):
    match = re.fullmatch(r"(CREATE (?:UNLOGGED )?TABLE \S+ \(\n)(.*)(\n\).*)", statement.strip(), re.DOTALL)
    if not match:
        return " ".join(statement.split())
    columns = sorted(column.strip().rstrip(",") for column in match[2].split("\n"))
    return match[1] + ",\n".join(f"    {column}" for column in columns) + match[3]


def test_migrate_makes_the_recorded_schema_and_reverses_to_nothing(scratch_url):
    migrate(scratch_url, [])
    statements = dump_schema(scratch_url)
    if os.environ.get("RECORD_SCHEMA"):
        RECORDED.write_text(";\n".join(statements) + ";\n")

    assert statements == RECORDED.read_text().removesuffix(";\n").split(";\n"), "make schema records a change"

    migrate(scratch_url, *([app, "zero"] for app in APPS))
    left = [line for line in dump_schema(scratch_url) if re.search(rf"public\.({'|'.join(APPS)}|app)_", line)]
    assert left == []

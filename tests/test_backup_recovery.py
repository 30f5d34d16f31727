"""Recovery from backups as docs/backups.md describes it, upgrades, and the exit codes of backup commands."""

import base64
import json
import os
import re
import secrets
import shutil
import subprocess
import sys

import httpx
import psycopg
import pytest
from psycopg import sql

from backups.services.runs import WORKER_LOCK_ID
from backups.tests.helpers import dump_lines
from config import embedded_servers
from config.env import BASE_DIR
from config.testing import WORKER_FOLDER
from tests.stack import PASSWORD, RegisteredUser

pytestmark = pytest.mark.stack
SOAK = bool(os.environ.get("SOAK"))


def recovery_commands():
    """The lines of the shell block in docs/backups.md that is marked as the recovery."""
    guide = (BASE_DIR / "docs/backups.md").read_text()
    block = re.search(r"<!-- recovery -->\n```sh\n(.*?)```", guide, re.DOTALL)
    assert block
    return block[1].splitlines()


def create_empty_database(stack):
    """Create a database beside that of the stack; return its URL."""
    name = f"recovered_{secrets.token_hex(4)}"
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return stack.database_url.rpartition("/")[0] + f"/{name}"


@pytest.fixture
def backup_settings(tmp_path):
    """Settings with a backup store and a VAR_DIR for this test alone."""
    return {"BACKUP_STORE_URL": f"file://{tmp_path}/store", "VAR_DIR": str(tmp_path / "var")}


def run_shell(line, environ):
    completed = subprocess.run(
        ["/bin/sh", "-c", line.replace("manage.py", f"{sys.executable} manage.py")],
        cwd=BASE_DIR,
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert completed.returncode == 0, f"{line}\n{completed.stdout}\n{completed.stderr}"
    return completed.stdout


def run_command(stack, *arguments, **environ):
    """Run a management command that may fail; return its exit code and everything it printed."""
    completed = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        env={**stack.environ, **environ},
    )
    assert "Traceback" not in completed.stderr, completed.stderr
    return completed.returncode, completed.stdout + completed.stderr


def sign_in(web, email):
    response = httpx.post(
        f"{web.url}/api/v1/auth/login",
        headers={"Host": "localhost"},
        json={"email": email, "password": PASSWORD},
        timeout=30,
    )
    assert response.status_code == 200
    return response.json()


def test_backup_restore_by_the_guide_brings_back_everything_but_erased_people(
    stack, person, other_person, backup_settings
):
    site_id, host = person.publish()
    title = re.search("<title>.+</title>", stack.webs[0].get("/", host=host).text)[0]
    stack.manage("backup_run", **backup_settings)
    assert other_person.call("GET", "auth/me").status_code == 200
    stack.manage("erase_user", other_person.email)
    stack.manage("backup_forget", **backup_settings)  # the worker runs it each minute
    registered_later = RegisteredUser(stack.webs[0])
    registered_later.browser.close()

    target = create_empty_database(stack)
    environ = {**stack.environ, **backup_settings, "DATABASE_URL": target}
    outputs = [run_shell(line, environ) for line in recovery_commands()]

    assert len(re.findall(r"\b[0-9a-f]{32}\b", outputs[0])) == 1
    assert "erased 1 people again" in outputs[3]
    with psycopg.connect(target) as connection:
        emails = {row[0] for row in connection.execute("SELECT email FROM accounts_user")}
        visible_sites = connection.execute("SELECT count(*) FROM sites_site").fetchone()
    assert visible_sites == (0,), "row-level security must be in force after a restore"
    assert person.email in emails
    assert not emails & {other_person.email, registered_later.email}
    web = stack.start_web(workers=1, DATABASE_URL=target, **backup_settings)
    try:
        page = web.get("/", host=host)
        assert (page.status_code, title in page.text) == (200, True)
        session = sign_in(web, person.email)
        assert session["user"]["id"] == person.id
        site = web.get(f"/api/v1/sites/{site_id}", Authorization=f"Bearer {session['access']}")
        assert site.status_code == 200
    finally:
        web.process.terminate()
        web.process.wait(40)


RUNS_BETWEEN_MIGRATIONS = """
import json, sys
import django
django.setup()
from pathlib import Path
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from accounts.tests.factories import UserFactory
from audit.actors import SYSTEM
from audit.chain.sealing import seal_pending
from audit.services import record
from backups import config
from backups.engine.encryption import Keys
from backups.tests.helpers import BackupChain
from core.storage.object_store import FolderStore
from sites.tests.factories import SiteFactory

folder, master, migration_count = sys.argv[1:]
chain = BackupChain("", FolderStore(Path(folder)), Keys(masters=(bytes.fromhex(master),)))
chain.source = config.source()
kinds = []

def take():
    kinds.append("increment" if chain.take().parent else "full")

def pending():
    executor = MigrationExecutor(connection)
    return [migration for migration, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]

later = [migration for migration in pending() if migration.name[:4] > "0001" and migration.app_label in
         {"audit", "accounts", "sites", "vault", "analytics", "backups"}]
for app in ("audit", "accounts", "sites", "vault", "analytics", "backups"):
    call_command("migrate", app, "0001", verbosity=0)
take()
for migration in later[:int(migration_count)]:
    call_command("migrate", migration.app_label, migration.name, verbosity=0)
    take()
call_command("migrate", verbosity=0)
site = SiteFactory()
record("site.restored", actor=SYSTEM, subject=site)
seal_pending()
take()
print(json.dumps({"kinds": kinds, "site": str(site.pk), "later": len(later)}))
"""


@pytest.fixture
def empty_server(tmp_path):
    """A PostgreSQL server of its own; yields the URL of its empty database."""
    folder = embedded_servers.server_folder(WORKER_FOLDER / "empty-server")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    server = embedded_servers.PostgresServer(folder)
    yield server.start(print, fast=True)
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


def test_restore_on_an_empty_server_after_migrations_between_increments(
    stack, backup_settings, empty_server, tmp_path
):
    source = create_empty_database(stack)
    master = secrets.token_bytes(32)
    migrations = 4 if SOAK else 2
    completed = subprocess.run(
        [
            sys.executable,
            "-c",
            RUNS_BETWEEN_MIGRATIONS,
            str(tmp_path / "store"),
            master.hex(),
            str(migrations),
        ],
        cwd=BASE_DIR,
        env={**stack.environ, "DATABASE_URL": source, "DJANGO_SETTINGS_MODULE": "config.settings"},
        capture_output=True,
        text=True,
    )
    assert completed.returncode == 0, completed.stderr
    result = json.loads(completed.stdout)
    assert result["kinds"] == ["full"] + ["increment"] * (migrations + 1)
    assert result["later"] >= migrations

    settings = {
        **backup_settings,
        "DATABASE_URL": empty_server,
        "BACKUP_KEYS": base64.b64encode(master).decode(),
    }
    stack.manage("backup_restore", "--target", empty_server, "--prove", **settings)

    assert dump_lines(empty_server) == dump_lines(source)
    assert partition_indexes(empty_server) == partition_indexes(source) > 50
    stack.manage("audit_verify", **settings)
    web = stack.start_web(workers=1, **settings)
    web.process.terminate()
    assert web.process.wait(40) == 0
    runs = [json.loads(stack.manage("backup_run", "--json", **settings))["kind"] for _ in range(2)]
    assert runs == ["full", "increment"]


def partition_indexes(url):
    """The number of valid indexes of partitions."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT count(*) FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid"
            " WHERE c.relispartition AND x.indisvalid"
        ).fetchone()[0]


def test_upgrade_command_backs_up_and_migrates_and_changes_nothing_when_the_backup_fails(
    stack, backup_settings
):
    settings = {**backup_settings, "DATABASE_URL": create_empty_database(stack)}
    first = json.loads(stack.manage("upgrade", "--json", **settings))
    assert (first["backup"], first["migrations"] > 20, first["health"]["database"]) == (None, True, "ok")

    second = json.loads(stack.manage("upgrade", "--json", **settings))
    assert (len(second["backup"]), second["migrations"]) == (32, 0)
    stack.manage("backup_drill", **settings)

    no_folder = f"file://{BASE_DIR}/manage.py/no-folder"
    exit_code, output = run_command(stack, "upgrade", **{**settings, "BACKUP_STORE_URL": no_folder})
    assert (exit_code, "Nothing was changed" in output) == (1, True)


def test_backup_commands_report_failures_by_their_exit_codes(stack, backup_settings, tmp_path):
    target = create_empty_database(stack)

    def run(*arguments, **environ):
        return run_command(stack, *arguments, **backup_settings, **environ)

    assert run("backup_restore", "--target", target)[0] == 1  # there is no backup
    backup = json.loads(stack.manage("backup_run", "--json", **backup_settings))
    assert run("backup_verify", "--json")[0] == 0
    wrong_key = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="
    exit_code, output = run("backup_restore", "--target", target, BACKUP_KEYS=wrong_key)
    assert (exit_code, "No key that was given opens" in output) == (4, True)
    assert run("backup_restore", "--target", stack.database_url)[0] == 1  # the target is not empty
    pack = next(path for path in (tmp_path / "store" / "packs").rglob("*") if path.is_file())
    pack.write_bytes(pack.read_bytes()[:-1])
    exit_code, output = run("backup_verify")
    assert (exit_code, backup["run"] in output) == (3, True)
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [WORKER_LOCK_ID])
        assert run("backup_run")[0] == 5  # another backup is running

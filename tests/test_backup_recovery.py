"""The guide of backups, followed to the letter on an empty machine: what is in the store and outside of it is
enough.
"""

import json
import re
import secrets
import subprocess
import sys

import httpx
import psycopg
import pytest
from psycopg import sql

from config.env import BASE_DIR
from tests.stack import PASSWORD, RegisteredUser

pytestmark = pytest.mark.stack


def steps():
    """The lines of the block that is marked as the recovery."""
    guide = (BASE_DIR / "docs/backups.md").read_text()
    block = re.search(r"<!-- recovery -->\n```sh\n(.*?)```", guide, re.DOTALL)
    assert block
    return block[1].splitlines()


def new_database(stack):
    """An empty one on another name; its address."""
    name = f"recovered_{secrets.token_hex(4)}"
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return stack.database_url.rpartition("/")[0] + f"/{name}"


def follow(line, environ):
    done = subprocess.run(
        ["/bin/sh", "-c", line.replace("manage.py", f"{sys.executable} manage.py")],
        cwd=BASE_DIR,
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_guide_brings_everything_back_and_nobody_who_was_erased(stack, person, other_person, tmp_path):
    site, host = person.publish()
    title = re.search("<title>.+</title>", stack.webs[0].get("/", host=host).text)[0]
    outside = {"BACKUP_STORE_URL": f"file://{tmp_path}/store", "VAR_DIR": str(tmp_path / "var")}
    kept = {**stack.environ, **outside}
    stack.manage("backup_run", **outside)
    assert other_person.call("GET", "auth/me").status_code == 200
    stack.manage("erase_user", other_person.email)
    stack.manage("backup_forget", **outside)  # as the worker does each minute: the store hears of it
    after = RegisteredUser(stack.webs[0])
    after.browser.close()

    target = new_database(stack)
    environ = {**kept, "DATABASE_URL": target}
    said = [follow(line, environ) for line in steps()]

    assert len(re.findall(r"\b[0-9a-f]{32}\b", said[0])) == 1
    assert "erased 1 people again" in said[3]
    with psycopg.connect(target) as connection:
        emails = {row[0] for row in connection.execute("SELECT email FROM accounts_user")}
        assert connection.execute("SELECT count(*) FROM sites_site").fetchone() == (0,), (
            "row-level security holds here, too"
        )
    assert person.email in emails
    assert not emails & {other_person.email, after.email}
    web = stack.start_web(workers=1, DATABASE_URL=target, **outside)
    try:
        page = web.get("/", host=host)
        assert (page.status_code, title in page.text) == (200, True)
        signed_in = sign_in(web, person.email)
        assert signed_in.status_code == 200
        assert signed_in.json()["user"]["id"] == person.id
        assert (
            web.get(f"/api/v1/sites/{site}", Authorization=f"Bearer {signed_in.json()['access']}").status_code
            == 200
        )
    finally:
        web.process.terminate()
        web.process.wait(40)


def sign_in(web, email):
    return httpx.post(
        f"{web.url}/api/v1/auth/login",
        headers={"Host": "localhost"},
        json={"email": email, "password": PASSWORD},
        timeout=30,
    )


def test_an_upgrade_backs_up_migrates_and_says_the_way_back(stack, tmp_path):
    outside = {"BACKUP_STORE_URL": f"file://{tmp_path}/store", "VAR_DIR": str(tmp_path / "var")}
    fresh = new_database(stack)
    first = json.loads(stack.manage("upgrade", "--json", DATABASE_URL=fresh, **outside))
    assert (first["backup"], first["migrations"] > 20, first["health"]["database"]) == (None, True, "ok")

    second = json.loads(stack.manage("upgrade", "--json", DATABASE_URL=fresh, **outside))
    assert (len(second["backup"]), second["migrations"]) == (32, 0)
    stack.manage("backup_drill", DATABASE_URL=fresh, **outside)

    third = subprocess.run(
        [sys.executable, "manage.py", "upgrade"],
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        env={
            **stack.environ,
            **outside,
            "DATABASE_URL": fresh,
            "BACKUP_STORE_URL": f"file://{BASE_DIR}/manage.py/no-folder",
        },
    )
    assert (third.returncode, "Nothing was changed" in third.stderr) == (1, True)


def test_commands_say_by_their_exit_code_what_is_wrong(stack, tmp_path):
    outside = {"BACKUP_STORE_URL": f"file://{tmp_path}/store", "VAR_DIR": str(tmp_path / "var")}
    target = new_database(stack)

    def ended(*arguments, **environ):
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=BASE_DIR,
            capture_output=True,
            text=True,
            env={**stack.environ, **outside, **environ},
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + done.stderr

    assert ended("backup_restore", "--target", target)[0] == 1
    run = json.loads(stack.manage("backup_run", "--json", **outside))
    assert ended("backup_verify", "--json")[0] == 0
    other_key = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="
    code, said = ended("backup_restore", "--target", target, BACKUP_KEYS=other_key)
    assert (code, "No key that was given opens" in said) == (4, True)
    assert ended("backup_restore", "--target", stack.database_url)[0] == 1
    pack = next(path for path in (tmp_path / "store" / "packs").rglob("*") if path.is_file())
    pack.write_bytes(pack.read_bytes()[:-1])
    code, said = ended("backup_verify")
    assert (code, run["run"] in said) == (3, True)
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        from backups.services.runs import RUNNER

        connection.execute("SELECT pg_advisory_lock(%s)", [RUNNER])
        assert ended("backup_run")[0] == 5
    private = tmp_path / "private.key"
    made = json.loads(stack.manage("backup_keys", "add-recipient", str(private), "--json", **outside))
    assert (private.stat().st_mode & 0o777, len(made["recipient"])) == (0o600, 44)
    assert ended("backup_keys", "add-recipient", str(private))[0] == 1
    assert len(json.loads(stack.manage("backup_keys", "new", "--json", **outside))["key"]) == 44

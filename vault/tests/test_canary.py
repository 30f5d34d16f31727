"""What people keep, their password and what is sent in its place are nowhere on the server, whichever client
they use: not in tables, files of the database (its log of changes too), Redis, logs, metrics or backups.
"""

import base64
import secrets

import httpx
import psycopg
import pytest
import redis

from vault import client as reference
from vault.tests.test_clients import DUMP, run, sign_up
from vault.tests.test_page import NEW, add, enter, item, press, saved, write

pytestmark = pytest.mark.stack


class Canaries:
    """Secrets of one person: what they keep, both passwords, and everything that is derived from those."""

    def __init__(self, web):
        self.web = web
        self.email = f"{secrets.token_hex(6)}@example.com"
        self.kept, self.former = (f"canary-{secrets.token_hex(12)}" for _ in range(2))
        self.passwords = [f"a phrase {secrets.token_hex(8)}" for _ in range(2)]
        self.needles = [text.encode() for text in (self.kept, self.former, *self.passwords)]

    def derived(self, password):
        """Remember what `password` gives now, and that it is looked for."""
        asked = {"email": self.email}
        told = httpx.post(
            f"{self.web.url}/api/v1/auth/prelogin", json=asked, headers={"Host": "localhost"}
        ).json()
        salt = reference.raw(told["salt"])
        master = reference.master_key(password, salt=salt, iterations=told["kdf"]["iterations"])
        for key in (master, reference.auth_hash(master), reference.account_key(master)):
            self.needles += [key, base64.b64encode(key), base64.urlsafe_b64encode(key), key.hex().encode()]

    def found(self, where):
        """What of it is in some bytes: as it is, and in the ways in which things are written down."""
        ways = [
            lambda n: n,
            lambda n: n.hex().encode(),
            base64.b64encode,
            lambda n: n.decode("latin-1").encode("utf-16-le"),
        ]
        return [needle for needle in self.needles for way in ways if way(needle) in where]


def by_terminal(canaries, folder):
    """Everything that the client for terminals can do, and a wrong password."""
    first, second = canaries.passwords
    sign_up(canaries.web, canaries.email, first)
    canaries.derived(first)
    laptop = folder / "laptop.json"
    acts = [
        run(laptop, "login", canaries.web.url, canaries.email, VAULT_PASSWORD=first),
        run(laptop, "put", "mail", typed=canaries.former, VAULT_PASSWORD=first),
        run(laptop, "put", "mail", typed=canaries.kept, VAULT_PASSWORD=first),
        run(laptop, "rotate", VAULT_PASSWORD=first),
        run(laptop, "password", VAULT_PASSWORD=first, VAULT_NEW_PASSWORD=second),
        run(laptop, "put", "mail", typed=canaries.kept, VAULT_PASSWORD=second),
    ]
    assert [act.returncode for act in acts] == [0] * 6, [act.stderr for act in acts]
    assert run(laptop, "list", VAULT_PASSWORD=first).returncode == 1
    assert run(laptop, "get", "mail", VAULT_PASSWORD=second).stdout.strip() == canaries.kept
    canaries.derived(second)


def by_page(canaries, page):
    """The same on the page."""
    first, second = canaries.passwords
    enter(page, canaries.email, first, button=NEW)
    canaries.derived(first)
    add(page, Name="Mail", Secret=canaries.former, Note=canaries.kept)
    item(page, "Mail").locator(".item").click()
    write(page, Secret=canaries.kept)
    saved(page)
    press(page, "Settings")
    press(page, "Make a new key")
    page.get_by_text("sealed with a new key").wait_for()
    press(page, "Settings")
    page.get_by_label("Password now").fill(first)
    page.get_by_label("New password", exact=True).fill(second)
    page.get_by_label("New password again").fill(second)
    press(page, "Change the password")
    page.get_by_text("The password is changed.").wait_for()
    press(page, "Lock")
    page.reload()
    enter(page, canaries.email, second)
    canaries.derived(second)


def value(cache, key):
    """What a key holds, as it was sent: a dump may be compressed."""
    kind = cache.type(key).decode()
    read = {
        "string": cache.get,
        "hash": cache.hgetall,
        "set": cache.smembers,
        "stream": cache.xrange,
        "list": lambda k: cache.lrange(k, 0, -1),
        "zset": lambda k: cache.zrange(k, 0, -1),
        "none": lambda k: b"",
    }
    return b" ".join(_flat(read[kind](key)))


def _flat(found):
    """The bytes in what a client made of an answer."""
    if isinstance(found, bytes):
        yield found
    elif isinstance(found, dict):
        yield from _flat([*found.items()])
    elif isinstance(found, list | tuple | set):
        for one in found:
            yield from _flat(one)


def backed_up(stack):
    """What a backup holds: its files as they lie there, and its tables once they are restored."""
    name = f"restored_{secrets.token_hex(4)}"
    store = stack.home / f"backups-{name}"
    outside = {"BACKUP_STORE_URL": f"file://{store}"}
    stack.manage("backup_run", **outside)
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    restored = stack.database_url.rpartition("/")[0] + f"/{name}"
    stack.manage("backup_restore", "--target", restored, "--prove", **outside)
    tables = stack.manage("shell", "-c", DUMP, DATABASE_URL=restored).encode()
    return tables + b"".join(path.read_bytes() for path in store.rglob("*") if path.is_file())


ZEROS = bytes(512)


def written_files(home):
    """The content of every file that the servers wrote, without runs of zeros, which hide nothing; not their
    programs.
    """
    for path in home.rglob("*"):
        if "pginstall18" in path.parts or any(part.endswith(".libs") for part in path.parts):
            continue
        try:
            yield path.read_bytes().replace(ZEROS, b"")
        except (IsADirectoryError, FileNotFoundError):  # the server may have tidied up since
            continue


def everything(stack, web):
    """All that the server has, by where it lies."""
    cache = redis.Redis.from_url(stack.redis_url)
    keys = list(cache.scan_iter(count=1000))
    held = b"\n".join(key + b" " + value(cache, key) for key in keys)
    return {
        "tables": stack.manage("shell", "-c", DUMP).encode(),
        "files": b"\n".join(written_files(stack.home)),
        "redis": held,
        "logs": web.log.read_bytes(),
        "metrics": httpx.get(f"http://127.0.0.1:{web.internal_port}/metrics").content,
        "backup": backed_up(stack),
    }


# What must be found in each place, or the search looks in the wrong one.
CONTROLS = {
    "backup": b"vault.rotated",
    "files": b"vault.rotated",
    "logs": b"route=api/v1/vault",
    "metrics": b"vault",
    "redis": b"",
    "tables": b"vault.rotated",
}


def test_nothing_of_it_is_anywhere(stack, open_page, tmp_path):
    web = stack.start_web(workers=1, LOG_LEVEL="DEBUG")
    try:
        one = Canaries(web)
        other = Canaries(web)
        by_terminal(one, tmp_path)
        by_page(other, open_page(f"http://localhost:{web.port}/vault/"))
        places = everything(stack, web)
    finally:
        web.process.terminate()
        web.process.wait(40)

    for name, content in places.items():
        assert CONTROLS[name] in content, f"{name}: {len(content)} bytes do not have what they should"
        assert (name, one.found(content), other.found(content)) == (name, [], [])
        assert one.found(content + one.needles[0])
    assert one.email.encode() in places["tables"]
    assert one.email.encode() in places["files"]

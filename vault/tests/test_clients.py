"""The reference clients: held to the same examples, against a real server, and against one that lies."""

import copy
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest

from tests.stack import (
    ROOT,
    wait_until,  # noqa: F401 - the stack's fixtures
)
from vault import client as reference
from vault.client import Client, Memory, Refused

VECTORS = json.loads((Path(reference.__file__).parent / "vectors.json").read_text())
PASSWORD = "correct horse battery staple"
VAULT = uuid4()
ITEM = uuid4()
OTHER = uuid4()
KEY = bytes(range(32))


def test_python_agrees_with_the_vectors():
    for vector in VECTORS["derivation"]:
        salt = reference.raw(vector["salt"])
        master = reference.master_key(vector["password"], salt=salt, iterations=vector["iterations"])
        found = [master, reference.auth_hash(master), reference.account_key(master)]
        assert [reference.b64(value) for value in found] == [
            vector[name] for name in ("master", "auth_hash", "account_key")
        ]
    for vector in VECTORS["envelopes"]:
        where = {"vault_id": UUID(vector["vault_id"]), "item_id": UUID(vector["item_id"])}
        key = reference.raw(vector["key"])
        given = vector["envelope"]
        fixed = {"iv": reference.raw(given["iv"]), "salt": reference.raw(given["salt"])}
        assert reference.b64(reference.place(*where.values(), given["version"])) == vector["aad"]
        assert (
            reference.seal(key, vector["plain"].encode(), **where, version=given["version"], **fixed) == given
        )
        assert reference.unseal(key, given, **where).decode() == vector["plain"]


IN_BROWSER = """async (vectors) => {
  const { derive, seal, unseal, place, base64, raw } = await import("/static/vault/client.js");
  const faults = [];
  const same = (name, found, wanted) => { if (JSON.stringify(found) !== JSON.stringify(wanted)) faults.push([name, found, wanted]); };
  for (const vector of vectors.derivation) {
    const { auth_hash, key } = await derive(vector.password, { kdf: { iterations: vector.iterations }, salt: vector.salt });
    same("auth_hash", auth_hash, vector.auth_hash);
    same("account_key", base64(key), vector.account_key);
  }
  for (const { key, plain, vault_id: vaultId, item_id: itemId, aad, envelope } of vectors.envelopes) {
    const where = { vaultId, itemId };
    same("aad", base64(place({ ...where, version: envelope.version })), aad);
    same("sealed", await seal(raw(key), plain, { ...where, version: envelope.version, iv: raw(envelope.iv), salt: raw(envelope.salt) }), envelope);
    same("plain", await unseal(raw(key), envelope, where), plain);
    for (const change of [{ version: envelope.version - 1 }, { alg: "none" }, { iv: base64(new Uint8Array(12)) }, { ciphertext: base64(new Uint8Array(40)) }]) {
      same("refused", await unseal(raw(key), { ...envelope, ...change }, where).catch((error) => error.constructor.name), "Refused");
    }
    same("elsewhere", await unseal(raw(key), envelope, { vaultId: itemId, itemId: vaultId }).catch((error) => error.constructor.name), "Refused");
  }
  same("weak", await derive("x", { kdf: { iterations: 599_999 }, salt: base64(new Uint8Array(16)) }).catch((error) => error.constructor.name), "Refused");
  return faults;
}"""


@pytest.mark.stack
def test_javascript_agrees_with_the_same_vectors_as_the_server_publishes_them(stack, open_page):
    web = stack.webs[0]
    published = web.get("/api/v1/vault/vectors")
    page = open_page(f"http://localhost:{web.port}/account/forgot-password")

    assert published.json() == VECTORS
    assert page.evaluate(IN_BROWSER, VECTORS) == []
    assert len(web.get("/static/vault/client.js").content) < 10 * 1024


# --- a server that lies
# ----------------------------------------------------------------------------------------------


def sealed(version=1, *, item=ITEM, plain=b'{"name": "a"}', key=KEY):
    return reference.seal(key, plain, vault_id=VAULT, item_id=item, version=version)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"alg": "A128GCM"},
        {"iv": reference.b64(bytes(12))},
        {"salt": reference.b64(bytes(16))},
        {"ciphertext": reference.b64(bytes(29))},
    ],
)
def test_a_changed_envelope_does_not_open(change):
    with pytest.raises(Refused):
        reference.unseal(KEY, {**sealed(), **change}, vault_id=VAULT, item_id=ITEM)


def test_a_swapped_envelope_does_not_open():
    for where in (
        {"vault_id": VAULT, "item_id": OTHER},
        {"vault_id": OTHER, "item_id": ITEM},
        {"vault_id": ITEM, "item_id": VAULT},
    ):
        with pytest.raises(Refused, match="belongs elsewhere"):
            reference.unseal(KEY, sealed(), **where)


class Liar(Client):
    """A client whose server says what the test says."""

    def __init__(self, memory, answers):
        super().__init__(memory)
        self.master = bytes(32)
        self.answers = answers

    def call(self, method, path, body=None, *, if_match=None):
        return copy.deepcopy(self.answers[path.partition("?")[0]])


def row(envelope, *, item=None, deleted=False):
    return {"vault_id": str(VAULT), "item_id": str(item) if item else None, "deleted": deleted, **envelope}


def page(*rows):
    own = reference.seal(
        reference.account_key(bytes(32)),
        json.dumps({"key": reference.b64(KEY)}).encode(),
        vault_id=VAULT,
        item_id=reference.NO_ITEM,
        version=1,
    )
    return {"vault/changes": {"results": [row(own), *rows], "cursor": "x", "more": False}}


def test_what_was_seen_newer_or_at_all_is_not_taken_back():
    memory = Memory("https://x", "a@example.com")
    Liar(memory, page(row(sealed(3), item=ITEM), row(sealed(1, item=OTHER), item=OTHER))).sync()

    with pytest.raises(Refused, match="rolled back"):
        Liar(memory, page(row(sealed(2), item=ITEM), row(sealed(1, item=OTHER), item=OTHER))).sync()
    with pytest.raises(Refused, match="has lost"):
        Liar(memory, page(row(sealed(3), item=ITEM))).sync()
    gone = row({**sealed(1, item=OTHER), "ciphertext": ""}, item=OTHER, deleted=True)
    Liar(memory, page(row(sealed(3), item=ITEM), gone)).sync()


def test_what_was_deleted_or_makes_no_sense_is_not_shown_again_older():
    memory = Memory("https://x", "a@example.com")
    Liar(memory, page(row(sealed(3), item=ITEM))).sync()
    Liar(memory, page(row({**sealed(3), "ciphertext": ""}, item=ITEM, deleted=True))).sync()
    for version in (2, 0, -3, 2**32 + 3, 2**31, "3", 3.5, None, True):
        with pytest.raises(Refused, match="rolled back"):
            Liar(memory, page(row({**sealed(3), "version": version}, item=ITEM))).sync()
    Liar(memory, page(row(sealed(3), item=ITEM))).sync()  # out of the trash


def test_what_does_not_open_is_set_aside_and_the_rest_stays_in_use():
    memory = Memory("https://x", "a@example.com")
    client = Liar(
        memory, page(row(sealed(1), item=ITEM), row(sealed(9, item=OTHER, key=bytes(32)), item=OTHER))
    )
    client.sync()

    assert client.broken == [f"{VAULT}/{OTHER}"]
    assert client.values == {(VAULT, ITEM): {"name": "a"}}
    assert memory.seen[f"{VAULT}/{ITEM}"] == 1
    assert f"{VAULT}/{OTHER}" not in memory.seen, "a version that nobody proved is not remembered"
    with pytest.raises(Refused, match="does not open"):
        client.change_password("a new password")


@pytest.mark.parametrize(
    ("told", "match"),
    [
        (
            {"scheme": "blind", "kdf": {"algorithm": "PBKDF2-SHA256", "iterations": 699_999}},
            "weaker key than before",
        ),
        ({"scheme": "password", "kdf": {"algorithm": "PBKDF2-SHA256", "iterations": 700_000}}, "not blind"),
    ],
)
def test_a_server_that_asks_for_less_than_before_gets_nothing(told, match):
    memory = Memory("https://x", "a@example.com", iterations=700_000)

    with pytest.raises(Refused, match=match):
        Liar(memory, {"auth/prelogin": {**told, "salt": reference.b64(bytes(16))}}).sign_in(PASSWORD)
    with pytest.raises(Refused, match="too weak"):
        reference.master_key(PASSWORD, salt=bytes(16), iterations=599_999)


# --- a real one
# ------------------------------------------------------------------------------------------------------


def run(state, *arguments, typed="", **environ):
    """The command line, in a process that knows nothing of Django."""
    environ = {"PATH": os.environ["PATH"], "VAULT_PASSWORD": PASSWORD, **environ}
    command = [sys.executable, "-m", "vault.client", "--state", str(state), *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environ, input=typed, capture_output=True, text=True, timeout=60
    )


def sign_up(web, email, password=PASSWORD):
    """A blind account."""
    salt = os.urandom(16)
    master = reference.master_key(password, salt=salt, iterations=600_000)
    fields = {
        "kdf": {"algorithm": "PBKDF2-SHA256", "iterations": 600_000},
        "salt": reference.b64(salt),
        "auth_hash": reference.b64(reference.auth_hash(master)),
    }
    made = httpx.post(f"{web.url}/api/v1/auth/register", json={"email": email, "scheme": "blind", **fields})
    assert made.status_code == 201, made.text


@pytest.mark.stack
def test_the_command_line_keeps_finds_and_rotates(stack, tmp_path):
    web = stack.webs[0]
    email = f"{secrets.token_hex(6)}@example.com"
    sign_up(web, email)
    laptop = tmp_path / "laptop.json"
    phone = tmp_path / "phone.json"

    said = [
        run(laptop, "login", web.url, email),
        run(laptop, "put", "mail", typed="first"),
        run(phone, "login", web.url, email),
    ]
    found = run(phone, "get", "mail")
    said += [
        run(phone, "put", "mail", typed="second"),
        run(phone, "rotate"),
        run(laptop, "put", "bank", typed="x"),
    ]
    listed = run(laptop, "list")
    again = run(laptop, "get", "mail")

    assert [done.returncode for done in said] == [0] * 6, [done.stderr for done in said]
    assert (found.stdout, listed.stdout.split(), again.stdout) == ("first\n", ["bank", "mail"], "second\n")
    assert run(laptop, "get", "nothing").stderr.strip() == "There is no nothing."
    assert "second" not in laptop.read_text()
    assert laptop.stat().st_mode & 0o777 == 0o600


DUMP = """
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("SET app.context = 'system'")
    cursor.execute("SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname = 'public'")
    for (table,) in cursor.fetchall():
        cursor.execute(f"SELECT t::text FROM {table} t")
        print(table, *cursor.fetchall(), sep="\\n")
"""

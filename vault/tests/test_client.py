"""Tests of the Python client against a server that lies and against a real server."""

import copy
import json
import os
import secrets
from uuid import uuid4

import pytest

from vault import client_crypto
from vault.client import Client
from vault.client_crypto import VaultError
from vault.client_state import ClientState
from vault.tests.client_helpers import PASSWORD, run_client, sign_up

VAULT = uuid4()
ITEM = uuid4()
OTHER_ITEM = uuid4()
ACCOUNT_MASTER_KEY = bytes(32)
VAULT_KEY = bytes(range(32))


class ScriptedClient(Client):
    """A client whose server answers what the test says: a response by path."""

    def __init__(self, state, responses):
        super().__init__(state)
        self.master_key = ACCOUNT_MASTER_KEY
        self.responses = responses

    def request(self, method, path, body=None, *, if_match=None):
        return copy.deepcopy(self.responses[path.partition("?")[0]])


def new_state(**fields):
    return ClientState("https://x", "a@example.com", **fields)


def envelope(version=1, *, item=ITEM, key=VAULT_KEY):
    return client_crypto.encrypt_envelope(
        key, b'{"name": "a"}', vault_id=VAULT, item_id=item, version=version
    )


def change_row(fields, *, item=None, deleted=False):
    return {
        "vault_id": str(VAULT),
        "item_id": str(item) if item else None,
        "deleted": deleted,
        **fields,
    }


def item_row(version=1, *, item=ITEM, **options):
    return change_row(envelope(version, item=item, **options), item=item)


def deleted_row(version, *, item=ITEM):
    return change_row({**envelope(version, item=item), "ciphertext": ""}, item=item, deleted=True)


def sync_with(state, *rows):
    """Synchronize with a server that returns one vault and these rows. Return the client."""
    record = client_crypto.encrypt_envelope(
        client_crypto.derive_account_key(ACCOUNT_MASTER_KEY),
        json.dumps({"key": client_crypto.encode_base64(VAULT_KEY)}).encode(),
        vault_id=VAULT,
        item_id=client_crypto.NIL_ITEM_ID,
        version=1,
    )
    page = {"results": [change_row(record), *rows], "cursor": "x", "more": False}
    client = ScriptedClient(state, {"vault/changes": page})
    client.sync()
    return client


def test_sync_refuses_older_versions_and_missing_items():
    state = new_state()
    other_row = item_row(1, item=OTHER_ITEM)
    sync_with(state, item_row(3), other_row)

    with pytest.raises(VaultError, match="rolled back"):
        sync_with(state, item_row(2), other_row)
    with pytest.raises(VaultError, match="did not return"):
        sync_with(state, item_row(3))
    sync_with(state, item_row(3), deleted_row(1, item=OTHER_ITEM))


def test_sync_refuses_invalid_versions_and_older_versions_after_a_deletion():
    state = new_state()
    sync_with(state, item_row(3))
    sync_with(state, deleted_row(3))

    for version in (2, 0, -3, 2**32 + 3, 2**31, "3", 3.5, None, True):
        row = change_row({**envelope(3), "version": version}, item=ITEM)
        with pytest.raises(VaultError, match="rolled back"):
            sync_with(state, row)
    sync_with(state, item_row(3))  # restored from the trash


def test_sync_lists_undecryptable_rows_and_keeps_the_rest():
    state = new_state()

    client = sync_with(state, item_row(1), item_row(9, item=OTHER_ITEM, key=bytes(32)))

    assert client.undecryptable == [f"{VAULT}/{OTHER_ITEM}"]
    assert client.item_values == {(VAULT, ITEM): {"name": "a"}}
    assert state.versions[f"{VAULT}/{ITEM}"] == 1
    assert f"{VAULT}/{OTHER_ITEM}" not in state.versions, "an unverified version is not remembered"
    with pytest.raises(VaultError, match="cannot be decrypted"):
        client.change_password("a new password")


@pytest.mark.parametrize(
    ("scheme", "iterations", "message"),
    [("blind", 699_999, "weaker key than before"), ("password", 700_000, "not a zero-knowledge account")],
)
def test_sign_in_refuses_weaker_parameters_than_before(scheme, iterations, message):
    parameters = {
        "scheme": scheme,
        "kdf": {"algorithm": "PBKDF2-SHA256", "iterations": iterations},
        "salt": client_crypto.encode_base64(bytes(16)),
    }
    client = ScriptedClient(new_state(iterations=700_000), {"auth/prelogin": parameters})

    with pytest.raises(VaultError, match=message):
        client.sign_in(PASSWORD)


def test_load_reads_what_save_wrote_and_files_of_older_versions(tmp_path):
    path = tmp_path / "state.json"
    state = new_state(iterations=700_000, access="secret", versions={"a/b": -3})

    state.save(path)

    assert "secret" not in path.read_text()
    assert ClientState.load(path) == new_state(iterations=700_000, versions={"a/b": -3})
    path.write_text(json.dumps({**json.loads(path.read_text()), "cursor": "", "access": ""}))
    assert ClientState.load(path) == new_state(iterations=700_000, versions={"a/b": -3})


@pytest.mark.stack
def test_main_stores_finds_and_rotates(stack, tmp_path):
    web = stack.webs[0]
    email = f"{secrets.token_hex(6)}@example.com"
    sign_up(web, email)
    laptop = tmp_path / "laptop.json"
    phone = tmp_path / "phone.json"

    runs = [
        run_client(laptop, "login", web.url, email),
        run_client(laptop, "put", "mail", stdin="first"),
        run_client(phone, "login", web.url, email),
    ]
    first = run_client(phone, "get", "mail")
    runs += [
        run_client(phone, "put", "mail", stdin="second"),
        run_client(phone, "rotate"),
        run_client(laptop, "put", "bank", stdin="x"),
    ]
    names = run_client(laptop, "list")
    second = run_client(laptop, "get", "mail")

    assert [run.returncode for run in runs] == [0] * 6, [run.stderr for run in runs]
    assert (first.stdout, second.stdout) == ("first\n", "second\n")
    assert names.stdout.split() == ["bank", "mail"]
    assert run_client(laptop, "get", "nothing").stderr.strip() == "There is no item 'nothing'."
    assert "second" not in laptop.read_text()
    assert os.stat(laptop).st_mode & 0o777 == 0o600

"""No secret of a vault is stored on the server, whichever client a person uses.

The test plants unique secrets (canaries). It searches for them, for the passwords, and for all keys that are
derived from the passwords, in tables, files of the database (including its write-ahead log), Redis, logs,
metrics and backups.
"""

import base64
import secrets

import httpx
import pytest

from vault import client_crypto
from vault.tests.client_helpers import run_client, sign_up
from vault.tests.page_helpers import (
    SIGN_UP,
    add_item,
    enter,
    fill_and_save,
    list_item,
    press,
    wait_until_saved,
)
from vault.tests.stored_bytes import collect_stored_bytes

pytestmark = pytest.mark.stack
# A text that must occur in each place. Without it the search would look in the wrong place.
EXPECTED_TEXTS = {
    "backup": b"vault.rotated",
    "files": b"vault.rotated",
    "logs": b"route=api/v1/vault",
    "metrics": b"vault",
    "redis": b"",
    "tables": b"vault.rotated",
}
ENCODINGS = [
    lambda secret: secret,
    lambda secret: secret.hex().encode(),
    base64.b64encode,
    lambda secret: secret.decode("latin-1").encode("utf-16-le"),
]


class Canaries:
    """The secrets of one account: what it stores, both its passwords, and what is derived from these."""

    def __init__(self, web):
        self.web = web
        self.email = f"{secrets.token_hex(6)}@example.com"
        self.stored, self.replaced = (f"canary-{secrets.token_hex(12)}" for _ in range(2))
        self.passwords = [f"a phrase {secrets.token_hex(8)}" for _ in range(2)]
        self.secrets = [text.encode() for text in (self.stored, self.replaced, *self.passwords)]

    def add_derived_keys(self, password):
        """Add the keys that the password gives with the present parameters of the account."""
        parameters = httpx.post(
            f"{self.web.url}/api/v1/auth/prelogin",
            json={"email": self.email},
            headers={"Host": "localhost"},
        ).json()
        master_key = client_crypto.derive_master_key(
            password,
            salt=client_crypto.decode_base64(parameters["salt"]),
            iterations=parameters["kdf"]["iterations"],
        )
        auth_hash = client_crypto.derive_auth_hash(master_key)
        account_key = client_crypto.derive_account_key(master_key)
        for key in (master_key, auth_hash, account_key):
            self.secrets += [key, base64.b64encode(key), base64.urlsafe_b64encode(key), key.hex().encode()]

    def find_in(self, content):
        """Return the secrets that some bytes contain, plain or encoded."""
        return [secret for secret in self.secrets if any(encode(secret) in content for encode in ENCODINGS)]


def use_terminal_client(canaries, folder):
    """Run every command of the Python client, and one with a wrong password."""
    first, second = canaries.passwords
    sign_up(canaries.web, canaries.email, first)
    canaries.add_derived_keys(first)
    state = folder / "laptop.json"
    runs = [
        run_client(state, "login", canaries.web.url, canaries.email, VAULT_PASSWORD=first),
        run_client(state, "put", "mail", stdin=canaries.replaced, VAULT_PASSWORD=first),
        run_client(state, "put", "mail", stdin=canaries.stored, VAULT_PASSWORD=first),
        run_client(state, "rotate", VAULT_PASSWORD=first),
        run_client(state, "password", VAULT_PASSWORD=first, VAULT_NEW_PASSWORD=second),
        run_client(state, "put", "mail", stdin=canaries.stored, VAULT_PASSWORD=second),
    ]
    assert [run.returncode for run in runs] == [0] * 6, [run.stderr for run in runs]
    assert run_client(state, "list", VAULT_PASSWORD=first).returncode == 1
    assert run_client(state, "get", "mail", VAULT_PASSWORD=second).stdout.strip() == canaries.stored
    canaries.add_derived_keys(second)


def use_page(canaries, page):
    """Do the same on the page."""
    first, second = canaries.passwords
    enter(page, canaries.email, first, button=SIGN_UP)
    canaries.add_derived_keys(first)
    add_item(page, Name="Mail", Secret=canaries.replaced, Note=canaries.stored)
    list_item(page, "Mail").locator(".item").click()
    fill_and_save(page, Secret=canaries.stored)
    wait_until_saved(page)
    press(page, "Settings")
    press(page, "Create a new key")
    page.get_by_text("encrypted with a new key").wait_for()
    press(page, "Settings")
    page.get_by_label("Current password").fill(first)
    page.get_by_label("New password", exact=True).fill(second)
    page.get_by_label("New password again").fill(second)
    press(page, "Change the password")
    page.get_by_text("The password is changed.").wait_for()
    press(page, "Lock")
    page.reload()
    enter(page, canaries.email, second)
    canaries.add_derived_keys(second)


def test_client_and_vault_page_leave_no_secret_on_the_server(stack, open_page, tmp_path):
    web = stack.start_web(workers=1, LOG_LEVEL="DEBUG")
    try:
        terminal_user = Canaries(web)
        page_user = Canaries(web)
        use_terminal_client(terminal_user, tmp_path)
        use_page(page_user, open_page(f"http://localhost:{web.port}/vault/"))
        places = collect_stored_bytes(stack, web)
    finally:
        web.process.terminate()
        web.process.wait(40)

    for name, content in places.items():
        assert EXPECTED_TEXTS[name] in content, f"{name}: {len(content)} bytes without the expected text"
        assert (name, terminal_user.find_in(content), page_user.find_in(content)) == (name, [], [])
        assert terminal_user.find_in(content + terminal_user.secrets[0])
    assert terminal_user.email.encode() in places["tables"]
    assert terminal_user.email.encode() in places["files"]

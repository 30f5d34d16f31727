"""Tests of the changes feed and of the data export."""

import json
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from django.contrib.auth.hashers import make_password
from django.db import connections
from django.utils import timezone

from accounts.models import Kdf
from accounts.services.erasure import close_and_erase
from accounts.tests.factories import UserFactory
from accounts.tests.helpers import auth_hash
from audit.actors import SYSTEM
from conftest import PASSWORD, sign_in
from core import lifecycle, tenancy
from vault import client_crypto, selectors
from vault.models import Holder, Item, Vault
from vault.tests.api_helpers import (
    create_item,
    create_vault,
    random_base64,
    random_envelope,
    read_changes,
)

pytestmark = pytest.mark.django_db
SALT = b"sixteen bytes ok"


def apply_changes(rows, state=None):
    """Return the state of a client after it applied changes: (version, ciphertext) of vaults and of items."""
    vaults, items = (dict(part) for part in state or ({}, {}))
    for row in rows:
        if row["item_id"] is None:
            vaults.pop(row["vault_id"], None)
            if row["deleted"]:
                items = {ids: value for ids, value in items.items() if ids[0] != row["vault_id"]}
            else:
                vaults[row["vault_id"]] = (row["version"], row["ciphertext"])
        elif row["deleted"]:
            items.pop((row["vault_id"], row["item_id"]), None)
        else:
            items[row["vault_id"], row["item_id"]] = (row["version"], row["ciphertext"])
    return vaults, {ids: value for ids, value in items.items() if ids[0] in vaults}


def test_changes_since_gives_the_present_state_from_zero_and_from_a_cursor(api, vault):
    first = create_item(api, vault)
    second = create_item(api, vault)
    rows, cursor = read_changes(api)
    state = apply_changes(rows)
    api.put(f"vault/{vault}/items/{first}", random_envelope(2), if_match=1)
    api.delete(f"vault/{vault}/items/{second}", if_match=1)
    other_vault = create_vault(api)
    third = create_item(api, other_vault)

    later, _ = read_changes(api, cursor)
    everything, _ = read_changes(api)

    assert apply_changes(later, state) == apply_changes(everything)
    assert [(row["item_id"], row["deleted"]) for row in later] == [
        (first, False),
        (second, True),
        (None, False),
        (third, False),
    ]
    assert [row["ciphertext"] for row in later if row["deleted"]] == [""]


def test_changes_since_removes_a_trashed_vault_with_its_items_and_brings_them_back(api, vault):
    kept = create_item(api, vault)
    other_vault = create_vault(api)
    other_item = create_item(api, other_vault)
    rows, cursor = read_changes(api)
    state = apply_changes(rows)

    api.delete(f"vault/{other_vault}", if_match=1)
    _, items = apply_changes(read_changes(api)[0])
    assert set(items) == {(vault, kept)}

    api.post(f"vault/{other_vault}/restore")
    for changes, before in ((read_changes(api)[0], None), (read_changes(api, cursor)[0], state)):
        _, items = apply_changes(changes, before)
        assert set(items) == {(vault, kept), (other_vault, other_item)}


def test_changes_since_returns_an_empty_page_and_the_same_cursor_without_changes(api, vault):
    _, cursor = read_changes(api)

    assert read_changes(api, cursor) == ([], cursor)


@pytest.mark.parametrize("cursor", ["x", "-1", "MA==", "é", "AAAA" * 1000, "LTE", "MDE"])
def test_changes_since_refuses_an_invalid_cursor(api, vault, cursor):
    assert api.get(f"vault/changes?since={cursor}").status_code == 400


def test_changes_since_refuses_a_cursor_that_is_not_reached_after_a_restore(api, vault):
    _, cursor = read_changes(api)
    with tenancy.context(tenancy.SYSTEM):
        Holder.objects.update(sequence=0)

    assert api.get(f"vault/changes?since={cursor}").json()["code"] == "cursor_unknown"
    assert api.get("vault/changes?before=1").status_code == 400


@pytest.mark.commits
def test_changes_since_misses_no_change_of_parallel_writers(api):
    vaults = [create_vault(api) for _ in range(3)]
    state = ({}, {})
    cursor = ""
    finished_writers = []

    def write(number):
        try:
            for _ in range(5):
                create_item(api, vaults[number % 3])
        finally:
            connections.close_all()
            finished_writers.append(number)

    with ThreadPoolExecutor(6) as pool:
        for number in range(6):
            pool.submit(write, number)
        while len(finished_writers) < 6:
            rows, cursor = read_changes(api, cursor)
            state = apply_changes(rows, state)
    rows, _ = read_changes(api, cursor)
    state = apply_changes(rows, state)

    assert state == apply_changes(read_changes(api)[0])
    assert len(state[1]) == 30


@pytest.mark.commits
def test_changes_since_pages_large_vaults_with_a_fixed_number_of_queries(
    api, vault, django_assert_num_queries
):
    for _ in range(6):
        create_item(api, vault, ciphertext=random_base64(1024 * 1024))

    page = api.get("vault/changes").json()

    assert (page["more"], len(page["results"])) == (True, 5)
    assert len(read_changes(api)[0]) == 7
    with django_assert_num_queries(8):
        api.get("vault/changes")


def test_changes_since_announces_more_after_a_page_of_one_change_number(api, vault, monkeypatch):
    """A key rotation gives all items of a vault the same change number."""
    monkeypatch.setattr(selectors, "MAX_PAGE_ROWS", 2)
    items = [create_item(api, vault) for _ in range(4)]
    with tenancy.context(tenancy.SYSTEM):
        shared_number = Item.objects.get(item_id=items[-1]).sequence
        Item.objects.update(sequence=shared_number)
    create_item(api, vault)

    rows, _ = read_changes(api)

    assert len([row for row in rows if row["item_id"]]) == 5


def test_personal_data_contains_the_vaults_and_close_and_erase_deletes_them(api, vault):
    create_item(api, vault)
    UserFactory(role="admin")
    with tenancy.context(tenancy.SYSTEM):
        assert dict(selectors.personal_data(api.user.pk))["vaults.json"]()[0]["version"] == 1

    close_and_erase(api.user.email, actor=SYSTEM, now=timezone.now())

    with tenancy.context(tenancy.SYSTEM):
        assert (Vault.objects.count(), Item.objects.count(), Holder.objects.count()) == (0, 0, 0)


def test_personal_data_contains_all_that_is_needed_to_decrypt_it():
    """Decrypts an item with nothing but the data export, the password and the reference client."""
    user = UserFactory(password=make_password(auth_hash(PASSWORD, SALT)))
    user.kdf = Kdf(600_000, SALT)
    user.save()
    store_encrypted_item(sign_in(user), b'{"name": "Mail"}')

    with tenancy.context(tenancy.SYSTEM):
        export = {
            name: list(read()) if name.endswith("l") else read()
            for name, read in lifecycle.export_personal_data(user.pk)
        }
    kdf = export["account.json"]["kdf"]
    (vault,) = export["vaults.json"]
    (item,) = export["vault_items.jsonl"]
    master_key = client_crypto.derive_master_key(
        PASSWORD, salt=client_crypto.decode_base64(kdf["salt"]), iterations=kdf["iterations"]
    )
    record = client_crypto.decrypt_envelope(
        client_crypto.derive_account_key(master_key),
        vault,
        vault_id=vault["vault_id"],
        item_id=client_crypto.NIL_ITEM_ID,
    )
    vault_key = client_crypto.decode_base64(json.loads(record)["key"])
    plaintext = client_crypto.decrypt_envelope(
        vault_key, item, vault_id=item["vault_id"], item_id=item["item_id"]
    )
    assert plaintext == b'{"name": "Mail"}'


def store_encrypted_item(api, plaintext):
    """Create a vault and an item as the reference client does."""
    vault_id = uuid4()
    item_id = uuid4()
    vault_key = bytes(32)
    master_key = client_crypto.derive_master_key(PASSWORD, salt=SALT, iterations=600_000)
    record = client_crypto.encrypt_envelope(
        client_crypto.derive_account_key(master_key),
        client_crypto.compact_json({"key": client_crypto.encode_base64(vault_key)}),
        vault_id=vault_id,
        item_id=client_crypto.NIL_ITEM_ID,
        version=1,
    )
    assert api.post("vault", {"vault_id": str(vault_id), **record}).status_code == 201
    item = client_crypto.encrypt_envelope(vault_key, plaintext, vault_id=vault_id, item_id=item_id, version=1)
    body = {"item_id": str(item_id), **item}
    assert api.post(f"vault/{vault_id}/items", body, if_match=1).status_code == 201

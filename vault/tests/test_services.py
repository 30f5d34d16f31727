"""Tests of writes: items and their versions, key rotation, audit entries."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from accounts.models import Session
from audit.models import Entry
from conftest import sign_in
from vault.tests.api_helpers import (
    create_item,
    new_uuid,
    random_envelope,
    read_changes,
    rotation_body,
)

pytestmark = pytest.mark.django_db


def test_create_item_sent_again_returns_the_same_item_and_refuses_another(api, vault):
    body = {"item_id": new_uuid(), **random_envelope()}

    responses = [api.post(f"vault/{vault}/items", body, if_match="*") for _ in range(2)]
    another_item = api.post(f"vault/{vault}/items", {**body, **random_envelope()}, if_match="*")
    another_vault = api.post("vault", {"vault_id": vault, **random_envelope()})

    assert [response.status_code for response in responses] == [201, 201]
    assert responses[0].json() == responses[1].json()
    assert (another_item.status_code, another_item.json()["code"]) == (409, "item_exists")
    assert another_vault.json()["code"] == "vault_exists"


def test_create_item_refuses_an_item_encrypted_before_a_rotation(api, vault):
    path = f"vault/{vault}/items"
    body = {"item_id": new_uuid(), **random_envelope()}

    assert api.post(path, body).status_code == 428
    assert api.post(f"vault/{vault}/rotate", rotation_body(api, vault), if_match=1).status_code == 200
    assert api.post(path, body, if_match=1).status_code == 412
    assert api.post(path, body, if_match=2).status_code == 201
    assert api.post(path, body, if_match=1).status_code == 201, "the same item sent again is accepted"


def test_change_item_keeps_the_last_ten_versions(api, vault):
    item = create_item(api, vault)
    path = f"vault/{vault}/items/{item}"
    sent = [api.get(path).json()["ciphertext"]]
    for version in range(2, 15):
        body = random_envelope(version)
        assert api.put(path, body, if_match=version - 1).status_code == 200
        sent.append(body["ciphertext"])

    former = api.get(f"{path}/versions").json()["results"]

    assert api.get(path).json()["ciphertext"] == sent[-1]
    assert [row["ciphertext"] for row in former] == sent[3:13][::-1]
    assert [row["version"] for row in former] == list(range(13, 3, -1))


def test_change_item_refuses_a_skipped_or_repeated_version(api, vault):
    item = create_item(api, vault)
    path = f"vault/{vault}/items/{item}"

    changes = [api.put(path, random_envelope(version), if_match="*") for version in (1, 3)]
    creation = api.post(f"vault/{vault}/items", {"item_id": new_uuid(), **random_envelope(2)}, if_match="*")

    assert [response.json()["code"] for response in (*changes, creation)] == ["version_skipped"] * 3


@pytest.mark.commits
def test_change_item_lets_one_of_twenty_parallel_writers_win(api, vault):
    item = create_item(api, vault)
    path = f"vault/{vault}/items/{item}"

    def write(version):
        try:
            return api.put(path, random_envelope(version + 1), if_match=version).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(10) as pool:
        for version in (1, 2, 3):
            statuses = list(pool.map(write, [version] * 20))
            assert (statuses.count(200), set(statuses)) == (1, {200, 412})
    assert api.get(path).json()["version"] == 4
    assert len(api.get(f"{path}/versions").json()["results"]) == 3


def test_rotate_vault_key_replaces_every_envelope_and_deletes_what_the_old_key_opened(api, vault):
    unchanged, changed, trashed = (create_item(api, vault) for _ in range(3))
    api.put(f"vault/{vault}/items/{changed}", random_envelope(2), if_match=1)
    api.delete(f"vault/{vault}/items/{trashed}", if_match=1)
    other_session = sign_in(api.user)
    _, cursor = read_changes(api)
    body = rotation_body(api, vault)

    response = api.post(f"vault/{vault}/rotate", body, if_match=1)

    assert (response.status_code, response.json()["version"]) == (200, 2)
    stored = {
        item: api.get(f"vault/{vault}/items/{item}").json()["ciphertext"] for item in (unchanged, changed)
    }
    assert stored == {item["item_id"]: item["ciphertext"] for item in body["items"]}
    assert api.get(f"vault/{vault}/items/{changed}/versions").json()["results"] == []
    assert api.post(f"vault/{vault}/items/{trashed}/restore").status_code == 404
    assert api.get("auth/me").status_code == 200
    assert other_session.get("auth/me").json()["code"] == "token_revoked"
    assert Session.objects.get(pk=other_session.session.pk).revoked_at
    changes, _ = read_changes(api, cursor)
    assert {row["item_id"] for row in changes} == {None, unchanged, changed, trashed}


def test_rotate_vault_key_refuses_missing_stale_unknown_and_repeated_items(api, vault):
    for _ in range(3):
        create_item(api, vault)
    body = rotation_body(api, vault)
    first, *others = body["items"]
    before, _ = read_changes(api)

    def rotate(if_match=1, **fields):
        return api.post(f"vault/{vault}/rotate", {**body, **fields}, if_match=if_match)

    differing = [
        others,
        [first, *others, {"item_id": new_uuid(), **random_envelope(1)}],
        [{**first, "version": 1}, *others],
        [{**first, "version": 3}, *others],
    ]
    assert [rotate(items=items).json()["code"] for items in differing] == ["items_differ"] * 4
    assert rotate(items=[first, *others, first]).status_code == 400
    assert rotate(version=3).json()["code"] == "version_skipped"
    assert rotate(if_match=2).status_code == 412
    assert read_changes(api)[0] == before


@pytest.mark.commits
def test_rotate_vault_key_excludes_a_parallel_write(api, vault):
    first, *others = [create_item(api, vault) for _ in range(5)]
    body = rotation_body(api, vault)

    def rotate():
        return api.post(f"vault/{vault}/rotate", body, if_match=1).status_code

    def write():
        return api.put(f"vault/{vault}/items/{first}", random_envelope(2), if_match=1).status_code

    def run_and_close_connections(call):
        try:
            return call()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        statuses = tuple(pool.map(run_and_close_connections, [rotate, write]))

    assert statuses in {(200, 412), (409, 200)}
    versions = {api.get(f"vault/{vault}/items/{item}").json()["version"] for item in others}
    assert versions == ({2} if statuses[0] == 200 else {1})


def test_record_writes_every_change_without_envelopes(api, vault):
    item = create_item(api, vault)
    api.put(f"vault/{vault}/items/{item}", body := random_envelope(2), if_match=1)

    entries = Entry.objects.filter(owner_id=api.user.pk, event__startswith="vault").order_by("id")

    assert list(entries.values_list("event", flat=True)) == [
        "vault.created",
        "vault_item.created",
        "vault_item.changed",
    ]
    assert not [entry for entry in entries if body["ciphertext"] in entry.facts or vault in entry.facts]

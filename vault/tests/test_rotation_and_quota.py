"""A new key for everything or nothing; what the trash and the quotas do when many come at once."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from accounts.models import Session
from conftest import sign_in
from core import lifecycle, tenancy
from vault import services
from vault.models import FormerVersion, Holder, Item, Vault
from vault.tests.calls import b64, changes, item_of, new_id, sealed, vault_of

pytestmark = pytest.mark.django_db


# --- a new key
# -------------------------------------------------------------------------------------------------------


def rotation(api, vault, version=2):
    """Every item of a vault sealed anew."""
    heads = api.get(f"vault/{vault}/items?limit=100").json()["results"]
    return {
        **sealed(version),
        "items": [{"item_id": head["item_id"], **sealed(head["version"] + 1)} for head in heads],
    }


def test_a_new_key_replaces_everything_and_what_the_old_one_opened_is_gone(api, vault):
    kept, changed, trashed = (item_of(api, vault) for _ in range(3))
    api.put(f"vault/{vault}/items/{changed}", sealed(2), if_match=1)
    api.delete(f"vault/{vault}/items/{trashed}", if_match=1)
    elsewhere = sign_in(api.user)
    _, cursor = changes(api)
    body = rotation(api, vault)

    done = api.post(f"vault/{vault}/rotate", body, if_match=1)

    assert (done.status_code, done.json()["version"]) == (200, 2)
    sent = {item["item_id"]: item["ciphertext"] for item in body["items"]}
    assert {pk: api.get(f"vault/{vault}/items/{pk}").json()["ciphertext"] for pk in (kept, changed)} == sent
    assert api.get(f"vault/{vault}/items/{changed}/versions").json()["results"] == []
    assert api.post(f"vault/{vault}/items/{trashed}/restore").status_code == 404
    assert api.get("auth/me").status_code == 200
    assert elsewhere.get("auth/me").json()["code"] == "token_revoked"
    assert Session.objects.get(pk=elsewhere.session.pk).revoked_at
    later, _ = changes(api, cursor)
    assert {row["item_id"] for row in later} == {None, kept, changed, trashed}


def test_a_missing_stale_strange_or_repeated_item_changes_nothing(api, vault):
    items = [item_of(api, vault) for _ in range(3)]
    body = rotation(api, vault)
    before, _ = changes(api)
    broken = [
        {**body, "items": body["items"][1:]},
        {**body, "items": [*body["items"], {"item_id": new_id(), **sealed(1)}]},
        {**body, "items": [{**body["items"][0], "version": 1}, *body["items"][1:]]},
        {**body, "items": [{**body["items"][0], "version": 3}, *body["items"][1:]]},
    ]

    assert [api.post(f"vault/{vault}/rotate", each, if_match=1).json()["code"] for each in broken] == [
        "items_differ"
    ] * 4
    twice = {**body, "items": [*body["items"], body["items"][0]]}
    assert api.post(f"vault/{vault}/rotate", twice, if_match=1).status_code == 400
    assert (
        api.post(f"vault/{vault}/rotate", {**body, "version": 3}, if_match=1).json()["code"]
        == "version_skipped"
    )
    assert api.post(f"vault/{vault}/rotate", body, if_match=2).status_code == 412
    assert changes(api)[0] == before
    assert len(items) == 3


@pytest.mark.commits
def test_a_write_beside_a_rotation_is_in_it_or_refused(api, vault):
    items = [item_of(api, vault) for _ in range(5)]
    body = rotation(api, vault)

    def rotate():
        return api.post(f"vault/{vault}/rotate", body, if_match=1).status_code

    def write():
        return api.put(f"vault/{vault}/items/{items[0]}", sealed(2), if_match=1).status_code

    def closing(act):
        try:
            return act()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        answers = tuple(pool.map(closing, [rotate, write]))
    assert answers in {(200, 412), (409, 200)}
    versions = {api.get(f"vault/{vault}/items/{pk}").json()["version"] for pk in items[1:]}
    assert versions == ({2} if answers[0] == 200 else {1})


# --- trash and quota
# -------------------------------------------------------------------------------------------------


def held():
    with tenancy.context(tenancy.SYSTEM):
        holder = Holder.objects.get()
        rows = [*Vault.objects.all(), *Item.objects.filter(purged_at=None), *FormerVersion.objects.all()]
        return (holder.size, holder.items), (
            sum(len(row.ciphertext) for row in rows),
            Item.objects.filter(purged_at=None).count(),
        )


def test_what_is_counted_is_what_is_there(api, vault):
    first = item_of(api, vault, ciphertext=b64(100))
    second = item_of(api, vault)
    for version in range(2, 14):
        api.put(f"vault/{vault}/items/{first}", sealed(version, size=50 + version), if_match=version - 1)
    api.delete(f"vault/{vault}/items/{second}", if_match=1)
    api.put(f"vault/{vault}", sealed(2, size=500), if_match=1)
    assert held()[0] == held()[1]
    api.post(f"vault/{vault}/rotate", rotation(api, vault, 3), if_match=2)
    assert held()[0] == held()[1]
    another = vault_of(api)
    item_of(api, another)
    api.delete(f"vault/{another}", if_match=1)
    with tenancy.context(tenancy.SYSTEM):
        lifecycle.purge_expired(before=timezone.now() + timedelta(minutes=1))
    assert held()[0] == held()[1]
    with tenancy.context(tenancy.SYSTEM):
        weights = [
            (
                row.weight,
                services.weight_of(len(row.ciphertext))
                + sum(services.weight_of(len(item.ciphertext)) for item in row.items.filter(deleted_at=None)),
            )
            for row in Vault.objects.all()
        ]
    assert all(counted == real for counted, real in weights)


def test_a_purged_item_is_a_tombstone_that_clients_still_hear_of(api, vault):
    item = item_of(api, vault)
    _, cursor = changes(api)
    api.delete(f"vault/{vault}/items/{item}", if_match=1)
    with tenancy.context(tenancy.SYSTEM):
        assert lifecycle.purge_expired(before=timezone.now() - timedelta(days=30)) == 0
        Item.objects.update(deleted_at=timezone.now() - timedelta(days=31))
        assert lifecycle.purge_expired(before=timezone.now() - timedelta(days=30)) == 1

    assert [(row["item_id"], row["deleted"]) for row in changes(api, cursor)[0]] == [(item, True)]
    assert api.post(f"vault/{vault}/items/{item}/restore").status_code == 404
    assert api.get(f"vault/{vault}/items?deleted=true").json()["results"] == []


@pytest.mark.commits
def test_quotas_hold_under_parallel_requests(api, vault, settings):
    settings.VAULT_ITEMS = 10

    def add(_):
        try:
            return api.post(
                f"vault/{vault}/items", {"item_id": new_id(), **sealed()}, if_match="*"
            ).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(add, range(20)))
    assert (answers.count(201), answers.count(409)) == (10, 10)
    settings.VAULT_ITEMS = 100
    settings.VAULT_BYTES = 5000
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: closing_post(api, vault, 1000), range(10)))
    assert 3 <= answers.count(201) <= 4
    assert held()[0][0] <= 5000


def closing_post(api, vault, size):
    try:
        return api.post(
            f"vault/{vault}/items", {"item_id": new_id(), **sealed(size=size)}, if_match="*"
        ).status_code
    finally:
        connections.close_all()


def test_a_full_vault_takes_no_more_than_its_key_could_be_changed_for(api, vault):
    statuses = [closing_post(api, vault, 1024 * 1024) for _ in range(9)]

    assert statuses == [201] * 7 + [409] * 2
    body = json.dumps(rotation(api, vault))
    assert len(body) < services.BODY_BYTES


def test_too_large_a_body_is_refused_before_it_is_read(api, vault):
    body = {"item_id": new_id(), **sealed(size=2 * 1024 * 1024)}

    assert api.post(f"vault/{vault}/items", body, if_match="*").status_code == 413


def test_what_was_sealed_with_the_key_before_is_not_taken(api, vault):
    body = {"item_id": new_id(), **sealed()}
    assert api.post(f"vault/{vault}/items", body).status_code == 428
    assert api.post(f"vault/{vault}/rotate", rotation(api, vault), if_match=1).status_code == 200
    assert api.post(f"vault/{vault}/items", body, if_match=1).status_code == 412
    assert api.post(f"vault/{vault}/items", body, if_match=2).status_code == 201
    assert api.post(f"vault/{vault}/items", body, if_match=1).status_code == 201, (
        "the same one is the same one"
    )


def test_the_trash_can_be_seen_and_emptied_at_once(api, vault):
    item = item_of(api, vault, ciphertext=b64(1000))
    path = f"vault/{vault}/items/{item}"
    assert api.delete(f"{path}?deleted=true", if_match=1).status_code == 404
    api.delete(path, if_match=1)
    assert api.get(path).status_code == 404
    assert api.get(f"{path}?deleted=true").json()["version"] == 1
    before = holder(api).size
    assert api.delete(f"{path}?deleted=true", if_match=2).status_code == 412
    assert api.delete(f"{path}?deleted=true", if_match=1).status_code == 204
    assert (before - holder(api).size, holder(api).items) == (1000, 0)
    assert api.get(f"{path}?deleted=true").status_code == 404
    (tombstone,) = [row for row in changes(api)[0] if row["item_id"] == item]
    assert (tombstone["deleted"], tombstone["ciphertext"]) == (True, "")

    item_of(api, vault)
    api.delete(f"vault/{vault}", if_match=1)
    assert api.get(f"vault/{vault}?deleted=true").status_code == 200
    assert api.delete(f"vault/{vault}?deleted=true", if_match=1).status_code == 204
    assert (holder(api).size, holder(api).items) == (0, 0)
    assert api.get("vault?deleted=true").json()["results"] == []


def holder(api):
    with tenancy.context(tenancy.SYSTEM):
        return Holder.objects.get(owner=api.user)


def test_ids_of_zeros_and_more_than_a_hundred_vaults_are_refused(api, vault):
    zeros = "00000000-0000-0000-0000-000000000000"
    assert api.post(f"vault/{vault}/items", {"item_id": zeros, **sealed()}, if_match=1).status_code == 400
    assert api.post("vault", {"vault_id": zeros, **sealed()}).status_code == 400
    for _ in range(99):
        vault_of(api)
    assert api.post("vault", {"vault_id": new_id(), **sealed()}).json()["code"] == "quota_reached"

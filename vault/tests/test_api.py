"""The vault over the API: envelopes in, the same envelopes out, and nobody steps on anybody."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import DatabaseError, IntegrityError, connections, transaction
from django.test import Client
from django.utils import timezone

from accounts.tests.factories import UserFactory
from audit.models import Entry
from core import tenancy
from vault import services
from vault.models import Holder, Item, Vault
from vault.tests.calls import b64, changes, item_of, new_id, sealed, vault_of

pytestmark = pytest.mark.django_db


def state(rows, before=None):
    """What a client has after applying changes."""
    vaults, items = before or ({}, {})
    vaults = dict(vaults)
    items = dict(items)
    for row in rows:
        if row["item_id"] is None:
            vaults.pop(row["vault_id"], None)
            if row["deleted"]:
                items = {key: value for key, value in items.items() if key[0] != row["vault_id"]}
            else:
                vaults[row["vault_id"]] = (row["version"], row["ciphertext"])
        elif row["deleted"]:
            items.pop((row["vault_id"], row["item_id"]), None)
        else:
            items[row["vault_id"], row["item_id"]] = (row["version"], row["ciphertext"])
    return vaults, {key: value for key, value in items.items() if key[0] in vaults}


def test_a_vault_is_made_read_changed_deleted_and_restored(api):
    body = {"vault_id": new_id(), **sealed()}
    made = api.post("vault", body)
    path = f"vault/{body['vault_id']}"
    read = api.get(path)
    changed = api.put(path, new := sealed(2), if_match=1)

    assert (made.status_code, sorted(made.json())) == (201, ["created_at", "vault_id", "version"])
    assert (made["ETag"], made["Cache-Control"]) == ('"1"', "no-store")
    assert {name: read.json()[name] for name in body} == body
    assert read.json()["alg"] == "A256GCM"
    assert (changed.status_code, changed["ETag"], changed.json()["ciphertext"]) == (
        200,
        '"2"',
        new["ciphertext"],
    )
    assert [head["vault_id"] for head in api.get("vault").json()["results"]] == [body["vault_id"]]
    assert api.delete(path, if_match=2).status_code == 204
    assert (api.get(path).status_code, api.get("vault").json()["results"]) == (404, [])
    assert [head["vault_id"] for head in api.get("vault?deleted=true").json()["results"]] == [
        body["vault_id"]
    ]
    assert api.post(f"{path}/restore").status_code == 200
    assert api.get(path).json()["ciphertext"] == new["ciphertext"]


def test_an_item_keeps_its_last_ten_versions(api, vault):
    item = item_of(api, vault)
    path = f"vault/{vault}/items/{item}"
    sent = [api.get(path).json()["ciphertext"]]
    for version in range(2, 15):
        body = sealed(version)
        assert api.put(path, body, if_match=version - 1).status_code == 200
        sent.append(body["ciphertext"])
    former = api.get(f"{path}/versions").json()["results"]

    assert api.get(path).json()["ciphertext"] == sent[-1]
    assert [row["ciphertext"] for row in former] == sent[3:13][::-1]
    assert [row["version"] for row in former] == list(range(13, 3, -1))


def test_the_same_creation_sent_again_is_the_same_and_another_is_refused(api, vault):
    body = {"item_id": new_id(), **sealed()}
    answers = [api.post(f"vault/{vault}/items", body, if_match="*") for _ in range(2)]
    other = api.post(f"vault/{vault}/items", {**body, **sealed()}, if_match="*")

    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert (other.status_code, other.json()["code"]) == (409, "item_exists")
    again = {"vault_id": vault, **sealed()}
    assert api.post("vault", again).json()["code"] == "vault_exists"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"ciphertext": b64(15)}, "/ciphertext"),
        ({"ciphertext": "not base64"}, "/ciphertext"),
        ({"ciphertext": b64(1024 * 1024 + 1)}, "/ciphertext"),
        ({"iv": b64(11)}, "/iv"),
        ({"iv": b64(13)}, "/iv"),
        ({"iv": b64(16)}, "/iv"),
        ({"salt": b64(15)}, "/salt"),
        ({"salt": b64(65)}, "/salt"),
        ({"version": 0}, "/version"),
        ({"version": "1e3"}, "/version"),
        ({"version": 2**31}, "/version"),
        ({"alg": "A128GCM"}, "/alg"),
        ({"alg": "none"}, "/alg"),
        ({"item_id": "x"}, "/item_id"),
        ({"item_id": None}, "/item_id"),
        ({"note": "x"}, "/note"),
        ({"iv": None}, "/iv"),
    ],
)
def test_anything_else_than_an_envelope_is_refused_with_its_place(api, vault, change, pointer):
    refused = api.post(f"vault/{vault}/items", {"item_id": new_id(), **sealed(), **change}, if_match="*")

    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (400, pointer)


def test_a_version_is_never_skipped_or_repeated(api, vault):
    item = item_of(api, vault)
    path = f"vault/{vault}/items/{item}"
    answers = [api.put(path, sealed(version), if_match="*") for version in (1, 3)]
    first = api.post(f"vault/{vault}/items", {"item_id": new_id(), **sealed(2)}, if_match="*")

    assert [answer.json()["code"] for answer in (*answers, first)] == ["version_skipped"] * 3


def test_every_write_needs_the_version_it_has_seen(api, vault):
    item = item_of(api, vault)
    for path in (f"vault/{vault}", f"vault/{vault}/items/{item}"):
        assert api.put(path, sealed(2)).status_code == 428
        assert api.delete(path).status_code == 428
        assert api.put(path, sealed(2), if_match=7).status_code == 412
        assert api.delete(path, if_match=7).status_code == 412
    assert api.post(f"vault/{vault}/rotate", {**sealed(2), "items": []}).status_code == 428


@pytest.mark.commits
def test_of_twenty_parallel_writers_one_wins_each_version(api, vault):
    item = item_of(api, vault)
    path = f"vault/{vault}/items/{item}"

    def write(version):
        try:
            return api.put(path, sealed(version + 1), if_match=version).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(10) as pool:
        for version in (1, 2, 3):
            answers = list(pool.map(write, [version] * 20))
            assert (answers.count(200), set(answers)) == (1, {200, 412})
    assert api.get(path).json()["version"] == 4
    assert len(api.get(f"{path}/versions").json()["results"]) == 3


def test_nobody_sees_or_touches_anothers_vault_and_ids_may_be_alike(api, other, vault):
    item = item_of(api, vault)
    for method, path in (
        ("GET", ""),
        ("PUT", ""),
        ("DELETE", ""),
        ("POST", "/restore"),
        ("GET", "/items"),
        ("POST", "/items"),
        ("GET", f"/items/{item}"),
        ("PUT", f"/items/{item}"),
        ("DELETE", f"/items/{item}"),
        ("GET", f"/items/{item}/versions"),
        ("POST", f"/items/{item}/restore"),
        ("POST", "/rotate"),
    ):
        body = {"PUT": sealed(2), "POST": None}.get(method)
        if path == "/items":
            body = {"item_id": new_id(), **sealed()} if method == "POST" else None
        if path == "/rotate":
            body = {**sealed(2), "items": []}
        assert other.call(method, f"vault/{vault}{path}", body, if_match="*").status_code == 404, (
            method,
            path,
        )
    assert other.post("vault", {"vault_id": vault, **sealed()}).status_code == 201  # no oracle
    assert changes(other)[0][0]["vault_id"] == vault
    assert len(changes(api)[0]) == 2


def test_the_second_fence_holds_where_the_first_is_gone(api, other, vault):
    item_of(api, vault)
    with tenancy.context(tenancy.user_context(other.user.pk)):
        assert (Vault.objects.count(), Item.objects.count(), Holder.objects.count()) == (0, 0, 0)
        assert Item.objects.update(version=9) == 0
        with pytest.raises(DatabaseError, match="row-level security"), transaction.atomic():
            Holder.objects.create(owner_id=api.user.pk)
    assert Vault.objects.count() == 0


def test_the_database_refuses_what_no_envelope_is(api, vault):
    item_of(api, vault)
    with tenancy.context(tenancy.SYSTEM):
        for change in (
            {"iv": b"x" * 11},
            {"salt": b"short"},
            {"alg": "none"},
            {"ciphertext": b"x" * (1024 * 1024 + 1)},
        ):
            with pytest.raises(IntegrityError), transaction.atomic():
                Item.objects.update(**change)


# --- what changed
# ----------------------------------------------------------------------------------------------------


def test_replaying_from_zero_gives_what_is_there_and_going_on_gives_the_same(api, vault):
    first = item_of(api, vault)
    second = item_of(api, vault)
    rows, cursor = changes(api)
    before = state(rows)
    api.put(f"vault/{vault}/items/{first}", sealed(2), if_match=1)
    api.delete(f"vault/{vault}/items/{second}", if_match=1)
    third = item_of(api, other_vault := vault_of(api))
    later, _ = changes(api, cursor)
    whole, _ = changes(api)

    assert state(later, before) == state(whole)
    assert [(row["item_id"], row["deleted"]) for row in later] == [
        (first, False),
        (second, True),
        (None, False),
        (third, False),
    ]
    assert [row["ciphertext"] for row in later if row["deleted"]] == [""]
    api.delete(f"vault/{other_vault}", if_match=1)
    assert set(state(changes(api)[0])[1]) == {(vault, first)}
    api.post(f"vault/{other_vault}/restore")
    assert set(state(changes(api)[0])[1]) == {(vault, first), (other_vault, third)}
    assert set(state(changes(api, cursor)[0], before)[1]) == {(vault, first), (other_vault, third)}


def test_nothing_new_is_an_empty_page_with_the_same_cursor(api, vault):
    _, cursor = changes(api)

    assert changes(api, cursor) == ([], cursor)


@pytest.mark.parametrize("cursor", ["x", "-1", "MA==", "é", "AAAA" * 1000, "LTE", "MDE"])
def test_a_cursor_that_is_none_is_refused(api, vault, cursor):
    assert api.get(f"vault/changes?since={cursor}").status_code == 400


def test_a_cursor_from_after_a_backup_says_begin_again(api, vault):
    _, cursor = changes(api)
    with tenancy.context(tenancy.SYSTEM):
        Holder.objects.update(sequence=0)

    assert api.get(f"vault/changes?since={cursor}").json()["code"] == "cursor_unknown"
    assert api.get("vault/changes?before=1").status_code == 400


@pytest.mark.commits
def test_a_reader_misses_nothing_that_parallel_writers_do(api):
    vaults = [vault_of(api) for _ in range(3)]
    seen = ({}, {})
    cursor = ""
    done = []

    def write(number):
        try:
            for _ in range(5):
                item_of(api, vaults[number % 3])
        finally:
            connections.close_all()
            done.append(number)

    with ThreadPoolExecutor(6) as pool:
        for number in range(6):
            pool.submit(write, number)
        while len(done) < 6:
            rows, cursor = changes(api, cursor)
            seen = state(rows, seen)
    rows, _ = changes(api, cursor)

    assert state(rows, seen) == state(changes(api)[0])
    assert len(state(rows, seen)[1]) == 30


@pytest.mark.commits
def test_large_vaults_come_in_pages_and_a_page_costs_the_same(api, vault, django_assert_num_queries):
    for _ in range(6):
        item_of(api, vault, ciphertext=b64(1024 * 1024))
    answer = api.get("vault/changes")

    assert (answer.json()["more"], len(answer.json()["results"])) == (True, 5)
    assert len(changes(api)[0]) == 7
    with django_assert_num_queries(8):
        api.get("vault/changes")


# --- whose
# ----------------------------------------------------------------------------------------------------------


def test_a_key_needs_the_scope_and_never_rotates(api, vault):
    read, write = (
        api.post("api-keys", {"label": "k", "scopes": [scope]}).json()["key"]
        for scope in ("vault.read", "vault.write")
    )
    client = Client()

    def call(method, path, key, body=None):
        return client.generic(
            method,
            f"/api/v1/{path}",
            json.dumps(body or {}),
            content_type="application/json",
            headers={"Authorization": f"Bearer {key}", "If-Match": "*"},
        ).status_code

    assert call("GET", "vault/changes", read) == 200
    assert call("POST", f"vault/{vault}/items", read, {"item_id": new_id(), **sealed()}) == 403
    assert call("POST", f"vault/{vault}/items", write, {"item_id": new_id(), **sealed()}) == 201
    assert call("GET", f"vault/{vault}", write) == 403
    assert call("POST", f"vault/{vault}/rotate", write, {**sealed(2), "items": []}) == 403


def test_every_write_is_recorded_and_no_entry_has_an_envelope(api, vault):
    item = item_of(api, vault)
    api.put(f"vault/{vault}/items/{item}", body := sealed(2), if_match=1)
    made = Entry.objects.filter(owner_id=api.user.pk, event__startswith="vault").order_by("id")

    assert list(made.values_list("event", flat=True)) == [
        "vault.created",
        "vault_item.created",
        "vault_item.changed",
    ]
    assert not [entry for entry in made if body["ciphertext"] in entry.facts or vault in entry.facts]


def test_a_closed_account_comes_back_with_its_vault_and_an_erased_one_leaves_none(api, vault):
    item_of(api, vault)
    UserFactory(role="admin")
    with tenancy.context(tenancy.SYSTEM):
        assert dict(services.personal_data(api.user.pk))["vaults.json"][0]["version"] == 1
    from accounts.services.erasure import close_and_erase
    from audit.actors import SYSTEM

    close_and_erase(api.user.email, actor=SYSTEM, now=timezone.now())
    with tenancy.context(tenancy.SYSTEM):
        assert (Vault.objects.count(), Item.objects.count(), Holder.objects.count()) == (0, 0, 0)

"""The vault over the API: envelopes in, the same envelopes out, and nobody steps on anybody."""

import base64
import json
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import DatabaseError, IntegrityError, connections, transaction
from django.test import Client
from django.utils import timezone

from accounts.models import Session
from accounts.tests.factories import UserFactory
from audit.models import Entry
from conftest import sign_in
from core import lifecycle, tenancy
from vault import services
from vault.models import FormerVersion, Holder, Item, Vault

pytestmark = pytest.mark.django_db(transaction=True)


def b64(count):
    return base64.b64encode(os.urandom(count)).decode()


def sealed(version=1, *, size=40, **change):
    return {"ciphertext": b64(size), "iv": b64(12), "salt": b64(16), "version": version, **change}


def new_id():
    return str(uuid.uuid4())


def vault_of(api, **facts):
    body = {"vault_id": new_id(), **sealed(), **facts}
    made = api.post("vault", body)
    assert made.status_code == 201, made.content
    return body["vault_id"]


def item_of(api, vault, **facts):
    body = {"item_id": new_id(), **sealed(), **facts}
    made = api.post(f"vault/{vault}/items", body)
    assert made.status_code == 201, made.content
    return body["item_id"]


@pytest.fixture
def vault(api):
    return vault_of(api)


def changes(api, since=""):
    """All that changed since then, page by page, and the cursor to go on from."""
    rows, more = [], True
    while more:
        answer = api.get(f"vault/changes?since={since}")
        assert answer.status_code == 200, answer.content
        told = answer.json()
        rows, since, more = rows + told["results"], told["cursor"], told["more"]
    return rows, since


def state(rows, before=None):
    """What a client has after applying changes."""
    vaults, items = before or ({}, {})
    vaults, items = dict(vaults), dict(items)
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
    assert (changed.status_code, changed["ETag"], changed.json()["ciphertext"]) == (200, '"2"', new["ciphertext"])
    assert [head["vault_id"] for head in api.get("vault").json()["results"]] == [body["vault_id"]]
    assert api.delete(path, if_match=2).status_code == 204
    assert (api.get(path).status_code, api.get("vault").json()["results"]) == (404, [])
    assert [head["vault_id"] for head in api.get("vault?deleted=true").json()["results"]] == [body["vault_id"]]
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
    answers = [api.post(f"vault/{vault}/items", body) for _ in range(2)]
    other = api.post(f"vault/{vault}/items", {**body, **sealed()})

    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert (other.status_code, other.json()["code"]) == (409, "item_exists")
    again = {"vault_id": vault, **sealed()}
    assert api.post("vault", again).json()["code"] == "vault_exists"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"ciphertext": b64(15)}, "/ciphertext"), ({"ciphertext": "not base64"}, "/ciphertext"), ({"ciphertext": b64(1024 * 1024 + 1)}, "/ciphertext"),
        ({"iv": b64(11)}, "/iv"), ({"iv": b64(13)}, "/iv"), ({"iv": b64(16)}, "/iv"), ({"salt": b64(15)}, "/salt"), ({"salt": b64(65)}, "/salt"),
        ({"version": 0}, "/version"), ({"version": "1e3"}, "/version"), ({"version": 2**31}, "/version"), ({"alg": "A128GCM"}, "/alg"), ({"alg": "none"}, "/alg"),
        ({"item_id": "x"}, "/item_id"), ({"item_id": None}, "/item_id"), ({"note": "x"}, "/note"), ({"iv": None}, "/iv"),
    ],
)  # fmt: skip
def test_anything_else_than_an_envelope_is_refused_with_its_place(api, vault, change, pointer):
    refused = api.post(f"vault/{vault}/items", {"item_id": new_id(), **sealed(), **change})

    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (400, pointer)


def test_a_version_is_never_skipped_or_repeated(api, vault):
    item = item_of(api, vault)
    path = f"vault/{vault}/items/{item}"
    answers = [api.put(path, sealed(version), if_match="*") for version in (1, 3)]
    first = api.post(f"vault/{vault}/items", {"item_id": new_id(), **sealed(2)})

    assert [answer.json()["code"] for answer in (*answers, first)] == ["version_skipped"] * 3


def test_every_write_needs_the_version_it_has_seen(api, vault):
    item = item_of(api, vault)
    for path in (f"vault/{vault}", f"vault/{vault}/items/{item}"):
        assert api.put(path, sealed(2)).status_code == 428
        assert api.delete(path).status_code == 428
        assert api.put(path, sealed(2), if_match=7).status_code == 412
        assert api.delete(path, if_match=7).status_code == 412
    assert api.post(f"vault/{vault}/rotate", {**sealed(2), "items": []}).status_code == 428


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
        ("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", "/restore"), ("GET", "/items"), ("POST", "/items"), ("GET", f"/items/{item}"), ("PUT", f"/items/{item}"),
        ("DELETE", f"/items/{item}"), ("GET", f"/items/{item}/versions"), ("POST", f"/items/{item}/restore"), ("POST", "/rotate"),
    ):  # fmt: skip
        body = {"PUT": sealed(2), "POST": None}.get(method)
        if path == "/items":
            body = {"item_id": new_id(), **sealed()} if method == "POST" else None
        if path == "/rotate":
            body = {**sealed(2), "items": []}
        assert other.call(method, f"vault/{vault}{path}", body, if_match="*").status_code == 404, (method, path)
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


# --- what changed ----------------------------------------------------------------------------------------------------


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


def test_a_reader_misses_nothing_that_parallel_writers_do(api):
    vaults = [vault_of(api) for _ in range(3)]
    seen, cursor = ({}, {}), ""
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


def test_large_vaults_come_in_pages_and_a_page_costs_the_same(api, vault, django_assert_num_queries):
    for _ in range(6):
        item_of(api, vault, ciphertext=b64(1024 * 1024))
    answer = api.get("vault/changes")

    assert (answer.json()["more"], len(answer.json()["results"])) == (True, 5)
    assert len(changes(api)[0]) == 7
    with django_assert_num_queries(8):
        api.get("vault/changes")


# --- a new key -------------------------------------------------------------------------------------------------------


def rotation(api, vault, version=2):
    """Every item of a vault sealed anew."""
    heads = api.get(f"vault/{vault}/items?limit=100").json()["results"]
    return {**sealed(version), "items": [{"item_id": head["item_id"], **sealed(head["version"] + 1)} for head in heads]}


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
    assert api.post(f"vault/{vault}/rotate", {**body, "version": 3}, if_match=1).json()["code"] == "version_skipped"
    assert api.post(f"vault/{vault}/rotate", body, if_match=2).status_code == 412
    assert changes(api)[0] == before
    assert len(items) == 3


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


# --- trash and quota -------------------------------------------------------------------------------------------------


def held():
    with tenancy.context(tenancy.SYSTEM):
        holder = Holder.objects.get()
        rows = [*Vault.objects.all(), *Item.objects.filter(purged_at=None), *FormerVersion.objects.all()]
        return (holder.size, holder.items), (
            sum(len(row.ciphertext) for row in rows),
            Item.objects.filter(purged_at=None).count(),
        )


def test_what_is_counted_is_what_is_there(api, vault):
    first, second = item_of(api, vault, ciphertext=b64(100)), item_of(api, vault)
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
        lifecycle.purge(before=timezone.now() + timedelta(minutes=1))
    assert held()[0] == held()[1]
    with tenancy.context(tenancy.SYSTEM):
        weights = [(row.weight, services._weight(row.ciphertext) + sum(services._weight(item.ciphertext) for item in row.items.filter(deleted_at=None))) for row in Vault.objects.all()]  # fmt: skip
    assert all(counted == real for counted, real in weights)


def test_a_purged_item_is_a_tombstone_that_clients_still_hear_of(api, vault):
    item = item_of(api, vault)
    _, cursor = changes(api)
    api.delete(f"vault/{vault}/items/{item}", if_match=1)
    with tenancy.context(tenancy.SYSTEM):
        assert lifecycle.purge(before=timezone.now() - timedelta(days=30)) == 0
        Item.objects.update(deleted_at=timezone.now() - timedelta(days=31))
        assert lifecycle.purge(before=timezone.now() - timedelta(days=30)) == 1

    assert [(row["item_id"], row["deleted"]) for row in changes(api, cursor)[0]] == [(item, True)]
    assert api.post(f"vault/{vault}/items/{item}/restore").status_code == 404
    assert api.get(f"vault/{vault}/items?deleted=true").json()["results"] == []


def test_quotas_hold_under_parallel_requests(api, vault, settings):
    settings.VAULT_ITEMS = 10

    def add(_):
        try:
            return api.post(f"vault/{vault}/items", {"item_id": new_id(), **sealed()}).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(add, range(20)))
    assert (answers.count(201), answers.count(409)) == (10, 10)
    settings.VAULT_ITEMS, settings.VAULT_BYTES = 100, 5000
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: closing_post(api, vault, 1000), range(10)))
    assert 3 <= answers.count(201) <= 4
    assert held()[0][0] <= 5000


def closing_post(api, vault, size):
    try:
        return api.post(f"vault/{vault}/items", {"item_id": new_id(), **sealed(size=size)}).status_code
    finally:
        connections.close_all()


def test_a_full_vault_takes_no_more_than_its_key_could_be_changed_for(api, vault):
    statuses = [closing_post(api, vault, 1024 * 1024) for _ in range(9)]

    assert statuses == [201] * 7 + [409] * 2
    body = json.dumps(rotation(api, vault))
    assert len(body) < services.BODY_BYTES


def test_too_large_a_body_is_refused_before_it_is_read(api, vault):
    body = {"item_id": new_id(), **sealed(size=2 * 1024 * 1024)}

    assert api.post(f"vault/{vault}/items", body).status_code == 413


# --- whose ----------------------------------------------------------------------------------------------------------


def test_a_key_needs_the_scope_and_never_rotates(api, vault):
    read, write = (
        api.post("api-keys", {"label": "k", "scopes": [scope]}).json()["key"] for scope in ("vault.read", "vault.write")
    )
    client = Client()

    def call(method, path, key, body=None):
        return client.generic(method, f"/api/v1/{path}", json.dumps(body or {}), content_type="application/json",
                              headers={"Authorization": f"Bearer {key}", "If-Match": "*"}).status_code  # fmt: skip

    assert call("GET", "vault/changes", read) == 200
    assert call("POST", f"vault/{vault}/items", read, {"item_id": new_id(), **sealed()}) == 403
    assert call("POST", f"vault/{vault}/items", write, {"item_id": new_id(), **sealed()}) == 201
    assert call("GET", f"vault/{vault}", write) == 403
    assert call("POST", f"vault/{vault}/rotate", write, {**sealed(2), "items": []}) == 403


def test_every_write_is_recorded_and_no_entry_has_an_envelope(api, vault):
    item = item_of(api, vault)
    api.put(f"vault/{vault}/items/{item}", body := sealed(2), if_match=1)
    made = Entry.objects.filter(owner_id=api.user.pk, event__startswith="vault").order_by("id")

    assert list(made.values_list("event", flat=True)) == ["vault.created", "vault_item.created", "vault_item.changed"]
    assert not [entry for entry in made if body["ciphertext"] in entry.facts or vault in entry.facts]


def test_a_closed_account_comes_back_with_its_vault_and_an_erased_one_leaves_none(api, vault):
    item_of(api, vault)
    UserFactory(role="admin")
    with tenancy.context(tenancy.SYSTEM):
        assert dict(services.personal_data(api.user.pk))["vaults.json"][0]["version"] == 1
    from accounts.services import close_and_erase
    from audit.actors import SYSTEM

    close_and_erase(api.user.email, actor=SYSTEM, now=timezone.now())
    with tenancy.context(tenancy.SYSTEM):
        assert (Vault.objects.count(), Item.objects.count(), Holder.objects.count()) == (0, 0, 0)

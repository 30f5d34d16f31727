"""Tests of the API routes: shapes, preconditions, access."""

import json

import pytest
from django.test import Client

from vault.tests.api_helpers import (
    create_item,
    create_vault,
    new_uuid,
    random_base64,
    random_envelope,
    read_changes,
)

pytestmark = pytest.mark.django_db


def listed_vaults(api, query=""):
    return [row["vault_id"] for row in api.get(f"vault{query}").json()["results"]]


def test_vault_view_set_creates_reads_and_changes_a_vault(api):
    body = {"vault_id": new_uuid(), **random_envelope()}
    path = f"vault/{body['vault_id']}"
    next_envelope = random_envelope(2)

    created = api.post("vault", body)
    read = api.get(path)
    changed = api.put(path, next_envelope, if_match=1)

    assert (created.status_code, sorted(created.json())) == (201, ["created_at", "vault_id", "version"])
    assert (created["ETag"], created["Cache-Control"]) == ('"1"', "no-store")
    assert {name: read.json()[name] for name in body} == body
    assert read.json()["alg"] == "A256GCM"
    assert (changed.status_code, changed["ETag"]) == (200, '"2"')
    assert changed.json()["ciphertext"] == next_envelope["ciphertext"]
    assert listed_vaults(api) == [body["vault_id"]]


def test_vault_view_set_deletes_and_restores_a_vault(api, vault):
    path = f"vault/{vault}"
    ciphertext = api.get(path).json()["ciphertext"]

    assert api.delete(path, if_match=1).status_code == 204
    assert api.get(path).status_code == 404
    assert (listed_vaults(api), listed_vaults(api, "?deleted=true")) == ([], [vault])
    assert api.post(f"{path}/restore").status_code == 200
    assert api.get(path).json()["ciphertext"] == ciphertext


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"ciphertext": random_base64(15)}, "/ciphertext"),
        ({"ciphertext": "not base64"}, "/ciphertext"),
        ({"ciphertext": random_base64(1024 * 1024 + 1)}, "/ciphertext"),
        ({"iv": random_base64(11)}, "/iv"),
        ({"iv": random_base64(13)}, "/iv"),
        ({"iv": random_base64(16)}, "/iv"),
        ({"salt": random_base64(15)}, "/salt"),
        ({"salt": random_base64(65)}, "/salt"),
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
def test_new_item_serializer_refuses_an_invalid_envelope_and_names_the_field(api, vault, fields, pointer):
    body = {"item_id": new_uuid(), **random_envelope(), **fields}

    response = api.post(f"vault/{vault}/items", body, if_match="*")

    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (400, pointer)


def test_refuse_nil_uuid_applies_to_vaults_and_items(api, vault):
    nil = "00000000-0000-0000-0000-000000000000"

    item = api.post(f"vault/{vault}/items", {"item_id": nil, **random_envelope()}, if_match=1)
    another_vault = api.post("vault", {"vault_id": nil, **random_envelope()})

    assert (item.status_code, another_vault.status_code) == (400, 400)


def test_create_vault_refuses_more_than_a_hundred_vaults(api, vault):
    for _ in range(99):
        create_vault(api)

    response = api.post("vault", {"vault_id": new_uuid(), **random_envelope()})

    assert response.json()["code"] == "quota_reached"


def test_create_item_answers_413_to_a_large_body(api, vault):
    body = {"item_id": new_uuid(), **random_envelope(size=2 * 1024 * 1024)}

    assert api.post(f"vault/{vault}/items", body, if_match="*").status_code == 413


def test_if_match_is_required_by_every_write(api, vault):
    item = create_item(api, vault)

    for path in (f"vault/{vault}", f"vault/{vault}/items/{item}"):
        assert api.put(path, random_envelope(2)).status_code == 428
        assert api.delete(path).status_code == 428
        assert api.put(path, random_envelope(2), if_match=7).status_code == 412
        assert api.delete(path, if_match=7).status_code == 412
    assert api.post(f"vault/{vault}/rotate", {**random_envelope(2), "items": []}).status_code == 428


def test_get_vault_answers_404_for_the_vault_of_another_user(api, other, vault):
    item = create_item(api, vault)
    requests = [
        ("GET", "", None),
        ("PUT", "", random_envelope(2)),
        ("DELETE", "", None),
        ("POST", "/restore", None),
        ("GET", "/items", None),
        ("POST", "/items", {"item_id": new_uuid(), **random_envelope()}),
        ("GET", f"/items/{item}", None),
        ("PUT", f"/items/{item}", random_envelope(2)),
        ("DELETE", f"/items/{item}", None),
        ("GET", f"/items/{item}/versions", None),
        ("POST", f"/items/{item}/restore", None),
        ("POST", "/rotate", {**random_envelope(2), "items": []}),
    ]

    statuses = {
        (method, path): other.call(method, f"vault/{vault}{path}", body, if_match="*").status_code
        for method, path, body in requests
    }

    assert statuses == dict.fromkeys(statuses, 404)


def test_create_vault_accepts_an_id_that_another_user_has(api, other, vault):
    """Otherwise the answer would reveal which ids exist."""
    assert other.post("vault", {"vault_id": vault, **random_envelope()}).status_code == 201
    assert [row["vault_id"] for row in read_changes(other)[0]] == [vault]
    assert len(read_changes(api)[0]) == 1


def test_vault_view_set_requires_the_scope_of_an_api_key_and_refuses_its_rotation(api, vault):
    read_key, write_key = (
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

    new_item = {"item_id": new_uuid(), **random_envelope()}
    rotation = {**random_envelope(2), "items": []}
    assert call("GET", "vault/changes", read_key) == 200
    assert call("POST", f"vault/{vault}/items", read_key, new_item) == 403
    assert call("POST", f"vault/{vault}/items", write_key, new_item) == 201
    assert call("GET", f"vault/{vault}", write_key) == 403
    assert call("POST", f"vault/{vault}/rotate", write_key, rotation) == 403

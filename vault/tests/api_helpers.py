"""Helpers of the vault's tests: random envelopes, and requests that create and read."""

import base64
import os
import uuid


def random_base64(byte_count):
    return base64.b64encode(os.urandom(byte_count)).decode()


def random_envelope(version=1, *, size=40, **fields):
    """An envelope with a random ciphertext of `size` bytes. `fields` replace its fields."""
    return {
        "ciphertext": random_base64(size),
        "iv": random_base64(12),
        "salt": random_base64(16),
        "version": version,
        **fields,
    }


def new_uuid():
    return str(uuid.uuid4())


def create_vault(api, **fields):
    """Create a vault of `api` and return its id."""
    body = {"vault_id": new_uuid(), **random_envelope(), **fields}
    response = api.post("vault", body)
    assert response.status_code == 201, response.content
    return body["vault_id"]


def create_item(api, vault, **fields):
    """Create an item in a vault of `api` and return its id."""
    body = {"item_id": new_uuid(), **random_envelope(), **fields}
    response = api.post(f"vault/{vault}/items", body, if_match="*")
    assert response.status_code == 201, response.content
    return body["item_id"]


def read_changes(api, cursor=""):
    """Return all changes since a cursor, from all pages, and the cursor to continue from."""
    rows = []
    has_more = True
    while has_more:
        response = api.get(f"vault/changes?since={cursor}")
        assert response.status_code == 200, response.content
        page = response.json()
        rows = rows + page["results"]
        cursor = page["cursor"]
        has_more = page["more"]
    return rows, cursor


def rotation_body(api, vault, version=2):
    """The body of a key rotation that carries every item of a vault."""
    heads = api.get(f"vault/{vault}/items?limit=100").json()["results"]
    return {
        **random_envelope(version),
        "items": [{"item_id": head["item_id"], **random_envelope(head["version"] + 1)} for head in heads],
    }

"""How tests talk to the vault: random envelopes, and what changed."""

import base64
import os
import uuid


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
    made = api.post(f"vault/{vault}/items", body, if_match="*")
    assert made.status_code == 201, made.content
    return body["item_id"]


def changes(api, since=""):
    """All that changed since then, page by page, and the cursor to go on from."""
    rows = []
    more = True
    while more:
        answer = api.get(f"vault/changes?since={since}")
        assert answer.status_code == 200, answer.content
        told = answer.json()
        rows = rows + told["results"]
        since = told["cursor"]
        more = told["more"]
    return rows, since

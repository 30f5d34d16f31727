"""`python -m benchmarks.vault` measures envelopes, and the first sync of 10,000 items."""

import base64
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from rich.console import Console

from benchmarks.envelopes import envelope
from benchmarks.private_platform import private_platform

ROUNDS_BY_SIZE = {1024: 200, 1024 * 1024: 20}  # bytes of plaintext: number of requests
ITEM_COUNT = 10_000


def main() -> int:
    """Print medians in milliseconds as JSON; return 0 when the goals are met.

    The "floor" is what base64, JSON and one copy of the same bytes take on this machine. The goals: a small
    item under 40 times `GET /health`, a large one under 12 times its floor, and 2,000 items a second.
    """
    with private_platform("vault"):
        results = measure()
    results["good"] = (
        results["put_1024_to_health"] < 40
        and results["put_1048576_to_floor"] < 12
        and results["get_1048576_to_floor"] < 12
        and results["sync_items_per_second"] > 2000
    )
    Console().print_json(json.dumps(results))
    return 0 if results["good"] else 1


def measure() -> dict[str, Any]:
    """Everything that is measured, by name."""
    from django.conf import settings
    from django.test import Client

    settings.RATE_LIMIT = 1_000_000
    settings.VAULT_BYTES = 2**34
    client = Client(headers={"Host": "localhost", "Authorization": f"Bearer {create_owner()}"})
    vault = f"/api/v1/vault/{create_vault(client)}"
    health = median_milliseconds(100, lambda: client.get("/health"))
    results: dict[str, Any] = {"health_ms": health}
    for size, rounds in ROUNDS_BY_SIZE.items():
        results |= measure_put_and_get(client, vault, size, rounds)
        results[f"put_{size}_to_health"] = round(results[f"put_{size}_ms"] / health, 1)
        results[f"get_{size}_to_health"] = round(results[f"get_{size}_ms"] / health, 1)
    return results | measure_sync(client, vault)


def create_owner() -> str:
    """Create a user, and return an access token."""
    from django.utils import timezone

    from accounts.credentials.known_devices import Device
    from accounts.credentials.tokens import make_access_token
    from accounts.models import User
    from accounts.services.sessions import open_session

    user = User.objects.create(email="vault@example.com", password="!")
    return make_access_token(user, open_session(user, device=Device(), now=timezone.now()))[0]


def create_vault(client: Any) -> str:
    vault = str(uuid4())
    response = client.post(
        "/api/v1/vault", {"vault_id": vault, **envelope(60)}, content_type="application/json"
    )
    assert response.status_code == 201, response.content
    return vault


def measure_put_and_get(client: Any, vault: str, size: int, rounds: int) -> dict[str, Any]:
    item = str(uuid4())
    stored_bytes = size - 16 if size == 1024 * 1024 else size
    response = client.post(
        f"{vault}/items",
        {"item_id": item, **envelope(stored_bytes)},
        content_type="application/json",
        headers={"If-Match": '"1"'},
    )
    assert response.status_code == 201, response.content
    bodies = [json.dumps(envelope(stored_bytes, version + 2)).encode() for version in range(rounds)]

    def put() -> None:
        version = rounds - len(bodies) + 1
        response = client.put(
            f"{vault}/items/{item}",
            bodies.pop(0),
            content_type="application/json",
            headers={"If-Match": f'"{version}"'},
        )
        assert response.status_code == 200, response.content

    def get() -> None:
        assert client.get(f"{vault}/items/{item}").status_code == 200

    def encode_and_decode() -> None:
        """What every implementation must do at least."""
        text = json.loads(json.dumps({"ciphertext": base64.b64encode(plaintext).decode()}))["ciphertext"]
        assert len(base64.b64decode(text)) == stored_bytes

    plaintext = os.urandom(stored_bytes)
    results = {
        f"put_{size}_ms": median_milliseconds(rounds, put),
        f"get_{size}_ms": median_milliseconds(rounds, get),
        f"floor_{size}_ms": median_milliseconds(rounds, encode_and_decode),
    }
    for method in ("put", "get"):
        results[f"{method}_{size}_to_floor"] = round(
            results[f"{method}_{size}_ms"] / results[f"floor_{size}_ms"], 1
        )
    return results


def measure_sync(client: Any, vault: str) -> dict[str, Any]:
    """A new device reads a vault of 10,000 items of 200 bytes, page by page."""
    from core import tenancy
    from vault.models import Holder, Item, Vault

    with tenancy.context(tenancy.SYSTEM):
        vault_row = Vault.objects.get(vault_id=vault.rpartition("/")[2])
        columns = {
            "owner": vault_row.owner,
            "vault": vault_row,
            "iv": os.urandom(12),
            "salt": os.urandom(16),
            "version": 1,
        }
        rows = [
            Item(item_id=uuid4(), ciphertext=os.urandom(200), sequence=1000 + n, **columns)
            for n in range(ITEM_COUNT)
        ]
        Item.objects.bulk_create(rows, batch_size=1000)
        Holder.objects.filter(owner=vault_row.owner).update(sequence=1000 + ITEM_COUNT)
    started = time.perf_counter()
    page_count = 0
    item_count = 0
    size = 0
    cursor = ""
    has_more = True
    while has_more:
        response = client.get(f"/api/v1/vault/changes?since={cursor}")
        body = response.json()
        page_count += 1
        item_count += len(body["results"])
        size += len(response.content)
        cursor = body["cursor"]
        has_more = body["more"]
    elapsed = time.perf_counter() - started
    assert item_count >= ITEM_COUNT
    return {
        "sync_items": item_count,
        "sync_pages": page_count,
        "sync_seconds": round(elapsed, 2),
        "sync_items_per_second": round(item_count / elapsed),
        "sync_mib": round(size / 2**20, 1),
    }


def median_milliseconds(rounds: int, function: Callable[[], Any]) -> float:
    """The median milliseconds of `rounds` calls."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return round(1000 * statistics.median(times), 3)


if __name__ == "__main__":
    sys.exit(main())

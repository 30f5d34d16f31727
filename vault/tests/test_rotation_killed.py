"""A rotation whose process is killed at any moment leaves everything old or everything new."""

import os
import random

import pytest
from django.test import Client

from core import tenancy
from vault.models import FormerVersion, Holder, Item, Vault
from vault.tests.calls import item_of, sealed

pytestmark = [pytest.mark.django_db, pytest.mark.commits]
KILLS = 100 if os.environ.get("SOAK") else 25
ITEMS = 60


def send(path, body, headers):
    """One request in this process; its status."""
    client = Client(headers={"Host": "localhost", **headers})
    return client.post(path, body, content_type="application/json").status_code


def rotate(child_process_runner, api, vault, version, item_versions, **kill):
    """Rotate once in a child; seconds that took, and whether the answer came before the kill."""
    items = [{"item_id": pk, **sealed(number + 1)} for pk, number in item_versions.items()]
    body = {**sealed(version + 1), "items": items}
    headers = {"Authorization": f"Bearer {api.access}", "If-Match": f'"{version}"'}
    took, said = child_process_runner.run(send, f"/api/v1/vault/{vault}/rotate", body, headers, **kill)
    assert said in ([], [200]), said
    return took, bool(said)


def state(vault):
    """Versions of the vault and of each item, and how many bytes there are."""
    with tenancy.context(tenancy.SYSTEM):
        own = Vault.objects.get(vault_id=vault)
        items = {str(item.item_id): item for item in Item.objects.filter(vault=own)}
        size = len(own.ciphertext) + sum(
            len(row.ciphertext) for row in [*items.values(), *FormerVersion.objects.all()]
        )
        sequences = {own.sequence, *(item.sequence for item in items.values())}
        holder = Holder.objects.get(owner=own.owner)
    return (
        own.version,
        {pk: item.version for pk, item in items.items()},
        sequences,
        (holder.size == size, holder.items),
    )


def test_kills_leave_everything_old_or_everything_new(child_process_runner, api, vault):
    for _ in range(ITEMS):
        item_of(api, vault)
    version, items, *_ = state(vault)
    took, answered = rotate(child_process_runner, api, vault, version, items)
    assert answered
    # seconds, which follow how busy the machine is
    outcomes = []
    reach = 1.3 * took

    for _ in range(KILLS):
        version, items, *_ = state(vault)
        _, answered = rotate(
            child_process_runner, api, vault, version, items, kill_after=random.uniform(0, reach)
        )
        after, found, sequences, counted = state(vault)
        outcomes.append((after - version, answered))
        reach *= 0.9 if after > version else 1.2
        assert after - version in (0, 1)
        assert found == {pk: number + after - version for pk, number in items.items()}
        assert len(sequences) == 1, "one rotation, one number"
        assert counted == (True, ITEMS)
        assert after > version or not answered

    assert {done for done, _ in outcomes} == {0, 1}, "the kills came at moments that differ"

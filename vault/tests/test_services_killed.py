"""A key rotation whose process is killed at a random time leaves everything old or everything new."""

import os
import random

import pytest
from django.test import Client

from core import tenancy
from vault.models import FormerVersion, Holder, Item, Vault
from vault.tests.api_helpers import create_item, random_envelope

pytestmark = [pytest.mark.django_db, pytest.mark.commits]
KILL_COUNT = 100 if os.environ.get("SOAK") else 25
ITEM_COUNT = 60


def send_request(path, body, headers):
    """Send one request in this process and return its status."""
    client = Client(headers={"Host": "localhost", **headers})
    return client.post(path, body, content_type="application/json").status_code


def rotate_in_child(child_process_runner, api, vault, version, item_versions, **kill):
    """Rotate once in a child process. Return its seconds, and whether it answered before it was killed."""
    items = [{"item_id": pk, **random_envelope(number + 1)} for pk, number in item_versions.items()]
    body = {**random_envelope(version + 1), "items": items}
    headers = {"Authorization": f"Bearer {api.access}", "If-Match": f'"{version}"'}
    seconds, statuses = child_process_runner.run(
        send_request, f"/api/v1/vault/{vault}/rotate", body, headers, **kill
    )
    assert statuses in ([], [200]), statuses
    return seconds, bool(statuses)


def read_state(vault_id):
    """Return the versions of the vault and of each item, the set of change numbers, and two comparisons.

    The comparisons are whether the counted bytes are the stored bytes, and the counted items.
    """
    with tenancy.context(tenancy.SYSTEM):
        vault = Vault.objects.get(vault_id=vault_id)
        items = list(Item.objects.filter(vault=vault))
        rows = [vault, *items, *FormerVersion.objects.all()]
        holder = Holder.objects.get(owner=vault.owner)
    size = sum(len(row.ciphertext) for row in rows)
    return (
        vault.version,
        {str(item.item_id): item.version for item in items},
        {vault.sequence, *(item.sequence for item in items)},
        (holder.size == size, holder.items),
    )


def test_rotate_vault_key_killed_at_any_time_leaves_everything_old_or_everything_new(
    child_process_runner, api, vault
):
    for _ in range(ITEM_COUNT):
        create_item(api, vault)
    version, item_versions, *_ = read_state(vault)
    seconds, answered = rotate_in_child(child_process_runner, api, vault, version, item_versions)
    assert answered
    outcomes = []
    max_seconds = 1.3 * seconds  # follows how busy the machine is

    for _ in range(KILL_COUNT):
        version, item_versions, *_ = read_state(vault)
        _, answered = rotate_in_child(
            child_process_runner,
            api,
            vault,
            version,
            item_versions,
            kill_after=random.uniform(0, max_seconds),
        )
        new_version, new_item_versions, sequences, usage = read_state(vault)
        increment = new_version - version
        outcomes.append(increment)
        max_seconds *= 0.9 if increment else 1.2
        assert increment in (0, 1)
        assert new_item_versions == {pk: number + increment for pk, number in item_versions.items()}
        assert len(sequences) == 1, "a rotation has one change number"
        assert usage == (True, ITEM_COUNT)
        assert increment or not answered

    assert set(outcomes) == {0, 1}, "some kills came before the commit and some after it"

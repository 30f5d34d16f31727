"""Tests of the quota of an owner and of the size limit of a vault."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from core import lifecycle, tenancy
from vault.envelopes import MAX_REQUEST_BYTES, json_bytes_of
from vault.models import FormerVersion, Holder, Item, Vault
from vault.tests.api_helpers import (
    create_item,
    create_vault,
    new_uuid,
    random_base64,
    random_envelope,
    rotation_body,
)

pytestmark = pytest.mark.django_db


def counted_usage():
    """Bytes and items that the owner's row counts."""
    with tenancy.context(tenancy.SYSTEM):
        holder = Holder.objects.get()
    return holder.size, holder.items


def stored_usage():
    """Bytes and items that are stored."""
    with tenancy.context(tenancy.SYSTEM):
        items = Item.objects.filter(purged_at=None)
        rows = [*Vault.objects.all(), *items, *FormerVersion.objects.all()]
        return sum(len(row.ciphertext) for row in rows), items.count()


def create_item_in_thread(api, vault, size=40):
    """Try to create an item, and close the connection of this thread. Return the status."""
    body = {"item_id": new_uuid(), **random_envelope(size=size)}
    try:
        return api.post(f"vault/{vault}/items", body, if_match="*").status_code
    finally:
        connections.close_all()


def test_save_usage_counts_what_is_stored(api, vault):
    first = create_item(api, vault, ciphertext=random_base64(100))
    second = create_item(api, vault)
    for version in range(2, 14):
        body = random_envelope(version, size=50 + version)
        api.put(f"vault/{vault}/items/{first}", body, if_match=version - 1)
    api.delete(f"vault/{vault}/items/{second}", if_match=1)
    api.put(f"vault/{vault}", random_envelope(2, size=500), if_match=1)
    assert counted_usage() == stored_usage()

    api.post(f"vault/{vault}/rotate", rotation_body(api, vault, 3), if_match=2)
    assert counted_usage() == stored_usage()

    another = create_vault(api)
    create_item(api, another)
    api.delete(f"vault/{another}", if_match=1)
    with tenancy.context(tenancy.SYSTEM):
        lifecycle.purge_expired(before=timezone.now() + timedelta(minutes=1))
    assert counted_usage() == stored_usage()


def test_add_vault_weight_counts_the_envelopes_outside_the_trash(api, vault):
    create_item(api, vault, ciphertext=random_base64(100))
    changed = create_item(api, vault)
    api.put(f"vault/{vault}/items/{changed}", random_envelope(2, size=70), if_match=1)
    trashed = create_item(api, vault)
    api.delete(f"vault/{vault}/items/{trashed}", if_match=1)
    api.put(f"vault/{vault}", random_envelope(2, size=500), if_match=1)

    with tenancy.context(tenancy.SYSTEM):
        assert Vault.objects.get().weight == sum(json_bytes_of(size) for size in (500, 100, 70))

    api.post(f"vault/{vault}/rotate", rotation_body(api, vault, 3), if_match=2)
    with tenancy.context(tenancy.SYSTEM):
        assert Vault.objects.get().weight == 3 * json_bytes_of(40)


@pytest.mark.commits
def test_save_usage_enforces_quotas_under_parallel_requests(api, vault, settings):
    settings.VAULT_ITEMS = 10
    with ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(lambda _: create_item_in_thread(api, vault), range(20)))
    assert (statuses.count(201), statuses.count(409)) == (10, 10)

    settings.VAULT_ITEMS = 100
    settings.VAULT_BYTES = 5000
    with ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(lambda _: create_item_in_thread(api, vault, 1000), range(10)))
    assert 3 <= statuses.count(201) <= 4
    assert counted_usage()[0] <= 5000


def test_add_vault_weight_refuses_more_than_a_rotation_can_carry(api, vault):
    statuses = [create_item_in_thread(api, vault, 1024 * 1024) for _ in range(9)]

    assert statuses == [201] * 7 + [409] * 2
    assert len(json.dumps(rotation_body(api, vault))) < MAX_REQUEST_BYTES

"""Tests of permanent deletion."""

from datetime import timedelta

import pytest
from django.utils import timezone

from core import lifecycle, tenancy
from vault.models import Holder, Item
from vault.tests.api_helpers import create_item, random_base64, read_changes

pytestmark = pytest.mark.django_db


def usage_of(api):
    with tenancy.context(tenancy.SYSTEM):
        holder = Holder.objects.get(owner=api.user)
    return holder.size, holder.items


def test_purge_item_and_purge_vault_free_their_usage(api, vault):
    item = create_item(api, vault, ciphertext=random_base64(1000))
    path = f"vault/{vault}/items/{item}"
    assert api.delete(f"{path}?deleted=true", if_match=1).status_code == 404
    api.delete(path, if_match=1)
    assert api.get(path).status_code == 404
    assert api.get(f"{path}?deleted=true").json()["version"] == 1
    size_before, _ = usage_of(api)
    assert api.delete(f"{path}?deleted=true", if_match=2).status_code == 412
    assert api.delete(f"{path}?deleted=true", if_match=1).status_code == 204
    assert usage_of(api) == (size_before - 1000, 0)
    assert api.get(f"{path}?deleted=true").status_code == 404
    (tombstone,) = [row for row in read_changes(api)[0] if row["item_id"] == item]
    assert (tombstone["deleted"], tombstone["ciphertext"]) == (True, "")

    create_item(api, vault)
    api.delete(f"vault/{vault}", if_match=1)
    assert api.get(f"vault/{vault}?deleted=true").status_code == 200
    assert api.delete(f"vault/{vault}?deleted=true", if_match=1).status_code == 204
    assert usage_of(api) == (0, 0)
    assert api.get("vault?deleted=true").json()["results"] == []


def test_purge_expired_leaves_a_tombstone_in_the_changes(api, vault):
    item = create_item(api, vault)
    _, cursor = read_changes(api)
    api.delete(f"vault/{vault}/items/{item}", if_match=1)
    with tenancy.context(tenancy.SYSTEM):
        assert lifecycle.purge_expired(before=timezone.now() - timedelta(days=30)) == 0
        Item.objects.update(deleted_at=timezone.now() - timedelta(days=31))
        assert lifecycle.purge_expired(before=timezone.now() - timedelta(days=30)) == 1

    changes, _ = read_changes(api, cursor)

    assert [(row["item_id"], row["deleted"]) for row in changes] == [(item, True)]
    assert api.post(f"vault/{vault}/items/{item}/restore").status_code == 404
    assert api.get(f"vault/{vault}/items?deleted=true").json()["results"] == []

"""Staff see who has how much in vaults, and nothing of what it is."""

import pytest

from audit.models import Entry
from vault.tests.calls import item_of, sealed

pytestmark = pytest.mark.django_db


def test_the_window_counts_and_shows_no_envelope(staff_client, api, vault, django_assert_max_num_queries):
    envelope = sealed()
    item_of(api, vault, **envelope)

    with django_assert_max_num_queries(12):
        listed = staff_client.get(f"/admin/vault/holder/?q={api.user.email}").content.decode()
    opened = staff_client.get(f"/admin/vault/holder/{api.user.pk}/change/").content.decode()

    for page in (listed, opened):
        assert api.user.email in page
        assert "80\xa0bytes" in page
        assert envelope["ciphertext"] not in page
        assert str(vault) not in page
    assert Entry.objects.filter(
        event="admin.viewed", subject_id=api.user.pk, subject_type="vault_holder"
    ).exists()

"""Tests of the admin pages: staff_client see the usage of vaults, and no envelope."""

import pytest

from audit.models import Entry
from vault.tests.api_helpers import create_item, random_envelope

pytestmark = pytest.mark.django_db


def test_holder_admin_shows_usage_and_no_envelope(
    staff_client,
    api,
    vault,
    django_assert_max_num_queries,
):
    envelope = random_envelope()
    create_item(api, vault, **envelope)

    with django_assert_max_num_queries(12):
        list_page = staff_client.get(f"/admin/vault/holder/?q={api.user.email}").content.decode()
    row_page = staff_client.get(f"/admin/vault/holder/{api.user.pk}/change/").content.decode()

    for page in (list_page, row_page):
        assert api.user.email in page
        assert "80\xa0bytes" in page
        assert envelope["ciphertext"] not in page
        assert str(vault) not in page
    assert Entry.objects.filter(
        event="admin.viewed", subject_id=api.user.pk, subject_type="vault_holder"
    ).exists()

"""The HTTP API of analytics settings (`views/settings.py`)."""

import pytest

from accounts.tests.factories import UserFactory
from analytics.models import Settings
from conftest import sign_in
from core import tenancy
from sites.models import Access

pytestmark = pytest.mark.django_db


def test_settings_are_read_by_viewers_and_changed_by_editors(site, owner):
    viewer = sign_in(UserFactory())
    with tenancy.context(tenancy.SYSTEM):
        Access.objects.create(site=site, user=viewer.user, role="viewer")
    base = f"sites/{site.pk}/analytics/settings"

    assert viewer.get(base).json() == {
        "enabled": True,
        "timezone": "UTC",
        "signals": "count",
        "keep_days": None,
    }
    assert viewer.patch(base, {"enabled": False}).json()["code"] == "site_role_too_low"
    assert owner.patch(base, {"timezone": "Mars/Base"}).status_code == 400
    assert (
        owner.patch(base, {"timezone": "Europe/Berlin", "keep_days": 30}).json()["timezone"]
        == "Europe/Berlin"
    )
    with tenancy.context(tenancy.SYSTEM):
        assert Settings.objects.get(site=site).keep_days == 30


def test_settings_refuse_a_time_zone_that_postgresql_does_not_know(site, owner):
    for name in ("localtime", "Europe/Nowhere", "posix/Europe/Berlin"):
        assert (
            owner.call("PATCH", f"/api/v1/sites/{site.pk}/analytics/settings", {"timezone": name}).status_code
            == 400
        ), name
    assert (
        owner.call(
            "PATCH", f"/api/v1/sites/{site.pk}/analytics/settings", {"timezone": "Asia/Kolkata"}
        ).status_code
        == 200
    )

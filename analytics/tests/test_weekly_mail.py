"""The weekly mail: when it is sent, and to whom."""

import json
import re
from datetime import UTC, date, datetime, timedelta
from unittest.mock import Mock

import pytest
from django.db import DataError
from django.utils import timezone

from analytics.models import Settings, Subscription
from analytics.sharing import weekly_mail
from analytics.tests.helpers import MONDAY, weekly_mails, write_visits
from core import tenancy
from core.jobs import mail
from sites.models import Access, Site
from sites.tests.factories import SiteFactory

pytestmark = pytest.mark.django_db
SUNDAY = datetime(2026, 3, 8, 23, 0, tzinfo=UTC)


def test_send_due_mails_sends_one_mail_on_monday(site, subscriber):
    write_visits(
        site,
        (24 * 60, 1, {"page": "/menu"}),
        (24 * 60 * 2, 2, {"page": "/"}),
        (24 * 60 * 2, 3, {"page": "/", "source": "Google"}),
    )

    assert weekly_mail.send_due_mails(now=SUNDAY) == 0
    assert weekly_mail.send_due_mails(now=MONDAY - timedelta(hours=1)) == 0, "not before seven"
    assert weekly_mail.send_due_mails(now=MONDAY) == 1
    assert weekly_mail.send_due_mails(now=MONDAY + timedelta(hours=1)) == 0
    assert weekly_mail.send_due_mails(now=MONDAY + timedelta(days=6)) == 0
    context = json.loads(weekly_mails().get().context)
    assert (context["metrics"][0]["now"], context["span"]) == ("3", "2 March to 8 March")
    subject, text, html = mail.render_mail("weekly", context)
    assert subject == "The week of A site"
    assert re.search(r"Tue █{20} 2", text), text
    assert "/menu" in text
    assert "height: 80px" in html.replace("height:80px", "height: 80px")
    assert weekly_mail.send_due_mails(now=MONDAY + timedelta(days=7)) == 1


def test_send_due_mails_uses_the_time_zone_of_the_site(site, subscriber):
    with tenancy.context(tenancy.SYSTEM):
        Settings.objects.create(site=site, timezone="Pacific/Auckland")

    assert weekly_mail.send_due_mails(now=MONDAY - timedelta(hours=13, minutes=20)) == 1
    assert json.loads(weekly_mails().get().context)["span"] == "2 March to 8 March"


@pytest.mark.parametrize("reason", ["left", "closed", "deleted"])
def test_send_due_mails_sends_none_to_users_without_access(site, subscriber, reason):
    with tenancy.context(tenancy.SYSTEM):
        if reason == "left":
            Access.objects.filter(site=site, user=site.owner).delete()
        elif reason == "closed":
            type(site.owner).objects.filter(pk=site.owner_id).update(is_active=False)
        else:
            Site.objects.filter(pk=site.pk).update(deleted_at=timezone.now())

    assert weekly_mail.send_due_mails(now=MONDAY) == 0
    assert not weekly_mails().exists()


def test_send_due_mails_sends_one_mail_after_it_was_killed(site, subscriber, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mail, "enqueue_mail", interrupt)
        with pytest.raises(KeyboardInterrupt):
            weekly_mail.send_due_mails(now=MONDAY)
    assert weekly_mail.send_due_mails(now=MONDAY) == 1


def test_send_due_mails_continues_after_a_mail_that_fails(site, owner, monkeypatch):
    other_site = SiteFactory()
    with tenancy.context(tenancy.SYSTEM):
        for subscribed_site in (site, other_site):
            Subscription.objects.create(
                site=subscribed_site, user=subscribed_site.owner, last=date(2026, 3, 2)
            )
    original = weekly_mail._mail_context
    monkeypatch.setattr(
        weekly_mail,
        "_mail_context",
        lambda row, *arguments: (
            original(row, *arguments) if row.site_id == other_site.pk else Mock(side_effect=DataError)()
        ),
    )

    assert weekly_mail.send_due_mails(now=MONDAY) == 1

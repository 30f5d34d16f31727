"""Links to a site's numbers, and the mail on Mondays: who sees what, until when."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts.tests.factories import UserFactory
from analytics.models import Settings, Share, Subscription
from analytics.reports import rollups
from analytics.sharing import pages, weekly_mail
from analytics.simulation import SimulatedTraffic
from analytics.tests.test_saved import put
from conftest import sign_in
from core import tenancy
from core.admission.rate_limits import LocalRateLimiter
from core.jobs import mail
from core.models import Mail
from sites.models import Access, Site

pytestmark = pytest.mark.django_db
PASSWORD = "sourdough & rye"


@pytest.fixture(autouse=True)
def rested():
    """Tests ask from one address."""
    pages._page_view_limiter = LocalRateLimiter()


@pytest.fixture
def owner(site):
    return sign_in(site.owner)


@pytest.fixture
def visited(site):
    """A month that ended yesterday."""
    SimulatedTraffic(
        site.number, ["/", "/menu", "/about"], 30, 600, timezone.now().date() - timedelta(days=1)
    ).write()
    rollups.rebuild_dirty_days()


def link(owner, site, **given):
    answer = owner.post(f"sites/{site.pk}/analytics/shares", {"name": "For the board", **given})
    assert answer.status_code == 201, answer.content
    return answer.json()


def path_of(made):
    return re.sub(r"^https?://[^/]+", "", made["url"])


def test_a_link_shows_the_numbers_to_whoever_has_it(site, owner, visited):
    answer = Client().get(path_of(link(owner, site)))

    text = answer.content.decode()
    assert answer.status_code == 200
    assert "For the board" in text
    assert "/menu" in text
    assert answer["Cache-Control"] == "no-store"
    assert answer["Referrer-Policy"] == "same-origin"
    assert "noindex" in answer["X-Robots-Tag"]
    assert "<script" not in text
    assert site.owner.email not in text


def test_what_a_link_asks_for_is_filtered_and_stays_in_its_links(site, owner, visited):
    path = path_of(link(owner, site))

    text = Client().get(f"{path}?period=7d&filter=page:is:/menu&measure=pageviews").content.decode()

    assert "Page is /menu" in text
    assert "Page views by day" in text
    assert "period=90d&amp;filter=page%3Ais%3A%2Fmenu" in text.replace("measure=pageviews&amp;", "")
    assert 'href="?period=7d&amp;measure=pageviews"' in text, "without the filter"


@pytest.mark.parametrize(
    "asked", ["period=ever", "filter=x", "from=1", "filter=page:is:%00", "from=2026-02-30&to=2026-03-01"]
)
def test_an_address_that_makes_no_sense_shows_a_month_and_says_so(site, owner, visited, asked):
    answer = Client().get(f"{path_of(link(owner, site))}?{asked}")

    assert answer.status_code == 200
    assert "This address was not understood" in answer.content.decode()


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7|add:7 }}"]
)
def test_what_visitors_sent_is_text(site, owner, text):
    put(site, (0, 1, {"page": f"/{text}", "source": text}))

    shown = (
        Client()
        .get(f"{path_of(link(owner, site))}?from=2026-03-01&to=2026-03-02&filter=source:is:{text}")
        .content.decode()
    )

    assert "<script>alert" not in shown
    assert "<img src=x" not in shown


def test_frozen_filters_hold_whatever_is_asked(site, owner):
    put(site, (0, 1, {"page": "/shown", "country": "DE"}), (0, 2, {"page": "/secret", "country": "FR"}))
    path = path_of(link(owner, site, conditions=["country:is:DE"]))

    for asked in (
        "",
        "&filter=country:is:FR",
        "&filter=page:contains:/",
        "&pages=exit_page",
        "&places=country",
    ):
        text = Client().get(f"{path}?from=2026-03-01&to=2026-03-02{asked}").content.decode()
        assert "/secret" not in text, asked
        assert "France" not in text or "filter=country:is:FR" in asked
    assert "/shown" in Client().get(f"{path}?from=2026-03-01&to=2026-03-02").content.decode()


def test_what_a_frozen_link_shows_of_now_and_of_goals_is_filtered_too(site, owner):
    now = datetime.now(UTC)
    minute = int((now - datetime(2026, 3, 1, 10, tzinfo=UTC)).total_seconds() // 60)
    put(
        site,
        (minute, 1, {"page": "/shown", "country": "DE"}),
        (minute, 2, {"page": "/secret", "country": "FR"}),
    )
    owner.post(f"sites/{site.pk}/analytics/goals", {"name": "Any page", "conditions": ["page:contains:/"]})
    path = path_of(link(owner, site, conditions=["country:is:DE"]))

    text = Client().get(f"{path}?period=today").content.decode()

    assert "/secret" not in text
    assert re.search(r"Any page</th><td>1</td>", text)


def test_a_password_opens_it_for_this_browser_and_not_for_ever(site, owner, visited):
    made = link(owner, site, password=PASSWORD)
    path = path_of(made)
    browser = Client()

    asked = browser.get(path)
    assert (made["protected"], asked.status_code) == (True, 401)
    assert "/menu" not in asked.content.decode()
    assert browser.post(path, {"password": "wrong"}).status_code == 401
    opened = browser.post(f"{path}?period=7d", {"password": PASSWORD})
    assert (opened.status_code, opened["Location"]) == (302, f"{path}?period=7d")
    assert browser.get(path).status_code == 200
    assert Client().get(path).status_code == 401, "another browser"
    cookie = opened.cookies[pages.COOKIE_NAME]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", path)
    with tenancy.context(tenancy.SYSTEM):
        row = Share.objects.get(pk=made["id"])
        assert row.password.startswith("argon2")
        Share.objects.filter(pk=row.pk).update(password="")
        Share.objects.filter(pk=row.pk).update(password=row.password + "x")
    assert browser.get(path).status_code == 401, "another password ends what the first one opened"


def test_the_cookie_of_one_link_opens_no_other(site, owner, visited):
    one, other = (path_of(link(owner, site, password=PASSWORD, name=name)) for name in ("a", "b"))
    browser = Client()
    cookie = browser.post(one, {"password": PASSWORD}).cookies[pages.COOKIE_NAME].value

    assert browser.get(other, headers={"Cookie": f"{pages.COOKIE_NAME}={cookie}"}).status_code == 401


def test_passwords_cannot_be_tried_without_end(site, owner):
    path = path_of(link(owner, site, password=PASSWORD))

    answers = [Client().post(path, {"password": f"guess {number}"}).status_code for number in range(30)]

    assert set(answers[:10]) == {401}
    assert answers.count(401) <= 20, "ten a minute, and a minute may end meanwhile"
    while Client().post(path, {"password": "guess"}).status_code != 429:
        pass
    assert Client().post(path, {"password": PASSWORD}).status_code == 429, "the right one waits, too"


@pytest.mark.parametrize(
    "end", ["expired", "revoked", "left", "demoted", "closed", "deleted", "forged", "another's"]
)
def test_a_link_ends(site, owner, end):
    made = link(owner, site, expires_at=(timezone.now() + timedelta(hours=1)).isoformat())
    path = path_of(made)
    assert Client().get(path).status_code == 200
    if end == "revoked":
        assert owner.delete(f"sites/{site.pk}/analytics/shares/{made['id']}").status_code == 204
    with tenancy.context(tenancy.SYSTEM):
        if end == "expired":
            Share.objects.filter(pk=made["id"]).update(expires_at=timezone.now())
        elif end == "left":
            Access.objects.filter(site=site, user=site.owner).delete()
        elif end == "demoted":
            Access.objects.filter(site=site, user=site.owner).update(role="viewer")
        elif end == "closed":
            type(site.owner).objects.filter(pk=site.owner_id).update(is_active=False)
        elif end == "deleted":
            Site.objects.filter(pk=site.pk).update(deleted_at=timezone.now())
    path = {
        "forged": path[:-1] + ("0" if path[-1] != "0" else "1"),
        "another's": path.replace("/shared/", "/shared/stop/"),
    }.get(end, path)

    answer = Client().get(path)

    assert (answer.status_code, "last 30 days" in answer.content.decode()) == (
        200 if end == "another's" else 404,
        False,
    )
    assert "Visitors" not in answer.content.decode()


def test_a_forged_link_costs_no_query(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert Client().get("/shared/" + "0" * 32 + "." + "1" * 64).status_code == 404


def test_only_editors_share(site, owner):
    viewer = UserFactory()
    with tenancy.context(tenancy.SYSTEM):
        Access.objects.create(site=site, user=viewer, role="viewer")
    link(owner, site)
    looks = sign_in(viewer)

    assert looks.get(f"sites/{site.pk}/analytics/shares").status_code == 403
    assert looks.post(f"sites/{site.pk}/analytics/shares", {"name": "x"}).status_code == 403
    for wrong in (
        {"password": "short"},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"conditions": ["x"]},
        {"conditions": ["page:is:x"] * 11},
        {},
    ):
        body = {"name": "x", **wrong} if wrong else {}
        assert owner.post(f"sites/{site.pk}/analytics/shares", body).status_code == 400, wrong


def test_the_board_asks_as_often_however_much_there_is(site, owner, visited, django_assert_max_num_queries):
    path = path_of(link(owner, site))
    for number in range(15):
        for kind, conditions in (("goals", ["page:is:/"]), ("funnels", ["page:is:/", "page:is:/menu"])):
            body = {"name": str(number), "conditions": conditions}
            assert owner.post(f"sites/{site.pk}/analytics/{kind}", body).status_code == 201
    with django_assert_max_num_queries(160):  # ten of each, five at most a piece
        assert Client().get(path).status_code == 200


def test_a_link_is_not_asked_without_end(site, owner, monkeypatch):

    monkeypatch.setattr(pages, "PAGE_VIEW_BURST", 3)
    path = path_of(link(owner, site, password=PASSWORD))

    assert [Client().get(path).status_code for _ in range(5)] == [401, 401, 401, 429, 429]


# --- Mondays ---

SUNDAY = datetime(2026, 3, 8, 23, 0, tzinfo=UTC)
MONDAY = datetime(2026, 3, 9, 7, 30, tzinfo=UTC)


@pytest.fixture
def reader(site, owner):
    """The owner, who asked for the mail in the week before."""
    with tenancy.context(tenancy.SYSTEM):
        Subscription.objects.create(site=site, user=site.owner, last=datetime(2026, 3, 2, tzinfo=UTC).date())
    return owner


def mails():
    return Mail.objects.filter(template="weekly")


def test_the_mail_comes_on_monday_once(site, reader):
    put(
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
    facts = json.loads(mails().get().facts)
    assert (facts["metrics"][0]["now"], facts["span"]) == ("3", "2 March to 8 March")
    subject, text, html = mail.render("weekly", facts)
    assert subject == "The week of A site"
    assert re.search(r"Tue █{20} 2", text), text
    assert "/menu" in text
    assert "height: 80px" in html.replace("height:80px", "height: 80px")
    assert weekly_mail.send_due_mails(now=MONDAY + timedelta(days=7)) == 1


def test_it_is_monday_where_the_site_is(site, reader):
    with tenancy.context(tenancy.SYSTEM):
        Settings.objects.create(site=site, timezone="Pacific/Auckland")

    assert weekly_mail.send_due_mails(now=MONDAY - timedelta(hours=13, minutes=20)) == 1
    assert json.loads(mails().get().facts)["span"] == "2 March to 8 March"


@pytest.mark.parametrize("gone", ["left", "closed", "deleted"])
def test_who_has_no_place_there_gets_no_mail(site, reader, gone):
    with tenancy.context(tenancy.SYSTEM):
        if gone == "left":
            Access.objects.filter(site=site, user=site.owner).delete()
        elif gone == "closed":
            type(site.owner).objects.filter(pk=site.owner_id).update(is_active=False)
        else:
            Site.objects.filter(pk=site.pk).update(deleted_at=timezone.now())

    assert weekly_mail.send_due_mails(now=MONDAY) == 0
    assert not mails().exists()


def test_a_mail_that_was_killed_on_its_way_is_written_once(site, reader, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mail, "enqueue_mail", killed)
        with pytest.raises(KeyboardInterrupt):
            weekly_mail.send_due_mails(now=MONDAY)
    assert weekly_mail.send_due_mails(now=MONDAY) == 1


def test_one_click_ends_it_and_looking_does_not(site, reader):
    weekly_mail.send_due_mails(now=MONDAY)
    path = re.sub(r"^https?://[^/]+", "", json.loads(mails().get().facts)["unsubscribe"])

    assert "Stop them" in Client().get(path).content.decode()
    assert reader.get(f"sites/{site.pk}/analytics/weekly-mail").status_code == 200
    assert Client(enforce_csrf_checks=True).post(path, {"List-Unsubscribe": "One-Click"}).status_code == 200
    assert reader.get(f"sites/{site.pk}/analytics/weekly-mail").status_code == 404
    assert "stopped them before" in Client().get(path).content.decode()


def test_subscribing_twice_is_once_and_the_first_mail_is_next_monday(site, owner):
    for _ in range(2):
        assert owner.call("PUT", f"/api/v1/sites/{site.pk}/analytics/weekly-mail").status_code == 200

    assert weekly_mail.send_due_mails(now=timezone.now()) == 0
    assert weekly_mail.send_due_mails(now=timezone.now() + timedelta(days=8)) == 1
    assert owner.delete(f"sites/{site.pk}/analytics/weekly-mail").status_code == 204

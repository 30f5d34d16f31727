"""The pages for people without an account: the dashboard behind a link, and the end of the weekly mail."""

import json
import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from analytics.models import Share
from analytics.reports import rollups
from analytics.sharing import pages, weekly_mail
from analytics.simulation import SimulatedTraffic
from analytics.tests.helpers import (
    MARCH_DAYS,
    MONDAY,
    create_definition,
    create_share,
    minutes_from_march,
    order_fields,
    share_path,
    weekly_mails,
    write_visits,
)
from core import tenancy
from core.admission.rate_limits import LocalRateLimiter
from sites.models import Access, Site

pytestmark = pytest.mark.django_db
PASSWORD = "sourdough & rye"


@pytest.fixture(autouse=True)
def reset_rate_limit():
    """All tests share one client address, whose requests are limited."""
    pages._page_view_limiter = LocalRateLimiter()


@pytest.fixture
def simulated_month(site):
    """The traffic of a month that ended yesterday."""
    SimulatedTraffic(
        site.number, ["/", "/menu", "/about"], 30, 600, timezone.now().date() - timedelta(days=1)
    ).write()
    rollups.rebuild_dirty_days()


def test_shared_dashboard_page_needs_no_account(site, owner, simulated_month):
    response = Client().get(share_path(create_share(owner, site)))

    text = response.content.decode()
    assert response.status_code == 200
    assert "For the board" in text
    assert "/menu" in text
    assert response["Cache-Control"] == "no-store"
    assert response["Referrer-Policy"] == "same-origin"
    assert "noindex" in response["X-Robots-Tag"]
    assert "<script" not in text
    assert site.owner.email not in text


def test_shared_dashboard_page_keeps_its_parameters_in_its_links(site, owner, simulated_month):
    path = share_path(create_share(owner, site))

    text = Client().get(f"{path}?period=7d&filter=page:is:/menu&measure=pageviews").content.decode()

    assert "Page is /menu" in text
    assert "Page views by day" in text
    assert "period=90d&amp;filter=page%3Ais%3A%2Fmenu" in text.replace("measure=pageviews&amp;", "")
    assert 'href="?period=7d&amp;measure=pageviews"' in text, "without the filter"


@pytest.mark.parametrize(
    "parameters", ["period=ever", "filter=x", "from=1", "filter=page:is:%00", "from=2026-02-30&to=2026-03-01"]
)
def test_shared_dashboard_page_shows_30_days_and_an_error_for_invalid_parameters(
    site, owner, simulated_month, parameters
):
    response = Client().get(f"{share_path(create_share(owner, site))}?{parameters}")

    assert response.status_code == 200
    assert "This address is not valid" in response.content.decode()


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7|add:7 }}"]
)
def test_shared_dashboard_page_escapes_texts_of_visitors(site, owner, text):
    write_visits(site, (0, 1, {"page": f"/{text}", "source": text}))

    path = share_path(create_share(owner, site))

    html = Client().get(f"{path}?{MARCH_DAYS}&filter=source:is:{text}").content.decode()

    assert "<script>alert" not in html
    assert "<img src=x" not in html


def test_shared_dashboard_page_always_applies_its_conditions(site, owner):
    write_visits(
        site, (0, 1, {"page": "/shown", "country": "DE"}), (0, 2, {"page": "/secret", "country": "FR"})
    )
    path = share_path(create_share(owner, site, conditions=["country:is:DE"]))

    for parameters in (
        "",
        "&filter=country:is:FR",
        "&filter=page:contains:/",
        "&pages=exit_page",
        "&places=country",
    ):
        html = Client().get(f"{path}?from=2026-03-01&to=2026-03-02{parameters}").content.decode()
        assert "/secret" not in html, parameters
        assert "France" not in html or "filter=country:is:FR" in parameters
    assert "/shown" in Client().get(f"{path}?from=2026-03-01&to=2026-03-02").content.decode()


def test_shared_dashboard_page_applies_its_conditions_to_goals_and_current_visitors(site, owner):
    minute = minutes_from_march(timezone.now())
    write_visits(
        site,
        (minute, 1, {"page": "/shown", "country": "DE"}),
        (minute, 2, {"page": "/secret", "country": "FR"}),
    )
    owner.post(f"sites/{site.pk}/analytics/goals", {"name": "Any page", "conditions": ["page:contains:/"]})
    path = share_path(create_share(owner, site, conditions=["country:is:DE"]))

    html = Client().get(f"{path}?period=today").content.decode()

    assert "/secret" not in html
    assert re.search(r"Any page</th><td>1</td>", html)


def test_shared_dashboard_page_never_shows_an_excluded_page(site, owner):
    write_visits(
        site,
        (0, 1, {"page": "/shown"}),
        (1, 1, {"page": "/secret"}),
        (2, 1, order_fields("99.00", "EUR", page="/secret")),
        (3, 2, {"page": "/shown"}),
    )
    create_definition(owner, site, "page:is:/secret", name="Saw it")
    create_definition(owner, site, "event:is:Order", name="Orders")
    create_definition(owner, site, "page:is:/shown", "page:is:/secret", kind="funnels", name="In")
    owner.post(
        f"sites/{site.pk}/analytics/annotations", {"day": "2026-03-01", "text": "Dismissed an employee"}
    )

    for condition in ("page:is_not:/secret", "page:is:/shown", "page:contains_not:secr"):
        path = share_path(create_share(owner, site, name="x", conditions=[condition]))
        html = Client().get(f"{path}?{MARCH_DAYS}&pages=exit_page").content.decode()
        without_step = html.replace("Page is /secret", "")  # the label of a step of the funnel
        assert "/secret" not in without_step, condition
        assert "99.00" not in html
        assert re.search(r"Saw it</th><td>0</td>", html)
        assert "Dismissed" not in html
        assert "Exit pages" not in html


def test_shared_dashboard_page_refuses_filters_by_property(site, owner):
    write_visits(site, (0, 1, order_fields("1.00", "EUR", props={"email": "bob@example.com"})))

    path = share_path(create_share(owner, site))

    html = Client().get(f"{path}?{MARCH_DAYS}&filter=property:email:contains:bob").content.decode()

    assert "This address is not valid" in html


def test_shared_dashboard_page_is_unlocked_by_its_password_in_one_browser(site, owner, simulated_month):
    share = create_share(owner, site, password=PASSWORD)
    path = share_path(share)
    browser = Client()

    locked = browser.get(path)
    assert (share["protected"], locked.status_code) == (True, 401)
    assert "/menu" not in locked.content.decode()
    assert browser.post(path, {"password": "wrong"}).status_code == 401
    unlocked = browser.post(f"{path}?period=7d", {"password": PASSWORD})
    assert (unlocked.status_code, unlocked["Location"]) == (302, f"{path}?period=7d")
    assert browser.get(path).status_code == 200
    assert Client().get(path).status_code == 401, "another browser"
    cookie = unlocked.cookies[pages.COOKIE_NAME]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", path)
    with tenancy.context(tenancy.SYSTEM):
        row = Share.objects.get(pk=share["id"])
        assert row.password.startswith("argon2")
        Share.objects.filter(pk=row.pk).update(password="")
        Share.objects.filter(pk=row.pk).update(password=row.password + "x")
    assert browser.get(path).status_code == 401, "a new password locks the page again"


def test_is_unlocked_refuses_the_cookie_of_another_link(site, owner, simulated_month):
    path, other_path = (
        share_path(create_share(owner, site, password=PASSWORD, name=name)) for name in ("a", "b")
    )
    browser = Client()
    cookie = browser.post(path, {"password": PASSWORD}).cookies[pages.COOKIE_NAME].value

    assert browser.get(other_path, headers={"Cookie": f"{pages.COOKIE_NAME}={cookie}"}).status_code == 401


def test_shared_dashboard_page_limits_password_attempts(site, owner):
    path = share_path(create_share(owner, site, password=PASSWORD))

    statuses = [Client().post(path, {"password": f"guess {number}"}).status_code for number in range(30)]

    assert set(statuses[:10]) == {401}
    assert statuses.count(401) <= 20, "10 attempts a minute, and a new minute may begin during the test"
    while Client().post(path, {"password": "guess"}).status_code != 429:
        pass
    assert Client().post(path, {"password": PASSWORD}).status_code == 429, (
        "the right password is refused, too"
    )


@pytest.mark.parametrize(
    "reason", ["expired", "revoked", "left", "demoted", "closed", "deleted", "forged", "another's"]
)
def test_find_valid_share_ends_links(site, owner, reason):
    share = create_share(owner, site, expires_at=(timezone.now() + timedelta(hours=1)).isoformat())
    path = share_path(share)
    assert Client().get(path).status_code == 200
    if reason == "revoked":
        assert owner.delete(f"sites/{site.pk}/analytics/shares/{share['id']}").status_code == 204
    with tenancy.context(tenancy.SYSTEM):
        if reason == "expired":
            Share.objects.filter(pk=share["id"]).update(expires_at=timezone.now())
        elif reason == "left":
            Access.objects.filter(site=site, user=site.owner).delete()
        elif reason == "demoted":
            Access.objects.filter(site=site, user=site.owner).update(role="viewer")
        elif reason == "closed":
            type(site.owner).objects.filter(pk=site.owner_id).update(is_active=False)
        elif reason == "deleted":
            Site.objects.filter(pk=site.pk).update(deleted_at=timezone.now())
    path = {
        "forged": path[:-1] + ("0" if path[-1] != "0" else "1"),
        "another's": path.replace("/shared/", "/shared/stop/"),
    }.get(reason, path)

    response = Client().get(path)

    assert (response.status_code, "last 30 days" in response.content.decode()) == (
        200 if reason == "another's" else 404,
        False,
    )
    assert "Visitors" not in response.content.decode()


def test_parse_share_token_refuses_a_forged_token_without_a_query(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert Client().get("/shared/" + "0" * 32 + "." + "1" * 64).status_code == 404


def test_build_dashboard_context_takes_a_bounded_number_of_queries(
    site, owner, simulated_month, django_assert_max_num_queries
):
    path = share_path(create_share(owner, site))
    for number in range(15):
        for kind, conditions in (("goals", ["page:is:/"]), ("funnels", ["page:is:/", "page:is:/menu"])):
            body = {"name": str(number), "conditions": conditions}
            assert owner.post(f"sites/{site.pk}/analytics/{kind}", body).status_code == 201
    with django_assert_max_num_queries(
        160
    ):  # 10 goals and 10 funnels with at most 5 queries each, and the rest of the page
        assert Client().get(path).status_code == 200


def test_shared_dashboard_page_limits_views_by_network(site, owner, monkeypatch):
    monkeypatch.setattr(pages, "PAGE_VIEW_BURST", 3)
    path = share_path(create_share(owner, site, password=PASSWORD))

    assert [Client().get(path).status_code for _ in range(5)] == [401, 401, 401, 429, 429]


def test_unsubscribe_page_deletes_the_subscription_by_post_only(site, subscriber):
    weekly_mail.send_due_mails(now=MONDAY)
    path = re.sub(r"^https?://[^/]+", "", json.loads(weekly_mails().get().context)["unsubscribe"])

    assert "Cancel the weekly mail" in Client().get(path).content.decode()
    assert subscriber.get(f"sites/{site.pk}/analytics/weekly-mail").status_code == 200
    assert Client(enforce_csrf_checks=True).post(path, {"List-Unsubscribe": "One-Click"}).status_code == 200
    assert subscriber.get(f"sites/{site.pk}/analytics/weekly-mail").status_code == 404
    assert "not subscribed" in Client().get(path).content.decode()
